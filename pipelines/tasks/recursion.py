"""Definitions that contain themselves: how deep they are followed. Knows no columns."""

from __future__ import annotations

from typing import Any

MAX_DEPTH = 4
"""How many levels of a definition that contains itself a column has."""
ENDLESS = (
    "contains itself in every value, which never ends. Make the property that refers to it "
    "optional, a list, or nullable"
)
"""What is wrong with a definition whose every value contains another, and what to do."""


class TooDeep(Exception):
    """A definition contains itself more often than MAX_DEPTH.

    `empty` is the schema of the only value that is left, if the place has to have one: a list or a
    map without items, or null.
    """

    def __init__(self, reference: str, empty: dict[str, Any] | None = None) -> None:
        super().__init__(reference)
        self.reference = reference
        self.empty = empty
