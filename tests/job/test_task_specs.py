"""Tests of the user's own words in a job file: instructions, examples, descriptions."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipelines.errors import SpecError
from pipelines.job.fingerprint import answer_digests, differing_keys, fingerprint
from pipelines.job.jobfile import parse_yaml
from pipelines.job.spec import JobSpec, parse_job
from pipelines.job.task_specs import ClassifyTask, TaskSpec

TASKS: dict[str, dict[str, Any]] = {
    "summary": {"kind": "summarize"},
    "topic": {"kind": "classify", "labels": ["risk", "other"]},
    "facts": {"kind": "extract", "fields": {"company": "string", "risks": ["string"]}},
    "who": {"kind": "ask", "question": "Who?"},
}
EXAMPLES: dict[str, dict[str, Any]] = {
    "summary": {"text": "It rained.", "answer": "Rain."},
    "topic": {"text": "It burned.", "answer": "risk"},
    "facts": {"text": "Acme burned.", "answer": {"company": "Acme"}, "quotes": {"company": "Acme"}},
    "who": {"text": "Ann  did\nit.", "answer": "Ann", "quote": "Ann did it"},
}


def job(tasks: dict[str, dict[str, Any]], **sections: Any) -> JobSpec:
    named = [{"name": name, **task} for name, task in tasks.items()]
    return parse_job(
        {"input": {"path": "in"}, "output": {"path": "out"}, "tasks": named} | sections
    )


def digests(tasks: dict[str, dict[str, Any]], **sections: Any) -> dict[str, str]:
    return answer_digests(job(tasks, **sections), "r", 1)


def task(keys: str) -> TaskSpec:
    """Return the task `a` with the keys of a YAML mapping."""
    given = parse_yaml(f"{{{keys}}}", "test")
    assert isinstance(given, dict)
    return job({"a": given}).tasks[0]


def test_a_job_without_instructions_and_examples_has_the_fingerprint_of_earlier_versions() -> None:
    # computed by the version before these keys
    before = "f50dde57e01fc29b27b423df0481c991d57a1e8c6c588382bc13e9f87ba4873a"
    assert fingerprint(digests(TASKS)) == before
    absent = {name: {**keys, "instructions": None, "examples": []} for name, keys in TASKS.items()}
    assert fingerprint(digests(absent, instructions=None)) == before


@pytest.mark.parametrize("name", TASKS)
def test_instructions_and_examples_of_a_task_are_in_the_fingerprint(name: str) -> None:
    old = digests(TASKS)
    for key, value in (("instructions", "In German."), ("examples", [EXAMPLES[name]])):
        changed = {**TASKS, name: {**TASKS[name], key: value}}
        assert differing_keys(old, digests(changed)) == [f"tasks.{name}.{key}"]


def test_the_jobs_instructions_and_descriptions_are_in_the_fingerprint() -> None:
    old = digests(TASKS)
    assert differing_keys(old, digests(TASKS, instructions="Be brief.")) == ["instructions"]
    labels = {**TASKS["topic"], "labels": {"risk": "what may go wrong", "other": None}}
    assert differing_keys(old, digests({**TASKS, "topic": labels})) == ["tasks.topic.labels"]
    fields = {
        **TASKS["facts"],
        "fields": {"company": ["string", "the issuer"], "risks": ["string"]},
    }
    assert differing_keys(old, digests({**TASKS, "facts": fields})) == ["tasks.facts.fields"]


def test_tasks_with_all_keys_survive_a_round_trip_through_plain_data() -> None:
    tasks = {
        name: {**keys, "instructions": "Be brief.", "examples": [EXAMPLES[name]]}
        for name, keys in TASKS.items()
    }
    tasks["topic"]["labels"] = {"risk": "what may go wrong", "other": None}
    tasks["facts"]["fields"] = {"company": ["string", "the issuer"], "risks": [["string"], "all"]}
    spec = job(tasks, instructions="Be brief.")
    assert parse_job(spec.model_dump()) == spec
    assert parse_job(json.loads(spec.model_dump_json())) == spec
    topic = spec.tasks[1]
    assert isinstance(topic, ClassifyTask)
    assert topic.label_names == ("risk", "other")
    assert topic.label_descriptions == {"risk": "what may go wrong"}


def test_a_quote_may_be_broken_into_lines_otherwise_than_the_text() -> None:
    assert task('kind: ask, question: q, examples: [{answer: a, quote: "b c", text: "a b\\n c"}]')


TOO_MANY = ", ".join(["{text: t, answer: x}"] * 17)
FAULTS = f"""
kind: ask, question: q, instructions: " "
    instructions: got ' ', must be a non-empty string
