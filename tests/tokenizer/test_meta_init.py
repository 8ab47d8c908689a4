"""Loading neither reads nor changes torch's globals."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from onedpiece.heads import bundled_head, load_head
from onedpiece.tokenizer.transformer import assign_weights, no_init_weights
from onedpiece.weights import load, load_tokenizer, untrained

GOLDEN = Path(__file__).parents[1] / "data" / "golden" / "model"


@pytest.mark.slow
def test_a_model_loads_without_torchs_compiler() -> None:
    code = "import sys, onedpiece; onedpiece.load(sys.argv[1]); sys.exit('torch._dynamo' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code, GOLDEN], check=False).returncode == 0


@pytest.fixture(params=[torch.float64, torch.bfloat16])
def default(request: pytest.FixtureRequest) -> Iterator[torch.dtype]:
    torch.set_default_dtype(request.param)
    yield request.param
    torch.set_default_dtype(torch.float32)


def test_parameters_are_empty_and_buffers_are_real() -> None:
    with no_init_weights():
        module = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    assert all(each.is_meta for each in module.parameters())
    assert not any(each.is_meta for each in module.buffers())
    state = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)).half().state_dict()
    assign_weights(module, state)
    assert {each.dtype for each in module.parameters()} == {torch.float32}
    with pytest.raises(RuntimeError, match="Missing"):
        assign_weights(module, {})


def test_the_default_dtype_is_neither_read_nor_changed(default: torch.dtype) -> None:
    tokenizer = load_tokenizer(GOLDEN)
    head = load_head(bundled_head("classify")).head
    for module in (tokenizer, head):
        tensors = [*module.parameters(), *module.buffers()]
        assert not any(each.is_meta or each.dtype in (torch.float64, torch.bfloat16) for each in tensors)
    with pytest.raises(ZeroDivisionError), no_init_weights():
        nn.Linear(1, 1 // 0)
    assert torch.get_default_dtype() == default


def test_the_generator_is_left_alone() -> None:
    torch.manual_seed(7)
    expected = torch.rand(1)
    for work in (lambda: load(GOLDEN), untrained, lambda: load_head(bundled_head("classify"))):
        torch.manual_seed(7)
        work()
        assert torch.rand(1) == expected


def test_the_default_device_is_left_alone() -> None:
    torch.set_default_device("meta")
    try:
        tokenizer = load_tokenizer(GOLDEN)
        assert torch.empty(1).is_meta
    finally:
        torch.set_default_device(None)
    assert not any(each.is_meta for each in [*tokenizer.parameters(), *tokenizer.buffers()])
