"""Our codec in a comparison: for each budget, the most tokens whose whole file fits."""

from collections.abc import Sequence

from onedpiece.bitstream import Code
from onedpiece.codec import Codec
from onedpiece.evaluation.metrics import Scorer
from onedpiece.evaluation.photos import Photo, to_tensor
from onedpiece.evaluation.study import OURS, Shot


def score_ours(codec: Codec, photos: Sequence[Photo], budgets: Sequence[int], scorer: Scorer) -> list[Shot]:
    """Return our shots of a batch of photos; a budget that not even one token fits has none."""
    codes = codec.encode_batch([photo.image for photo in photos])
    shots: list[Shot] = []
    for budget in budgets:
        cut = [(photo, _fit(code, budget)) for photo, code in zip(photos, codes, strict=True)]
        fitting = [(photo, code) for photo, code in cut if code is not None]
        if fitting:
            shots += _score(codec, fitting, budget, scorer)
    return shots


def _fit(code: Code, budget: int) -> Code | None:
    try:
        return code.fit(budget)
    except ValueError:
        return None


def _score(codec: Codec, pairs: Sequence[tuple[Photo, Code]], budget: int, scorer: Scorer) -> list[Shot]:
    references = to_tensor([photo.image for photo, _ in pairs])
    images = to_tensor(codec.decode_batch([code for _, code in pairs]))
    return [
        Shot(photo.name, OURS, budget, metric.name, score, code.to_bytes(), f"{len(code)} tokens", len(code))
        for metric in scorer.metrics
        for (photo, code), score in zip(pairs, scorer.score(metric.name, references, images), strict=True)
    ]
