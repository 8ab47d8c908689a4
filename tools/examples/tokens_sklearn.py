"""Frozen tokens and scikit-learn: a classifier in seconds, without training a network.

    python -m tools.examples.tokens_sklearn                     # on scikit-learn's handwritten digits
    python -m tools.examples.tokens_sklearn FOLDER --tokens 32  # on a folder of photos for each class

A token is a number in a codebook, and its code vector is what that number stands for. The vectors of a
photo's first tokens, one behind the other, are features that a linear model can read.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

import onedpiece

try:
    from sklearn.datasets import load_digits
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import train_test_split
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
except ImportError:
    raise SystemExit("this example needs scikit-learn: pip install scikit-learn") from None


def main(argv: Sequence[str] | None = None) -> float:
    """Run the example, and return the share of held-out pictures that it names right."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, help="with a folder of photos for each class in it")
    parser.add_argument("--tokens", type=int, default=64, help="how many of each photo are read")
    args = parser.parse_args(argv)

    # 1. Pictures and their classes: paths, PIL images, arrays and tensors are all fine.
    pictures: list[Image.Image | Path]
    if args.folder is None:
        digits = load_digits()
        pictures = [Image.fromarray(255 - 15 * image.astype("uint8")) for image in digits.images[:500]]
        labels = [str(digit) for digit in digits.target[:500]]
    else:
        paths = sorted(path for path in args.folder.glob("*/*") if path.is_file())
        pictures, labels = list(paths), [path.parent.name for path in paths]

    # 2. Frozen tokens: (B, K) numbers, then (B, K, D) vectors, then one row of features a picture.
    codec = onedpiece.load()
    tokens = codec.tokens(pictures, tokens=args.tokens).tokens
    features = codec.tokenizer.quantizer.codes_from_indices(tokens).flatten(1).numpy()

    # 3. A linear model on a part of them, and its score on the rest.
    train_x, test_x, train_y, test_y = train_test_split(features, labels, stratify=labels, random_state=0)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000, C=0.01)).fit(train_x, train_y)
    score = float(model.score(test_x, test_y))
    print(f"{len(train_y)} pictures of {args.tokens} tokens: {score:.1%} of {len(test_y)} others are right")
    return score


if __name__ == "__main__":
    main()
