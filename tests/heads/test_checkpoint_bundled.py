from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import onedpiece
from onedpiece.bitstream import Code
from onedpiece.heads import (
    ClassScores,
    Depth,
    Detections,
    HeadError,
    LoadedHead,
    Mask,
    bundled_head,
    code_space_of,
    load_head,
)

MAX_BYTES = 3 * 2**20
NAMES = {
    "classify": ("tench", "English springer", "cassette player", "chain saw", "church"),
    "segment": ("sky", "building", "pole", "road", "pavement"),
    "detect": ("pedestrian",),
    "depth": (),
}


@pytest.fixture(scope="module", params=list(NAMES))
def task(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def bundled(task: str) -> LoadedHead:
    return load_head(bundled_head(task))


def test_it_is_small_and_says_what_it_is(task: str, bundled: LoadedHead) -> None:
    assert bundled_head(task).stat().st_size <= MAX_BYTES
    assert bundled.head.config.task == task
    assert bundled.head.config.classes[:5] == NAMES[task]
    assert " at 64" in bundled.note


def test_it_reads_the_bundled_models_codes(bundled: LoadedHead) -> None:
    codec = onedpiece.load()
    assert bundled.code_space == code_space_of(codec)
    # The heads are older than what makes the networks smaller.
    config = codec.tokenizer.config
    slim = {name: getattr(config, name) for name in ("decoder_hidden", "sharp_growth", "sharp_fine")}
    reads = replace(bundled.head.config.tokenizer, **slim)
    assert reads == codec.tokenizer.config
    with pytest.raises(HeadError, match="the head reads code space"):
        bundled.predict(Code(np.array([1, 2]), 4096, b"none"))


def test_photos_go_in_and_plain_results_come_out(task: str, bundled: LoadedHead, data: Path) -> None:
    codec = onedpiece.load()
    code = codec.encode(data / "astronaut.png")
    whole, short = bundled.predict([code, code[:16]])
    (alone,) = bundled.predict(code[:16])
    match whole, short, alone:
        case Mask(), Mask(masked), Mask(expected):
            assert masked.shape == (256, 256)
            assert float((masked == expected).float().mean()) > 0.999  # ties may fall otherwise
        case Depth(), Depth(meters), Depth(expected):
            assert meters.shape == (256, 256)
            torch.testing.assert_close(meters, expected, rtol=1e-4, atol=1e-4)
        case Detections(), Detections(boxes, _, scores), Detections(expected, _, others):
            torch.testing.assert_close(boxes, expected, rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(scores, others, rtol=1e-4, atol=1e-4)
        case ClassScores(top=top), ClassScores(probability=probability), ClassScores(probability=expected):
            assert probability == pytest.approx(expected, abs=1e-5)
            assert len(top) == 5
        case _:
            pytest.fail(f"{task} gives {whole}")


def test_mixed_lengths_equal_one_by_one(bundled: LoadedHead) -> None:
    draws = torch.rand(3, 256, generator=torch.Generator().manual_seed(0))
    indices = (draws * bundled.head.backbone.codebook.sizes).long()  # each below the size of its position
    lengths = [256, 1, 77]
    with torch.inference_mode():
        mixed = bundled.head(indices, torch.tensor(lengths))[0]
        alone = [bundled.head(row[None, :k])[0] for row, k in zip(indices, lengths, strict=True)]
    assert float((mixed - torch.cat(alone)).abs().max()) <= 1e-5 * max(1.0, float(mixed.abs().max()))


def test_a_head_of_queries_alone_has_nothing_to_merge() -> None:
    with pytest.raises(HeadError, match="a head to segment that reads the linear picture alone"):
        load_head(bundled_head("segment")).reduced("tome", 0.5)
