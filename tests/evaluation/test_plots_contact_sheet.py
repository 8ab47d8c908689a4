from PIL import Image

from onedpiece.evaluation.plots import caption, contact_sheet
from onedpiece.evaluation.results import OURS, ComparisonResult, RDPoint


def _paint(point: RDPoint) -> Image.Image:
    return Image.new("RGB", (256, 256), "red" if point.codec == OURS else "lime")


def test_a_row_a_budget_and_a_column_a_codec(result: ComparisonResult) -> None:
    sheet = contact_sheet(result, 0, _paint)
    # Original and three codecs, 256 + 8 pixels each, and a margin of 8; two rows with captions of 38.
    assert sheet.size == (4 * 264 + 8, 2 * (256 + 38 + 8) + 8)
    middles = [sheet.getpixel((8 + across * 264 + 100, 8 + 302 + 100)) for across in range(4)]
    assert middles[0] == result.photos[0].image.getpixel((100, 100))
    assert middles[1:3] == [(255, 0, 0), (0, 255, 0)]
    assert middles[3] == (0xF2, 0xF2, 0xF2)  # JPEG does not fit: an empty field


def test_what_is_shown_was_chosen_by_lpips(result: ComparisonResult) -> None:
    assert result.display_metric.name == "lpips"
    point = result.rd_point(2, OURS, 96, "lpips")
    assert point is not None
    assert caption(result, point) == f"{len(point.data)} bytes (16 tokens), LPIPS-Alex 0.400"
