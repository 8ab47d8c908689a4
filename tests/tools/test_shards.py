"""Pictures out of tars, folders and files, in the order of their names."""

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import torch
from PIL import Image

from onedpiece.tokenizer import Tokenizer, TokenizerConfig
from tools.shards import prefixes, read_shards


def encoded(level: int, mode: str = "L") -> bytes:
    file = io.BytesIO()
    Image.new(mode, (2, 2), level).save(file, "png")
    return file.getvalue()


def add(path: Path, **members: bytes) -> None:
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name.replace("_", "."))
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def test_pictures_come_in_order_from_both(tmp_path: Path) -> None:
    add(tmp_path / "b.tar", x_png=encoded(30), x_cls=b"7", y_PNG=encoded(40))
    (tmp_path / "a.png").write_bytes(encoded(10))
    (tmp_path / "c.PNG").write_bytes(encoded(50))
    (tmp_path / "notes.txt").write_text("no picture")
    found = list(read_shards(tmp_path))
    assert [picture.getpixel((0, 0)) for picture in found] == [(v, v, v) for v in (10, 30, 40, 50)]
    assert len(list(read_shards(tmp_path / "b.tar"))) == 2


def test_prefixes_are_of_every_length_and_of_all_archives(
    small_config: Callable[..., TokenizerConfig], tmp_path: Path
) -> None:
    add(tmp_path / "a.tar", **{f"{i}_png": encoded(10 * i) for i in range(9)})
    add(tmp_path / "b.tar", **{f"{i}_png": encoded(200 + i) for i in range(9)})
    torch.manual_seed(0)
    tokenizer = Tokenizer(small_config()).eval()
    codes = prefixes(tokenizer, [tmp_path / "a.tar", tmp_path / "b.tar"], 10, fewest=2)
    lengths = [code.shape[1] for code in codes]
    assert [code.shape[0] for code in codes] == [1] * 10
    # 2 · 8^(0, .618, .236, .854, .472, …): from 2 tokens to the model's 16
    assert lengths == [2, 7, 3, 12, 5, 2, 9, 4, 14, 6]
    grey = tokenizer.tokenize(torch.full((1, 3, 32, 32), 200 / 255))
    assert torch.equal(codes[5], grey[:, :2])  # the second archive's first, behind five of the first
