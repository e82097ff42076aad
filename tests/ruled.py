"""A reader by `tiny`'s rules: it answers from the prompt that it is shown, and never errs."""

from __future__ import annotations

import json
import re
from typing import Any

from fakes import Rule
from scripted import seen_of

from pipelines.tasks.kinds import NOT_STATED, QUOTE_PREFIX, Sampling
from pipelines.text.tokens import ChatTokenizer
from pipelines.tiny import rules


def reader(tokens: ChatTokenizer) -> Rule:
    """Who answers one prompt, and breaks off an answer at its most tokens as an engine does."""

    def read(prompt: str, sampling: Sampling) -> tuple[str, float | None]:
        answer, logprob = _read(prompt, sampling)
        if sampling.choices is None and sampling.schema is None:
            answer = tokens.decode_output(tokens.encode(answer)[: sampling.max_tokens])
        return answer, logprob

    return read


def _read(prompt: str, sampling: Sampling) -> tuple[str, float | None]:
    before, _, asked = prompt.rpartition("Question: ")
    seen = seen_of(before)
    # each piece of a prompt is tokenized alone, and so begins with a blank
    text = seen.text[seen.start : seen.end].removeprefix(" ").removesuffix(" ")
    notes = rules.notes(text) if seen.notes else []
    if "Answer with its number." in asked:
        return "1", 0.0
    if sampling.choices:
        return rules.label(text, sampling.choices), 0.0
    if sampling.schema:
        return rules.form(text, _fields(json.loads(sampling.schema))), None
    if key := re.match(r"What is the (.*?)\?\n", asked):
        return (_of_notes(key[1], notes) if notes else rules.reply(text, key[1])), None
    return (rules.combined_summary(notes) if notes else rules.summary(text)), None


def _of_notes(key: str, notes: list[str]) -> str:
    evidence = [
        (spoken.strip(), quote.strip())
        for spoken, _, quote in (note.partition(QUOTE_PREFIX) for note in notes)
        if quote
    ]
    return rules.combined_reply(key, evidence) if evidence else NOT_STATED


def _fields(schema: dict[str, Any]) -> dict[str, Any]:
    """The job file's shorthand of a form, as far as the rules need it."""
    return {name: _kind(each) for name, each in schema["properties"].items() if name != "quotes"}


def _kind(schema: dict[str, Any]) -> Any:
    one = schema["anyOf"][0] if "anyOf" in schema else schema
    if one["type"] == "array":
        return [_kind(one["items"])]
    kind = one["type"]
    return next(each for each in kind if each != "null") if isinstance(kind, list) else kind
