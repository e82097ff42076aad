r"""Patterns as an engine's grammar takes them: of the JSON text of a string, not of its value.

xgrammar matches a pattern with the characters between the quotation marks, where a line break is
`\n`. A pattern of values, from a schema, is therefore translated, or left to validation if it could
be wrong there. Knows no schemas.
"""

from __future__ import annotations

import re

from pipelines.tasks.patterns import compile_pattern

_ESCAPE = r'\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})'
_CHARACTER = rf'(?:[^"\\\x00-\x1f]|{_ESCAPE})'
_NOT_BLANK = rf'(?:[^"\\\x00-\x20]|{_ESCAPE})'
_MAX_BLANKS = 100
QUOTE = f"^({_NOT_BLANK}* ){{0,{_MAX_BLANKS}}}{_NOT_BLANK}*$"
"""The pattern of a quote's JSON text: any characters and escapes, with at most 100 blanks.

A grammar that counts characters takes a second to compile and 5 ms a token; one that counts blanks
takes 0.02 ms a token, and ends a model's endless repetition as well.
"""
# Counting more takes long to compile and slows down each token.
_MAX_COUNTED = 32
_MAX_POSITIONS = 200
# What has the same meaning in JSON text: no quotation mark, no backslash, no control character.
_SAFE = re.compile(
    r"(?:"
    r"\\[dw./+*?()\[\]{}|^$-]"
    r"|\[(?:\\[dw./+*?()\[\]{}|^$-]|[A-Za-z0-9](?:-[A-Za-z0-9])?|[ !#%&',:;<=>@_`~.+*?/()-])+\]"
    r"|\((?:\?:)?|\)|\||(?:[*+?]|\{\d+(?:,\d*)?\})\??"
    r"|[A-Za-z0-9 !#%&',:;<=>@_`~/-]"
    r"|[\u00a1-\u2fff\u3001-\ud7ff\uf900-\uffef]"
    r")*"
)
_RANGE = re.compile(r"([A-Za-z0-9])-([A-Za-z0-9])")
_LOOKAHEAD = re.compile(r"\^\(\?[=!][^()]*\)")


def json_pattern(pattern: str) -> str | None:
    """Return a pattern of the JSON text of all strings that a schema's pattern matches, or None.

    None means that validation alone checks the pattern: it is not anchored at both ends, too large
    to be decoded quickly, or has constructs with another meaning in JSON text. A leading lookahead
    is dropped, so that more may be decoded than the pattern matches.
    """
    regex = pattern
    while match := _LOOKAHEAD.match(regex):
        regex = f"^{regex[match.end() :]}"
    inner = regex[1:-1]
    anchored = len(regex) > 1 and regex.startswith("^") and regex.endswith("$")
    if not anchored or inner.endswith("\\") or not _SAFE.fullmatch(inner):
        return None
    if any(_kind(low) != _kind(high) or low > high for low, high in _RANGE.findall(inner)):
        return None
    if _is_alternation(inner) or compile_pattern(pattern).positions > _MAX_POSITIONS:
        return None
    return f"^{inner}$"


def _kind(character: str) -> str:
    return "d" if character.isdigit() else "l" if character.islower() else "u"


def _is_alternation(inner: str) -> bool:
    """Return whether there is a `|` outside of groups, which the anchors would not enclose."""
    depth = 0
    for part in re.findall(r"\\.|\[(?:\\.|[^\]\\])*\]|.", inner, re.DOTALL):
        depth += (part == "(") - (part == ")")
        if part == "|" and depth == 0:
            return True
    return False


def length_pattern(least: int, most: int | None) -> str | None:
    """Return a pattern of the JSON text of strings of `least` to `most` characters, or None.

    Only small numbers are counted while decoding; of a large minimum, "not empty" is left.
    """
    if most is not None and most <= _MAX_COUNTED:
        return f"^{_CHARACTER}{{{least},{most}}}$"
    if least > 0:
        return f"^{_CHARACTER}{_CHARACTER}*$"
    return None
