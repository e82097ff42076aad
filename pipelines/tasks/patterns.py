"""Regular expressions from outside, matched in time that grows with the text and not beyond.

JSON Schema's patterns are those of ECMA-262. They are put to RE2, which keeps no choices to come
back to: no pattern makes it try a text in many ways. What it lacks, backreferences and most
lookarounds, is refused when the pattern is read. A lookahead right behind a leading `^` is a
pattern of its own, and is kept. Knows no schemas.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

import re2

_MOST_CHARACTERS = 2000
_MOST_OF_ONE = 1000
MOST_POSITIONS = 5000
"""The most positions (see `Pattern`) of the patterns of a schema together."""
_UNICODE_POSITIONS = 20
_MOST_BYTES = 2**19
_KEPT = 256

_ESCAPE = (
    r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u\{[0-9a-fA-F]{1,6}\}"
    r"|\\u[0-9a-fA-F]{4}|\\x\{[0-9a-fA-F]{1,6}\}|\\x[0-9a-fA-F]{2}|\\[pP]\{[^}]*\}|\\[pP]\w"
    r"|\\c[A-Za-z]|\\."
)
_TOKEN = re.compile(
    rf"(?P<escape>{_ESCAPE})"
    r"|(?P<class>\[\^?(?:\\.|[^\]\\])*\])"
    r"|(?P<open>\((?:\?(?:[:=!]|<[=!]|P?<\w+>|[A-Za-z-]*[:)])?)?)"
    r"|(?P<close>\))"
    r"|(?P<bar>\|)"
    r"|(?P<repeat>(?:[*+?]|\{(?P<least>\d+)(?:,(?P<most>\d*))?\})\??)"
    r"|(?P<edge>[$^])"
    r"|(?P<character>.)",
    re.DOTALL,
)
_IN_CLASS = re.compile(rf"(?P<escape>{_ESCAPE})|(?P<character>.)", re.DOTALL)
_KINDS = ("escape", "class", "open", "close", "bar", "repeat", "edge", "character")
_UNICODE = re.compile(r"\\[pP]")
_SPACES = (
    r"\t\n\v\f\r \x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}\x{feff}"
)
_AHEAD = ("(?=", "(?!")
_NO_LOOKAROUND = (
    "lookaheads are matched only right behind a ^ that begins the pattern, with no | beside them, "
    "and lookbehinds never; write what is allowed instead of what is not, or check it afterwards"
)


class PatternError(ValueError):
    """A pattern is none, or none that is matched in bounded time. Says what to write instead."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """A regular expression that is looked for in texts. `positions` is its size: characters and
    classes, each as often as it is repeated. For each character of a text RE2 looks at no more of
    them, which takes 0.1 microseconds each at the most."""

    positions: int
    _wanted: tuple[Any, ...]
    _unwanted: tuple[Any, ...]

    def found_in(self, text: str) -> bool:
        """Whether it matches anywhere in the text."""
        data = text.encode("utf-8", "replace")
        return all(each.search(data) for each in self._wanted) and not any(
            each.search(data) for each in self._unwanted
        )


@dataclass(frozen=True, slots=True)
class _Token:
    """A piece of a pattern. What it repeats stands `times` times in the program that RE2 makes, and
    each time can be passed over where it is `optional`."""

    kind: str
    text: str
    times: int = 1
    optional: bool = False


@lru_cache(_KEPT)
def compiled(pattern: str) -> Pattern:
    """The pattern, ready to be looked for. Raises PatternError."""
    if len(pattern) > _MOST_CHARACTERS:
        raise PatternError(f"longer than {_MOST_CHARACTERS} characters; write a shorter one")
    tokens = [_token(found) for found in _TOKEN.finditer(pattern)]
    size = _positions(tokens)
    if size > _MOST_OF_ONE:
        raise PatternError(
            f"more than {_MOST_OF_ONE} characters and classes, counted as often as they are "
            f"repeated; in place of a large {{m,n}} use * or +, with minLength and maxLength"
        )
    begins, wanted, unwanted = _split_lookaheads(tokens)
    parts = [f"^(?:{_written(each)})" for each in wanted]
    return Pattern(
        size,
        tuple(_engine(each) for each in (*parts, begins)),
        tuple(_engine(f"^(?:{_written(each)})") for each in unwanted),
    )


def _token(found: re.Match[str]) -> _Token:
    kind = next(name for name in _KINDS if found[name] is not None)
    if kind != "repeat":
        return _Token(kind, found[0])
    times = [int(each[:9]) for each in (found["least"], found["most"]) if each]
    optional = found["most"] is not None or not times
    return _Token(kind, found[0], max([1, *times]), optional)


def _positions(tokens: Sequence[_Token]) -> int:
    """How many characters and classes there are, repeated ones counted as often as that."""
    groups = [[0, 0]]
    for token in tokens:
        group = groups[-1]
        if token.kind == "repeat":
            group[1] = (group[1] + token.optional) * token.times
        elif token.kind == "close" and len(groups) > 1:
            groups.pop()
            groups[-1][1] = sum(group)
        else:
            # what went before stands, and is repeated no more
            group[:] = sum(group), _own_positions(token)
            if token.kind == "open" and not _is_flags(token):
                groups.append([0, 0])
    return sum(map(sum, groups))


def _own_positions(token: _Token) -> int:
    if token.kind not in ("escape", "class", "character"):
        return 0
    return max(1, _UNICODE_POSITIONS * len(_UNICODE.findall(token.text)))


def _is_flags(token: _Token) -> bool:
    return token.text.endswith(")")


def _split_lookaheads(
    tokens: list[_Token],
) -> tuple[str, list[list[_Token]], list[list[_Token]]]:
    """The pattern without the lookaheads behind its leading `^`, and what these want to see and do
    not want to see from there on. Raises PatternError for any other lookaround."""
    wanted: list[list[_Token]] = []
    unwanted: list[list[_Token]] = []
    rest = tokens
    while len(rest) > 1 and rest[0].text == "^" and rest[1].text in _AHEAD:
        end = _closing(rest, 1)
        (wanted if rest[1].text == "(?=" else unwanted).append(rest[2:end])
        rest = [rest[0], *rest[end + 1 :]]
    if (wanted or unwanted) and (_has_bar(rest) or (len(rest) > 1 and rest[1].kind == "repeat")):
        raise PatternError(_NO_LOOKAROUND)
    return _written(rest), wanted, unwanted


def _closing(tokens: Sequence[_Token], start: int) -> int:
    """Where the group that begins at `start` ends."""
    depth = 0
    for at in range(start, len(tokens)):
        token = tokens[at]
        depth += (token.kind == "open" and not _is_flags(token)) - (token.kind == "close")
        if depth == 0:
            return at
    raise PatternError("a group is not closed")


def _has_bar(tokens: Sequence[_Token]) -> bool:
    """Whether there are choices outside of all groups."""
    depth = 0
    for token in tokens:
        depth += (token.kind == "open" and not _is_flags(token)) - (token.kind == "close")
        if token.kind == "bar" and depth == 0:
            return True
    return False


def _written(tokens: Sequence[_Token]) -> str:
    """As RE2 writes it. Raises PatternError."""
    return "".join(map(_translated, tokens))


def _translated(token: _Token) -> str:
    if token.text in (*_AHEAD, "(?<=", "(?<!"):
        raise PatternError(_NO_LOOKAROUND)
    if token.kind == "escape":
        return _escape(token.text)
    if token.kind != "class":
        return token.text
    if token.text in ("[]", "[^]"):
        raise PatternError(rf"{token.text} holds nothing; write \] for a bracket in a class")
    inverted = token.text.startswith("[^")
    inner = token.text[1 + inverted : -1]
    return f"[{'^' * inverted}{''.join(_in_class(inner))}]"


def _in_class(inner: str) -> Iterator[str]:
    for found in _IN_CLASS.finditer(inner):
        if found[0] == r"\s":
            yield _SPACES
        elif found[0] == r"\b":
            yield r"\x08"
        elif found[0] == r"\S":
            yield found[0]
        else:
            # of names in brackets, as POSIX has them, ECMA-262 knows nothing
            yield _escape(found[0]) if found["escape"] else found[0].replace("[", r"\[")


def _escape(text: str) -> str:
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
            f"{text} refers back to a group; write out what may stand there, or check it afterwards"
        )
    if kind in "CQE":
        return kind
    return text


def _code_point(text: str) -> int:
    codes = [int(each.strip("{}") or "0", 16) for each in text.split(r"\u")[1:]]
    if len(codes) == 2:
        return 0x10000 + ((codes[0] - 0xD800) << 10) + (codes[1] - 0xDC00)
    return codes[0]


@cache
def _options() -> Any:
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _MOST_BYTES
    options.never_capture = True
    return options


def _engine(written: str) -> Any:
    try:
        return re2.compile(written.encode(), options=_options())
    except UnicodeEncodeError:
        raise PatternError("half of a surrogate pair, which is no character") from None
    except re2.error as error:
        reason = error.args[0] if error.args else ""
        told = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        remedy = "write it as ECMA-262 has it, without lookbehinds and backreferences"
        if "too large" in told:
            remedy = r"use fewer \p{...}, and + in place of {m,n}"
        raise PatternError(f"cannot be matched here: {told}; {remedy}") from None
