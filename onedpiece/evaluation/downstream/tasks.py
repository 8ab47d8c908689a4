"""Tasks by name."""

from pathlib import Path

from onedpiece.evaluation.downstream.base import Task
from onedpiece.evaluation.downstream.recognition import Classify, Detect, Segment, read_boxes
from onedpiece.evaluation.downstream.similarity import Clip, Depth
from onedpiece.evaluation.photos import read_class_labels
from onedpiece.weights.third_party import torchvision_network, transformers_pair

TASKS = {
    "classify": "squeezenet1_1",
    "detect": "fasterrcnn_mobilenet_v3_large_320_fpn",
    "segment": "deeplabv3_mobilenet_v3_large",
    "depth": "depth-anything/Depth-Anything-V2-Small-hf",
    "clip": "openai/clip-vit-base-patch32",
}
"""Every task, with the network that stands for it by default: the smallest usual one of its kind."""


def load_task(name: str, network: str | None = None, labels: Path | None = None, device: str = "cpu") -> Task:
    """Return a task with its network loaded.

    Args:
        name: one of TASKS.
        network: another network of the same kind: torchvision's name, or the hub's for depth and clip.
        labels: classify: a TSV of file and imagenet_class_index; detect: a JSON of boxes; segment: a folder
            of masks. None: the network's own output on the original counts as right.
        device: where the network runs, as torch names it.

    Raises:
        ValueError: no such task or network, or labels that cannot be read or that the task takes none of.
        MissingWeightsError: the network's weights are neither on the machine nor to be downloaded.
        MissingExtraError: an extra is missing; the message names it.
    """
    if name not in TASKS:
        raise ValueError(f"no task {name!r}; there are: {', '.join(TASKS)}")
    network = network or TASKS[name]
    if name in ("classify", "detect", "segment"):
        return _recognition(name, network, labels, device)
    if labels:
        raise ValueError(f"{name} compares with the original and takes no labels")
    if name == "depth":
        processor, model = transformers_pair(network, "AutoModelForDepthEstimation")
        return Depth(processor, model.to(device))
    processor, model = transformers_pair(network, "CLIPModel")
    return Clip(processor, model.to(device))


def _recognition(name: str, network: str, labels: Path | None, device: str) -> Task:
    pretrained = torchvision_network(network)
    pretrained.network.to(device)
    if name == "classify":
        return Classify(pretrained, read_class_labels(labels) if labels else None)
    if name == "detect":
        return Detect(pretrained, read_boxes(labels) if labels else None)
    return Segment(pretrained, labels)
