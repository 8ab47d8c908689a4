"""Write the bundled model's tables into onedpiece/web/odp.js, between its two "tables" lines.

    python -m tools.make_odp_js            # after the code space or the entropy tables have changed
    python -m tools.make_odp_js --check    # writes nothing; fails where the file's tables are not the model's

A few seconds. The rest of the file is written by hand. The blob holds little-endian numbers in base64: for
each lattice, which is odd and symmetric, the centroids above its middle (float32); then, token by token, for
each channel its scale (float32) and the coefficient that it carries (uint16: plane, row, column of the DCT in
4, 6 and 6 bits), and for each channel the entropy coder's frequencies (varints, as in a file's header).
"""

import argparse
import json
import re
import struct
import sys
from base64 import b64encode
from pathlib import Path

from onedpiece.bitstream.packing import Tables, known_tables, write_varint
from onedpiece.codec import Codec
from onedpiece.tokenizer.dct_path import LinearPath
from onedpiece.weights import load

TARGET = Path(__file__).resolve().parents[1] / "onedpiece" / "web" / "odp.js"
TOKENS = (
    64  # whose tables the script carries: the linear path adds little after them, and each costs 160 bytes
)
MAX_BYTES = 25_000

_BLOCK = re.compile("(?<=// tables:begin\n).*(?=// tables:end\n)", re.DOTALL)


def tables_of(codec: Codec, tokens: int = TOKENS) -> str:
    """Return the lines of JavaScript that hold what the first tokens' linear decode takes.

    Raises:
        ValueError: the model has no linear path of 64 pixels a side, or no entropy coder.
    """
    path, coder, config = codec.tokenizer.linear_path, known_tables(codec.fingerprint), codec.tokenizer.config
    if path is None or coder is None or path.size != 64:
        raise ValueError(f"{codec.name} has no linear path of 64x64 and entropy tables, which odp.js reads")
    levels = [levels for count, grade in config.fsq_grades for levels in [grade] * count][:tokens]
    lattices = sorted({count for grade in levels for count in grade})
    even = path._uniform()[: sum(map(len, levels))].nonzero().flatten().tolist()
    model = {
        "fingerprint": codec.fingerprint.hex(),
        "tables": coder.id.hex(),
        "longest": coder.longest,
        "size": codec.image_size,
        "side": path.size,
        "tokens": tokens,
        "grades": config.fsq_grades,
        "lattices": lattices,
        "even": even,
    }
    blob = _centroids(path, lattices) + _by_token(path, coder, levels)
    text = json.dumps(model, separators=(",", ":"))
    return f'const MODEL = {text};\nconst TABLES = "{b64encode(blob).decode()}";\n'


def _centroids(path: LinearPath, lattices: list[int]) -> bytes:
    """Upper halves of fitted lattices: `LinearPath.centroids` holds three of each size, these first."""
    sizes = sorted(set(path.levels.tolist()))
    starts = {size: 3 * sum(sizes[:at]) for at, size in enumerate(sizes)}
    ends = {size: path.centroids[starts[size] :][:size].tolist() for size in lattices}
    values = [value for size in lattices for value in ends[size][size // 2 + 1 :]]
    return struct.pack(f"<{len(values)}f", *values)


def _by_token(path: LinearPath, coder: Tables, levels: list[tuple[int, ...]]) -> bytes:
    blob, slot = b"", 0
    for grade, digits in zip(levels, coder.positions, strict=False):
        for _ in grade:
            blob += struct.pack("<fH", float(path.scale[slot]), int(path.order[slot]))
            slot += 1
        for digit in digits:
            blob += b"".join(map(write_varint, digit))
    return blob


def with_tables(script: str, tables: str) -> str:
    """Return the script with its tables replaced.

    Raises:
        ValueError: it does not say where they stand, or would weigh more than MAX_BYTES.
    """
    made, found = _BLOCK.subn(lambda _: tables, script)
    if found != 1:
        raise ValueError("odp.js has no lines // tables:begin and // tables:end")
    if len(made.encode()) > MAX_BYTES:
        raise ValueError(f"odp.js would have {len(made.encode())} bytes; at most {MAX_BYTES} are promised")
    return made


def main(argv: list[str] | None = None) -> int:
    """Run the tool."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args(argv)
    before = TARGET.read_text(encoding="utf-8")
    after = with_tables(before, tables_of(load()))
    if args.check:
        print("the tables are the model's" if before == after else "the tables are not the model's")
        return int(before != after)
    TARGET.write_text(after, encoding="utf-8")
    print(f"{TARGET.name}: {len(after.encode())} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
