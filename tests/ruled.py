"""A fake engine's reader that answers correctly by the rules of the built-in model's training."""

from __future__ import annotations

import re
from typing import Any

from fakes import Rule
from scripted import form_schema, parse_shown

from pipelines.job.task_specs import EvidenceKind
from pipelines.tasks.kinds import Sampling
from pipelines.tasks.replies import NOT_STATED, QUOTE_PREFIX
from pipelines.text.tokens import ChatTokenizer
from pipelines.tiny import rules


def reader(tokenizer: ChatTokenizer) -> Rule:
    """Return a function that answers one prompt, cut off at `max_tokens` as by an engine."""

    def read(prompt: str, sampling: Sampling) -> tuple[str, float | None]:
        answer, logprob = _read(prompt, sampling)
        if sampling.choices is None and sampling.schema is None:
            answer = tokenizer.decode_output(tokenizer.encode(answer)[: sampling.max_tokens])
        return answer, logprob

    return read


def _read(prompt: str, sampling: Sampling) -> tuple[str, float | None]:
    before, _, question = prompt.rpartition("Question: ")
    kind = evidence_of(prompt)
    shown = parse_shown(before)
    text = shown.text[shown.start : shown.end]
    notes = rules.notes(text) if shown.notes else []
    if "Answer with its number." in question:
        return "1", 0.0
    if sampling.choices:
        return rules.label(text, sampling.choices), 0.0
    if sampling.schema:
        form = form_schema(sampling.schema)
        return rules.form(text, _fields(form), kind), None
    if key := re.match(r"What is the (.*?)\?<", question):
        combined = _combined_reply(key[1], notes, kind) if notes else None
        return combined or rules.reply(text, key[1], kind), None
    return (rules.combined_summary(notes) if notes else rules.summary(text)), None


def evidence_of(prompt: str) -> EvidenceKind:
    """Return the kind of evidence that the question at the end of a prompt asks for."""
    before, _, question = prompt.rpartition("Question: ")
    asked = before.rpartition("\n\n")[2] + question
    if "first words ... last words" in asked:
        return "anchors"
    is_quoted = QUOTE_PREFIX in asked or "A quote is" in asked
    return "quotes" if is_quoted else "values"


def _combined_reply(key: str, notes: list[str], kind: EvidenceKind) -> str:
    evidence = [
        (reply.strip(), quote.strip())
        for reply, _, quote in (note.partition(QUOTE_PREFIX) for note in notes)
        if quote
    ]
    return rules.combined_reply(key, evidence, kind) if evidence else NOT_STATED


def _fields(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema's fields in the job file's shorthand, as far as the rules need it."""
    properties = schema["properties"].items()
    return {name: _kind(subschema) for name, subschema in properties if name != "quotes"}


def _kind(schema: dict[str, Any]) -> Any:
    only = schema["anyOf"][0] if "anyOf" in schema else schema
    if only["type"] == "array":
        return [_kind(only["items"])]
    kind = only["type"]
    return next(name for name in kind if name != "null") if isinstance(kind, list) else kind
