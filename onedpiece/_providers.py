"""What a lower layer asks for and a higher one has, so that imports point down only.

Whoever knows answers adds a source; `onedpiece/__init__.py` adds the package's own, which loads what it needs
when it is first asked.
"""

from collections.abc import Callable
from typing import Any

entropy_tables: dict[bytes, Any] = {}
"""A fingerprint -> the `bitstream.packing.Tables` of its model, as this process was told."""

entropy_table_sources: list[Callable[[bytes], Any]] = []
"""Asked, in this order, for the tables of a fingerprint that is not above; each may answer None."""
