"""Let trained heads name a model whose decoder was trained on: same codes, new fingerprint.

    git archive OLD_COMMIT onedpiece/weights/ti-256 | tar -x -C /tmp
    # The bundled heads, for the bundled model as it is now:
    python tools/restamp_heads.py --before /tmp/onedpiece/weights/ti-256
    python tools/restamp_heads.py --before OLD --after NEW runs/head_detect_pennfudan/head.safetensors

Refused where the two models differ outside their decoders; nothing but the fingerprint changes in the files.
"""

import argparse
from pathlib import Path

from onedpiece.heads import bundled_head, restamp
from onedpiece.weights import load


def main() -> None:
    """Restamp each file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="*", type=Path, help="head files; none: the bundled ones")
    parser.add_argument("--before", required=True, help="the model that they name: a folder")
    parser.add_argument("--after", help="the model that they shall name; none: the bundled one")
    words = parser.parse_args()
    before, after = load(words.before), load(words.after)
    for path in words.files or [bundled_head("classify"), bundled_head("segment")]:
        restamp(path, before.tokenizer, after.tokenizer)
        print(f"{path}: {before.fingerprint.hex()} -> {after.fingerprint.hex()}")


if __name__ == "__main__":
    main()
