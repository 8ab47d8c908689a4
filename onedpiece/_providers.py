"""What a lower layer asks for and a higher one has, so that imports point down only.

The lower layer owns a `Provider`; whoever knows answers registers a source of them. `onedpiece/__init__.py`
registers those of the package, each of which loads what it needs when it is first asked.
"""

from collections.abc import Callable
from typing import Any, Generic, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


class Provider(Generic[Key, Value]):
    """A lookup over what was stated, and then over sources in the order in which they were registered."""

    def __init__(self) -> None:
        self._stated: dict[Key, Value] = {}
        self._sources: list[Callable[[Key], Value | None]] = []

    def __call__(self, key: Key) -> Value | None:
        """Return the value of a key; None where nobody knows one."""
        if key in self._stated:
            return self._stated[key]
        found = (source(key) for source in self._sources)
        return next((value for value in found if value is not None), None)

    def state(self, key: Key, value: Value) -> None:
        """Let a key have this value, whatever the sources say."""
        self._stated[key] = value

    def register(self, source: Callable[[Key], Value | None]) -> None:
        """Ask one more source, once: registering it again changes nothing."""
        if source not in self._sources:
            self._sources.append(source)


entropy_tables: Provider[bytes, Any] = Provider()
"""A model's fingerprint -> the `bitstream.entropy.Tables` of its entropy coder."""
