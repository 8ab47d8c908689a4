"""Pictures out of tars, folders and files, in the order of their names."""

import io
import tarfile
from pathlib import Path

from PIL import Image

from tools.shards import read_shards


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
