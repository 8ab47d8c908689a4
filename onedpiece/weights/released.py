"""Released One-D-Piece weights to our folders, and our folders to the layout that the authors' code loads."""

from pathlib import Path

import torch
from safetensors.torch import save_file

from onedpiece._files import atomic_path
from onedpiece.errors import HubError, WeightsError
from onedpiece.tokenizer import Tokenizer
from onedpiece.weights.checkpoint import find_tokenizer
from onedpiece.weights.hub import RELEASED, fetch_released, read_state
from onedpiece.weights.writer import save


def convert_released(source: str | Path, folder: str | Path) -> Path:
    """Write released One-D-Piece weights as a folder that `onedpiece.load` reads, and return it.

    Args:
        source: one of `RELEASED`, or as `read_state` takes it.
        folder: made if it does not exist; weights are rounded to float16 in it.

    Raises:
        HubError: as `read_state`, or the file holds no One-D-Piece.
    """
    state = fetch_released(str(source)) if str(source) in RELEASED else read_state(source)
    try:
        tokenizer = Tokenizer.from_official(state)
    except ValueError as error:
        raise HubError(f"{source}: {error}") from error
    return save(tokenizer, folder)


def convert_back(source: str | Path, path: str | Path) -> Path:
    """Write a model's weights in the released layout, for the authors' code to load, and return the file.

    Args:
        source: as `onedpiece.load` takes it.
        path: the file; .safetensors, or anything else for torch.save.

    Raises:
        WeightsError: there is no such model, or its network is none that the authors' code has.
    """
    tokenizer = find_tokenizer(str(source)).tokenizer
    try:
        state = tokenizer.to_official()
    except ValueError as error:
        raise WeightsError(f"{source}: {error}") from error
    with atomic_path(path) as partial:
        if Path(path).suffix == ".safetensors":
            save_file(state, partial)
        else:
            torch.save(state, partial)
    return Path(path)
