"""Paths of values in an answer: `parties[2].name`, and `rates["U.S."]` for names with punctuation.

The path of a whole answer is "". Knows no schemas.
"""

from __future__ import annotations

import json
import re

# Names that cannot be confused with the rest of a path.
_PLAIN = re.compile(r'[^.\[\]"]+')


def field_path(path: str, name: str) -> str:
    """Return the path of the field or map entry `name` of the object at `path`.

    `path` is "" for the whole answer. A name that is empty or has one of the characters `.[]"` is
    written in brackets as a JSON string.
    """
    if not _PLAIN.fullmatch(name):
        return f"{path}[{json.dumps(name, ensure_ascii=False)}]"
    return f"{path}.{name}" if path else name


def item_path(path: str, index: int) -> str:
    """Return the path of the item at `index`, from 0, of the list at `path`."""
    return f"{path}[{index}]"
