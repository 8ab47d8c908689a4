"""The model card of a folder: what the hub shows, with the scores in the form that it reads."""

from collections.abc import Mapping
from typing import Any, TypedDict

import yaml

from onedpiece.metrics.descriptors import METRICS

LIBRARY = "onedpiece"
HIGHER_IS_BETTER = {name for name, each in METRICS.items() if each.higher_is_better}
HIGHER_IS_BETTER |= {"accuracy", "miou", "map"}
LOWER_IS_BETTER = METRICS.keys() - HIGHER_IS_BETTER | {"fid", "bytes", "bpp", "rmse"}

_USE = {
    "Tokenizer": """\
import onedpiece

codec = onedpiece.load("{repo_id}")
code = codec.encode("photo.jpg", tokens=64)
codec.decode(code).save("photo.png")
tokenizer = onedpiece.Tokenizer.from_pretrained("{repo_id}")""",
    "Head": """\
import onedpiece

code = onedpiece.load().encode("photo.jpg", tokens=64)
head = onedpiece.Head.from_pretrained("{repo_id}")
print(head.predict(code))""",
}


class CardFields(TypedDict, total=False):
    """What a card says beside what the model itself tells.

    Attributes:
        metrics: scores by name, as {"psnr": 19.1, "lpips": 0.72}.
        dataset: what they were measured on.
        license: of the weights, as the hub names it.
        text: Markdown: what it was trained on, and what it is not for.
    """

    metrics: Mapping[str, float]
    dataset: str
    license: str
    text: str


def model_card(
    kind: str, repo_id: str, task: str, facts: Mapping[str, Any], fields: Mapping[str, Any] | None = None
) -> str:
    """Return a card as Markdown with the hub's YAML in front.

    Args:
        kind: the class: "Tokenizer" or "Head".
        repo_id: OWNER/NAME, or a name.
        task: as the hub names it, such as "image-to-image".
        facts: what the model tells of itself, by name.
        fields: see `CardFields`.

    Raises:
        ValueError: a field that no card has.
    """
    given = dict(fields or {})
    unknown = sorted(set(given) - set(CardFields.__annotations__))
    if unknown:
        known = ", ".join(CardFields.__annotations__)
        raise ValueError(f"a model card has no field {', '.join(unknown)}; there are: {known}")
    name = repo_id.split("/")[-1]
    header = yaml.safe_dump(_metadata(name, task, given), sort_keys=False, allow_unicode=True)
    parts = [
        f"---\n{header}---\n",
        f"# {name}\n",
        f"A {kind.lower()} of onedpiece, as safetensors and a config; no pickle, no code.\n",
        f"```python\n{_USE[kind].format(repo_id=repo_id)}\n```\n",
        _table("", {key: str(value) for key, value in facts.items()}),
    ]
    if given.get("metrics"):
        on = f" on {given['dataset']}" if "dataset" in given else ""
        scores = {_with_arrow(key): f"{value:.4g}" for key, value in given["metrics"].items()}
        parts.append(f"## Scores{on}\n\n{_table('score', scores)}")
    if given.get("text"):
        parts.append(f"{given['text'].strip()}\n")
    return "\n".join(parts)


def _metadata(name: str, task: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "library_name": LIBRARY,
        "pipeline_tag": task,
        "tags": [LIBRARY, "image-tokenizer", "image-compression"],
    }
    if "license" in fields:
        metadata["license"] = fields["license"]
    if fields.get("metrics"):
        dataset = fields.get("dataset", "unnamed")
        metadata["metrics"] = list(fields["metrics"])
        result = {
            "task": {"type": task},
            "dataset": {"name": dataset, "type": dataset.lower().replace(" ", "-")},
            "metrics": [{"type": key, "value": float(value)} for key, value in fields["metrics"].items()],
        }
        metadata["model-index"] = [{"name": name, "results": [result]}]
    return metadata


def _with_arrow(metric: str) -> str:
    name = metric.lower()
    arrow = "↑" if name in HIGHER_IS_BETTER else "↓" if name in LOWER_IS_BETTER else ""
    return f"{metric} {arrow}".strip()


def _table(title: str, rows: Mapping[str, str]) -> str:
    lines = [f"| | {title} |", "| --- | --- |", *(f"| {key} | {value} |" for key, value in rows.items())]
    return "\n".join(lines) + "\n"
