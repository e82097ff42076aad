"""Texts that a `write` task asks for: its questions' words, and the joining of parts.

Knows texts only; knows no prompts and no engine.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.text.characters import LINE_BREAK, is_unspaced

WRITTEN_TOKENS = 512
"""The maximum length of an answer in tokens, if the task sets none and it follows no part."""
_BLANK_LINE = re.compile(rf"{LINE_BREAK}[^\S\n\r]*{LINE_BREAK}")
_LINE_BREAK = re.compile(LINE_BREAK)
# What may stand between two parts, from the weakest to the strongest.
_NOTHING, _BLANK, _LINE, _PARAGRAPH = "", " ", "\n", "\n\n"
_SEPARATORS = (_NOTHING, _BLANK, _LINE, _PARAGRAPH)


@dataclass(frozen=True, slots=True)
class WrittenPart:
    """Holds the text that the model wrote about one part of a document, text[start:end]."""

    start: int
    end: int
    written: str


def part_text(prompt: str) -> str:
    """Return the question about a part of a document, for the user's `prompt`."""
    return (
        f"{prompt}\nDo this with the whole part, from its first sentence to its last. Write only "
        "the result."
    )


def join_parts(parts: Sequence[WrittenPart], text: str) -> str:
    """Return what was written about the parts of `text`, joined in their order.

    Between two parts stands what stands between them in the text: a blank line, a line break, a
    blank or nothing. A blank is left out between words of scripts without blanks, such as Chinese,
    and put in where the text is of such a script and what was written is not. A part about which
    nothing was written leaves no trace but the stronger separator of its two sides.
    """
    pieces: list[str] = []
    separator, last = _NOTHING, None
    for part in parts:
        if last is not None:
            separator = max(separator, _separator(text, last, part), key=_SEPARATORS.index)
        last = part
        if written := part.written.strip():
            if pieces:
                pieces.append(_fitting(separator, pieces[-1], written))
            pieces.append(written)
            separator = _NOTHING
    return "".join(pieces)


def _separator(text: str, before: WrittenPart, after: WrittenPart) -> str:
    """Return what separates two parts in the text, whose white space may be in either of them."""
    words = text[before.start : before.end].rstrip()
    following = text[after.start : after.end].lstrip()
    space = text[before.start + len(words) : after.end - len(following)]
    if _BLANK_LINE.search(space):
        return _PARAGRAPH
    if _LINE_BREAK.search(space):
        return _LINE
    return _BLANK if space or is_unspaced(text, after.start) else _NOTHING


def _fitting(separator: str, before: str, after: str) -> str:
    """Return the separator, but no blank between two texts of scripts without blanks."""
    unspaced = is_unspaced(before, len(before)) and is_unspaced(after, 0)
    return _NOTHING if separator == _BLANK and unspaced else separator
