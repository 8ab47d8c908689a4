"""The heads that come with the package."""

from pathlib import Path

from onedpiece.heads.errors import HeadError

HERE = Path(__file__).parent / "bundled"
_FILES = {"classify": "classify_imagenette.safetensors", "segment": "segment_camvid.safetensors"}


def bundled_head(task: str = "classify") -> Path:
    """Return the file of the bundled head for a task; needs no torch.

    Raises:
        HeadError: none is bundled for this task; the message names those that are.
    """
    if task not in _FILES:
        raise HeadError(f"no head for {task!r} is bundled; there are: {', '.join(_FILES)}")
    return HERE / _FILES[task]