kind: ask, question: q, instructions: [a]
    instructions: got ['a'], must be a non-empty string
kind: ask, question: q, examples: {{answer: a}}
    examples: got {{'answer': 'a'}}, must be a list
kind: ask, question: q, examples: [a]
    examples.0: got 'a', must be a mapping with the keys answer, text, quote
kind: ask, question: q, examples: [{{text: a}}]
    examples.0.answer: missing; this key is required
kind: ask, question: q, examples: [{{answer: a, quote: b, text: c}}]
    examples.0.quote: got 'b', must be words of the example's text, unchanged
kind: ask, question: q, examples: [{{answer: a, qoute: b}}]
    examples.0.qoute: no such key; did you mean 'quote'? allowed keys: answer, text, quote
kind: summarize, examples: [{TOO_MANY}]
    examples: got [{{'text': 't', 'answer': 'x'}}, {{'text': 't', 'answer': 'x..., must be a list
kind: summarize, examples: [{{answer: a}}]
    examples.0.text: missing; this key is required
kind: classify, labels: [x, y], examples: [{{text: t, answer: x}}, {{text: t, answer: z}}]
    examples.1.answer: got 'z', must be one of the task's labels
kind: classify, labels: {{x: a, y: b}}, examples: [{{text: t, answer: z}}]
    examples.0.answer: got 'z', must be one of the task's labels
kind: classify, labels: [x, y], examples: [{{text: t, answer: [x]}}]
    examples.0.answer: got ['x'], must be one of the task's labels
kind: classify, multiple: true, labels: [x, y], examples: [{{text: t, answer: x}}]
    examples.0.answer: got 'x', must be a list of labels of the task, in the task's order
kind: classify, multiple: true, labels: [x, y], examples: [{{text: t, answer: [y, x]}}]
    examples.0.answer: got ['y', 'x'], must be a list of labels of the task, in the task's order
kind: classify, multiple: true, labels: [x, y], examples: [{{text: t, answer: 5}}]
    examples.0.answer: got 5, must be a label, or a list of labels
kind: write, prompt: p, examples: [{TOO_MANY}]
    examples: got [{{'text': 't', 'answer': 'x'}}, {{'text': 't', 'answer': 'x..., must be a list
kind: classify, labels: 5
    labels: got 5, must be a list of labels, or a mapping of labels to their descriptions
kind: classify, labels: {{x: a}}
    labels: got {{'x': 'a'}}, must be a mapping of at least two labels to their descriptions
kind: classify, labels: {{x: a, y: 5}}
    labels.y: got 5, must be a description, or null for none
kind: classify, labels: {{x: a, " y": b}}
    labels. y: got 'b', must be the description of a label without leading or trailing white space
kind: classify, labels: {{x: a, cannot tell: b}}
    labels.cannot tell: got 'b', must be the description of a label other than
kind: extract, fields: {{x: string}}, examples: [{{answer: a}}]
    examples.0.answer: got 'a', must be a mapping of the form's fields to values
kind: extract, fields: {{x: string}}, examples: [{{answer: {{x: a}}, quotes: {{y: a}}}}]
    examples.0.quotes.y: got 'a', must be the quote of a field that is in the example's answer
kind: extract, fields: {{x: string}}, examples: [{{answer: {{x: a}}, quotes: {{x: a}}, text: b}}]
    examples.0.quotes.x: got 'a', must be words of the example's text, unchanged
""".strip().splitlines()


@pytest.mark.parametrize(
    ("keys", "message"), [*zip(FAULTS[::2], FAULTS[1::2], strict=True)], ids=str.strip
)
def test_a_fault_is_named_by_its_path_with_what_would_be_right(keys: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        task(keys)
    assert caught.value.message.startswith(f"tasks.0.{message.strip()}")
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    "given", ["[string, integer]", "[string, 5]", '[string, " "]', "[a, b, c]"]
)
def test_a_description_of_a_field_is_text_and_no_type(given: str) -> None:
    with pytest.raises(SpecError, match=r"fields\.x: got .*or one of these with a description"):
        task(f"kind: extract, fields: {{x: {given}}}")


def test_the_jobs_instructions_must_be_text() -> None:
    with pytest.raises(SpecError, match=r"^instructions: got \[\], must be a non-empty string$"):
        job(TASKS, instructions=[])
