"""Compare the values of answers: recognize equal spellings, and texts that state nothing.

Knows no schema besides the constants it allows, no prompts and no engine.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from pipelines.tasks.schema import JsonSchema, field_schemas, is_tuple, item_schema
from pipelines.text.dates import DayOrder, find_dates
from pipelines.text.durations import duration_of
from pipelines.text.names import words_of
from pipelines.text.numbers import ascii_digits

_FILLERS = frozenset(
    {"n/a", "n.a", "unknown", "none", "null", "nil", "unspecified", "undisclosed"}
    | {f"not {word}" for word in ("stated", "specified", "given", "provided", "available")}
    | {f"not {word}" for word in ("found", "mentioned", "applicable", "disclosed", "known")}
)
_BRACKETS = "()[]<>{}\"'`*_ "
_DASHES = "-–—−"
_MAX_READ_CHARACTERS = 200
_CACHED_TEXTS = 4096
# 5,000 and 1.234.567, but not 1.234, which may be a fraction
_GROUPED = re.compile(
    r"(?<![\w.,])[1-9]\d{0,2}(?:(?:[,'’ \u00a0\u202f]\d{3})+|(?:\.\d{3}){2,})(?![\w.,]?\d)"
)
_MARK = re.compile(r"[^\w\s.,]")


def normalize_text(text: str) -> str:
    """Return a text for comparison: in lower case, with single spaces, without final full stops."""
    return " ".join(text.casefold().split()).rstrip(".")


def value_key(value: Any) -> str:
    """Return a key that is equal for JSON values that differ only in spelling.

    Texts differ only in spelling if `normalize_text` returns the same for them after Unicode
    normalization (NFKC); numbers if they are equal, such as 3 and 3.0. Lists and objects are
    compared item by item; the order of an object's fields does not matter.
    """
    plain = _plain(value)
    return f'"{plain}"' if isinstance(plain, str) else json.dumps(plain, sort_keys=True)


def _plain(value: Any) -> Any:
    match value:
        case bool():
            return value
        case str():
            return normalize_text(
                value if value.isascii() else unicodedata.normalize("NFKC", value)
            )
        case int() | float():
            # larger integers are not exact as floats
            return float(value) if abs(value) < 2**53 else value
        case list() | tuple():
            return [_plain(item) for item in value]
        case Mapping():
            return {name: _plain(item) for name, item in value.items()}
    return value


def meaning_key(value: Any) -> str:
    """Return a key that is equal for JSON values that state the same, in whatever spelling.

    Besides the spellings of `value_key`, texts state the same if both are the same full date or
    duration as a whole, such as 2024-03-01 and `1 March 2024`, or if they differ only in thousand
    separators, commas, full stops and the legal form's spelling (`Acme Corp.`, `Acme Corporation`).
    """
    if isinstance(value, str) and len(value) <= _MAX_READ_CHARACTERS:
        return _meaning_of_text(value)
    return value_key(value)


@lru_cache(_CACHED_TEXTS)
def _meaning_of_text(text: str) -> str:
    plain = _GROUPED.sub(lambda match: re.sub(r"\D", "", match[0]), ascii_digits(text.strip(" .")))
    dates = find_dates(plain, DayOrder.UNCLEAR)
    if [place[:2] for place in dates] == [(0, len(plain))]:
        return f"date {dates[0][2]}"
    if duration := duration_of(plain):
        return f"duration {duration}"
    words = words_of(plain)
    return f"words {words} {_MARK.findall(plain)}" if words else value_key(text)


def contains(whole: Any, part: Any) -> bool:
    """Return whether `part` is the text `whole` cut off at one end, as at the border of a chunk.

    It is if `part` is a shorter text of at least three characters with which `whole` begins or
    ends, in the form of `normalize_text`. False if either is not a text.
    """
    if not isinstance(whole, str) or not isinstance(part, str):
        return False
    longer, shorter = normalize_text(whole), normalize_text(part)
    is_part = 3 <= len(shorter) < len(longer)
    return is_part and (longer.startswith(shorter) or longer.endswith(shorter))


def is_filler(text: str) -> bool:
    """Return whether a text only says that there is no value, such as `N/A`, `-`, `Not stated`."""
    words = normalize_text(text).strip(_BRACKETS)
    return words.rstrip(".") in _FILLERS or not words.strip(_DASHES + ".")


def without_fillers(value: Any, schema: JsonSchema) -> Any:
    """Return a JSON value in which every placeholder text, such as `N/A`, is None.

    `is_filler` recognizes these texts. A text that the normalized schema's `enum` or `const` allows
    stays. Items of lists keep their index. A fixed tuple becomes a Python tuple, unchanged, or None
    if each of its items is null or a placeholder.
    """
    match value:
        case str():
            allowed = [*schema.get("enum", ()), *([schema["const"]] if "const" in schema else ())]
            return None if value not in allowed and is_filler(value) else value
        case Mapping():
            fields = field_schemas(value, schema)
            return {
                name: without_fillers(item, fields.get(name, {})) for name, item in value.items()
            }
        case list() if is_tuple(schema):
            stated = [
                without_fillers(item, item_schema(schema, at)) for at, item in enumerate(value)
            ]
            return None if all(item is None for item in stated) else tuple(value)
        case list():
            return [without_fillers(item, item_schema(schema, at)) for at, item in enumerate(value)]
    return value
