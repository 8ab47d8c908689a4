"""Re-tokenization: fewer tokens inside a transformer, and the way back.

Pure functions, one module a method, all of which return a named tuple with a source map; and `apply`,
which puts any of them into a vision transformer.
"""

from onedpiece.retokenize import evit, imagepiece, losses, mctf, mustdrop, slimming, stem, tome
from onedpiece.retokenize.api import apply, compile_blocks, reconfigured, remove, trace
from onedpiece.retokenize.groups import Fusion, Reduction, compose, unmerge
from onedpiece.retokenize.stack import Trace

__all__ = [
    "Fusion",
    "Reduction",
    "Trace",
    "apply",
    "compile_blocks",
    "compose",
    "evit",
    "imagepiece",
    "losses",
    "mctf",
    "mustdrop",
    "reconfigured",
    "remove",
    "slimming",
    "stem",
    "tome",
    "trace",
    "unmerge",
]
