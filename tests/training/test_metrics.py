import pytest
import torch

from onedpiece.heads import Boxes, ClassLogits, DepthMap, Head, HeadConfig, MaskLogits, build_head
from onedpiece.tokenizer import Tokenizer
from onedpiece.training.codes import BoxTarget, CodeSamples
from onedpiece.training.metrics import Score, TaskMetric, evaluate


def test_accuracy_is_over_photos_not_classes() -> None:
    metric = TaskMetric("classify", 3)
    metric.update(ClassLogits(torch.eye(3)[[0, 0]]), torch.tensor([0, 0]))
    metric.update(ClassLogits(torch.eye(3)[[0, 2]]), torch.tensor([1, 1]))
    assert metric.value() == 0.5  # two of four; the mean over classes would be 0.5 · (1 + 0)


def test_a_teachers_likeliest_class_is_the_true_one() -> None:
    metric = TaskMetric("classify", 3)
    metric.update(ClassLogits(torch.eye(3)[[0, 2]]), torch.tensor([[0.5, 0.3, 0.2], [0.6, 0.1, 0.3]]))
    assert metric.value() == 0.5


def test_miou_leaves_void_out() -> None:
    logits = torch.zeros(1, 2, 2, 2)
    logits[:, 0, 0] = logits[:, 1, 1] = 1  # the upper row 0, the lower 1
    metric = TaskMetric("segment", 2)
    metric.update(MaskLogits(logits), torch.tensor([[[0, 7], [1, 0]]], dtype=torch.uint8))
    # Class 0: one of {upper left, lower right}; class 1: one of {lower left, lower right}; 7 is void.
    assert metric.value() == pytest.approx(0.5)


def test_absrel_skips_unknown_places() -> None:
    metric = TaskMetric("depth", 0)
    meters = torch.tensor([[[[2.0, 3.0], [5.0, 5.0]]]])
    metric.update(DepthMap(meters), torch.tensor([[[4.0, 0.0], [4.0, 5.0]]]))
    # 2 for 4 is half too near, 3 has no truth, 5 for 4 a quarter too far, 5 is right: (1/2 + 1/4) / 3.
    assert metric.value() == pytest.approx(0.25)


@pytest.mark.parametrize(("shift", "expected"), [(0.0, 1.0), (0.1, 1.0), (0.2, 0.0)])
def test_ap50_asks_for_half_of_the_union(shift: float, expected: float) -> None:
    # A box of half a side, shifted by s: (0.5 - s) / (0.5 + s) is 0.67 for 0.1 and 0.43 for 0.2.
    pytest.importorskip("pycocotools")
    metric = TaskMetric("detect", 1)
    boxes = torch.tensor([[[0.25 + shift, 0.25, 0.5, 0.5]]])
    truth = BoxTarget(torch.tensor([[0.0, 0.0, 0.5, 0.5]]), torch.tensor([0]))
    metric.update(Boxes(torch.tensor([[[5.0, 0.0]]]), boxes), [truth])
    assert metric.value() == pytest.approx(expected)


def test_a_box_that_is_hardly_sure_still_counts() -> None:
    pytest.importorskip("pycocotools")
    metric = TaskMetric("detect", 1)
    truth = BoxTarget(torch.tensor([[0.0, 0.0, 0.5, 0.5]]), torch.tensor([0]))
    metric.update(Boxes(torch.tensor([[[0.0, 5.0]]]), torch.tensor([[[0.25, 0.25, 0.5, 0.5]]])), [truth])
    assert metric.value() == pytest.approx(1.0)  # "nothing" is likelier, and no class of objects


def test_a_metric_counts_where_the_outputs_lie() -> None:
    metric = TaskMetric("classify", 3)
    metric.update(ClassLogits(torch.ones(2, 3, device="meta")), torch.zeros(2, device="meta").long())


def test_evaluate_reads_each_count(small_tokenizer: Tokenizer) -> None:
    torch.manual_seed(0)
    config = HeadConfig(classes=("a", "b"), width=32, heads=2, layers=1)
    head = build_head(config, small_tokenizer)
    seen: list[int] = []
    head.backbone.embed.register_forward_pre_hook(lambda _, args: seen.append(args[0].shape[1]))
    samples = CodeSamples(torch.randint(4096, (4, 16)), torch.tensor([0, 1, 0, 1]))
    scores = evaluate(head.train(), [samples, samples], (2, 16, 256))
    assert seen == [2, 16, 2, 16]  # 256 is more than there are, and 16 is there already
    assert [(score.name, score.tokens) for score in scores] == [("accuracy", 2), ("accuracy", 16)]
    assert all(isinstance(score, Score) and score.value in (0, 0.25, 0.5, 0.75, 1) for score in scores)
    assert isinstance(head, Head)
    assert not head.training
