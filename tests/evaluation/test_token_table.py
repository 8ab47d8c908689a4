import json

import pytest

from onedpiece.codec import Codec
from onedpiece.codec.tensors import to_tensor
from onedpiece.evaluation.photos import Photo
from onedpiece.evaluation.token_table import (
    Jury,
    classical_rows,
    markdown,
    originals_row,
    table,
    table_json,
    token_rows,
)
from onedpiece.metrics.pixel import psnr
from onedpiece.metrics.registry import Scorer


class _Judge:
    """Says 7 of everything."""

    def classify(self, images: list[object]) -> list[int]:
        return [7 for _ in images]


@pytest.fixture(scope="module")
def jury() -> Jury:
    labels = {"astronaut.png": 7, "chelsea.png": 281}  # coffee.png has none and is not judged
    return Jury(Scorer(["psnr", "ssim"]), judge=_Judge(), labels=labels)  # type: ignore[arg-type]


def test_row_is_the_mean_over_the_photos(codec: Codec, photos: list[Photo], jury: Jury) -> None:
    (row,) = token_rows(codec, photos, [8], jury)
    codes = [codec.encode(photo.image).first(8) for photo in photos]
    scores = [
        psnr(to_tensor([photo.image]), to_tensor([codec.decode(code)])).item()
        for photo, code in zip(photos, codes, strict=True)
    ]
    assert row.scores[0] == pytest.approx(sum(scores) / 3, abs=1e-3)
    assert row.bytes == len(codes[0].to_bytes())
    assert (row.codec, row.tokens, row.photos) == ("tiny", 8, 3)
    assert row.top1 == 0.5  # one of the two that have a label
    distinct = {int(index) for code in codes for index in code.indices}
    assert row.codes_in_use == pytest.approx(len(distinct) / 4096)


def test_untrained_model_gains_with_every_token_count(codec: Codec, photos: list[Photo], jury: Jury) -> None:
    rows = token_rows(codec, photos, (2, 4, 8, 16), jury)
    scores = [row.scores[0] for row in rows]
    assert scores == sorted(scores)  # type: ignore[type-var]


def test_webp_at_equal_bytes(photos: list[Photo], jury: Jury) -> None:
    rows = classical_rows("webp", photos, (20, 96), jury, workers=1)
    # Nothing fits 20 bytes.
    (row,) = rows
    assert row.codec == "webp"
    assert 46 <= row.bytes <= 96
    assert row.scores[0] is not None
    assert 12 < row.scores[0] < 25


def test_originals_are_judged_only(photos: list[Photo], jury: Jury) -> None:
    row = originals_row(photos, jury)
    assert row.scores == (None, None)
    assert row.top1 == 0.5


def test_too_many_tokens(codec: Codec, photos: list[Photo], jury: Jury) -> None:
    with pytest.raises(ValueError, match="tokens is 17; this code has 1 to 16"):
        token_rows(codec, photos, [17], jury)


def test_texts(codec: Codec, photos: list[Photo], jury: Jury) -> None:
    rows = [originals_row(photos, jury), *token_rows(codec, photos, [4], jury)]
    metrics = jury.scorer.metrics
    first, original, ours = table(rows, metrics)
    # Nobody measured rFID: the column is left out.
    assert first == ["codec", "tokens", "bytes", "PSNR (dB) ↑", "SSIM ↑", "judge top-1 %", "codes in use %"]
    assert original[:4] == ["original", "\N{EN DASH}", "\N{EN DASH}", "\N{EN DASH}"]
    assert ours[:2] == ["tiny", "4"]
    lines = markdown(rows, metrics).splitlines()
    assert lines[1].startswith("| --- | ---: |")
    assert {line.count("|") for line in lines} == {len(first) + 1}
    records = json.loads(table_json(rows, metrics))
    assert records[0]["bytes"] is None
    assert records[1]["psnr-rgb"] == rows[1].scores[0]
