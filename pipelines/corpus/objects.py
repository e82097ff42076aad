"""The members of the objects in one line of JSON, each value as it is written.

Knows JSON's grammar; knows nothing of columns or types.
"""

from __future__ import annotations

import json
import re

Members = list[tuple[str, str]]
"""The members of an object in order: each key, and its value as it is written, to the digit."""
_DECODERS = {strict: json.JSONDecoder(strict=strict) for strict in (True, False)}
_SPACE = re.compile(r"[ \t\r\n]*")


def objects_of(line: bytes, *, strict: bool = True) -> list[Members]:
    """Return the objects in a line, usually one; two where the end of a line is missing between
    them. Unless `strict`, strings may contain control characters, which JSON forbids.

    Bytes that are not UTF-8 become lone surrogates in the result, and `encode` restores them.
    Raises ValueError saying where the line is not JSON, or that it has no object.
    """
    text = line.decode("utf-8", "surrogateescape")
    found: list[Members] = []
    at = _skip(text, 0)
    while not found or at < len(text):
        try:
            members, at = _object(_DECODERS[strict], text, at)
        except json.JSONDecodeError as error:
            fault = error.msg.rstrip(": ").removesuffix(" at")
            raise ValueError(f"{fault} at character {error.pos + 1}") from error
        except RecursionError as error:
            raise ValueError("its values are nested too deeply") from error
        found.append(members)
        at = _skip(text, at)
    return found


def encode(text: str) -> bytes:
    """Return the bytes of a part of a line that `objects_of` returned."""
    return text.encode("utf-8", "surrogateescape")


def _object(decoder: json.JSONDecoder, text: str, at: int) -> tuple[Members, int]:
    """Return the members of the object that begins at `at`, and the place after it."""
    if text[at : at + 1] != "{":
        raise ValueError(_expected("an object", text, at))
    members: Members = []
    at = _skip(text, at + 1)
    if text[at : at + 1] == "}":
        return members, at + 1
    while True:
        key, at = _key(decoder, text, at)
        value = _skip(text, at)
        _, at = decoder.raw_decode(text, value)
        members.append((key, text[value:at]))
        at = _skip(text, at)
        if text[at : at + 1] == "}":
            return members, at + 1
        if text[at : at + 1] != ",":
            raise ValueError(_expected("a comma or }", text, at))
        at = _skip(text, at + 1)


def _key(decoder: json.JSONDecoder, text: str, at: int) -> tuple[str, int]:
    """Return the key that begins at `at`, and the place after its colon."""
    if text[at : at + 1] != '"':
        raise ValueError(_expected("a key in double quotes", text, at))
    key, at = decoder.raw_decode(text, at)
    at = _skip(text, at)
    if text[at : at + 1] != ":":
        raise ValueError(_expected("a colon", text, at))
    return key, at + 1


def _expected(what: str, text: str, at: int) -> str:
    there = f"{encode(text[at])!r}"[1:] if at < len(text) else "the end of the line"
    return f"{what} is missing at character {at + 1}, where it has {there}"


def _skip(text: str, at: int) -> int:
    """Return the place of the first character from `at` on that is no white space of JSON."""
    match = _SPACE.match(text, at)
    assert match is not None
    return match.end()
