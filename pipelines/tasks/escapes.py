"""Translates the escapes and character classes of ECMA-262's patterns to RE2's syntax."""

from __future__ import annotations

import re
from collections.abc import Iterator

ESCAPE = (
    r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u\{[0-9a-fA-F]{1,6}\}"
    r"|\\u[0-9a-fA-F]{4}|\\x\{[0-9a-fA-F]{1,6}\}|\\x[0-9a-fA-F]{2}|\\[pP]\{[^}]*\}|\\[pP]\w"
    r"|\\c[A-Za-z]|\\."
)
"""Pattern of one escape of ECMA-262, also of a surrogate pair."""
_IN_CLASS = re.compile(rf"(?P<escape>{ESCAPE})|(?P<character>.)", re.DOTALL)
_SPACES = (
    r"\t\n\v\f\r \x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}\x{feff}"
)


class PatternError(ValueError):
    """A pattern is invalid, too large, or not supported.

    The message says what is wrong and what to write instead, but does not repeat the pattern.
    """


def translate_class(inner: str) -> Iterator[str]:
    """Yield the elements of a character class, without its brackets, in RE2's syntax.

    Raises PatternError.
    """
    for match in _IN_CLASS.finditer(inner):
        if match[0] == r"\s":
            yield _SPACES
        elif match[0] == r"\b":
            yield r"\x08"
        elif match[0] == r"\S":
            yield match[0]
        else:
            # ECMA-262 has no POSIX classes such as [:alpha:], so a bracket is a plain character
            yield translate_escape(match[0]) if match["escape"] else match[0].replace("[", r"\[")


def translate_escape(text: str) -> str:
    """Return an escape such as `\\d` in RE2's syntax. Raises PatternError."""
    kind = text[1]
    if kind == "s":
        return f"[{_SPACES}]"
    if kind == "S":
        return f"[^{_SPACES}]"
    if kind == "u":
        return rf"\x{{{_code_point(text):x}}}"
    if kind == "c":
        return rf"\x{{{ord(text[2]) % 32:x}}}" if len(text) > 2 else text
    if text == r"\0":
        return r"\x00"
    if kind in "123456789k":
        raise PatternError(
            f"the backreference {text} is not supported; write out the texts that may occur there, "
            f"or check it in the output"
        )
    if kind in "CQE":
        return kind
    return text


def _code_point(text: str) -> int:
    r"""Return the code point of \uHHHH, \u{H...}, or a surrogate pair of two \uHHHH."""
    codes = [int(code.strip("{}") or "0", 16) for code in text.split(r"\u")[1:]]
    if len(codes) == 2:
        return 0x10000 + ((codes[0] - 0xD800) << 10) + (codes[1] - 0xDC00)
    return codes[0]
