"""The counted LLaVA says what was published."""

import pytest

pytest.importorskip("transformers")

from tools.count_vlm import PUBLISHED, counted, line


def test_the_count_is_beside_the_published_one() -> None:
    cells = line(45, 25)
    assert cells[3] == PUBLISHED[45] == "-88.5%"
    assert abs(float(cells[2].strip("%")) - -88.5) < 0.5
    assert cells[4] == f"{32 * 2 * 4096 * 70 * 2 / 2**20:.0f}"  # keys and values, two bytes each
    assert counted(25).count("\n") == 8
