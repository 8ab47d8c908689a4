"""The reducers by name."""

import dataclasses
from typing import Any

from onedpiece.retokenize.vit.evit_reducer import EvitReducer
from onedpiece.retokenize.vit.imagepiece_reducer import ImagePieceReducer
from onedpiece.retokenize.vit.mctf_reducer import MctfReducer
from onedpiece.retokenize.vit.mustdrop_reducer import MustdropReducer
from onedpiece.retokenize.vit.slimming_reducer import SlimmingReducer
from onedpiece.retokenize.vit.target import Target
from onedpiece.retokenize.vit.tome_reducer import TomeReducer
from onedpiece.retokenize.vit.view import Reducer

# Those without weights; slimming is built from the model's sizes.
REDUCERS: dict[str, type[Any]] = {
    "evit": EvitReducer,
    "imagepiece": ImagePieceReducer,
    "mctf": MctfReducer,
    "mustdrop": MustdropReducer,
    "tome": TomeReducer,
}
SLIMMING_OPTIONS = ("keep", "layers")


def build_reducer(name: str, target: Target, options: dict[str, Any]) -> Reducer:
    """Build the reducer `name` for a model.

    Raises:
        ValueError: the name or an option is unknown.
    """
    if name != "slimming" and name not in REDUCERS:
        raise ValueError(
            f"no reducer is called {name!r}; choose one of {', '.join(sorted([*REDUCERS, 'slimming']))}"
        )
    known = SLIMMING_OPTIONS if name == "slimming" else [f.name for f in dataclasses.fields(REDUCERS[name])]
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise ValueError(f"{name} has no option {', '.join(unknown)}; it knows {', '.join(known)}")
    if name == "slimming":
        return SlimmingReducer(target.dim, target.num_free, **options)
    reducer: Reducer = REDUCERS[name](**options)
    return reducer
