"""Regular expressions from job files and requests, matched in time linear in the text.

JSON Schema patterns use ECMA-262 syntax. They are translated to RE2, which does not backtrack, so
no pattern and text can take exponential time. Constructs that RE2 lacks (backreferences,
lookbehinds, most lookaheads) are rejected when the pattern is compiled. A lookahead directly after
a leading `^` is compiled as a pattern of its own. Knows no schemas.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

import re2

from pipelines.tasks.escapes import ESCAPE, PatternError, translate_class, translate_escape

_MAX_CHARACTERS = 2000
_MAX_PATTERN_POSITIONS = 1000
MAX_POSITIONS = 5000
"""The maximum of `Pattern.positions`, summed over all patterns of a schema."""
# Positions that RE2's program has for a Unicode class such as \p{L}.
_UNICODE_POSITIONS = 20
# RE2's memory limit for one pattern.
_MAX_BYTES = 2**19
_CACHED_PATTERNS = 256

_TOKEN = re.compile(
    rf"(?P<escape>{ESCAPE})"
    r"|(?P<class>\[\^?(?:\\.|[^\]\\])*\])"
    r"|(?P<open>\((?:\?(?:[:=!]|<[=!]|P?<\w+>|[A-Za-z-]*[:)])?)?)"
    r"|(?P<close>\))"
    r"|(?P<bar>\|)"
    r"|(?P<repeat>(?:[*+?]|\{(?P<min>\d+)(?:,(?P<max>\d*))?\})\??)"
    r"|(?P<edge>[$^])"
    r"|(?P<character>.)",
    re.DOTALL,
)
_KINDS = ("escape", "class", "open", "close", "bar", "repeat", "edge", "character")
_UNICODE = re.compile(r"\\[pP]")
_LOOKAHEADS = ("(?=", "(?!")
_NO_LOOKAROUND = (
    "lookaheads are supported only directly after a leading ^, in a pattern without | outside of "
    "groups, and lookbehinds are not supported; describe what is allowed instead of what is not, "
    "or check it in the output"
)


@dataclass(frozen=True, slots=True)
class Pattern:
    """A compiled regular expression, made by `compile_pattern`.

    Attributes:
        positions: the pattern's size: its characters, character classes and lookaheads, each
            counted as often as it is repeated, so that `a{3}b` has 4. For each character of a text
            RE2 visits every position at most once, which takes at most 0.1 microseconds each.
    """

    positions: int
    _required: tuple[Any, ...]
    _forbidden: tuple[Any, ...]

    def matches(self, text: str) -> bool:
        """Return whether the pattern matches anywhere in the text."""
        data = text.encode("utf-8", "replace")
        return all(regex.search(data) for regex in self._required) and not any(
            regex.search(data) for regex in self._forbidden
        )


@dataclass(frozen=True, slots=True)
class _Token:
    """A lexical element of a pattern.

    For a repetition, `times` is how many copies of the repeated element RE2's program contains, and
    `optional` whether each copy can be skipped.
    """

    kind: str
    text: str
    times: int = 1
    optional: bool = False


@lru_cache(_CACHED_PATTERNS)
def compile_pattern(pattern: str) -> Pattern:
    """Compile a pattern in the ECMA-262 syntax of JSON Schema.

    Raises PatternError, with the remedy, if it is invalid or not supported, or if it is too large:
    at most 2,000 characters and 1,000 `Pattern.positions` are allowed.
    """
    if len(pattern) > _MAX_CHARACTERS:
        raise PatternError(
            f"has {len(pattern)} characters, more than {_MAX_CHARACTERS}, the limit; shorten it"
        )
    tokens = [_token(match) for match in _TOKEN.finditer(pattern)]
    size = _positions(tokens)
    if size > _MAX_PATTERN_POSITIONS:
        raise PatternError(
            f"has {size} characters and classes, each counted as often as it is repeated, more "
            f"than {_MAX_PATTERN_POSITIONS}, the limit; replace a large {{m,n}} by * or +, and "
            f"limit the length with minLength and maxLength"
        )
    remainder, required, forbidden = _split_lookaheads(tokens)
    return Pattern(
        size,
        tuple(_compile(regex) for regex in (*map(_anchored, required), remainder)),
        tuple(_compile(_anchored(lookahead)) for lookahead in forbidden),
    )


def _anchored(tokens: Sequence[_Token]) -> str:
    return f"^(?:{_translate(tokens)})"


def _token(match: re.Match[str]) -> _Token:
    kind = next(name for name in _KINDS if match[name] is not None)
    if kind != "repeat":
        return _Token(kind, match[0])
    # nine digits are far above the limit, and quick to convert
    times = [int(bound[:9]) for bound in (match["min"], match["max"]) if bound]
    optional = match["max"] is not None or not times
    return _Token(kind, match[0], max([1, *times]), optional)


def _positions(tokens: Sequence[_Token]) -> int:
    """Count the characters, classes and lookaheads of a pattern, each as often as it is repeated.

    Each open group has two counts: of its elements before the last one, and of the last one, which
    a repetition that follows multiplies.
    """
    groups = [[0, 0]]
    for token in tokens:
        group = groups[-1]
        if token.kind == "repeat":
            group[1] = (group[1] + token.optional) * token.times
        elif token.kind == "close" and len(groups) > 1:
            groups.pop()
            groups[-1][1] += sum(group)
        else:
            # the element before this one is complete: no repetition can follow it any more
            group[:] = sum(group), _token_positions(token)
            if token.kind == "open" and not _is_flags(token):
                groups.append([0, 0])
    return sum(map(sum, groups))


def _token_positions(token: _Token) -> int:
    if token.kind not in ("escape", "class", "character") and token.text not in _LOOKAHEADS:
        return 0
    return max(1, _UNICODE_POSITIONS * len(_UNICODE.findall(token.text)))


def _is_flags(token: _Token) -> bool:
    """Return whether an opening token is a flag group that is already closed, such as `(?i)`."""
    return token.text.endswith(")")


def _split_lookaheads(
    tokens: list[_Token],
) -> tuple[str, list[list[_Token]], list[list[_Token]]]:
    """Separate the lookaheads after a leading `^` from the rest of the pattern.

    Returns the rest as an RE2 pattern, the contents of the positive lookaheads, and those of the
    negative ones. Raises PatternError for any other lookaround.
    """
    required: list[list[_Token]] = []
    forbidden: list[list[_Token]] = []
    rest = tokens
    while len(rest) > 1 and rest[0].text == "^" and rest[1].text in _LOOKAHEADS:
        end = _group_end(rest, 1)
        (required if rest[1].text == "(?=" else forbidden).append(rest[2:end])
        rest = [rest[0], *rest[end + 1 :]]
    if (required or forbidden) and (
        _has_alternatives(rest) or (len(rest) > 1 and rest[1].kind == "repeat")
    ):
        raise PatternError(_NO_LOOKAROUND)
    return _translate(rest), required, forbidden


def _group_end(tokens: Sequence[_Token], start: int) -> int:
    """Return the index of the token that closes the group opened at `start`."""
    depth = 0
    for at in range(start, len(tokens)):
        token = tokens[at]
        depth += (token.kind == "open" and not _is_flags(token)) - (token.kind == "close")
        if depth == 0:
            return at
    raise PatternError("a group is not closed; add the missing )")


def _has_alternatives(tokens: Sequence[_Token]) -> bool:
    """Return whether there is a `|` outside of all groups."""
    depth = 0
    for token in tokens:
        depth += (token.kind == "open" and not _is_flags(token)) - (token.kind == "close")
        if token.kind == "bar" and depth == 0:
            return True
    return False


def _translate(tokens: Sequence[_Token]) -> str:
    """Return the tokens in RE2's syntax. Raises PatternError."""
    return "".join(map(_translate_token, tokens))


