"""Write the golden files: .odp version 1 as this library wrote it on the day, and what they decode to.

    python -m tools.make_golden            # adds what is missing, leaves alone what is there
    python -m tools.make_golden --force    # writes all anew: never, within version 1

They need a model that never changes: a tiny one, kept beside them in tests/data/golden/model.
"""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from onedpiece.bitstream import Code
from onedpiece.bitstream.packing import TOTAL, Tables, no_tables
from onedpiece.codec import Codec
from onedpiece.tokenizer import Tokenizer, TokenizerConfig
from onedpiece.weights import fingerprint, load_tokenizer, save
from onedpiece.weights.checkpoint import FILE, load

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "tests" / "data" / "golden"
PHOTO = ROOT / "tests" / "data" / "chelsea_451x300.png"

CONFIG = TokenizerConfig(
    image_size=32,
    patch_size=8,
    num_tokens=24,
    width=16,
    heads=2,
    encoder_layers=1,
    decoder_layers=2,
    fsq_grades=((4, (63, 65)), (8, (15, 15, 17)), (11, (7, 7, 9, 9)), (1, (15, 15, 17))),
    linear_size=16,
)


def make_model() -> Tokenizer:
    """Return the tiny model; its weights are drawn so that both networks contribute to every pixel."""
    torch.manual_seed(20_261_121)
    tokenizer = Tokenizer(CONFIG)
    with torch.no_grad():
        for parameter in tokenizer.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
    return tokenizer.eval()


def make_tables() -> Tables:
    """Return tables that hold common what the middle levels of every digit are."""
    positions = []
    for count, levels in CONFIG.fsq_grades:
        digits = []
        for base in levels:
            shape = np.exp(-0.5 * ((np.arange(base) - (base - 1) / 2) / (base / 5)) ** 2)
            table = 1 + np.floor(shape / shape.sum() * (TOTAL - base)).astype(int)
            table[base // 2] += TOTAL - table.sum()
            digits.append(tuple(int(value) for value in table))
        positions += [tuple(digits)] * count
    return Tables(tuple(positions))


def files(codec: Codec) -> dict[str, bytes]:
    """Return the golden files by name: every form that version 1 has."""
    photo = Image.open(PHOTO).convert("RGB")
    own = photo.crop((100, 20, 356, 276)).resize((32, 32), Image.Resampling.LANCZOS)
    small = photo.resize((90, 60), Image.Resampling.LANCZOS)
    whole = codec.encode(own)
    return {
        "own-size": whole.to_bytes(no_tables),
        "one-token": whole[:1].to_bytes(no_tables),
        "cut-by-bytes": whole.to_bytes(no_tables)[:20],
        "native-size": codec.encode(small).to_bytes(no_tables),
        "native-9-tokens": codec.encode(small, tokens=9).to_bytes(no_tables),
        "tiles": codec.encode(small, tiles=True, tokens=150).to_bytes(),
        "entropy": whole.to_bytes(codec.tables_of),
        "entropy-cut": whole.to_bytes(codec.tables_of)[:24],
        "faithful": replace(whole, faithful=True).to_bytes(no_tables),
        "tiles-cut": codec.encode(small, tiles=True, tokens=150).to_bytes()[:80],
    }


def foreign(fingerprint_: bytes) -> dict[str, Code]:
    """Return codes that no network here decodes: codebooks of other sizes."""
    draw = np.random.default_rng(5).integers
    return {
        f"codebook-{base}": Code(draw(0, base, 40), base, fingerprint_, (640, 480))
        for base in (2, 1000, 64_000, 1 << 18)
    }


def main() -> int:
    """Write what is missing, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--force", action="store_true", help="replace what is there")
    force = parser.parse_args().force
    if not (FOLDER / "model").is_dir():
        save(make_model(), FOLDER / "model")
    if not (FOLDER / "model" / FILE).exists():
        stored = make_tables().to_plain() | {
            "fingerprint": fingerprint(load_tokenizer(FOLDER / "model")).hex()
        }
        (FOLDER / "model" / FILE).write_text(json.dumps(stored) + "\n")
    codec = load(FOLDER / "model")
    made = files(codec)
    indices = {name: Code.from_bytes(data, codec.tables_of).indices for name, data in made.items()}
    for name, code in foreign(codec.fingerprint).items():
        made[name], indices[name] = code.to_bytes(), code.indices
    for name, data in made.items():
        if (FOLDER / f"{name}.odp").exists() and not force:
            print(f"{name}: is there, left alone")
            continue
        (FOLDER / f"{name}.odp").write_bytes(data)
        np.savetxt(FOLDER / f"{name}.indices.txt", indices[name][None], fmt="%d")
        if not name.startswith("codebook"):
            codec.decode(data).save(FOLDER / f"{name}.png")
        print(f"{name}: {len(data)} bytes, {len(indices[name])} tokens")
    assert fingerprint(codec.tokenizer) == codec.fingerprint
    return 0


if __name__ == "__main__":
    sys.exit(main())
