"""The rules by which `tiny` reads: what the right answer is to a question about a text.

A fact is a line `key: value`; where a key has several lines, the first counts. A list is one line,
`key: value; value`, so that one quote shows all of it. A topic is a line `topic: label`, or the
words of a theme. The summary of a text is its opening sentence, the summary of summaries a list of
them. Pure; knows no tokens and no prompts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.job.spec import CANNOT_TELL
from pipelines.tasks.kinds import NOT_STATED, QUOTE_PREFIX

TOPIC = "topic"
OTHER = "other"
_THEMES = {
    "weather": "rain cloud storm sunny windy fog snow thunder",
    "music": "violin melody chorus piano singer drum concert opera",
    "cooking": "recipe oven butter soup onion flour spice roast",
    "medicine": "patient doctor nurse fever clinic surgery pill vaccine",
}
THEMES: Mapping[str, Sequence[str]] = {name: words.split() for name, words in _THEMES.items()}
# So many words of a theme make it the topic of a text.
THEME_WORDS = 3
# As a combining question shows its notes, and what comes after them: a list that copies them is the
# same tokens again, and ends where the shown words are other ones.
_NOTE, _END_OF_NOTE = "- ", " \n\n"
_BETWEEN_NOTES = f"{_END_OF_NOTE} {_NOTE}"
_BETWEEN_VALUES = "; "
_SENTENCE_END = re.compile(r"(?<=[.!?])\s")
_WORD = re.compile(r"[a-z]+")
_THEME_OF = {word: theme for theme, words in THEMES.items() for word in words}


def stated(text: str, key: str) -> list[str]:
    """The values of a key, in the order of their lines."""
    return re.findall(rf"^{re.escape(key)}: (.+)$", text, re.MULTILINE)


def line(key: str, value: str) -> str:
    """A fact as it stands in a text."""
    return f"{key}: {value}"


def listed(values: Sequence[str]) -> str:
    """Several values as the one value of a list."""
    return _BETWEEN_VALUES.join(values)


def field_of(key: str) -> str:
    """The name of the field that asks for a key."""
    return key.replace(" ", "_")


def key_of(field: str) -> str:
    """The key that a field of this name asks for."""
    return field.replace("_", " ")


def notes(text: str) -> list[str]:
    """The notes that a combining question shows, each without its mark."""
    return text.strip().removeprefix(_NOTE).split(_BETWEEN_NOTES)


def reply(text: str, key: str) -> str:
    """The answer to a question for a key, with its quote."""
    evidence = [(value, line(key, value)) for value in stated(text, key)]
    return combined_reply(key, evidence) if evidence else NOT_STATED


def combined_reply(key: str, notes: Sequence[tuple[str, str]]) -> str:
    """The answer from the evidence of several chunks, as pairs of answer and quote: the first that
    quotes a line of the key, else the first."""
    own = (note for note in notes if stated(note[1], key))
    spoken, quote = next(own, notes[0])
    return f"{spoken}\n{QUOTE_PREFIX} {quote}"


def label(text: str, labels: Sequence[str]) -> str:
    """The label that a text states, or whose theme it has; else the one that says nothing."""
    for value in stated(text, TOPIC):
        if value in labels:
            return value
    themes = [_THEME_OF[word] for word in _WORD.findall(text) if word in _THEME_OF]
    counts = {theme: themes.count(theme) for theme in themes if theme in labels}
    if counts and max(counts.values()) >= THEME_WORDS:
        return max(counts, key=lambda theme: counts[theme])
    return next((each for each in (CANNOT_TELL, OTHER) if each in labels), labels[0])


def summary(text: str) -> str:
    """The opening sentence: of the first line that is not blank."""
    lines = (each.strip() for each in text.splitlines())
    return _SENTENCE_END.split(next((each for each in lines if each), ""))[0]


def combined_summary(summaries: Sequence[str]) -> str:
    """Several summaries as a list, as the notes that show them, with the blank lines after them."""
    return f"{_NOTE}{_BETWEEN_NOTES.join(summaries)}{2 * _END_OF_NOTE}"


def form(text: str, fields: Mapping[str, Any]) -> str:
    """The JSON that an extraction makes of a text. `fields` are the job file's shorthand: single
    values and lists of strings."""
    values: dict[str, Any] = {}
    quotes: dict[str, str | None] = {}
    for name, kind in fields.items():
        key = key_of(name)
        found = stated(text, key)
        if isinstance(kind, list):
            values[name] = found[0].split(_BETWEEN_VALUES) if found else []
        else:
            values[name] = typed(found[0], kind) if found else None
        shown = found and values[name] is not None
        quotes[name] = line(key, found[0]) if shown else None
    return json.dumps({**values, "quotes": quotes})


def typed(value: str, kind: str) -> Any:
    """A value as the JSON of a field of this kind, None where it is of another kind."""
    if kind == "boolean":
        return {"yes": True, "no": False}.get(value)
    if kind in ("number", "integer"):
        number = re.fullmatch(r"\d+(\.\d+)?", value)
        return json.loads(value) if number else None
    return value
