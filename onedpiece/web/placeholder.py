"""Placeholders: what a page shows of a photo until it has loaded, in a dozen bytes, decoded by odp.js."""

from base64 import b64encode
from dataclasses import dataclass
from html import escape
from io import BytesIO
from urllib.parse import quote

import torch
from PIL import Image

from onedpiece.bitstream import Code
from onedpiece.bitstream.packing import known_tables, pack, pack_entropy
from onedpiece.codec.codec import Codec
from onedpiece.codec.tensors import resize, to_image

MAX_TOKENS = 64
"""Tokens that odp.js has the tables of; it shows no more of any picture."""

PLAIN = "~"
"""Opens data that are not entropy coded: those of the few pictures that the coder makes longer."""

_CSS_SIDE = 24  # pixels of the picture inside a style sheet, which no script enlarges
_CSS_QUALITY = 60


@dataclass(frozen=True)
class Placeholder:
    """One photo's placeholder; its fields are what JSON holds.

    Attributes:
        data: the tokens without a header, in base64, for odp.js.
        width: the photo's, in pixels.
        height: the photo's, in pixels.
        colour: the mean of what is shown, as #rrggbb.
        tokens: how many there are.
        bytes: what `data` says, before base64.
    """

    data: str
    width: int
    height: int
    colour: str
    tokens: int
    bytes: int


def data_url(picture: Image.Image, quality: int, method: int) -> str:
    """Return a picture as a data: URL of WebP; `method`, 0 to 6, is the encoder's effort."""
    file = BytesIO()
    picture.save(file, "WEBP", quality=quality, method=method)
    return f"data:image/webp;base64,{b64encode(file.getvalue()).decode()}"


def payload_of(code: Code) -> tuple[bytes, bool]:
    """Return the shortest payload of a code without its header, and whether it is entropy coded."""
    plain, tables = pack(code.indices, code.codebook_size), known_tables(code.fingerprint)
    coded = None if tables is None else pack_entropy(code.indices.tolist(), tables)
    return (plain, False) if coded is None or len(coded) > len(plain) else (coded, True)


def linear_picture(codec: Codec, code: Code) -> Image.Image:
    """Return the linear picture of a code's first tokens, 64×64 of the bundled model, as odp.js draws it.

    Raises:
        ValueError: the model has no linear path.
    """
    indices = torch.tensor(code.indices[:MAX_TOKENS], device=codec.device)
    return to_image(codec.tokenizer.detokenize_linear(indices[None])[0])


def make_placeholder(codec: Codec, code: Code) -> Placeholder:
    """Return the placeholder of a photo's code, all of its tokens.

    Raises:
        ValueError: there are more of them than odp.js reads, or the model has no linear path.
    """
    if len(code) > MAX_TOKENS:
        raise ValueError(f"a placeholder has at most {MAX_TOKENS} tokens; found {len(code)}")
    payload, coded = payload_of(code)
    width, height = code.size or (codec.image_size, codec.image_size)
    text = b64encode(payload).decode().rstrip("=")
    mean = linear_picture(codec, code).resize((1, 1), Image.Resampling.BOX).tobytes()
    data = text if coded else PLAIN + text
    return Placeholder(data, width, height, f"#{mean.hex()}", len(code), len(payload))


def to_html(placeholder: Placeholder, name: str | None = None) -> str:
    """Return the element that shows it, with the photo `name` on top once that has loaded."""
    each = placeholder
    source = quote(name or "", errors="surrogateescape")
    image = "" if name is None else f'<img src="{escape(source)}" alt="" loading="lazy">'
    return (
        f'<odp-image data="{each.data}" width="{each.width}" height="{each.height}" '
        f'style="background:{each.colour}">{image}</odp-image>'
    )


def to_css(placeholder: Placeholder, picture: Image.Image, name: str) -> str:
    """Return a rule for the <img> of the photo `name`, which needs no script.

    Args:
        placeholder: gives the colour and the size.
        picture: as `linear_picture` draws it.
        name: what the element's `src` says; bytes that are no UTF-8 are %FF and the like there.
    """
    address = data_url(resize(picture, (_CSS_SIDE, _CSS_SIDE)), _CSS_QUALITY, 6)
    source = "".join(
        quote(each, errors="surrogateescape") if "\udc80" <= each <= "\udcff" else each for each in name
    )
    selector = "".join(
        each if each.isalnum() or each in "._-/" else f"\\{ord(each):x} " for each in source
    )  # CSS escapes, so that no name ends the string
    return (
        f'img[src="{selector}"]{{aspect-ratio:{placeholder.width}/{placeholder.height};'
        f"background:{placeholder.colour} url({address}) 0/100% 100%}}"
    )
