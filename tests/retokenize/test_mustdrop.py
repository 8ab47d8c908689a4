"""MustDrop's three stages, by hand."""

import pytest
import torch

from onedpiece.retokenize import mustdrop, unmerge
from onedpiece.retokenize.adapters import EncoderAdapter
from onedpiece.retokenize.block import Layout, Tokens
from onedpiece.tokenizer.transformer import build_blocks

from .conftest import Bare


def _half_flat() -> torch.Tensor:
    """A class token and 4×4 patches: the left 2×2 windows are flat, the right ones all different."""
    x = torch.zeros(2, 17, 20)
    for patch in range(16):
        x[:, 1 + patch, patch if patch % 4 > 1 else 18] = 1
    x[1, 1, 18], x[1, 1, 19] = 0, 1  # the second picture's first window is not flat
    return x


def test_flat_windows_are_merged_and_batches_padded() -> None:
    merged = mustdrop.merge_windows(_half_flat(), (4, 4), window=2)
    assert merged.x.shape[1] == 14  # the second picture: 17 - 3; the first: 17 - 6 = 11, and 3 padded
    assert merged.size[0].flatten().tolist() == [1, 4, 1, 1, 1, 1, 4, 1, 1, 1, 1, 0, 0, 0]
    assert merged.source[0, 1].nonzero().flatten().tolist() == [1, 2, 5, 6]
    torch.testing.assert_close(unmerge(merged.x, merged.source)[0], _half_flat()[0])
    assert merged.x[0, 11:].abs().sum() == 0


def test_key_tokens_protect_their_window() -> None:
    key = torch.zeros(2, 17, dtype=torch.bool)
    key[:, 6] = True
    merged = mustdrop.merge_windows(_half_flat(), (4, 4), window=2, key=key)
    assert merged.size[0].max() == 4
    assert (merged.size[0] == 4).sum() == 1


def test_patches_outside_whole_windows_pass() -> None:
    x = torch.ones(1, 25, 3)
    merged = mustdrop.merge_windows(x, (5, 5), num_protected=0)  # one 3×3 window fits, 16 patches do not
    assert merged.size[0].flatten().tolist() == [9] + [1] * 16
    wide = mustdrop.merge_windows(torch.ones(1, 10, 3), (2, 5), window=2, num_protected=0)
    assert wide.source[0, 0].nonzero().flatten().tolist() == [0, 1, 5, 6]  # two rows of five
    assert wide.size[0].flatten().tolist() == [4, 4, 1, 1]


def test_window_similarity_is_the_mean_over_pairs() -> None:
    x = torch.tensor([[[1.0, 0], [1, 0], [0, 1]]])  # pairs: 1, 0, 0
    similarity = mustdrop.window_similarity(x, torch.tensor([[0, 1, 2]]))
    torch.testing.assert_close(similarity, torch.tensor([[1 / 3]]))


def test_key_set_is_the_top_part() -> None:
    importance = torch.tensor([[9.0, 0.1, 0.5, 0.3, 0.2]])
    assert mustdrop.key_set(importance, 0.5).tolist() == [[True, False, True, True, False]]
    assert int(mustdrop.key_set(torch.rand(1, 577)).sum()) == 1 + 47  # ⌈.08 · 576⌉ = ⌈46.08⌉, as the authors
    # .07 · 100 is 7.000000000000001 in double precision.
    assert int(mustdrop.key_set(torch.rand(1, 100), 0.07, num_protected=0).sum()) == 7


def test_prefill_drops_what_nobody_looks_at() -> None:
    # Sums .3, .02, .02, .001 of .341 in all, maxima .2, .02, .01, .0005: .075 · .341 = .0256 is above the
    # last three sums, and the maximum of the second saves it; the third is key.
    attention = torch.tensor([[[0.1, 0.02, 0.01, 0.0005], [0.2, 0.0, 0.01, 0.0005]]])
    x = torch.arange(4.0).view(1, 4, 1)
    kept = mustdrop.prefill_filter(x, attention, global_threshold=0.075, individual_threshold=0.015)
    assert kept.x.flatten().tolist() == [0, 1]
    key = torch.tensor([[False, False, True, False]])
    kept = mustdrop.prefill_filter(x, attention, key, global_threshold=0.075, individual_threshold=0.015)
    assert kept.x.flatten().tolist() == [0, 1, 2]


def test_the_cache_follows() -> None:
    keys = torch.arange(6.0).view(1, 1, 6, 1)  # text 0, vision 1-4, text 5
    x = torch.arange(4.0).view(1, 4, 1)
    attention = torch.tensor([[[0.0, 0.9, 0.0, 0.9]]])
    kept = mustdrop.kept_positions(mustdrop.prefill_filter(x, attention))
    assert kept.tolist() == [[1, 3]]
    cache = mustdrop.reindex_cache(mustdrop.Cache(keys, 10 * keys), 1, 4, kept)
    assert cache.keys.flatten().tolist() == [0, 2, 4, 5]
    assert cache.values.flatten().tolist() == [0, 20, 40, 50]


def test_padding_in_the_cache_is_zero() -> None:
    keys = torch.ones(2, 1, 3, 1)
    cache = mustdrop.reindex_cache(mustdrop.Cache(keys, keys), 0, 3, torch.tensor([[0, 2], [1, -1]]))
    assert cache.keys.flatten().tolist() == [1, 1, 1, 0]


@pytest.mark.parametrize(("proportional", "seen"), [(True, [0, 1, 1]), (False, [0, 1])])
def test_padding_is_invisible_and_sizes_weigh_where_they_are_to(proportional: bool, seen: list[int]) -> None:
    torch.manual_seed(0)
    (block,) = build_blocks(16, 2, 1)
    x = torch.randn(1, 3, 16)
    tokens = Tokens(x, 5, torch.tensor([[[1.0], [2.0], [0.0]]]))  # the last is padding
    reducer = mustdrop.MustdropReducer(proportional=proportional)
    with torch.no_grad():
        after = reducer.step(1, EncoderAdapter(block), tokens, Layout(0, 0, slice(None)))
        torch.testing.assert_close(after.x[:, :2], block(x[:, seen])[:, :2])


def test_what_stands_behind_the_patches_keeps_its_size() -> None:
    # Four equal patches become one, the two latents behind them stay, one picture of one and one of four.
    x = torch.ones(2, 6, 3)
    x[1, :4] = torch.eye(4)[:, :3]
    tail = Layout(prefix=0, tail=2, score_tokens=slice(-2, None))
    after = mustdrop.MustdropReducer(window=2).step(0, Bare(), Tokens(x, 6), tail)
    assert after.size is not None
    assert after.size[..., 0].tolist() == [[4, 0, 0, 0, 1, 1], [1, 1, 1, 1, 1, 1]]
    assert torch.equal(after.x[:, 4:], x[:, 4:])


def test_mistakes_are_named() -> None:
    with pytest.raises(ValueError, match="10 tokens are not 1 protected ones and a grid"):
        mustdrop.merge_windows(torch.ones(1, 10, 2), (4, 4))
    with pytest.raises(ValueError, match="ratio is 2"):
        mustdrop.key_set(torch.ones(1, 4), 2)
    cache = mustdrop.Cache(torch.ones(1, 1, 4, 1), torch.ones(1, 1, 4, 1))
    with pytest.raises(ValueError, match=r"lie outside a cache of 4"):
        mustdrop.reindex_cache(cache, 2, 3, torch.tensor([[0]]))
    with pytest.raises(ValueError, match=r"kept positions run from 0 to 3, not -1…1"):
        mustdrop.reindex_cache(cache, 2, 2, torch.tensor([[0, 3]]))
