"""Paths of values in an answer: `parties[2].name`, and `rates["U.S."]` for names with punctuation.

The path of a whole answer is "". Knows no schemas.
"""

from __future__ import annotations

import json
import re

# Names that cannot be confused with the rest of a path.
_PLAIN = re.compile(r'[^.\[\]"]+')


def field_path(path: str, name: str) -> str:
    """Return the path of an object's field, or of a map's entry; `path` is that of the object."""
    if not _PLAIN.fullmatch(name):
        return f"{path}[{json.dumps(name, ensure_ascii=False)}]"
    return f"{path}.{name}" if path else name


def item_path(path: str, index: int) -> str:
    """Return the path of an item of the list at `path`."""
    return f"{path}[{index}]"
