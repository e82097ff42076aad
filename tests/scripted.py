"""A rule-based reader for fake engines: answers a prompt as a perfect model would.

It recognizes statements of the form "The <key> is <value>." anywhere in the document or part, also
if a statement continues in the words before or after the part. The question and the schema tell it
what to look for, as they tell a model. If a text contradicts itself, the first statement counts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.job.task_specs import CANNOT_TELL
from pipelines.tasks.extraction import has_content
from pipelines.tasks.kinds import Sampling
from pipelines.tasks.replies import NOT_STATED, QUOTE_PREFIX
from pipelines.text.prompts import (
    CHUNK_HEADER,
    END_OF_CHUNK,
    END_OF_DOCUMENT,
    END_OF_NOTES,
    INSTRUCTION,
    NOTES_INSTRUCTION,
)

# Log-probabilities of the reader's labels.
SURE, UNSURE = -0.01, -4.0
BROKEN_ONCE, BROKEN_ALWAYS = "[breaks once]", "[always breaks]"
"""Marks in a text for which the reader's form is invalid JSON: at the first attempt, or always."""
_BEFORE, _AFTER = "Words before the part: ...", "Words after the part: "


@dataclass(frozen=True)
class Shown:
    """The text that a prompt shows before its question.

    Attributes:
        text: the text, with the words before and after a part.
        start, end: the characters of `text` that the question is about.
        notes: whether the text consists of notes taken from parts.
    """

    text: str
    start: int
    end: int
    notes: bool = False

    def stated(self, key: str) -> list[tuple[str, str]]:
        """Return the values of a key, each with its statement, in order."""
        words = r"\s+".join(re.escape(word) for word in key.split())
        pattern = re.compile(rf"\bThe\s+{words}\s+is\s+((?:[^.]|\.(?!\s))+?)\.(?=\s)")
        return [
            (" ".join(match[1].split()), " ".join(match[0].split()))
            for match in pattern.finditer(self.text + "\n")
            if match.start() < self.end and match.end() > self.start
        ]


def read(prompt: str, sampling: Sampling) -> tuple[str, float | None]:
    """Return the answer to one prompt, and its log-probability if it is one of given choices."""
    before, _, question = prompt.rpartition("Question: ")
    shown = parse_shown(before)
    if "Answer with its number." in question:
        return "1", SURE
    if sampling.choices:
        return _label(shown, sampling.choices)
    if sampling.schema:
        return _form(shown, form_schema(sampling.schema), question), None
    if key := re.match(r"What is the (.*?)\?", question):
        return _reply(shown, key[1]), None
    return _summary(shown), None


def parse_shown(before: str) -> Shown:
    """Parse the part of a prompt before its question."""
    if _after(before, NOTES_INSTRUCTION) is not None:
        text = str(_after(before, NOTES_INSTRUCTION)).partition(END_OF_NOTES)[0]
        return Shown(text, 0, len(text), notes=True)
    if (whole := _after(before, INSTRUCTION)) is not None:
        text = whole.rpartition(END_OF_DOCUMENT)[0]
        return Shown(text, 0, len(text))
    head, _, rest = before.partition(CHUNK_HEADER)
    part, _, tail = rest.rpartition(END_OF_CHUNK)
    words_before = str(_after(head, _BEFORE) or "").removesuffix("\n")
    words_after = str(_after(tail, _AFTER) or "").rpartition("\n\n")[0]
    start = len(words_before)
    return Shown(words_before + part + words_after, start, start + len(part))


def _after(text: str, mark: str) -> str | None:
    _, separator, rest = text.partition(mark)
    return rest if separator else None


def form_schema(schema: str) -> dict[str, Any]:
    """Return the schema of the form among the alternatives of an answer, given as JSON text."""
    parsed = json.loads(schema)
    forms: list[dict[str, Any]] = [
        choice for choice in parsed.get("anyOf", [parsed]) if choice["type"] == "object"
    ]
    return forms[0]


def _label(shown: Shown, labels: Sequence[str]) -> tuple[str, float]:
    for value, _ in shown.stated("topic"):
        if value in labels:
            return value, SURE
    return (CANNOT_TELL if CANNOT_TELL in labels else labels[0]), UNSURE


def _reply(shown: Shown, key: str) -> str:
    if shown.notes:
        first = re.split(r"\n\s*- ", shown.text.strip())[0].removeprefix("- ")
        return re.sub(r"\n\s+", "\n", first)
    for value, statement in shown.stated(key):
        return f"{value}\n{QUOTE_PREFIX} {statement}"
    return NOT_STATED


def _summary(shown: Shown) -> str:
    """Return the marks `#N#` in the text, which stand for its content."""
    return " ".join(dict.fromkeys(re.findall(r"#\d+#", shown.text[shown.start : shown.end])))


def _form(shown: Shown, schema: Mapping[str, Any], question: str) -> str:
    if BROKEN_ALWAYS in shown.text or (BROKEN_ONCE in shown.text and "refused" not in question):
        return '{"broken'
    fields = {
        name: subschema for name, subschema in schema["properties"].items() if name != "quotes"
    }
    quotes: dict[str, str | None] = dict.fromkeys(fields)
    values = {}
    for name, subschema in fields.items():
        values[name], quotes[name] = _fill(shown, subschema, name.replace("_", " "))
    if not has_content(values) and "answer only null" in question:
        return "null"
    return json.dumps({**values, "quotes": quotes})


def _fill(shown: Shown, schema: Mapping[str, Any], key: str) -> tuple[Any, str | None]:
    """Return the value of a field and the statement that shows it; None for what is not stated."""
    only = schema["anyOf"][0] if "anyOf" in schema else schema
    if only["type"] == "object":
        fields = {
            name: _fill(shown, subschema, f"{key} {name}")
            for name, subschema in only["properties"].items()
        }
        quote = next((quote for _, quote in fields.values() if quote), None)
        return ({name: value for name, (value, _) in fields.items()} if quote else None), quote
    stated = shown.stated(key)
    if only["type"] == "array":
        return [value for value, _ in stated], stated[0][1] if stated else None
    return (_convert(stated[0][0], only["type"]), stated[0][1]) if stated else (None, None)


def _convert(value: str, kind: str) -> Any:
    match kind:
        case "number":
            return float(value)
        case "integer":
            return int(value)
        case "boolean":
            return value == "true"
    return value
