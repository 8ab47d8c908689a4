"""The bundled model's card: its tables are filled, and what it links to travels with it."""

import re
from pathlib import Path

import onedpiece.weights
from onedpiece.weights.model_card import model_card

FOLDER = Path(onedpiece.weights.__file__).parent / "ti-256"
CARD = (FOLDER / "MODEL_CARD.md").read_text(encoding="utf-8")


def test_every_part_is_filled() -> None:
    parts = dict(re.findall(r"<!-- begin: (\w+) -->\n(.*?)<!-- end: \1 -->", CARD, flags=re.DOTALL))
    assert {"quality", "looks", "untrained", "goals", "tail", "failures"} <= set(parts)
    assert [name for name, text in parts.items() if text.count("\n|") < 3] == []


def test_metrics_have_their_arrows() -> None:
    scores = {"PSNR": 20.0, "LPIPS": 0.3, "fid": 9.0, "mine": 1.0}
    text = model_card("Tokenizer", "m", "image-to-image", {}, {"metrics": scores})
    assert all(f"| {cell} |" in text for cell in ("PSNR ↑", "LPIPS ↓", "fid ↓", "mine"))


def test_what_it_links_to_is_there() -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", CARD) if "://" not in link]
    assert {"failures.png", "LICENSE-Real-ESRGAN.txt"} <= set(links)
    assert [link for link in links if not (FOLDER / link).is_file()] == []


def test_pictures_are_small_enough_to_travel() -> None:
    sizes = {path.name: path.stat().st_size for path in FOLDER.glob("*.png")}
    assert sizes["failures.png"] < 900_000
