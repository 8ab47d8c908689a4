"""odp.js in headless Chromium against Python: the linear picture of every prefix, and what is refused."""

import json
import random
from base64 import b64encode
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from PIL import Image

from onedpiece.bitstream import Code, Tiles
from onedpiece.bitstream.packing import no_tables
from onedpiece.codec import Codec
from onedpiece.errors import OnedpieceError

from ..evaluation.browser import Browser
from .conftest import SCRIPT, Site

LENGTHS = (1, 4, 8, 16, 32, 64)
SHOWN = 64  # tokens whose tables the script has

COMPARE = """
return fetch("/cases.json").then((r) => r.json()).then((cases) => cases.map((each) => {
  const [file, size, tokens, wanted] = each;
  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const found = odp.decode(bytes(file)), expected = bytes(wanted);
  if (found.shown !== tokens || found.width !== size[0] || found.height !== size[1]) return 999;
  let most = 0;
  for (let at = 0; at < expected.length / 3; at++) {
    for (let c = 0; c < 3; c++) {
      most = Math.max(most, Math.abs(found.pixels[4 * at + c] - expected[3 * at + c]));
    }
  }
  return most;
}));
"""

OUTCOMES = """
return fetch("/cases.json").then((r) => r.json()).then((cases) => cases.map((file) => {
  try {
    return odp.decode(Uint8Array.from(atob(file), (c) => c.charCodeAt(0))).tokens;
  } catch (error) {
    if (!(error instanceof odp.OdpError)) return "crash: " + error;
    return error.incomplete ? "incomplete" : error.message;
  }
}));
"""


def text(data: bytes) -> str:
    return b64encode(data).decode()


def case(codec: Codec, code: Code, data: bytes) -> list[Any]:
    """A file, its photo's size, the tokens shown, and the 64×64 RGB bytes of Python's linear decode."""
    kept = code.indices[:SHOWN]
    linear = codec.tokenizer.detokenize_linear(torch.tensor(kept)[None])[0]
    levels = (linear * 255).round().to(torch.uint8).permute(1, 2, 0)
    return [text(data), code.size or (256, 256), len(kept), text(levels.contiguous().numpy().tobytes())]


def differences(page: Browser, site: Site, cases: list[list[Any]]) -> list[int]:
    site.answers["/cases.json"] = json.dumps(cases).encode()
    return list(page.run(COMPARE))


def outcomes(page: Browser, site: Site, files: Sequence[bytes]) -> list[int | str]:
    site.answers["/cases.json"] = json.dumps([text(data) for data in files]).encode()
    return list(page.run(OUTCOMES))


def test_same_picture_as_python(
    page: Browser, site: Site, bundled: Codec, pictures: list[Image.Image]
) -> None:
    codes = bundled.encode_batch(pictures)
    files = [
        case(bundled, code[:k], code[:k].to_bytes(*tables))
        for code in codes
        for k in (*LENGTHS, 256)
        for tables in ((), (no_tables,))  # entropy coded where that is smaller, and plain
    ]
    found = differences(page, site, files)
    assert len(found) == 8 * 7 * 2
    assert max(found) <= 1
    assert page.complaints() == []


@pytest.mark.slow
def test_same_picture_as_python_on_a_hundred_photos(
    page: Browser, site: Site, bundled: Codec, shared: Path
) -> None:
    photos = sorted((shared / "data" / "eval" / "imagenet100").glob("*.png"))
    assert len(photos) == 100
    worst = []
    for photo in photos:
        code = bundled.encode(photo)
        worst += differences(page, site, [case(bundled, code[:k], code[:k].to_bytes()) for k in LENGTHS])
    assert len(worst) == 600
    assert max(worst) <= 1


@pytest.mark.parametrize("tables", [(), (no_tables,)], ids=["entropy", "plain"])
def test_every_prefix_has_the_tokens_that_python_finds(
    page: Browser, site: Site, bundled: Codec, pictures: list[Image.Image], tables: Any
) -> None:
    whole = bundled.encode(pictures[1]).to_bytes(*tables)
    files = [whole[:size] for size in range(len(whole) + 1)]
    expected: list[int | str] = []
    for data in files:
        try:
            tokens = len(Code.from_bytes(data))
            expected.append(tokens if tables else min(tokens, SHOWN))
        except OnedpieceError:
            expected.append("incomplete")
    assert outcomes(page, site, files) == expected
    assert expected[:11] == ["incomplete"] * 11


def test_damage_is_refused_as_python_refuses_it(
    page: Browser, site: Site, bundled: Codec, pictures: list[Image.Image]
) -> None:
    code, chance = bundled.encode(pictures[1])[:48], random.Random(0)
    files = []
    for whole in (code.to_bytes(), code.to_bytes(no_tables)):
        for _ in range(150):
            damaged = bytearray(whole)
            for _ in range(chance.randint(1, 3)):
                damaged[chance.randrange(len(damaged) if chance.random() < 0.5 else 13)] = chance.randrange(
                    256
                )
            files.append(bytes(damaged[: chance.randint(1, len(damaged))]))
    found = outcomes(page, site, files)
    assert [each for each in found if str(each).startswith("crash")] == []
    assert [isinstance(each, int) for each in found] == [readable(bundled, data) for data in files]
    assert {isinstance(each, int) for each in found} == {True, False}


def readable(codec: Codec, data: bytes) -> bool:
    """Whether Python's linear decode reads the file as one square of the bundled model."""
    try:
        code = Code.from_bytes(data, codec.tables_of)
        codec.check_code(code)
        if code.tiles:
            return False
        codec.tokenizer.detokenize_linear(torch.tensor(code.indices)[None])
        return True
    except (OnedpieceError, ValueError):
        return False


def test_what_is_refused_is_said(
    page: Browser, site: Site, bundled: Codec, pictures: list[Image.Image]
) -> None:
    code = bundled.encode(pictures[0])[:64]
    plain, coded = code.to_bytes(no_tables), code.to_bytes()
    assert len(coded) < len(plain)
    tiles = Tiles(256, 16, (10,) * 4)
    tiled = Code(code.indices[:40], 4096, code.fingerprint, (481, 321), tiles).to_bytes()
    absurd = plain[:2] + bytes([plain[2] | 1]) + plain[3:7] + b"\xff\xff\x7f\xff\xff\x7f" + plain[7:]
    files = [
        b"\x89PNG\r\n\x1a\n",
        plain[:2] + bytes([0x20]) + plain[3:],
        plain[:3] + b"\xc2\x99\x95\x60" + plain[7:],
        tiled,
        absurd,
        plain + bytes(330),
        coded + bytes(9000),
        coded[:7] + b"\0\0" + coded[9:],
        plain[:7] + b"\xff\xff",
    ]
    assert [str(each)[:36] for each in outcomes(page, site, files)] == [
        "not an .odp file",
        "the file is .odp version 2; this scr",
        "the file was made by model c2999560;",
        "the picture is cut into tiles, which",
        "the file says 2097151x2097151 pixels",
        "the file has 284 tokens, more than i",
        "the file is longer than any of its m",
        "the file was coded with other tables",
        "token 0 is 4095; the codebook has 0 ",
    ]


def test_script_keeps_its_promises(bundled: Codec, tool: Callable[[str], ModuleType]) -> None:
    maker, script = tool("make_odp_js"), SCRIPT.read_text(encoding="utf-8")
    assert len(script.encode()) <= 25_000
    assert maker.with_tables(script, maker.tables_of(bundled)) == script
    with pytest.raises(ValueError, match="no lines"):
        maker.with_tables("", "")
