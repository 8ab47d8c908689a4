import io

from matplotlib.figure import Figure
from PIL import Image

from onedpiece.evaluation.formats import FORMATS
from onedpiece.evaluation.plots import COLOURS, MARKERS, draw, panel_svg, rd_png
from onedpiece.evaluation.results import OWN, ComparisonResult
from onedpiece.metrics.descriptors import METRICS


def test_ours_is_solid_and_classical_dashed_on_a_log_scale(result: ComparisonResult) -> None:
    axes = Figure().subplots()
    draw(axes, result, METRICS["psnr"])
    ours, webp, jpeg = axes.get_lines()
    assert (ours.get_linestyle(), webp.get_linestyle()) == ("-", "--")
    assert list(ours.get_ydata()) == [21.0, 22.0]
    assert len(jpeg.get_xdata()) == 0
    assert jpeg.get_label() == "jpeg (does not fit)"
    assert axes.get_xscale() == "log"
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["16", "96"]


def test_png_has_one_panel_a_metric(result: ComparisonResult) -> None:
    image = Image.open(io.BytesIO(rd_png(result)))
    assert image.format == "PNG"
    assert image.width > 1.9 * image.height  # two panels side by side


def test_svg_is_the_same_for_the_same_study(result: ComparisonResult) -> None:
    first = panel_svg(result, METRICS["lpips"])
    assert first.startswith("<svg")
    assert first == panel_svg(result, METRICS["lpips"])


def test_every_codec_can_be_told_apart() -> None:
    assert set(COLOURS) == {*OWN, *FORMATS} == set(MARKERS)
    assert len(set(COLOURS.values())) == len(set(MARKERS.values())) == len(COLOURS)
