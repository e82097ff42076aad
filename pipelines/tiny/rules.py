"""The rules that `tiny` is trained to follow: they compute the expected answer for any text.

A fact is a line `key: value`; if a key occurs in several lines, the first one counts. A list is one
line, `key: value; value`, so that one quote shows all of it. The topic is given by a line
`topic: label`, or by the words of a theme. The summary of a text is its opening sentence; the
summary of several summaries is a list of them. Pure functions, without tokenizer and prompts; the
strings in this module are training data.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.job.task_specs import CANNOT_TELL, EvidenceKind
from pipelines.tasks.anchors import anchors_of
from pipelines.tasks.replies import NOT_STATED, QUOTE_PREFIX

TOPIC = "topic"
"""The key of the line that states the topic of a text."""
OTHER = "other"
"""The label that is right if no other label is and CANNOT_TELL is not allowed."""
_THEMES = {
    "weather": "rain cloud storm sunny windy fog snow thunder",
    "music": "violin melody chorus piano singer drum concert opera",
    "cooking": "recipe oven butter soup onion flour spice roast",
    "medicine": "patient doctor nurse fever clinic surgery pill vaccine",
}
THEMES: Mapping[str, Sequence[str]] = {name: words.split() for name, words in _THEMES.items()}
"""The words of each theme. A theme is a topic that a text need not state."""
THEME_WORDS = 3
"""The minimum number of words of a theme that make it the topic of a text."""
# The separators of notes in a combining prompt. The answer copies them, so that it consists of the
# same tokens as the notes, and ends where the text after the notes differs from the separator.
_NOTE, _END_OF_NOTE = "- ", "\n\n"
_BETWEEN_NOTES = f"{_END_OF_NOTE}{_NOTE}"
_BETWEEN_VALUES = "; "
_SENTENCE_END = re.compile(r"(?<=[.!?])\s")
_WORD = re.compile(r"[a-z]+")
_THEME_OF = {word: theme for theme, words in THEMES.items() for word in words}


def stated(text: str, key: str) -> list[str]:
    """Return the values that `text` states for `key` in lines `key: value`, in the order of the
    lines; empty if there are none."""
    return re.findall(rf"^{re.escape(key)}: (.+)$", text, re.MULTILINE)


def line(key: str, value: str) -> str:
    """Return the line that states in a text that `key` has the value `value`."""
    return f"{key}: {value}"


def listed(values: Sequence[str]) -> str:
    """Return a list of values as the value of one line: joined by semicolons."""
    return _BETWEEN_VALUES.join(values)


def field_of(key: str) -> str:
    """Return the name of the extract field that asks for `key`: blanks become underscores."""
    return key.replace(" ", "_")


def key_of(field: str) -> str:
    """Return the key that an extract field of this name asks for: underscores become blanks."""
    return field.replace("_", " ")


def notes(text: str) -> list[str]:
    """Return the single notes in `text`, the notes of a combining prompt, without their list
    markers."""
    return text.strip().removeprefix(_NOTE).split(_BETWEEN_NOTES)


def quote(passage: str, evidence: EvidenceKind) -> str | None:
    """Return the expected quote of a line: all of it, or its first and last words for `anchors`.

    None if no quote is asked for.
    """
    if evidence not in ("quotes", "anchors"):
        return None
    return passage if evidence == "quotes" else anchors_of(passage)


def reply(text: str, key: str, evidence: EvidenceKind = "quotes") -> str:
    """Return the expected answer to an ask task about `key`: the first value that `text` states
    and, in a second line, its quote; or NOT_STATED if the text states none."""
    found = [(value, line(key, value)) for value in stated(text, key)]
    return combined_reply(key, found, evidence) if found else NOT_STATED


def combined_reply(
    key: str, notes: Sequence[tuple[str, str]], evidence: EvidenceKind = "quotes"
) -> str:
    """Return the expected answer to an ask task about `key`, combined from answers of chunks.

    `notes` are pairs of a chunk's answer and its quote, at least one. The result is the first note
    whose quote is a line `key: value`, or the first note if there is none, in the form of `reply`.
    """
    about_key = (note for note in notes if stated(note[1], key))
    value, passage = next(about_key, notes[0])
    quoted = quote(passage, evidence)
    return value if quoted is None else f"{value}\n{QUOTE_PREFIX} {quoted}"


def label(text: str, labels: Sequence[str]) -> str:
    """Return the expected label of `text`, one of `labels`.

    It is the first label that a line `topic: label` states; else the theme with the most words in
    the text, if at least THEME_WORDS; else CANNOT_TELL, OTHER or the first of `labels`: the first
    of these three that is allowed.
    """
    for value in stated(text, TOPIC):
        if value in labels:
            return value
    themes = [_THEME_OF[word] for word in _WORD.findall(text) if word in _THEME_OF]
    counts = {theme: themes.count(theme) for theme in themes if theme in labels}
    if counts and max(counts.values()) >= THEME_WORDS:
        return max(counts, key=lambda theme: counts[theme])
    return next((name for name in (CANNOT_TELL, OTHER) if name in labels), labels[0])


def summary(text: str) -> str:
    """Return the expected summary of `text`: the first sentence of its first line that is not
    blank, or an empty string if all lines are."""
    lines = (line.strip() for line in text.splitlines())
    return _SENTENCE_END.split(next((line for line in lines if line), ""))[0]


def combined_summary(summaries: Sequence[str]) -> str:
    """Return the expected summary of several summaries: a list in the format of the notes of a
    combining prompt, with a blank line after each."""
    return f"{_NOTE}{_BETWEEN_NOTES.join(summaries)}{_END_OF_NOTE}"


def values(text: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that `text` states for the fields of an extract task.

    `fields` maps names to kinds in the job file's shorthand, such as "date", or ["string"] for a
    list. A value that is not stated, or not of its kind, is None, and a list that is not stated is
    empty.
    """
    found: dict[str, Any] = {}
    for name, kind in fields.items():
        candidates = stated(text, key_of(name))
        if isinstance(kind, list):
            found[name] = candidates[0].split(_BETWEEN_VALUES) if candidates else []
        else:
            found[name] = typed(candidates[0], kind) if candidates else None
    return found


def form(text: str, fields: Mapping[str, Any], evidence: EvidenceKind = "quotes") -> str:
    """Return the expected answer to an extract task about `text`: compact JSON.

    It has the `values` and, if quotes are asked for, the quote of each, which is null without a
    value. If the text does not state the only field, it is null. A form of several fields is always
    filled in: whether the text states any of them is more than `tiny` can tell beforehand.
    """
    found = values(text, fields)
    if list(found.values()) in ([None], [[]]):
        return "null"
    if evidence in ("quotes", "anchors"):
        found["quotes"] = {
            name: _quote_of_field(text, name, evidence) if found[name] not in (None, []) else None
            for name in fields
        }
    return json.dumps(found, separators=(",", ":"), ensure_ascii=False)


def _quote_of_field(text: str, name: str, evidence: EvidenceKind) -> str | None:
    key = key_of(name)
    return quote(line(key, stated(text, key)[0]), evidence)


def typed(value: str, kind: str) -> Any:
    """Return `value`, as written in a text, as the JSON value of a field of `kind`.

    A "boolean" is True for "yes" and False for "no", a "number" or "integer" a number; None if the
    value cannot be read as such. A value of any other kind is returned as it is.
    """
    if kind == "boolean":
        return {"yes": True, "no": False}.get(value)
    if kind in ("number", "integer"):
        number = re.fullmatch(r"\d+(\.\d+)?", value)
        return json.loads(value) if number else None
    return value
