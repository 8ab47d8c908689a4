import dataclasses
from math import inf

from onedpiece.evaluation.results import NONE, OURS, Cell, ComparisonResult, delta_table, score_table
from onedpiece.metrics.descriptors import METRICS


def test_scores_by_codec_and_budget(result: ComparisonResult) -> None:
    table = score_table(result, METRICS["psnr"])
    assert (table.title, table.note) == ("PSNR (dB)", "higher is better")
    assert table.columns == ["16 B", "96 B"]
    assert [(row.name, row.ours) for row in table.rows] == [
        ("onedpiece tiny", True),
        ("webp", False),
        ("jpeg", False),
    ]
    # Ours 20 to 22 and one more at the larger budget; WebP 19 to 21 and only there.
    assert table.rows[0].cells == [Cell("21.00", best=True), Cell("22.00", best=True)]
    assert table.rows[1].cells == [Cell(NONE), Cell("20.00")]


def test_less_is_better_where_it_is(result: ComparisonResult) -> None:
    ours, webp, _ = score_table(result, METRICS["lpips"]).rows
    assert (ours.cells[1], webp.cells[1]) == (Cell("0.400", best=True), Cell("0.600"))


def test_lossless_scores_are_words(result: ComparisonResult) -> None:
    exact = [
        p._replace(score=inf) if p.metric == "psnr" and (p.photo == 2 or p.codec == "webp") else p
        for p in result.rd_points
    ]
    ours, webp, _ = score_table(dataclasses.replace(result, rd_points=exact), METRICS["psnr"]).rows
    # (21 + 22) / 2, and the third photo apart
    assert ours.cells[1] == Cell("21.50", detail="+ 1 lossless")
    assert webp.cells[1] == Cell("lossless", best=True)


def test_deltas_only_where_there_is_something_to_compare(result: ComparisonResult) -> None:
    table = delta_table(result)
    assert table is not None
    assert table.columns == ["PSNR (dB)", "LPIPS-Alex"]
    assert [row.cells[0].text for row in table.rows] == ["too few points", "too few points"]
    assert delta_table(dataclasses.replace(result, codecs=(OURS,))) is None
    assert delta_table(dataclasses.replace(result, budgets=(96,))) is None
