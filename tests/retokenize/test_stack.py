"""The stack of blocks with a reducer in it, on blocks that leave tokens as they are."""

import torch
from torch import Tensor, nn

from onedpiece.retokenize import evit, mustdrop
from onedpiece.retokenize.block import Layout, Reducer
from onedpiece.retokenize.stack import SLICE, ReducedBlocks

from .conftest import Bare


def stack(reducer: Reducer, layout: Layout, restore: bool = False) -> ReducedBlocks:
    """One bare block with a reducer in it."""
    return ReducedBlocks(nn.ModuleList([nn.Identity()]), [Bare()], reducer, layout, restore)


def kept(x: Tensor, layout: Layout) -> list[float]:
    """What comes out where two of the free tokens are kept, and the others fused."""
    out: Tensor = stack(evit.EvitReducer(2, (0,)), layout)(x)
    return out.flatten().tolist()


def test_zeros_take_the_place_of_missing_patches_in_front_of_the_latents() -> None:
    # A class token, four patches and two latents, which their model counts from the front.
    x = torch.tensor([1.0, 0, 9, 8, 0, 2, 3]).view(1, 7, 1)
    latents = Layout(prefix=1, tail=2, score_tokens=slice(0, 1), pad=True)
    assert kept(x, latents) == [1, 9, 8, 0, 0, 2, 3]  # the fused one is 0 as well
    assert kept(x, latents._replace(pad=False)) == [1, 9, 8, 0, 2, 3]


def test_every_position_gets_its_token_back() -> None:
    x = torch.tensor([1.0, 4, 9, 8, 4, 2, 3]).view(1, 7, 1)
    layout = Layout(prefix=1, tail=2, score_tokens=slice(0, 1))
    blocks = stack(evit.EvitReducer(2, (0,)), layout, restore=True)
    torch.testing.assert_close(blocks(x), x)  # of the two that were fused, both were 4


def test_a_batch_whose_pictures_keep_unlike_numbers_stays_whole() -> None:
    # Sixteen pictures of four unlike patches, and one more, alone in its slice, of four equal ones.
    x = torch.eye(4).repeat(SLICE + 1, 1, 1)
    x[-1] = torch.tensor([1.0, 0, 0, 0])
    layout = Layout(prefix=0, tail=0, score_tokens=slice(None))
    blocks = stack(mustdrop.MustdropReducer(window=2), layout)
    with torch.no_grad():
        state = blocks.reduce(x)
    assert state.size is not None
    assert state.size[[0, -1], :, 0].tolist() == [[1, 1, 1, 1], [4, 0, 0, 0]]
