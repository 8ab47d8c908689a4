from pathlib import Path

import pytest

from onedpiece.evaluation.photos import read_class_labels


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
