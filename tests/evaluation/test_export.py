import csv
import dataclasses
import io
import json

import pytest

from onedpiece.evaluation.export import COLUMNS, DOES_NOT_FIT, curve_file, results_csv
from onedpiece.evaluation.results import OURS, ComparisonResult


def test_csv_has_a_row_for_every_combination(result: ComparisonResult) -> None:
    rows = list(csv.DictReader(io.StringIO(results_csv(result))))
    # 3 photos × 3 codecs × 2 budgets × 2 metrics
    assert len(rows) == 36
    assert tuple(rows[0]) == COLUMNS
    ours = rows[0]
    assert (ours["codec"], ours["budget"], ours["metric"], ours["tokens"]) == (OURS, "16", "psnr", "4")
    assert float(ours["bpp"]) == pytest.approx(8 * int(ours["bytes"]) / 65536, abs=1e-6)
    assert all(int(r["bytes"]) <= int(r["budget"]) for r in rows if r["bytes"])


def test_csv_says_what_does_not_fit(result: ComparisonResult) -> None:
    rows = list(csv.DictReader(io.StringIO(results_csv(result))))
    jpeg = [row for row in rows if row["codec"] == "jpeg"]
    assert {(row["setting"], row["score"]) for row in jpeg} == {(DOES_NOT_FIT, "")}


def test_curve_is_in_compressais_schema(result: ComparisonResult) -> None:
    curve = json.loads(json.dumps(curve_file(result, OURS).to_dict()))
    assert set(curve) == {"name", "description", "results"}
    results = curve["results"]
    assert {"bpp", "psnr-rgb", "lpips-alex", "bytes", "tokens"} <= set(results)
    assert results["psnr-rgb"] == [21.0, 22.0]
    assert results["lpips-alex"] == pytest.approx([0.5, 0.4])
    assert results["tokens"] == [4, 16]
    assert results["bpp"] == pytest.approx([8 * size / 65536 for size in results["bytes"]], abs=1e-6)
    assert len({len(column) for column in results.values()}) == 1


def test_curve_leaves_out_what_does_not_fit(result: ComparisonResult) -> None:
    assert curve_file(result, "webp").results["budget"] == [96]
    assert curve_file(result, "jpeg").results["bpp"] == []
    assert "tokens" not in curve_file(result, "webp").results


def test_equal_pictures_make_valid_json(result: ComparisonResult) -> None:
    perfect = [s._replace(score=float("inf")) if s.metric == "psnr" else s for s in result.rd_points]
    text = json.dumps(
        curve_file(dataclasses.replace(result, rd_points=perfect), OURS).to_dict(), allow_nan=False
    )
    assert '"psnr-rgb": [null, null]' in text
