"""Our codec in a comparison: for each budget, the most tokens whose whole file fits."""

from bisect import bisect_right
from collections.abc import Sequence

import torch
from torch import Tensor

from onedpiece.bitstream import Code
from onedpiece.codec import Codec
from onedpiece.evaluation.metrics import Scorer
from onedpiece.evaluation.photos import Photo, to_tensor
from onedpiece.evaluation.study import OURS, Shot


def encode_all(codec: Codec, images: Tensor) -> list[Code]:
    """Return the longest code of each picture, (B, 3, S, S) in [0, 1], S being the model's own side."""
    indices = codec.tokenizer.tokenize(images.to(codec.device)).cpu().numpy()
    size = codec.tokenizer.config.codebook_size
    return [Code(row, codebook_size=size, fingerprint=codec.fingerprint, size=None) for row in indices]


def decode_all(codec: Codec, codes: Sequence[Code]) -> Tensor:
    """Return the pictures of codes, which may differ in length, as (B, 3, S, S) in [0, 1]."""
    lengths = torch.tensor([len(code) for code in codes])
    padded = torch.zeros(len(codes), int(lengths.max()), dtype=torch.int64)
    for row, code in zip(padded, codes, strict=True):
        row[: len(code)] = torch.from_numpy(code.indices.astype("int64"))
    same = bool((lengths == lengths[0]).all())
    padded = padded.to(codec.device)
    images = codec.tokenizer.detokenize(padded, None if same else lengths.to(codec.device))
    return images.cpu()


def most_tokens(code: Code, budget: int) -> int:
    """Return how many leading tokens make a file of at most `budget` bytes; 0 where not even one does."""
    return bisect_right(range(1, len(code) + 1), budget, key=lambda k: len(code[:k].to_bytes()))


def score_ours(codec: Codec, photos: Sequence[Photo], budgets: Sequence[int], scorer: Scorer) -> list[Shot]:
    """Return our shots of a batch of photos; a budget that not even one token fits has none."""
    originals = to_tensor([photo.image for photo in photos])
    codes = encode_all(codec, originals)
    shots: list[Shot] = []
    for budget in budgets:
        kept = [(i, code[:k]) for i, code in enumerate(codes) if (k := most_tokens(code, budget))]
        if not kept:
            continue
        images = decode_all(codec, [code for _, code in kept])
        references = originals[[i for i, _ in kept]]
        for metric in scorer.metrics:
            scores = scorer.score(metric.name, references, images)
            shots += [
                Shot(
                    photos[i].name,
                    OURS,
                    budget,
                    metric.name,
                    score,
                    code.to_bytes(),
                    f"{len(code)} tokens",
                    len(code),
                )
                for (i, code), score in zip(kept, scores, strict=True)
            ]
    return shots
