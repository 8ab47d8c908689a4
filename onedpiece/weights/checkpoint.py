"""Models by name and as folders: `load`, fingerprints, and the entropy coder's tables beside them."""

import json
import re
import struct
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from fnmatch import fnmatch
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Unpack

from onedpiece._files import one_line
from onedpiece._providers import HubOptions
from onedpiece.bitstream.packing import Tables
from onedpiece.errors import EntropyTablesError, MissingExtraError, WeightsError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from onedpiece.codec.codec import Codec
    from onedpiece.tokenizer import Tokenizer

FILE = "entropy.json"
BUNDLED = Path(__file__).parent


def load_tables(folder: str | Path, fingerprint: bytes) -> Tables | None:
    """Return the tables in a model's folder; None where there are none.

    Args:
        folder: of the model.
        fingerprint: the model's, 4 bytes.

    Raises:
        EntropyTablesError: they are damaged, or another model's; the message is one line.
    """
    path = Path(folder) / FILE
    try:
        plain = json.loads(path.read_text())
        stated = plain["fingerprint"]
        if stated == fingerprint.hex():
            return Tables.from_plain(plain)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise EntropyTablesError(f"{path} holds no entropy tables: {one_line(error)}") from error
    raise EntropyTablesError(
        f"{path} was made for model {stated}, beside it is {fingerprint.hex()}; fetch the model anew, or "
        "remove the file: without it, files are a little larger"
    )


def tables_beside(folder: str | Path | None, fingerprint: bytes) -> Tables | None:
    """Return the tables in a model's folder, or else those of the bundled model of this fingerprint.

    Raises:
        EntropyTablesError: as `load_tables`.
    """
    found = None if folder is None else load_tables(folder, fingerprint)
    return found or bundled_tables(fingerprint)


def bundled_tables(fingerprint: bytes) -> Tables | None:
    """Return the tables of the bundled model of this fingerprint; None where there are none.

    Raises:
        EntropyTablesError: as `load_tables`.
    """
    return _bundled().get(fingerprint.hex())


@cache
def _bundled() -> dict[str, Tables]:
    stored = (json.loads(path.read_text()) for path in sorted(BUNDLED.glob(f"*/{FILE}")))
    return {plain["fingerprint"]: Tables.from_plain(plain) for plain in stored}


FORMAT = 2


_SPACE_FIELDS = ("image_size", "num_tokens", "quantizer", "fsq_grades", "vq_codebook_size", "vq_dim")
"""Of the configuration: what the tokens' meaning depends on."""


def fingerprint(tokenizer: "Tokenizer") -> bytes:
    """Return the 4 bytes that name a code space: what it takes to read the tokens, and no more.

    The first bytes of a SHA-256 over lattices, order and statistics of the DCT path, or over the codebook. A
    decoder that was trained on reads older files. Where neither gives tokens a meaning (FSQ without a DCT
    path) the encoder does, and belongs to it.
    """
    from torch import nn

    config = tokenizer.config
    part = "linear_path" if config.linear_path else "quantizer"
    holder: nn.Module = nn.ModuleDict({part: tokenizer.get_submodule(part)})
    space = holder.state_dict()
    if not config.linear_path and config.quantizer == "fsq":
        holder, everything = tokenizer, tokenizer.state_dict()
        space = {k: v for k, v in everything.items() if k.startswith(("encoder.", "latent_tokens"))}
    fields = {name: value for name, value in config.to_dict().items() if name in _SPACE_FIELDS}
    fields |= {"linear_size": config.linear_size if config.linear_path else None}
    return _sha256(fields, _as_written(space, _parameters(holder)))[:4]


def weights_digest(tokenizer: "Tokenizer") -> str:
    """Return 16 hexadecimal digits over the configuration and every tensor: were the weights read as written?

    Parameters are rounded to float16, so that saving and loading does not change it.
    """
    return _sha256(tokenizer.config.to_dict(), stored_tensors(tokenizer))[:8].hex()


