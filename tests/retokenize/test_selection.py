"""Which vision tokens other rules keep, by hand."""

import pytest
import torch

from onedpiece.retokenize.recoverable import compress, outlier_share, standing_out
from onedpiece.retokenize.selection import above_knee, changed, scope


def test_scope_covers_before_it_repeats() -> None:
    # Three alike and one apart. Equally important: one of the three first (gain 3), then the one apart (gain
    # 1), although the others of the three are as near to anything as before.
    x = torch.tensor([[[1.0, 0], [1, 0], [1, 0], [0, 1]]])
    assert scope(x, torch.ones(1, 4), 2).tolist() == [[True, False, False, True]]
    # Ten times as important, the second of the three goes first.
    assert scope(x, torch.tensor([[1.0, 10, 1, 1]]), 1).tolist() == [[False, True, False, False]]
    assert scope(x, torch.tensor([[1.0, 10, 1, 1]]), 1, alpha=0).tolist() == [[True, False, False, False]]
    assert int(scope(x, torch.ones(1, 4), 4).sum()) == 4
    # Three, two and one alike: what the first choice covers stays covered behind the second.
    groups = torch.eye(3)[[0, 0, 0, 1, 1, 2]][None]
    assert scope(groups, torch.ones(1, 6), 3)[0].nonzero().flatten().tolist() == [0, 3, 5]
    with pytest.raises(ValueError, match="count is 5; of 4 tokens"):
        scope(x, torch.ones(1, 4), 5)


def test_the_knee_parts_a_few_from_the_rest() -> None:
    # Falling: 10, 9, 1, 1, .5, 0. The chord falls by .2 a token; 1 - .2·2 - .1 = .5 below it lies the third,
    # .3 the fourth.
    importance = torch.tensor([[1.0, 10, 0, 9, 1, 0.5]])
    assert above_knee(importance).sum() == 3
    assert above_knee(importance)[0, [1, 3]].all()
    assert above_knee(torch.ones(2, 5)).all()


def test_frames_keep_what_changed() -> None:
    frames = torch.tensor([[[1.0, 0], [0, 1]]]).repeat(5, 1, 1)
    frames[1, 1] = torch.tensor([1.0, 0])  # cosine 0 to the first frame
    assert changed(frames, window=4).tolist() == [
        *[[True, True], [False, True], [False, False], [False, False]],
        [True, True],  # the first of the next window
    ]
    with pytest.raises(ValueError, match="window is 0"):
        changed(frames, window=0)


def test_outliers_are_counted() -> None:
    # 20 scores a hundredth apart and two far off, each of them with neighbours far denser than itself.
    scores = torch.cat([torch.arange(20) / 100, torch.tensor([5.0, 9.0])])
    assert outlier_share(scores) == pytest.approx(2 / 22)
    assert standing_out(scores).nonzero().flatten().tolist() == [20, 21]
    assert outlier_share(torch.ones(1)) == 0


def test_what_stands_out_is_kept_and_the_rest_gathered() -> None:
    torch.manual_seed(0)
    x, keys = torch.randn(200, 4), torch.randn(200, 4)
    importance = torch.rand(200) / 1000
    importance[[3, 50]] = torch.tensor([0.5, 0.3])
    text = torch.rand(200) / 1000
    text[120] = 0.9
    done = compress(x, keys, importance, text)
    assert done.kept[[3, 50, 120]].all()
    assert not compress(x, keys, importance).kept[120]
    assert not (done.kept & done.centres).any()
    count = int(done.kept.sum())
    assert len(done.x) == count + int(done.centres.sum()) + 1
    torch.testing.assert_close(done.x[:count], x[done.kept])


def test_centres_add_their_nearest() -> None:
    # No text and no centre: what is left is one sum, weighted by importance.
    x = torch.arange(12.0).view(12, 1)
    importance = torch.full((12,), 0.5)
    done = compress(x, x, importance)
    assert not done.kept.any()
    assert not done.centres.any()
    assert done.x.tolist() == [[0.5 * 66]]


def test_a_centre_takes_up_what_the_text_asks_for() -> None:
    # A low score makes for one outlier: the highest is kept, the highest of the rest is a centre. It takes
    # 32 of 43 by ±1 + 50 · 0.01 · number: all from 11 on, though the keys of the last 11 point away from its.
    importance = torch.cat([torch.zeros(1), 10 + torch.arange(44) / 100])
    keys = torch.ones(45, 1)
    keys[32:43] = -1
    done = compress(torch.eye(45), keys, importance, text_score=torch.arange(45) / 100)
    assert (done.kept.nonzero().tolist(), done.centres.nonzero().tolist()) == ([[44]], [[43]])
    _, gathered, others = done.x
    expected = importance.clone()
    expected[:11], expected[43], expected[44] = 0, 1, 0
    torch.testing.assert_close(gathered, expected)
    torch.testing.assert_close(others, torch.where(torch.arange(45) < 11, importance, 0))
