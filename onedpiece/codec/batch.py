"""Many pictures through one model: `encode_pictures`, and their tokens side by side as tensors."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict

from onedpiece._progress import Progress
from onedpiece.bitstream import Code
from onedpiece.codec.model import BATCH, EncodeResult, LoadedModel, encode_squares, fit_square
from onedpiece.codec.tensors import Photo, Pictures, as_list
from onedpiece.codec.tiles import fit_photo
from onedpiece.rate.target import RateTarget

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class TokenBatch(NamedTuple):
    """Codes side by side, as a model that generates or classifies takes them.

    Attributes:
        tokens: (B, K) int64, 0 behind a code's last token.
        mask: (B, K) bool, True where there is a token.
    """

    tokens: "Tensor"
    mask: "Tensor"


class EncodeOptions(TypedDict, total=False):
    """What `Codec.encode_batch_to` and its like take beside a target.

    Attributes:
        tiles: as in `Codec.encode`.
        best_effort: as in `Codec.encode`.
        progress: told of tiles done and tiles in all, for each photo that is cut into tiles.
    """

    tiles: bool | None
    best_effort: bool
    progress: Progress | None


def encode_pictures(
    model: LoadedModel,
    pictures: Pictures,
    target: RateTarget,
    return_exceptions: bool = False,
    *,
    tiles: bool | None = None,
    best_effort: bool = False,
    progress: Progress | None = None,
) -> list[Any]:
    """Encode pictures, each to the target; squares share passes through the network.

    Args:
        model: encodes.
        pictures: as `Codec.encode_batch` takes them.
        target: one that the model can be asked for.
        return_exceptions: give what encoding a picture raised in the place of its result.
        tiles: as in `EncodeOptions`.
        best_effort: as in `EncodeOptions`.
        progress: as in `EncodeOptions`.

    Returns:
        An `EncodeResult` a picture, or an exception.

    Raises:
        ValueError, TypeError, OSError, OnedpieceError: as `Codec.encode`.
    """
    outcomes: list[EncodeResult | Exception] = []
    listed = as_list(pictures)
    for start in range(0, len(listed), BATCH):
        photos = [_attempt(Photo, picture) for picture in listed[start : start + BATCH]]
        read = [photo for photo in photos if isinstance(photo, Photo)]
        codes = iter([None] * len(read) if tiles else encode_squares(model, read))
        for photo in photos:
            outcome = photo
            if isinstance(photo, Photo):
                code = next(codes)
                if code is not None and target.is_count:
                    outcome = _attempt(fit_square, model, photo, code, target)
                else:
                    outcome = _attempt(
                        fit_photo, model, photo, code, target, tiles is None, best_effort, progress
                    )
            if isinstance(outcome, Exception) and not return_exceptions:
                raise outcome
            outcomes.append(outcome)
    return outcomes


def _attempt(work: Callable[..., Any], *args: Any) -> Any:
    try:
        return work(*args)
    except Exception as error:
        return error


def pad_tokens(
    codes: Sequence[Code], pad_to: int | None = None, device: "str | torch.device" = "cpu"
) -> TokenBatch:
    """Return codes of squares as one tensor.

    Args:
        codes: of any lengths, one square each.
        pad_to: K, how long the rows are; None: as long as the longest code.
        device: where the tensors are to be.

    Raises:
        ValueError: a code is longer than `pad_to`, or is one of tiles.
    """
    import torch

    longest = max((len(code) for code in codes), default=0)
    width = longest if pad_to is None else pad_to
    if longest > width:
        raise ValueError(f"pad_to is {pad_to}; the longest of these codes has {longest} tokens")
    if any(code.tiles for code in codes):
        raise ValueError("a code of tiles is no row of tokens; encode with tiles=False")
    tokens = torch.zeros(len(codes), width, dtype=torch.int64)
    for row, code in zip(tokens, codes, strict=True):
        row[: len(code)] = torch.from_numpy(code.indices.copy())
    lengths = torch.tensor([len(code) for code in codes], dtype=torch.int64)
    mask = torch.arange(width) < lengths[:, None]
    return TokenBatch(tokens.to(device), mask.to(device))
