"""Tables of the model card, drawn from the records that `evaluate_tokenizer.py --json` writes."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from tools.markdown import table

Record = dict[str, Any]

LPIPS_GOAL = {8: 0.622, 16: 0.507, 32: 0.390, 64: 0.300, 128: 0.230, 256: 0.202}
PSNR_GOAL = {8: 13.98, 16: 14.69, 32: 15.56, 64: 16.58, 128: 17.62, 256: 18.26}
"""One-D-Piece-S-256 (84 M parameters), published for ImageNet-val."""

WEBP_GOAL = {64: 18.0, 128: 19.5, 256: 21.5}
"""WebP's best PSNR under 96, 192 and 384 bytes, median of 50 ImageNet photos."""

TAIL_DB, TAIL_LPIPS = 0.6, 0.03
"""What tokens 129 to 256 must buy, one or the other."""


def by_tokens(records: Sequence[Record], *, sharp: bool = False) -> dict[int, Record]:
    """Return the model's own records by their token count: the faithful look's, or the sharpest one's."""
    own = [record for record in records if record["tokens"] is not None]
    own.sort(key=lambda record: record.get("sharpness") or 0.0, reverse=not sharp)
    return {record["tokens"]: record for record in own}


def goals(records: Sequence[Record]) -> str:
    """Return each goal with what was reached below it; what meets it is bold.

    Args:
        records: of the originals, the model and WebP at the model's sizes, judged.
    """
    ours, sharp = by_tokens(records), by_tokens(records, sharp=True)
    judge = judge_goals(records)
    lines = [
        ["LPIPS-Alex, at most (One-D-Piece-S-256)", *(_number(LPIPS_GOAL.get(k), 3) for k in ours)],
        ["reached, sharp", *(_reached(r["lpips-alex"], LPIPS_GOAL.get(k), 3, -1) for k, r in sharp.items())],
        ["PSNR, at least (One-D-Piece-S-256)", *(_number(PSNR_GOAL.get(k), 2) for k in ours)],
        ["reached, faithful", *(_reached(r["psnr-rgb"], PSNR_GOAL.get(k), 2, 1) for k, r in ours.items())],
        ["PSNR, at least (WebP at the payload's bytes)", *(_number(WEBP_GOAL.get(k), 2) for k in ours)],
        ["reached, faithful", *(_reached(r["psnr-rgb"], WEBP_GOAL.get(k), 2, 1) for k, r in ours.items())],
        ["judge's top-1 %, at least", *(_number(judge.get(k), 1) for k in ours)],
        ["reached, sharp", *(_reached(100 * r["top1"], judge.get(k), 1, 1) for k, r in sharp.items())],
    ]
    return table(["", *map(str, ours)], lines)


def headline(records: Sequence[Record], counts: Sequence[int] = (32, 64, 128, 256)) -> str:
    """Return PSNR / LPIPS of the model, of WebP in as many bytes, and of One-D-Piece-S-256 as published.

    Args:
        records: of the model and of WebP at the model's sizes; a size that no WebP file fits has none.
        counts: tokens, a column each.
    """
    ours, sharp = by_tokens(records), by_tokens(records, sharp=True)
    webp = {count: _webp_at(records, count) for count in counts}
    sizes = [f"{count} tokens, {ours[count]['bytes']:.0f} B" for count in counts]
    return table(
        ["", *sizes],
        [
            ["ti-256, sharp (the default)", *(_pair(sharp[count]) for count in counts)],
            ["ti-256, faithful", *(_pair(ours[count]) for count in counts)],
            ["WebP", *("–" if (found := webp[count]) is None else _pair(found) for count in counts)],
            [
                "One-D-Piece-S-256, 84 M weights",
                *(_pair({"psnr-rgb": PSNR_GOAL[k], "lpips-alex": LPIPS_GOAL[k]}) for k in counts),
            ],
        ],
    )


def _webp_at(records: Sequence[Record], count: int) -> Record | None:
    """The largest WebP files that are no larger than ours of `count` tokens, but than ours of fewer."""
    sizes = {tokens: record["bytes"] for tokens, record in by_tokens(records).items()}
    least = max((size for tokens, size in sizes.items() if tokens < count), default=0)
    fit = [r for r in records if r["codec"] == "webp" and least < r["bytes"] <= sizes[count]]
    return max(fit, key=lambda record: record["bytes"], default=None)


def _pair(record: Record) -> str:
    return f"{record['psnr-rgb']:.2f} / {record['lpips-alex']:.3f}".replace(" 0.", " .")


def judge_goals(records: Sequence[Record]) -> dict[int, float]:
    """Return the top-1 in percent to reach: five times WebP's at 64 tokens, half the originals' at 256."""
    original = next(record for record in records if record["codec"] == "original")
    size = by_tokens(records)[64]["bytes"]
    webp = [record for record in records if record["codec"] == "webp" and record["bytes"] <= size]
    return {64: 500 * (webp[-1]["top1"] if webp else 0.0), 256: 50 * original["top1"]}


def idle_tail(records: Sequence[Record]) -> str:
    """Return what each doubling of the tokens buys, in all and a token, and the verdict on the last."""
    ours = by_tokens(records)
    lines = []
    for (few, before), (many, after) in pairwise(ours.items()):
        db, lpips = after["psnr-rgb"] - before["psnr-rgb"], after["lpips-alex"] - before["lpips-alex"]
        step = many - few
        lines.append(
            [f"{few} → {many}", f"{db:+.2f}", f"{db / step:+.4f}", f"{lpips:+.3f}", f"{lpips / step:+.5f}"]
        )
    heads = ["tokens", "PSNR, dB", "dB a token", "LPIPS-Alex", "LPIPS a token"]
    met = db >= TAIL_DB or -lpips >= TAIL_LPIPS
    bought = f"The last doubling buys {db:.2f} dB and {-lpips:.3f} LPIPS"
    verdict = f"{bought}; the goal is {TAIL_DB} dB or {TAIL_LPIPS}: {'met' if met else 'not met'}."
    return f"{table(heads, lines)}\n\n{verdict}"


def _reached(value: float, goal: float | None, digits: int, sign: int) -> str:
    text = _number(value, digits)
    return f"**{text}**" if goal is not None and sign * value >= sign * goal else text


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
