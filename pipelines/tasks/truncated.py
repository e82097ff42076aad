"""Complete values of a JSON object that was cut off anywhere, as by a limit of tokens.

A value counts if the text shows that it is complete: a number, or a word such as `true`, must be
followed by something else. A list keeps its complete items and an object its complete members; an
object that is an item of a list and is incomplete is dropped. Takes linear time. Knows no schemas.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

_BLANK = re.compile(r"[ \t\n\r]*")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_ATOM = re.compile(r"[-+.\w]+")
_MAX_DEPTH = 200


class Truncated(Exception):  # it is the normal end of a text that was cut off
    """The text ends inside a value; raised within this module only.

    `rest` has the complete parts of that value, a list or an object; None for any other value.
    """

    def __init__(self, rest: Any = None) -> None:
        self.rest = rest


def complete_values(text: str, parse: Callable[[str], Any] = json.loads) -> dict[str, Any]:
    """Return the complete members of the JSON object in `text`, which may be cut off anywhere.

    Of a member that is an incomplete list or object, the complete items or members are kept; any
    other incomplete member is left out. {} for a blank text. `parse` returns the value of a JSON
    string, number or word (`true`) and may raise ValueError. Raises ValueError if the text is
    neither a JSON object nor the beginning of one.
    """
    at = _skip(text, 0)
    if at == len(text):
        return {}
    if text[at] != "{":
        raise ValueError("not a JSON object")
    try:
        values, end = _Reader(text, parse).value(at, 0)
    except Truncated as cut:
        return dict(cut.rest)
    if _skip(text, end) < len(text):
        raise ValueError(
            f"more text behind the JSON object, at character {end}; end the answer with the object"
        )

    return dict(values)


class _Reader:
    """Reads the values of one text; each method returns a value and the place behind it."""

    def __init__(self, text: str, parse: Callable[[str], Any]) -> None:
        self._text = text
        self._parse = parse

    def value(self, at: int, depth: int) -> tuple[Any, int]:
        """Read the value at `at`. Raises Truncated if the text ends first, else ValueError."""
        if depth > _MAX_DEPTH:
            raise ValueError("nested too deeply")
        match self._text[at : at + 1]:
            case "":
                raise Truncated
            case "{":
                return self._object(at + 1, depth + 1)
            case "[":
                return self._list(at + 1, depth + 1)
            case '"':
                return self._string(at)
        atom = _ATOM.match(self._text, at)
        if atom is None:
            raise ValueError(f"no JSON value at character {at}")
        if atom.end() == len(self._text):
            raise Truncated
        return self._parse(atom[0]), atom.end()

    def _string(self, at: int) -> tuple[Any, int]:
        string = _STRING.match(self._text, at)
        if string is None:
            raise Truncated
        return self._parse(string[0]), string.end()

    def _list(self, at: int, depth: int) -> tuple[list[Any], int]:
        items: list[Any] = []
        try:
            at = self._next(at)
            while self._text[at] != "]":
                item, at = self._item(at, depth)
                items.append(item)
                at = self._separated(at, "]")
        except Truncated:
            raise Truncated(items) from None
        return items, at + 1

    def _item(self, at: int, depth: int) -> tuple[Any, int]:
        try:
            return self.value(at, depth)
        except Truncated:
            raise Truncated from None

    def _object(self, at: int, depth: int) -> tuple[dict[str, Any], int]:
        members: dict[str, Any] = {}
        try:
            at = self._next(at)
            while self._text[at] != "}":
                if self._text[at] != '"':
                    raise ValueError(self._unexpected(at, "the name of a field in double quotes"))
                name, at = self._string(at)
                at = self._next(at)
                if self._text[at] != ":":
                    raise ValueError(self._unexpected(at, "a colon"))
                at = self._member(members, name, self._next(at + 1), depth)
                at = self._separated(at, "}")
        except Truncated:
            raise Truncated(members) from None
        return members, at + 1

    def _member(self, members: dict[str, Any], name: str, at: int, depth: int) -> int:
        try:
            members[name], at = self.value(at, depth)
        except Truncated as cut:
            if cut.rest is not None:
                members[name] = cut.rest
            raise
        return at

    def _unexpected(self, at: int, expected: str) -> str:
        return f"{self._text[at]!r} at character {at}, where {expected} must be; add it"

    def _separated(self, at: int, closing: str) -> int:
        """Return the place of the next item behind a comma, or of the closing bracket."""
        at = self._next(at)
        if self._text[at] == closing:
            return at
        if self._text[at] != ",":
            raise ValueError(self._unexpected(at, f"a comma or {closing}"))

        return self._next(at + 1)

    def _next(self, at: int) -> int:
        """Return the place of the next character that is not blank."""
        at = _skip(self._text, at)
        if at == len(self._text):
            raise Truncated
        return at


def _skip(text: str, at: int) -> int:
    blank = _BLANK.match(text, at)
    assert blank is not None
    return blank.end()
