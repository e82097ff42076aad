"""Definitions that contain themselves: how deep they are followed. Knows no columns."""

from __future__ import annotations

from typing import Any

MAX_DEPTH = 4
"""The maximum number of levels of a definition that contains itself in a column."""
ENDLESS = (
    "contains itself in every value, which never ends. Make the property that refers to it "
    "optional, a list, or nullable"
)
"""The error for a definition whose every value contains another value of it, with the remedy."""


class TooDeep(Exception):
    """A definition that contains itself was followed MAX_DEPTH times, the limit, on one path.

    Normalizing catches it and ends the column at that level.

    Attributes:
        reference: the `$ref` that would lead into the definition again, such as `#/$defs/Node`.
        empty: the schema of the only value that can be in place of the definition's: an empty list
            or map, or null. None if no such value is allowed.
    """

    def __init__(self, reference: str, empty: dict[str, Any] | None = None) -> None:
        super().__init__(reference)
        self.reference = reference
        self.empty = empty