def _sha256(fields: dict[str, Any], tensors: "dict[str, Tensor]") -> bytes:
    digest = sha256(json.dumps(fields, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.numpy().data.cast("B"))
    return digest.digest()


def stored_tensors(tokenizer: "Tokenizer") -> "dict[str, Tensor]":
    """Return what a file holds of a tokenizer: parameters as float16, statistics as they are."""
    return _as_written(tokenizer.state_dict(), _parameters(tokenizer))


def _parameters(module: "nn.Module") -> set[str]:
    return {name for name, _ in module.named_parameters()}


def _as_written(tensors: "dict[str, Tensor]", parameters: set[str]) -> "dict[str, Tensor]":
    """Return what is written of tensors: parameters as float16, buffers as float32 or integers.

    What has that type already, as in a file that was written, is not copied.
    """
    import torch

    def written(name: str, tensor: "Tensor") -> "Tensor":
        if not tensor.is_floating_point():
            return tensor
        return tensor.to(torch.float16 if name in parameters else torch.float32)

    return {name: written(name, each).detach().cpu().contiguous() for name, each in tensors.items()}


def read_config(folder: str | Path) -> dict[str, Any]:
    """Return a model folder's `config.json`; needs no torch.

    Raises:
        WeightsError: there is none, or it is not one of ours.
    """
    path = Path(folder) / "config.json"
    try:
        card = json.loads(path.read_bytes())
    except OSError as error:
        raise WeightsError(f"{folder} is no model folder: {error.strerror} reading config.json") from None
    except ValueError:
        raise WeightsError(f"{path} is not JSON") from None
    if is_onnx_folder(Path(folder)):
        raise WeightsError(f"{folder} is an exported model, and this takes the model that it is of")
    if not isinstance(card, dict) or card.get("format") != FORMAT:
        found = card.get("format") if isinstance(card, dict) else type(card).__name__
        raise WeightsError(f"{path} has format {found!r}; this onedpiece reads format {FORMAT}")
    return card


def load_tokenizer(folder: str | Path, *, sharp: bool = True) -> "Tokenizer":
    """Read a tokenizer from a folder, strictly, on the CPU in float32 and in evaluation mode.

    Args:
        folder: as `save` writes it.
        sharp: False leaves a sharp network out: its weights are checked and take neither time nor memory.

    Raises:
        WeightsError: a file is missing or damaged, tensors are missing, unknown or of another shape, or the
            weights do not have the fingerprint and the digest that `config.json` states.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from onedpiece.tokenizer.config import TokenizerConfig
    from onedpiece.tokenizer.tokenizer import Tokenizer
    from onedpiece.tokenizer.transformer import assign_weights, no_init_weights

    folder, card = Path(folder), read_config(folder)
    with ThreadPoolExecutor(1) as aside:
        try:
            config = TokenizerConfig.from_dict(card["tokenizer"])
            with no_init_weights():
                tokenizer = Tokenizer(config if sharp else replace(config, sharp_blocks=0))
            state = {}
            for name in card["files"]:
                state.update(load_file(folder / Path(name).name, device="cpu"))
            wanted = state if sharp else {k: v for k, v in state.items() if not k.startswith("sharp.")}
            # The files' own bytes are hashed, while they are converted here: both take as long.
            parameters = _parameters(tokenizer) | (state.keys() - wanted.keys() - {"sharp.gain"})
            written = _as_written(state, parameters)
            digest = aside.submit(_sha256, config.to_dict(), written)
            assign_weights(tokenizer, wanted)
        except (
            KeyError,
            TypeError,
            ValueError,
            OSError,
            SafetensorError,
            RuntimeError,
            struct.error,
        ) as error:
            raise WeightsError(f"the weights in {folder} do not load: {one_line(error)}") from error
    found = {"fingerprint": fingerprint(tokenizer).hex(), "digest": digest.result()[:8].hex()}
    for name, value in found.items():
        if value != card.get(name):
            raise WeightsError(
                f"the weights in {folder} have {name} {value}, config.json says {card.get(name)}"
            )
    return tokenizer.eval()


DEFAULT = "ti-256"
UNTRAINED = "ti-256-untrained"
AUTHORS = "turing-motors/"  # their files are not ours to read as a folder
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


class ModelName(NamedTuple):
    """A name that `load` takes, and what it stands for."""

    name: str
    note: str


def names() -> tuple[ModelName, ...]:
    """Return the models that `load` knows by name; needs no torch."""
    return (
        ModelName(DEFAULT, "bundled, the default: 256×256, up to 256 tokens of 12 bits"),
        ModelName(UNTRAINED, "bundled: a network before training, a linear codec"),
        ModelName("turing-motors/One-D-Piece-S-256", "released, 84 M parameters, from the Hugging Face hub"),
        ModelName("turing-motors/One-D-Piece-B-256", "released, 205 M parameters, from the Hugging Face hub"),
        ModelName("turing-motors/One-D-Piece-L-256", "released, 642 M parameters, from the Hugging Face hub"),
    )


def list_models(pattern: str = "*") -> list[str]:
    """Return the names that `load` knows, as timm's function of this name does.

    >>> import onedpiece
    >>> onedpiece.list_models("ti-*")
    ['ti-256', 'ti-256-untrained']

    Args:
        pattern: with * and ?, of those that are wanted.
    """
    return [model.name for model in names() if fnmatch(model.name, pattern)]


def load(
    name: str | Path | None = None,
    device: str = "cpu",
    *,
    compile: bool = False,  # noqa: A002
    sharp: bool = True,
) -> "Codec":
    """Return a codec that is ready to encode and decode.

    >>> codec = load()
    >>> codec.name, codec.num_tokens, codec.image_size
    ('ti-256', 256, 256)

    Args:
        name: None for the bundled model; a bundled name; a folder written by `save`, or by `onedpiece export`
            for a computer without torch; or, fetched through
            huggingface_hub (extra `[hub]`), such a folder as OWNER/NAME, or the released
            `turing-motors/One-D-Piece-{S,B,L}-256`.
        device: where the network runs, as torch names it.
        compile: hand the networks to `torch.compile`: a minute and more for each new batch size, for all that
            comes after it. On a CPU not the sharp one, whose own way is faster than what is compiled.
        sharp: False leaves the sharp network out, for a sooner start and less memory: all files are decoded
            faithfully.

    Raises:
        WeightsError: there is no such model, or it is damaged; the message lists the names there are.
    """
    from onedpiece.codec.codec import Codec

    name = str(name) if name is not None else DEFAULT
    if is_onnx_folder(Path(name)):
        if compile:
            raise ValueError(f"{name} is an exported model, which torch cannot compile")
        from onedpiece.codec.onnx_model import open_onnx

        return Codec.from_model(open_onnx(Path(name), load_tables, name, device, sharp=sharp))
    found = find_tokenizer(name, sharp=sharp)
    tokenizer = found.tokenizer
    if compile:
        for network in (tokenizer.encoder, tokenizer.decoder, tokenizer.sharp):
            if network is not None and (network is not tokenizer.sharp or not str(device).startswith("cpu")):
                network.compile(dynamic=False)
    print_ = fingerprint(tokenizer)
    tables = None if found.folder is None else load_tables(found.folder, print_)
    return Codec(tokenizer, print_, device, name, tables)


def is_onnx_folder(folder: Path) -> bool:
    """Return whether a folder holds a model that `onedpiece export` wrote."""
    return (folder / "decoder.onnx").is_file()


class FoundTokenizer(NamedTuple):
    """A tokenizer, and the folder that it was read from; None where it has none."""

    tokenizer: "Tokenizer"
    folder: Path | None


def find_tokenizer(name: str, *, sharp: bool = True, **options: Unpack[HubOptions]) -> FoundTokenizer:
    """Return the tokenizer that `load` means by `name`, in evaluation mode, on the CPU.

    Args:
        name: as `load` takes it.
        sharp: False leaves a sharp network out.
        options: of a download.

    Raises:
        WeightsError: as `load`.
    """
    folder = find_folder(name, options)
    try:
        if folder is not None:
            return FoundTokenizer(load_tokenizer(folder, sharp=sharp), folder)
        return FoundTokenizer(_without_folder(name, options), None)
    except ModuleNotFoundError as error:
        if error.name not in ("torch", "safetensors"):
            raise
        raise MissingExtraError(
            f"{name} runs in torch: pip install torch safetensors, or give what `onedpiece export` wrote"
        ) from error


def find_folder(name: str, options: HubOptions) -> Path | None:
    """Return the folder of a model that has one."""
    if name == DEFAULT:
        return BUNDLED / DEFAULT
    if Path(name).is_dir():
        return Path(name)
    if Path(name).is_file():
        raise WeightsError(f"{name} is a file; name the model's folder")
    if HUB_ID.fullmatch(name) and not name.startswith(AUTHORS):
        from onedpiece.weights.hub import fetch_folder

        return fetch_folder(name, **options)
    return None


def _without_folder(name: str, options: HubOptions) -> "Tokenizer":
    if name == UNTRAINED:
        return untrained("ti-256")
    if name.startswith(AUTHORS):
        from onedpiece.weights.hub import load_official

        return load_official(name, **options)
    known = ", ".join(list_models())
    raise WeightsError(
        f"no model {name!r}: it is no folder and no OWNER/NAME of the hub, and the names are: {known}"
    )


def untrained(preset_name: str = "ti-256") -> "Tokenizer":
    """Return an untrained tokenizer whose linear path has the statistics of the training photographs.

    The networks are drawn with a fixed seed, so that it has one fingerprint.

    Args:
        preset_name: one with a linear path.

    Raises:
        ValueError: no such preset.
        WeightsError: the preset has no bundled statistics.
    """
    import torch
    from safetensors.torch import load_file

    from onedpiece.tokenizer import Tokenizer, preset

    config = preset(preset_name)
    path = BUNDLED / f"{preset_name}-linear.safetensors"
    if not path.is_file():
        raise WeightsError(f"no statistics are bundled for {preset_name!r}")
    default = torch.get_default_dtype()
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.set_default_dtype(torch.float32)
        torch.manual_seed(0)
        try:
            tokenizer = Tokenizer(config)
        finally:
            torch.set_default_dtype(default)
    assert tokenizer.linear_path is not None
    tokenizer.linear_path.load_state_dict(load_file(path), strict=True)
    return tokenizer.eval()
