"""The size of a JSON value, for limits on what a client may send. Knows no schemas and no tasks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class JsonSize:
    """The size of a JSON value.

    `depth` is the number of levels of its objects and lists, 0 for a text or a number. `parts` is
    the number of values at all levels, itself included; keys of objects do not count.
    """

    depth: int
    parts: int

    @classmethod
    def of(cls, value: Any) -> JsonSize:
        """Return the size of `value`. Uses no recursion, so that it works at any depth."""
        depth, parts, level = 0, 1, [value]
        while level := [item for item in level if isinstance(item, dict | list | tuple)]:
            depth += 1
            level = [
                child
                for item in level
                for child in (item.values() if isinstance(item, dict) else item)
            ]
            parts += len(level)
        return cls(depth, parts)
