"""Distinguishes headings from comments and banners in code, configuration and logs.

A line such as "# Settings" is a heading in Markdown and a comment in Python, and so are underlined
lines. The lines around it decide. Does not know chunks.
"""

from __future__ import annotations

import re

# Characters of a neighbouring line that are looked at, and of white space before it.
_LOOK_CHARACTERS = 400
_SCRIPT = re.compile(r"\ufeff?#!")
_COMMENT = re.compile(r"(?:--|//|/\*|\*/|\* |;|%|#|REM\b|<!--)")
_LOG_LINE = re.compile(
    r"\W?\d{4}[-/]\d\d[-/]\d\d[T ,]+\d\d:\d\d|\W?\d\d:\d\d:\d\d\b"
    r"|[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d"
    r"|\W?(?:TRACE|DEBUG|INFO|NOTICE|WARN|WARNING|ERROR|CRITICAL|FATAL)\b[\]: \t]"
)
_CODE = re.compile(
    r"(?:def|class|func|fn|struct|enum|namespace|package|module|interface|impl)[ \t]+\w.*[:{(;]\s*$"
    r"|(?:async def|if|for|while|with|try|else|elif|switch|until)\b.*[:{]\s*$"
    r"|(?:import|from|export|use|using|require|include|return|set|alias|source)"
    r"[ \t]+[\w.:$\"'{~/*-]+"
    r"(?:[ \t]+(?:import|as)\b.*|[ \t]*=.*)?;?\s*$"
    r"|(?:if|while|for)\b.*;[ \t]*(?:then|do)\s*$|(?:fi|done|esac|end)\s*$"
    r"|(?:CREATE|SELECT|INSERT|UPDATE|DELETE|ALTER|DROP|BEGIN|COMMIT|GRANT|WITH)\b.*(?:[;(,*]|[A-Z_]{2,}.*)\s*$"
    r"|(?:FROM|RUN|COPY|ENV|ENTRYPOINT|CMD|WORKDIR)[ \t]+\S"
    r"|[\w.$\[\]'\"-]+[ \t]*(?::=|[+\-*/|]?=)[ \t]*\S"  # x = 1, key=value
    r"|[a-z_][\w.-]*:(?:[ \t]+\S.*)?\s*$|-[ \t]+[a-z_][\w.-]*:(?:[ \t].*)?$"  # YAML
    r"|\[\[?[\w.\" :-]+\]\]?\s*$"  # [section]
    r"|[\w.]+\([^)]*\)[;:{ \t]*$|[)\]}]+[;,]?\s*$|@\w[\w.]*(?:\(|\s*$)|.*[;{]\s*$|\"\"\"|'''"
)


def is_script(text: str) -> bool:
    """Return whether `text` begins as a script does, with `#!`."""
    return bool(_SCRIPT.match(text))


def is_banner(title: str) -> bool:
    """Return whether a line, `title`, has no letter and no digit, such as a line of `=`."""
    return not any(character.isalnum() for character in title)


def is_code(line: str) -> bool:
    """Return whether a single line looks like one of code, configuration or a log."""
    line = line.strip()
    return bool(_COMMENT.match(line) or _LOG_LINE.match(line) or _CODE.match(line))


def is_marked_comment(text: str, start: int, end: int, marks: str) -> bool:
    """Return whether text[start:end], a line that begins with `marks`, is a comment.

    `marks` are its leading `#`. The line is a comment if the line above or below begins with the
    same marks, if the line above is code, or if the next line that is neither blank nor a comment
    is code. Indented code does not count: Markdown has it below headings. If False, the line is a
    heading.
    """
    above, below = _line_above(text, start), _line_below(text, end)
    return (
        _has_same_marks(above, marks)
        or _has_same_marks(below, marks)
        or _is_code_at_margin(above)
        or _is_code_at_margin(_content_below(text, end))
    )


def is_underlined_code(text: str, title: str, end: int) -> bool:
    """Return whether an underlined line is code or a log's banner rather than a heading.

    `title` is that line, and its underline ends at text[end]. It is if the title looks like code,
    or a line of a log follows.
    """
    content = _content_below(text, end)
    return is_code(title) or bool(_LOG_LINE.match(content))


def _has_same_marks(line: str, marks: str) -> bool:
    found = line[: len(line) - len(line.lstrip("#"))]
    return found == marks or (bool(found) and is_banner(line))


def _is_code_at_margin(line: str) -> bool:
    margin = bool(line) and not line[0].isspace()
    return margin and not _COMMENT.match(line) and is_code(line)


def _line_above(text: str, start: int) -> str:
    low = max(0, start - 1 - _LOOK_CHARACTERS)
    return text[low : max(0, start - 1)].rpartition("\n")[2]


def _line_below(text: str, end: int) -> str:
    return text[end + 1 : end + 1 + _LOOK_CHARACTERS].partition("\n")[0]


def _content_below(text: str, end: int) -> str:
    """Return the first line after `end` that is neither blank nor a comment of `#`."""
    lines = text[end + 1 : end + 1 + _LOOK_CHARACTERS].split("\n")
    return next((line for line in lines if line.strip() and not line.startswith("#")), "")
