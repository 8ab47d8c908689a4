from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch

from onedpiece.heads import HeadError, ReducerConfig, load_head
from onedpiece.training.codes import CodeSamples
from onedpiece.training.head_module import HeadModule
from onedpiece.training.metrics import evaluate

WORST = {"classify": 0.9, "segment": 0.9, "depth": 0.25, "detect": 0.6}
"""What a tiny run must reach at all counts; guessing gives 0.5, 0.25, 0.6 or more, and about 0.5."""

# Sides are told apart after 60 steps, whatever the seed; from there on the loss is next to nothing, and Adam
# at this rate wanders: at step 100, seed 0 has all of them right at 8 tokens and 0.91 at 16.
STEPS = {"classify": 60, "segment": 100, "depth": 150, "detect": 200}


def _scores(module: HeadModule, data: Any) -> list[float]:
    return [score.value for score in evaluate(module.averaged, data.val_dataloader(), (1, 16))]


@pytest.mark.slow
@pytest.mark.parametrize("task", ["classify", "segment", "depth", "detect"])
def test_a_tiny_run_learns(task: str, side_data: Any, head_module: Any, fit: Any) -> None:
    if task == "detect":
        pytest.importorskip("pycocotools")
    module, data = head_module(task, steps=STEPS[task]), side_data(task)
    fit(module, data)
    values = _scores(module, data)
    assert module.global_step == STEPS[task]
    assert all(v <= WORST[task] if task == "depth" else v >= WORST[task] for v in values), values


@pytest.mark.slow
def test_a_run_with_a_reducer_and_full_codes(side_data: Any, head_module: Any, fit: Any) -> None:
    from dataclasses import replace

    from onedpiece.training.tail_drop import TailDropConfig

    module = head_module("classify", tail_drop=TailDropConfig(lengths="per_sample"))
    module.head_config = replace(module.head_config, reducer=ReducerConfig(keep_ratio=0.5))
    fit(module, side_data("classify"))
    assert min(_scores(module, side_data("classify"))) >= 0.9


def test_blended_training_learns_too(side_data: Any, head_module: Any, fit: Any) -> None:
    module = head_module("classify", mixup=0.5)
    fit(module, side_data("classify"))
    assert min(_scores(module, side_data("classify"))) >= 0.9
    with pytest.raises(ValueError, match="mixup is for classifiers"):
        head_module("segment", mixup=0.5)


@pytest.mark.slow
@pytest.mark.parametrize("task", ["classify", "segment"])
def test_training_on_views(task: str, side_data: Any, head_module: Any, fit: Any) -> None:
    from dataclasses import replace

    from onedpiece.training.augment import ViewConfig

    base = head_module(task).head_config
    view = replace(base, grid=2, linear_picture=True, codes=False)
    # A flip would swap the sides that "left" and "right" are about; a crop and other light do not.
    module = head_module(task, steps=100, head=view, views=ViewConfig(min_scale=0.9, brightness=0.1))
    fit(module, side_data(task))
    assert min(_scores(module, side_data(task))) >= 0.9


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("ends", [None, [3, 16]])
def test_a_step_on_another_device(
    mirror: bool,
    ends: list[int] | None,
    side_data: Any,
    head_module: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is drawn is drawn on the CPU, which the meta device refuses as any other does."""
    from dataclasses import replace

    from onedpiece.training.augment import ViewConfig
    from onedpiece.training.tail_drop import TailDropConfig

    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # it knows no meta device
    data = side_data("classify")
    view = replace(head_module("classify").head_config, grid=2, linear_picture=True)
    module = head_module(
        "classify",
        head=view,
        mirror=mirror,
        views=ViewConfig(brightness=0.1),
        tail_drop=TailDropConfig(lengths="per_sample"),
    )
    module.build(data.codec.tokenizer, data.classes, b"abcd")
    samples = data.samples(0, batch=2)
    lengths = None if ends is None else torch.tensor(ends, device="meta")
    batch = CodeSamples(samples.indices.to("meta"), samples.targets.to("meta"), lengths)
    assert module.to("meta").step_loss(batch, torch.Generator()).is_meta


def test_views_that_disagree_with_something_are_refused(head_module: Any) -> None:
    from dataclasses import replace

    from onedpiece.training.augment import ViewConfig

    with pytest.raises(ValueError, match="this head has none"):
        head_module("classify", views=ViewConfig(flip=True))
    both = replace(head_module("segment").head_config, linear_picture=True)
    with pytest.raises(ValueError, match="disagree with code tokens"):
        head_module("segment", head=both, views=ViewConfig(flip=True))
    assert head_module("segment", head=both, views=ViewConfig(colour=0.1)).views.alters


def test_a_resumed_run_ends_where_the_first_would_have(
    side_data: Any, head_module: Any, fit: Any, tmp_path: Path
) -> None:
    from lightning.pytorch.callbacks import ModelCheckpoint

    whole = head_module("classify", steps=6)
    keep = ModelCheckpoint(tmp_path / "ckpt", every_n_train_steps=3, save_top_k=-1, filename="{step}")
    fit(whole, side_data("classify"), callbacks=[keep], enable_checkpointing=True)

    class Rest(type(side_data("classify"))):  # type: ignore[misc]
        def train_dataloader(self) -> Any:
            return (self.samples(seed) for seed in range(103, 200))

    resumed = head_module("classify", steps=6)
    data = Rest("classify", side_data("classify").codec.tokenizer)
    fit(resumed, data, ckpt=tmp_path / "ckpt" / "step=3.ckpt")
    assert resumed.global_step == 6
    assert resumed.clock.seconds > 0
    for a, b in zip(whole.averaged.parameters(), resumed.averaged.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-6)


def test_the_file_says_what_was_measured(side_data: Any, head_module: Any, fit: Any, tmp_path: Path) -> None:
    module, data = head_module("classify", steps=4, note="two sides"), side_data("classify")
    trainer = fit(module, data)
    trainer.validate(module, datamodule=data, verbose=False)
    loaded = load_head(module.export(tmp_path / "head.safetensors"))
    assert loaded.code_space == b"abcd"
    assert loaded.head.config.classes == ("dark", "light")
    assert loaded.note.startswith("two sides; 0.")
    assert "4 steps; accuracy" in loaded.note
    assert " at 16 tokens" in loaded.note
    from onedpiece.bitstream import Code

    with pytest.raises(HeadError, match="of code space 7778797a, the head reads code space 61626364"):
        loaded.predict(Code(data.samples(0).indices[0].numpy(), 4096, b"wxyz"))


def test_time_ends_a_run(side_data: Any, head_module: Any, fit: Any) -> None:
    from onedpiece.training.optimizer import ScheduleConfig

    module = head_module("classify", schedule=ScheduleConfig(minutes=0.01))  # 0.6 seconds
    fit(module, side_data("classify"))
    assert 0.6 <= module.clock.seconds < 5
    assert module.global_step >= 1
