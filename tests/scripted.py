"""A reader by rule: it answers from the prompt that it is shown, as a perfect model would.

It knows statements of the form "The <key> is <value>." wherever they stand in the document or part,
also where a statement goes on in the words before or after the part. It learns what to look for
from the question and the schema, as a model does. Where a text contradicts itself, the first
statement counts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.job.spec import CANNOT_TELL
from pipelines.tasks.kinds import NOT_STATED, QUOTE_PREFIX, Sampling
from pipelines.text.prompts import (
    CHUNK_HEADER,
    END_OF_CHUNK,
    END_OF_DOCUMENT,
    END_OF_NOTES,
    INSTRUCTION,
    NOTES_INSTRUCTION,
)

SURE, UNSURE = -0.01, -4.0
BROKEN_ONCE, BROKEN_ALWAYS = "[breaks once]", "[always breaks]"
_BEFORE, _AFTER = "Words before the part: ...", "Words after the part: "


@dataclass(frozen=True)
class Seen:
    """What stands before the question: the text, and which of it is asked about."""

    text: str
    start: int
    end: int
    notes: bool = False

    def stated(self, key: str) -> list[tuple[str, str]]:
        """The values of a key, each with the statement itself, in order and without repeats."""
        words = r"\s+".join(re.escape(word) for word in key.split())
        pattern = re.compile(rf"\bThe\s+{words}\s+is\s+((?:[^.]|\.(?!\s))+?)\.(?=\s)")
        found: dict[str, str] = {}
        for match in pattern.finditer(self.text + "\n"):
            if match.start() < self.end and match.end() > self.start:
                found.setdefault(" ".join(match[1].split()), " ".join(match[0].split()))
        return list(found.items())


def read(prompt: str, sampling: Sampling) -> tuple[str, float | None]:
    """Answer one prompt."""
    before, _, question = prompt.rpartition("Question: ")
    seen = seen_of(before)
    if "Answer with its number." in question:
        return "1", SURE
    if sampling.choices:
        return _label(seen, sampling.choices)
    if sampling.schema:
        return _form(seen, json.loads(sampling.schema), question), None
    if key := re.match(r"What is the (.*?)\?", question):
        return _reply(seen, key[1]), None
    return _summary(seen), None


def seen_of(before: str) -> Seen:
    """What a prompt shows before its question."""
    if _after(before, NOTES_INSTRUCTION) is not None:
        text = str(_after(before, NOTES_INSTRUCTION)).partition(END_OF_NOTES)[0]
        return Seen(text, 0, len(text), notes=True)
    if (whole := _after(before, INSTRUCTION)) is not None:
        text = whole.rpartition(END_OF_DOCUMENT)[0]
        return Seen(text, 0, len(text))
    head, _, rest = before.partition(CHUNK_HEADER)
    part, _, tail = rest.rpartition(END_OF_CHUNK)
    edge = str(_after(head, _BEFORE) or "").rstrip("\n")
    after = str(_after(tail, _AFTER) or "").strip("\n")
    return Seen(edge + part + after, len(edge), len(edge) + len(part))


def _after(text: str, mark: str) -> str | None:
    _, found, rest = text.partition(mark)
    return rest if found else None


def _label(seen: Seen, labels: Sequence[str]) -> tuple[str, float]:
    for value, _ in seen.stated("topic"):
        if value in labels:
            return value, SURE
    return (CANNOT_TELL if CANNOT_TELL in labels else labels[0]), UNSURE


def _reply(seen: Seen, key: str) -> str:
    if seen.notes:
        first = re.split(r"\n\s*- ", seen.text.strip())[0].removeprefix("- ")
        return re.sub(r"\n\s+", "\n", first)
    for value, statement in seen.stated(key):
        return f"{value}\n{QUOTE_PREFIX} {statement}"
    return NOT_STATED


def _summary(seen: Seen) -> str:
    """The marks of the text, which are all that it says."""
    return " ".join(dict.fromkeys(re.findall(r"#\d+#", seen.text[seen.start : seen.end])))


def _form(seen: Seen, schema: Mapping[str, Any], question: str) -> str:
    if BROKEN_ALWAYS in seen.text or (BROKEN_ONCE in seen.text and "refused" not in question):
        return '{"broken'
    fields = {name: each for name, each in schema["properties"].items() if name != "quotes"}
    quotes: dict[str, str | None] = dict.fromkeys(fields)
    values = {}
    for name, each in fields.items():
        values[name], quotes[name] = _fill(seen, each, name.replace("_", " "))
    return json.dumps({**values, "quotes": quotes})


def _fill(seen: Seen, schema: Mapping[str, Any], key: str) -> tuple[Any, str | None]:
    one = schema["anyOf"][0] if "anyOf" in schema else schema
    if one["type"] == "object":
        parts = {
            name: _fill(seen, each, f"{key} {name}") for name, each in one["properties"].items()
        }
        shown = next((quote for _, quote in parts.values() if quote), None)
        return ({name: value for name, (value, _) in parts.items()} if shown else None), shown
    stated = seen.stated(key)
    if one["type"] == "array":
        return [value for value, _ in stated], stated[0][1] if stated else None
    return (_typed(stated[0][0], one["type"]), stated[0][1]) if stated else (None, None)


def _typed(value: str, kind: str) -> Any:
    match kind:
        case "number":
            return float(value)
        case "integer":
            return int(value)
        case "boolean":
            return value == "true"
    return value
