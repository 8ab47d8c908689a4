"""What happens beside training: weights, checkpoints, pictures and a line of text now and then."""

from onedpiece.training.callbacks.checkpoints import Checkpoints
from onedpiece.training.callbacks.export import ExportWeights
from onedpiece.training.callbacks.pictures import Pictures
from onedpiece.training.callbacks.progress_line import ProgressLine

__all__ = ["Checkpoints", "ExportWeights", "Pictures", "ProgressLine"]
