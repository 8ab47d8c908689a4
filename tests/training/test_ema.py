import pytest
import torch
from torch import nn

from onedpiece.training.optimizer import Ema, ramped_decay


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2))
        self.register_buffer("book", torch.zeros(2))

    def become(self, value: float) -> "Model":
        with torch.no_grad():
            self.weight.fill_(value)
            self.book.fill_(value)
        return self


def test_decay_rises_to_its_limit() -> None:
    # (1 + t) / (10 + t): 1/10, 2/11; at t = 1000 it is 1001/1010 = 0.991, above the limit
    assert ramped_decay(0, 0.99) == pytest.approx(0.1)
    assert ramped_decay(1, 0.99) == pytest.approx(2 / 11)
    assert ramped_decay(1000, 0.99) == 0.99


def test_two_updates_by_hand() -> None:
    model = Model()
    ema = Ema(model, decay=0.999)
    ema.update(model.become(1.0))
    # d = 0.1: 0.1 · 0 + 0.9 · 1
    assert ema.average.weight.tolist() == pytest.approx([0.9, 0.9])
    ema.update(model.become(2.0))
    # d = 2/11: 2/11 · 0.9 + 9/11 · 2 = 19.8/11
    assert ema.average.weight.tolist() == pytest.approx([1.8, 1.8])


def test_buffers_are_copied_not_averaged() -> None:
    model = Model()
    ema = Ema(model, decay=0.999)
    ema.update(model.become(3.0))
    assert ema.average.book.tolist() == [3.0, 3.0]


def test_zero_decay_follows_exactly() -> None:
    model = Model()
    ema = Ema(model, decay=0.0)
    ema.update(model.become(5.0))
    assert ema.average.weight.tolist() == [5.0, 5.0]


def test_average_is_apart_and_has_no_gradients() -> None:
    model = Model()
    ema = Ema(model, decay=0.5)
    model.become(1.0)
    assert ema.average.weight.tolist() == [0.0, 0.0]
    assert not any(p.requires_grad for p in ema.parameters())
    assert not ema.average.training
    assert model.training


def test_an_average_in_bfloat16_would_stand_still() -> None:
    model = Model()
    ema = Ema(model, decay=0.999).bfloat16()
    ema._count = 10**6
    for _ in range(10):
        ema.update(model.become(1.0).bfloat16())
    # 1 - 0.999^10; a bfloat16 has 8 bits.
    assert ema.average.weight.tolist() == pytest.approx([0.00996, 0.00996], abs=1e-5)


def test_ramp_goes_on_after_a_reload() -> None:
    model = Model()
    first = Ema(model, decay=0.999)
    first.update(model.become(1.0))
    second = Ema(Model(), decay=0.999)
    second.load_state_dict(first.state_dict())
    for ema in (first, second):
        ema.update(model.become(2.0))
    assert second.average.weight.tolist() == first.average.weight.tolist()


def test_copy_from_starts_again() -> None:
    model = Model()
    ema = Ema(model, decay=0.999)
    ema.update(model.become(1.0))
    ema.copy_from(model.become(4.0))
    assert ema.average.weight.tolist() == [4.0, 4.0]
    assert int(ema.state_dict()["updates"]) == 0  # as a resumed run will count
    ema.update(model.become(5.0))
    assert ema.average.weight.tolist() == pytest.approx([4.9, 4.9])  # d = 0.1 again


def test_decay_of_one_is_refused() -> None:
    with pytest.raises(ValueError, match="ema_decay"):
        Ema(Model(), decay=1.0)
