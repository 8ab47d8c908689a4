"""A head's answer in words and as JSON."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from onedpiece.heads import Depth, Detections, Mask, Prediction

_RARE = 0.005  # classes of fewer pixels are not named


def answer_record(
    prediction: "Prediction", classes: "Sequence[str]", size: tuple[int, int]
) -> dict[str, Any]:
    """Return what a head says of a picture as plain values.

    Args:
        prediction: its answer.
        classes: names by number.
        size: (width, height) of the picture; boxes are in its pixels.
    """
    from onedpiece.heads import ClassScores, Depth, Mask

    if isinstance(prediction, ClassScores):
        top = [{"class": name, "probability": p} for name, p in prediction.top]
        return {"class": prediction.name, "probability": prediction.probability, "top": top}
    if isinstance(prediction, Mask):
        return {"shares": _shares(prediction, classes)}
    return _range(prediction) if isinstance(prediction, Depth) else _objects(prediction, classes, size)


def answer_text(record: dict[str, Any]) -> str:
    """Return such a record in a few words."""
    if "class" in record:
        others = ", ".join(f"{each['class']} {each['probability']:.0%}" for each in record["top"][1:3])
        return f"{record['class']} {record['probability']:.0%}" + (f" ({others})" if others else "")
    if "shares" in record:
        return ", ".join(f"{name} {share:.0%}" for name, share in record["shares"].items())
    if "objects" in record:
        return ", ".join(_object_text(each) for each in record["objects"]) or "nothing found"
    return "depth {nearest:.3g} to {farthest:.3g}, median {median:.3g}".format(**record)


def _shares(mask: "Mask", classes: "Sequence[str]") -> dict[str, float]:
    counts = mask.classes.flatten().long().bincount(minlength=len(classes)).float()
    shares = (counts / counts.sum()).tolist()
    named = sorted(zip(shares, classes, strict=False), key=lambda pair: -pair[0])
    return {name: share for share, name in named if share >= _RARE}


def _range(depth: "Depth") -> dict[str, float]:
    meters = depth.meters
    return {
        "nearest": float(meters.min()),
        "median": float(meters.median()),
        "farthest": float(meters.max()),
    }


def _objects(found: "Detections", classes: "Sequence[str]", size: tuple[int, int]) -> dict[str, Any]:
    from onedpiece.evaluation.overlay import SURE

    return {
        "objects": [
            {
                "class": classes[int(label)],
                "score": float(score),
                "box": [float(share) * side for share, side in zip(box, size * 2, strict=True)],
            }
            for box, label, score in zip(found.boxes, found.labels, found.scores, strict=True)
            if score >= SURE
        ]
    }


def _object_text(each: dict[str, Any]) -> str:
    left, top, right, bottom = each["box"]
    return f"{each['class']} {each['score']:.0%} at {left:.0f},{top:.0f} to {right:.0f},{bottom:.0f}"
