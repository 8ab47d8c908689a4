"""`onedpiece predict`: what a head says of photos, or of .odp files, in words and as JSON."""

from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from onedpiece.cli.io import (
    CHUNK,
    CODES,
    DEVICE,
    JSON,
    MODEL,
    RECURSIVE,
    STREAM,
    Job,
    expand,
    plan,
    reading,
    write,
)
from onedpiece.cli.reduction import REDUCERS, token_reduction
from onedpiece.cli.report import Report, counted
from onedpiece.codec.find import ENDINGS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PIL import Image

    from onedpiece.bitstream import Code
    from onedpiece.codec.codec import Codec
    from onedpiece.heads import Depth, Detections, LoadedHead, Mask, Prediction


_RARE = 0.005  # classes of fewer pixels are not named


def predict(
    inputs: Annotated[list[str], typer.Argument(metavar="IN", help="Photos, .odp files, folders, or -.")],
    head: Annotated[
        str, typer.Option(metavar="H", help="classify, segment, detect, depth, or a head's file.")
    ] = "classify",
    tokens: Annotated[int | None, typer.Option(metavar="K", help="Read the first K tokens only.")] = None,
    overlay: Annotated[
        str | None,
        typer.Option(metavar="OUT", help="Also draw the answer: a PNG, a folder for many, or -."),
    ] = None,
    retokenize: Annotated[
        str | None,
        typer.Option(metavar="NAME", help=f"Merge tokens inside the head: {', '.join(REDUCERS)}."),
    ] = None,
    keep: Annotated[
        float | None, typer.Option(metavar="R", help="The share of them that --retokenize leaves.")
    ] = None,
    recursive: RECURSIVE = False,
    model: MODEL = None,
    device: DEVICE = "cpu",
    as_json: JSON = False,
) -> None:
    """Say what is in photos, from their tokens alone: the class, a class a pixel, depth, or objects.

    The bundled heads know Imagenette's ten classes (classify), CamVid's eleven of road scenes (segment),
    pedestrians (detect) and the distances in rendered scenes (depth); for your own: onedpiece train-head.

    Example: onedpiece predict photo.jpg --head classify
    """
    extensions = ENDINGS | CODES
    reduction = token_reduction(retokenize, keep)
    if overlay is None:
        jobs = [Job(source, "") for source in expand(inputs, extensions, recursive=recursive)]
    else:
        jobs = plan(inputs, overlay, ".png", extensions, recursive=recursive, option="--overlay")
        if Path(jobs[0].target).suffix.lower() not in ("", ".png"):
            raise ValueError(f"--overlay is {overlay}; overlays are PNG files: end it in .png")
    from onedpiece.rate.target import RateTarget
    from onedpiece.weights import load

    codec = load(model, device, sharp=overlay is not None)  # which draws on the decoded picture
    codec.check_target(RateTarget(tokens))
    loaded = _load_head(head, codec)
    if reduction is not None:
        loaded = loaded.reduced(reduction.name, reduction.keep_ratio)
    on_stdout = jobs[0].target == STREAM
    with Report([job.source for job in jobs], as_json=as_json, data_on_stdout=on_stdout) as report:
        for start in range(0, len(jobs), CHUNK):
            _answer_together(codec, loaded, jobs[start : start + CHUNK], tokens, report)


class _Asked(NamedTuple):
    """A picture as tokens; `photo` is None where they came from a file."""

    code: "Code"
    photo: "Image.Image | None"


def _load_head(name: str, codec: "Codec") -> "LoadedHead":
    from onedpiece.heads import HeadError, code_space_of, find_head

    loaded = find_head(name)
    if loaded.code_space != code_space_of(codec):
        raise HeadError(
            f"the head {name} reads codes of code space {loaded.code_space.hex()}, and {codec.name} makes "
            f"{code_space_of(codec).hex()}; name the head's model with --model, or another head"
        )
    return loaded._replace(head=loaded.head.to(codec.device))


def _answer_together(
    codec: "Codec", head: "LoadedHead", jobs: list[Job], tokens: int | None, report: Report
) -> None:
    asked = _read(codec, jobs, tokens, report)
    if not asked:
        return
    predictions = head.predict([each.code for each in asked.values()])
    for (job, each), prediction in zip(asked.items(), predictions, strict=True):
        with report.guarding(job.source):
            if job.target:
                write(job.target, _drawn(codec, head, each, prediction))
            record = {"file": job.source, "tokens": len(each.code)}
            size = each.code.size or (codec.image_size, codec.image_size)
            answer = answer_record(prediction, head.head.config.classes, size)
            drawn = {"overlay": job.target} if job.target else {}
            report.done(_line(job, each.code, answer_text(answer)), record | answer | drawn)


def _read(codec: "Codec", jobs: list[Job], tokens: int | None, report: Report) -> "dict[Job, _Asked]":
    from onedpiece.bitstream import Code
    from onedpiece.rate.target import RateTarget

    read: dict[Job, Code | Image.Image] = {}
    for job in jobs:
        with report.guarding(job.source):
            found = _read_one(codec, job.source)
            if isinstance(found, Code) and tokens is not None:
                found = found.first(tokens)
            read[job] = found
    photos = {job: found for job, found in read.items() if not isinstance(found, Code)}
    results = codec.encode_batch_to(list(photos.values()), RateTarget(tokens))
    encoded = {job: result.code for job, result in zip(photos, results, strict=True)}
    codes = {job: found for job, found in read.items() if isinstance(found, Code)} | encoded
    return {job: _Asked(codes[job], photos.get(job)) for job in read}


def _read_one(codec: "Codec", source: str) -> "Code | Image.Image":
    """Read a code, which its name or its first bytes tell, or else a picture."""
    from onedpiece.bitstream import Code
    from onedpiece.bitstream.format import MAGIC
    from onedpiece.codec.images import read_picture

    with reading(source, seekable=True) as file:
        magic = file.read(len(MAGIC)) == MAGIC
        file.seek(0)
        if not (magic or Path(source).suffix.lower() in CODES):
            return read_picture(file)
        code = Code.read(file, codec.tables_of)
    codec.check_code(code)
    if code.tiles:
        raise ValueError("the file is cut into tiles, and a head reads whole pictures; encode it --no-tiles")
    return code


def _drawn(codec: "Codec", head: "LoadedHead", asked: _Asked, prediction: "Prediction") -> bytes:
    from onedpiece.evaluation.overlay import overlay

    file = BytesIO()
    picture = codec.decode(asked.code) if asked.photo is None else asked.photo
    overlay(picture, prediction, head.head.config.classes).save(file, "PNG")
    return file.getvalue()


def _line(job: Job, code: "Code", answer: str) -> str:
    name = "standard input" if job.source == STREAM else job.source
    return f"{name}: {answer}; from {counted(len(code))}"


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
