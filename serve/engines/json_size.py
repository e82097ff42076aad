"""The size of a JSON value, for limits on what a client may send. Knows no schemas and no tasks."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

_MAX_PARTS = 1000


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


def size_fault(value: Any, max_depth: int, level: int = 0) -> str | None:
    """Return what is wrong with a client's schema and what to do, or None if an engine can use it.

    The schema is `level` levels inside of `value`, and may be `max_depth` levels deep. The engine
    would take minutes to compile a grammar of some thousand properties. The result follows "got a
    schema" in a message.
    """
    size = JsonSize.of(value)
    if size.depth > max_depth + level:
        return f"nested deeper than {max_depth} levels (limits.schema_depth); send a flatter one"
    if size.parts > _MAX_PARTS:
        return f"of more than {_MAX_PARTS} parts (keys and list items); send a smaller one"
    if not _is_utf8(value):
        return "with a lone surrogate, which cannot be encoded as UTF-8; remove the character"
    return None


def _is_utf8(value: Any) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True
