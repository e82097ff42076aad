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

from pipelines.job.task_specs import CANNOT_TELL
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
_NOTE, _END_OF_NOTE = "- ", " \n\n"
_BETWEEN_NOTES = f"{_END_OF_NOTE} {_NOTE}"
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


def reply(text: str, key: str) -> str:
    """Return the expected answer to an ask task about `key`: the first value that `text` states
    and, in a second line, its quote; or NOT_STATED if the text states none."""
    evidence = [(value, line(key, value)) for value in stated(text, key)]
    return combined_reply(key, evidence) if evidence else NOT_STATED


def combined_reply(key: str, notes: Sequence[tuple[str, str]]) -> str:
    """Return the expected answer to an ask task about `key`, combined from answers of chunks.

    `notes` are pairs of a chunk's answer and its quote, at least one. The result is the first note
    whose quote is a line `key: value`, or the first note if there is none, in the form of `reply`.
    """
    about_key = (note for note in notes if stated(note[1], key))
    value, quote = next(about_key, notes[0])
    return f"{value}\n{QUOTE_PREFIX} {quote}"


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
    combining prompt, with blank lines after each."""
    return f"{_NOTE}{_BETWEEN_NOTES.join(summaries)}{2 * _END_OF_NOTE}"


def form(text: str, fields: Mapping[str, Any]) -> str:
    """Return the expected answer to an extract task about `text`, as JSON with values and quotes.

    `fields` maps names to kinds in the job file's shorthand, such as "date", or ["string"] for a
    list. A value that is not stated, or not of its kind, is null, and a list that is not stated is
    empty; the quote is then null.
    """
    values: dict[str, Any] = {}
    quotes: dict[str, str | None] = {}
    for name, kind in fields.items():
        key = key_of(name)
        candidates = stated(text, key)
        if isinstance(kind, list):
            values[name] = candidates[0].split(_BETWEEN_VALUES) if candidates else []
        else:
            values[name] = typed(candidates[0], kind) if candidates else None
        has_value = candidates and values[name] is not None
        quotes[name] = line(key, candidates[0]) if has_value else None
    return json.dumps({**values, "quotes": quotes})


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
