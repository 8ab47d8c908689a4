"""The sharp network's blocks by Winograd's filtering: as exact as the modules, and only in inference."""

import pytest
import torch
from torch import nn
from torch._subclasses import FakeTensorMode

from onedpiece.tokenizer import pixel_heads
from onedpiece.tokenizer.pixel_heads import RRDB, SharpNetwork


def body(blocks: int = 2, width: int = 16, growth: int = 8) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(*(RRDB(width, growth) for _ in range(blocks))).eval()


def maps(height: int, width: int, channels: int = 16) -> torch.Tensor:
    return torch.randn(1, channels, height, width, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("size", [(4, 4), (4, 8), (8, 4), (12, 20), (64, 64)])
def test_tiles_draw_what_the_modules_draw_as_exactly(size: tuple[int, int]) -> None:
    blocks, x = body(), maps(*size)
    with torch.no_grad():
        tiled, direct = pixel_heads._run_in_tiles(blocks, x), blocks(x)
        exact = blocks.double()(x.double())
    assert tiled.shape == x.shape
    assert (exact - x).abs().max() > 0.01  # the blocks add something
    error, rounding = ((each - exact).abs().max() for each in (tiled, direct))
    assert error < 3 * rounding
    assert error < 1e-5


def test_one_convolution_sees_across_every_tile_border() -> None:
    conv = nn.Conv2d(3, 5, 3, padding=1)
    torch.manual_seed(2)
    # Whole numbers: a tile that took a wrong neighbour would be off by far more than rounding.
    x = torch.randint(-9, 9, (1, 3, 12, 8)).float()
    with torch.no_grad():
        conv.weight.copy_(torch.randint(-9, 9, conv.weight.shape))
        tiles = torch.nn.functional.pixel_unshuffle(x[0], 4).view(3, 16, 3, 2)
        known = pixel_heads._Maps(3, tiles)
        known.append(tiles)
        drawn = known.convolve(conv)
        drawn = torch.nn.functional.pixel_shuffle(drawn.flatten(0, 1)[None], 4)
        torch.testing.assert_close(drawn, conv(x), atol=2e-3, rtol=0)


@pytest.fixture
def tiled(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The shapes that were run in tiles."""
    seen = []
    really = pixel_heads._run_in_tiles

    def run(blocks: nn.Sequential, x: torch.Tensor) -> torch.Tensor:
        seen.append(tuple(x.shape))
        return really(blocks, x)

    monkeypatch.setattr(pixel_heads, "_run_in_tiles", run)
    return seen


def sharp(size: int = 32, batch: int = 2) -> tuple[SharpNetwork, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    network = SharpNetwork(blocks=1, width=8, growth=4).eval()
    return network, torch.rand(batch, 3, size, size), torch.full((batch,), 64)


def test_inference_runs_in_tiles_a_picture_at_a_time(tiled: list[tuple[int, ...]]) -> None:
    network, x, counts = sharp()
    with torch.no_grad():
        both = network(x, counts)
        assert tiled == [(1, 8, 8, 8)] * 2
        alone = torch.cat([network(x[i : i + 1], counts[:1]) for i in range(2)])
    torch.testing.assert_close(both, alone, atol=1e-6, rtol=0)
    trained = network(x, counts)
    torch.testing.assert_close(trained.detach(), both, atol=1e-5, rtol=0)
    assert len(tiled) == 4  # none while gradients are wanted


def test_blocks_may_be_of_different_widths(tiled: list[tuple[int, ...]]) -> None:
    torch.manual_seed(0)
    network = SharpNetwork(blocks=3, width=8, growth=(2, 5, 1)).eval()
    x, counts = torch.rand(1, 3, 32, 32), torch.tensor([64])
    with torch.no_grad():
        drawn = network(x, counts)
    assert tiled == [(1, 8, 8, 8)]
    torch.testing.assert_close(network(x, counts).detach(), drawn, atol=1e-5, rtol=0)


def test_all_else_is_left_to_the_modules(tiled: list[tuple[int, ...]]) -> None:
    network, x, counts = sharp()
    network(x, counts).sum().backward()
    assert all(each.grad is not None for each in network.parameters())
    with torch.no_grad():
        network(x[..., :24, :24], counts)  # 6×6 maps: no whole tiles
        with torch.autocast("cpu", torch.bfloat16):
            network(x, counts)
        torch.compile(network, backend="eager")(x, counts)
        network.bfloat16()(x, counts)
    assert tiled == []


@pytest.mark.parametrize("precision", ["high", "medium"])
def test_products_that_may_round_are_left_to_the_modules(
    tiled: list[tuple[int, ...]], precision: str
) -> None:
    network, x, counts = sharp()
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        with torch.no_grad():
            network(x, counts)
    finally:
        torch.set_float32_matmul_precision(before)
    assert tiled == []


def test_fake_tensors_are_left_to_the_modules(tiled: list[tuple[int, ...]]) -> None:
    network, x, counts = sharp()
    with FakeTensorMode(allow_non_fake_inputs=True) as mode, torch.no_grad():
        assert network(mode.from_tensor(x), counts).shape == x.shape
    assert tiled == []


def test_new_weights_are_seen_at_once(tiled: list[tuple[int, ...]]) -> None:
    network, x, counts = sharp()
    with torch.no_grad():
        before = network(x, counts)
        network.load_state_dict({name: 2 * each for name, each in network.state_dict().items()})
        after = network(x, counts)
    assert (after - before).abs().max() > 0.01
    assert len(tiled) == 4


def test_a_default_device_or_dtype_changes_nothing() -> None:
    network, x, counts = sharp()
    with torch.no_grad():
        expected = network(x, counts)
        pixel_heads._winograd_matrices.cache_clear()
        default = torch.get_default_dtype()
        torch.set_default_dtype(torch.float64)
        try:
            with torch.device("meta"):
                found = network(x, counts)
        finally:
            torch.set_default_dtype(default)
            pixel_heads._winograd_matrices.cache_clear()
    assert torch.equal(found, expected)
