from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from PIL import Image

from onedpiece.codec import Codec

Load = Callable[[str], ModuleType]


def test_sizes_in_characters(tool: Load) -> None:
    assert [tool("bench_placeholder").characters(size) for size in (1, 3, 12, 25)] == [2, 4, 16, 34]


def test_blurhashes_fill_their_size(tool: Load, photo: Image.Image) -> None:
    pytest.importorskip("blurhash", reason="blurhash is not here: pip install 'onedpiece[formats]'")
    # 28 characters: 12 components, as 1×9 (9 is the most), 2×6, 3×4, 4×3, 6×2 and 9×1
    assert [len(each) for each in tool("bench_placeholder").blurhashes(photo, 28)] == [22, 28, 28, 28, 28, 22]


def test_means_of_all_rows(tool: Load, codec: Codec, photo: Image.Image, monkeypatch: Any) -> None:
    for library in ("blurhash", "thumbhash"):
        pytest.importorskip(library, reason=f"{library} is not here: pip install 'onedpiece[formats]'")
    module = tool("bench_placeholder")
    monkeypatch.setattr(module, "METRICS", {"psnr": 2})
    bench = module.Bench(codec, module.Scorer(["psnr"]))
    for _ in range(2):
        bench.add(photo)
    rows = {row.name: row for row in bench.rows()}
    assert len(rows) == 2 + 3 * len(module.BLURHASH_SIZES)
    # 16 tokens of 12 bits are all that the tiny model has: 24 bytes
    assert rows["onedpiece, as many bytes as BlurHash, 28"].size == 24
    # 28 characters of base64 say 21 bytes: 14 tokens
    assert rows["onedpiece, as many characters as BlurHash, 28"].size == 21
    table = module.to_markdown(bench.rows(), 2)
    assert table.splitlines()[0] == "| 2 photos, means | bytes | PSNR, dB, ↑ |"
