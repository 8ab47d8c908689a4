"""RandAugment and mixup by timm: what they change follows from the seed; the process's generators stay."""

import random

import numpy as np
import pytest
import torch

pytest.importorskip("timm")

from onedpiece.retokenize.losses import consistency_loss
from onedpiece.training.classifier_augment import MixConfig, Mixing, RandAugment, drawn_from


def test_randaugment_follows_the_seed_and_leaves_the_generators_alone() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 32, 32), dtype=np.uint8)
    augment = RandAugment("rand-m9-mstd0.5-inc1", 32)
    random.seed(3)
    np.random.seed(3)  # noqa: NPY002
    expected = random.random(), np.random.random()  # noqa: NPY002
    random.seed(3)
    np.random.seed(3)  # noqa: NPY002
    found = [augment(pixels, seed) for seed in range(8)]
    assert (random.random(), np.random.random()) == expected  # noqa: NPY002
    assert all(each.shape == (3, 32, 32) and each.dtype == np.uint8 for each in found)
    assert np.array_equal(augment(pixels, 5), found[5])
    assert len({each.tobytes() for each in found}) > 4


def test_a_policy_that_is_none_is_named() -> None:
    with pytest.raises(ValueError, match=r"data\.rand_augment is 'strong'; use one of timm's"):
        RandAugment("strong", 32)


def test_pictures_and_labels_are_mixed_by_the_same_share() -> None:
    x = torch.arange(4.0).view(4, 1, 1, 1).expand(4, 3, 8, 8).contiguous()
    target = torch.arange(4)
    mixed, shares = Mixing(MixConfig(mixup=1.0), 4)(x, target, torch.Generator().manual_seed(0))
    assert torch.equal(x[1, 0, 0], torch.ones(8))  # what was given stays
    torch.testing.assert_close(shares.sum(dim=1), torch.ones(4))
    # picture k is a mixture of k and 3 − k: its grey is the labels' mean under the shares
    torch.testing.assert_close(mixed[:, 0, 0, 0], shares @ torch.arange(4.0))
    assert 0 < shares[0, 0] < 1


def test_cutmix_gives_labels_the_share_of_the_pixels() -> None:
    x = torch.arange(4.0).view(4, 1, 1, 1).expand(4, 3, 16, 16).contiguous()
    mixed, shares = Mixing(MixConfig(cutmix=1.0), 4)(x, torch.arange(4), torch.Generator().manual_seed(2))
    assert set(mixed[0].unique().tolist()) == {0.0, 3.0}
    torch.testing.assert_close((mixed[0] == 0).float().mean(), shares[0, 0])


def test_an_odd_batch_and_numbers_out_of_range_are_named() -> None:
    with pytest.raises(ValueError, match=r"needs an even batch; data\.batch is 3"):
        Mixing(MixConfig(mixup=1.0), 4)(torch.zeros(3, 3, 4, 4), torch.arange(3), torch.Generator())
    with pytest.raises(ValueError, match="mixup ≥ 0"):
        MixConfig(mixup=-1.0)
    assert not MixConfig().mixes


def test_the_generators_come_back_after_an_error() -> None:
    random.seed(1)
    expected = random.random()
    random.seed(1)
    with pytest.raises(RuntimeError), drawn_from(7):
        raise RuntimeError
    assert random.random() == expected


def test_the_consistency_takes_mixed_labels() -> None:
    torch.manual_seed(0)
    student, teacher, features = torch.randn(4, 3), torch.randn(4, 3), torch.randn(2, 4, 5)
    labels = torch.tensor([0, 1, 2, 0])
    hard = consistency_loss(student, teacher, *features, labels)
    soft = consistency_loss(student, teacher, *features, torch.nn.functional.one_hot(labels, 3).float())
    torch.testing.assert_close(tuple(soft), tuple(hard))
