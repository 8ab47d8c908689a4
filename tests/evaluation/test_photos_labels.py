from pathlib import Path

import pytest
from PIL import Image

from onedpiece.evaluation.photos import Photo, photo_labels, read_class_labels


def test_labels_by_file_name(tmp_path: Path) -> None:
    path = tmp_path / "labels.tsv"
    path.write_text("file\timagenet_class_index\tsynset\n000.png\t7\tn01514668\n001.png\t10\tn01530575\n")
    assert read_class_labels(path) == {"000.png": 7, "001.png": 10}


def test_missing_column_and_bad_number(tmp_path: Path) -> None:
    path = tmp_path / "labels.tsv"
    path.write_text("name\tclass\na.png\t7\n")
    with pytest.raises(ValueError, match="has no column file and no imagenet_class_index"):
        read_class_labels(path)
    path.write_text("file\timagenet_class_index\na.png\tcock\n")
    with pytest.raises(ValueError, match="is no whole number"):
        read_class_labels(path)
    path.write_text("file\timagenet_class_index\na.png\t1000\n")
    with pytest.raises(ValueError, match=r"line 2: the imagenet_class_index is 1000; classes are 0 to 999"):
        read_class_labels(path)
    path.write_text("file\timagenet_class_index\na.png\t1\na.png\t2\n")
    with pytest.raises(ValueError, match=r"line 3: a\.png has two classes"):
        read_class_labels(path)


def test_what_spreadsheets_write(tmp_path: Path) -> None:
    path, text = tmp_path / "labels.tsv", "file\timagenet_class_index\r\nä.png\t7\r\n"
    for mark in "\t;,":
        path.write_text(text.replace("\t", mark), encoding="utf-8-sig")
        assert read_class_labels(path) == {"ä.png": 7}
    path.write_text(text, encoding="utf-16")
    with pytest.raises(ValueError, match=r"labels\.tsv is not in UTF-8 .*save it as UTF-8"):
        read_class_labels(path)


def _photos(*names: str) -> list[Photo]:
    return [Photo(name, Image.new("RGB", (1, 1))) for name in names]


def test_labels_by_path_or_by_bare_name() -> None:
    photos = _photos("a/x.png", "b/x.png", "b/y.png", "z.png")
    assert photo_labels(photos, {"a/x.png": 1, "b/x.png": 2, "y.png": 3}) == [1, 2, 3, None]


def test_a_bare_name_that_two_photos_share_is_refused() -> None:
    for names in (("a/x.png", "b/x.png"), ("x.png", "x.png")):
        with pytest.raises(ValueError, match=rf"the label of x\.png could be that of {names[0]} or of"):
            photo_labels(_photos(*names), {"x.png": 1})
    assert photo_labels(_photos("x.png", "x.png"), {"y.png": 1}) == [None, None]