def _translate_token(token: _Token) -> str:
    if token.text in (*_LOOKAHEADS, "(?<=", "(?<!"):
        raise PatternError(_NO_LOOKAROUND)
    if token.kind == "escape":
        return translate_escape(token.text)
    if token.kind != "class":
        return token.text
    if token.text in ("[]", "[^]"):
        raise PatternError(
            rf"{token.text} is an empty character class; write \] for a bracket in a class, or "
            r"[\s\S] for any character"
        )
    inverted = token.text.startswith("[^")
    inner = token.text[1 + inverted : -1]
    return f"[{'^' * inverted}{''.join(translate_class(inner))}]"


@cache
def _options() -> Any:
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _MAX_BYTES
    options.never_capture = True
    return options


def _compile(regex: str) -> Any:
    """Compile a pattern in RE2's syntax. Raises PatternError."""
    try:
        return re2.compile(regex.encode(), options=_options())
    except UnicodeEncodeError:
        raise PatternError(
            "contains a lone surrogate, which cannot be encoded as UTF-8; write the whole pair"
        ) from None
    except re2.error as error:
        reason = error.args[0] if error.args else ""
        message = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        remedy = "use ECMA-262 syntax without lookbehinds and backreferences"
        if "too large" in message:
            remedy = r"use fewer \p{...}, and + in place of {m,n}"
        raise PatternError(f"not supported by RE2 ({message}); {remedy}") from None
