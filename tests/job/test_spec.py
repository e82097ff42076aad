"""Tests that a job file is validated with messages that name the fault, and of the fingerprint."""

import json
import pickle
from pathlib import Path
from typing import Any

import pydantic
import pytest

from pipelines.errors import SpecError
from pipelines.job.fingerprint import answer_digests, differing_keys, fingerprint
from pipelines.job.jobfile import parse_yaml
from pipelines.job.spec import JobSpec, load_job, parse_job
from pipelines.job.task_specs import AskTask, ClassifyTask, ExtractTask, SummarizeTask

FULL = """
name: filings-digest
input:
  path: s3://corpora/filings/          # a file, a directory, or a glob; .parquet or .jsonl
  id_column: doc_id
  text_column: text
  keep_columns: [title, filed_at]
output:
  path: s3://results/filings-digest/
model:
  name: microsoft/Phi-3-mini-128k-instruct   # a hub name, a local path, or the built-in `tiny`
  revision: null                             # pinned and recorded when null
  quantization: null
  kv_cache_dtype: auto
tasks:
  - {name: summary, kind: summarize, max_words: 120}
  - {name: topic, kind: classify, labels: [risk, earnings, governance, other]}
  - {name: facts, kind: extract, fields: {company: string, revenue_musd: number, risks: [string]}}
  - {name: auditor, kind: ask, question: "Who audited the statements?", max_tokens: 128}
long_documents: {strategy: auto, single_pass_tokens: 16384, chunk_tokens: 3072, overlap_tokens: 128}
compute: {replicas: {min: 1, max: 8}, gpus_per_replica: auto, tensor_parallel: 1}
limits:
  {max_dead_letter_fraction: 0.05, max_gpu_hours: null, max_cost_usd: null, usd_per_hour: null,
   deadline: null}
metrics: {port: null, pushgateway: null}
"""
SCHEMA = {"type": "object", "properties": {"b": {"type": "string"}, "a": {"type": "number"}}}


def job(**sections: Any) -> dict[str, Any]:
    """Return the smallest valid job file, with `sections` added or replaced."""
    return {
        "input": {"path": "in"},
        "output": {"path": "out"},
        "tasks": [{"name": "summary", "kind": "summarize"}],
        **sections,
    }


def with_task(**keys: Any) -> dict[str, Any]:
    return job(tasks=[{"name": "task", **keys}])


def message_of(data: dict[str, Any], directory: Path = Path(".")) -> str:
    with pytest.raises(SpecError) as caught:
        parse_job(data, directory)
    return caught.value.message


@pytest.fixture
def full(tmp_path: Path) -> JobSpec:
    (tmp_path / "job.yaml").write_text(FULL)
    return load_job(tmp_path / "job.yaml", environ={}).spec


def test_the_full_job_file_is_read_as_written(full: JobSpec) -> None:
    assert full.name == "filings-digest"
    assert full.input.keep_columns == ("title", "filed_at")
    assert [type(task) for task in full.tasks] == [
        SummarizeTask,
        ClassifyTask,
        ExtractTask,
        AskTask,
    ]
    facts = full.tasks[2]
    assert isinstance(facts, ExtractTask)
    assert facts.fields == {"company": "string", "revenue_musd": "number", "risks": ["string"]}
    assert full.long_documents.chunk_tokens == 3072
    assert full.limits.max_gpu_hours is None


def test_only_input_output_and_tasks_are_needed() -> None:
    spec = parse_job(job())
    assert (spec.input.id_column, spec.input.text_column) == ("id", "text")
    assert spec.model.name == "microsoft/Phi-3-mini-128k-instruct"
    assert spec.long_documents.single_pass_tokens is None
    assert spec.compute.gpus_per_replica == "auto"
    assert message_of({}).splitlines() == [
        "input: missing, must be a mapping with the keys path, id_column, text_column, "
        "keep_columns, version, follow",
        "output: missing, must be a mapping with the keys path, table",
        "tasks: missing; this key is required",
    ]


FAULTS = """
tasks: []
    tasks: got [], must be a list of at least one task, such as [{name: s, kind: summarize}]
tasks: summary
    tasks: got 'summary', must be a list
tasks: [summary]
    tasks.0: got 'summary', must be a mapping with at least one key, such as {key: value}
tasks: [{name: a}]
    tasks.0.kind: missing, must be one of summarize, classify, ask, extract
tasks: [{name: a, kind: sumarize}]
    tasks.0.kind: got 'sumarize', must be one of summarize, classify, ask, extract
tasks: [{name: a, kind: [ask]}]
    tasks.0.kind: got ['ask'], must be one of summarize, classify, ask, extract
tasks: [{name: a, kind: summarize, max_words: eighty}]
    tasks.0.max_words: got 'eighty', must be a whole number of at least 1
tasks: [{name: a, kind: summarize, max_words: "80"}]
    tasks.0.max_words: got '80', must be a whole number of at least 1
tasks: [{name: a, kind: summarize, max_words: true}]
    tasks.0.max_words: got true, must be a whole number of at least 1
tasks: [{name: a, kind: summarize, max_wrds: 80}]
    tasks.0.max_wrds: no such key; did you mean 'max_words'? allowed keys: name, kind, max_words
tasks: [{name: a, kind: summarize, summarize: 1}]
    tasks.0.summarize: no such key; allowed keys: name, kind, max_words
tasks: [{name: 2nd, kind: summarize}]
    tasks.0.name: got '2nd', must be letters, digits and underscores that do not start
tasks: [{name: a, kind: summarize}, {name: a, kind: summarize}]
    tasks.1.name: got 'a', must be a name that no other task has
tasks: [{name: text, kind: summarize}]
    tasks.0.name: got 'text', must be a name that differs from all columns of input
tasks: [{name: Text, kind: summarize}]
    tasks.0.name: got 'Text', must be a name that differs from all columns of input, not only in
tasks: [{name: a, kind: summarize}, {name: A, kind: summarize}]
    tasks.1.name: got 'A', must be a name that no other task has, not only in case
output: {path: out, table: iceberg}
    output.table: got 'iceberg', must be
tasks: [{name: a, kind: ask}]
    tasks.0.question: missing; this key is required
tasks: [{name: a, kind: ask, question: " "}]
    tasks.0.question: got ' ', must be a non-empty string
tasks: [{name: a, kind: ask, question: q, evidence: quote}]
    tasks.0.evidence: got 'quote', must be one of 'quotes', 'anchors', 'values' or 'none'
tasks: [{name: a, kind: ask, question: q, evidence: none, only_verified: true}]
    tasks.0.only_verified: got true, must be false or absent if evidence is none
tasks: [{name: a, kind: extract, fields: {x: string}, evidence: none, only_verified: true}]
    tasks.0.only_verified: got true, must be false or absent if evidence is none
tasks: [{name: a, kind: classify, labels: [x]}]
    tasks.0.labels: got ['x'], must be a list of at least two labels
tasks: [{name: a, kind: classify, labels: [x, y, x]}]
    tasks.0.labels.2: got 'x', must be a label that is listed only once
tasks: [{name: a, kind: classify, labels: [x, " y"]}]
    tasks.0.labels.1: got ' y', must be a label without leading or trailing white space
tasks: [{name: a, kind: classify, labels: [x, 1]}]
    tasks.0.labels.1: got 1, must be a non-empty string
tasks: [{name: a, kind: classify, labels: [x, y], multiple: 1}]
    tasks.0.multiple: got 1,
tasks: [{name: a, kind: write}]
    tasks.0.prompt: missing; this key is required
tasks: [{name: a, kind: write, prompt: " "}]
    tasks.0.prompt: got ' ', must be a non-empty string
tasks: [{name: a, kind: write, prompt: p, over: pages}]
    tasks.0.over: got 'pages', must be one of 'document' or 'parts'
tasks: [{name: a, kind: write, prompt: p, temperature: 2.5}]
    tasks.0.temperature: got 2.5, must be a number from 0 to 2
tasks: [{name: a, kind: write, prompt: p, max_tokens: 0}]
    tasks.0.max_tokens: got 0, must be a whole number of at least 1
tasks: [{name: a, kind: extract}]
    tasks.0.fields: missing, must be a mapping such as {company: string}, unless schema is set
tasks: [{name: a, kind: extract, fields: {x: string}, schema: {}}]
    tasks.0.schema: got {}, must be absent if fields is set: remove one of them
tasks: [{name: a, kind: extract, fields: {x: [text]}}]
    tasks.0.fields.x: got ['text'], must be string, number, integer, boolean, date, a list as
tasks: [{name: a, kind: extract, fields: {x: [string, number]}}]
    tasks.0.fields.x: got ['string', 'number'], must be string, number, integer, boolean, date,
tasks: [{name: a, kind: extract, fields: {}}]
    tasks.0.fields: got {}, must be a mapping with at least one key, such as {key: value}
tasks: [{name: a, kind: extract, schema: 5}]
    tasks.0.schema: got 5, must be a JSON Schema (a mapping), or the path of a JSON file with one
input: {path: in, keep_columns: [title, title]}
    input.keep_columns.1: got 'title', must be a column listed only once, and not id_column
input: {path: in, keep_columns: [id]}
    input.keep_columns.0: got 'id', must be a column listed only once, and not id_column
modle: {}
    modle: no such key; did you mean 'model'? allowed keys: name, input, output, model, tasks, long
model: null
    model: got null, must be a mapping with the keys name, revision, quantization, kv_cache_dtype
name: a b
    name: got 'a b', must be 1 to 63 letters, digits, '.', '-' or '_', starting with a letter or
long_documents: {strategy: split}
    long_documents.strategy: got 'split', must be one of 'auto', 'single', 'map_reduce', 'truncate'
long_documents: {chunk_tokens: 128}
    long_documents.chunk_tokens: got 128, must be greater than overlap_tokens, which is 128
metrics: {port: 0}
    metrics.port: got 0, must be a port number from 1 to 65535
""".strip().splitlines()


@pytest.mark.parametrize(
    ("sections", "message"), [*zip(FAULTS[::2], FAULTS[1::2], strict=True)], ids=str.strip
)
def test_a_fault_is_named_by_its_path_with_what_would_be_right(sections: str, message: str) -> None:
    given = parse_yaml(sections, "test")
    assert isinstance(given, dict)
    actual = message_of(job(**given))
    assert actual.startswith(message.strip())
    assert "\n" not in actual


def test_all_faults_are_reported_at_once() -> None:
    lines = message_of(
        job(modle={}, metrics={"port": "a"}, tasks=[{"name": "a", "kind": "b"}])
    ).splitlines()
    assert [line.split(":")[0] for line in lines] == ["tasks.0.kind", "metrics.port", "modle"]


def test_a_spec_error_survives_pickling() -> None:
    with pytest.raises(SpecError) as caught:
        parse_job({})
    assert pickle.loads(pickle.dumps(caught.value)).message == caught.value.message  # noqa: S301 (our own bytes)


def test_a_spec_survives_pickling_and_a_round_trip_through_plain_data(full: JobSpec) -> None:
    assert pickle.loads(pickle.dumps(full)) == full  # noqa: S301 (our own bytes)
    assert parse_job(full.model_dump()) == full
    assert parse_job(json.loads(full.model_dump_json())) == full


def test_a_spec_cannot_be_changed(full: JobSpec) -> None:
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        full.model.name = "tiny"  # type: ignore[misc]  # the test is that this raises


def test_digests_name_all_that_changes_an_answer_and_nothing_else(full: JobSpec) -> None:
    listed = """
        input: id_column keep_columns text_column
        long_documents: chunk_tokens overlap_tokens single_pass_tokens strategy
        model: kv_cache_dtype name quantization revision
        tasks.auditor: kind max_tokens only_verified question
        tasks.facts: fields kind max_tokens only_verified schema strict
        tasks.summary: kind max_words
        tasks.topic: kind labels
    """
    lines = [line.strip().split(": ") for line in listed.strip().splitlines()]
    keys = {f"{section}.{key}" for section, names in lines for key in names.split()}
    assert answer_digests(full, "r", 1).keys() == {*keys, "prompt_version"}


@pytest.mark.parametrize(
    ("section", "keys", "differing"),
    [
        ("name", "other", []),
        ("output", {"path": "elsewhere"}, []),
        ("compute", {"tensor_parallel": 2}, []),
        ("limits", {"max_gpu_hours": 1}, []),
        ("metrics", {"port": 80}, []),
        ("input", {"path": "elsewhere"}, []),
        ("input", {"path": "in", "id_column": "key"}, ["input.id_column"]),
        ("input", {"path": "in", "keep_columns": ["a"]}, ["input.keep_columns"]),
        ("model", {"name": "tiny"}, ["model.name"]),
        ("model", {"revision": "asked"}, []),
        ("model", {"kv_cache_dtype": "fp8"}, ["model.kv_cache_dtype"]),
        ("model", {"drafting": "off"}, []),
        ("long_documents", {"chunk_tokens": 512}, ["long_documents.chunk_tokens"]),
        (
            "tasks",
            [{"name": "summary", "kind": "summarize", "max_words": 80}],
            ["tasks.summary.max_words"],
        ),
    ],
)
def test_a_digest_changes_with_its_key_alone(
    section: str, keys: object, differing: list[str]
) -> None:
    old = answer_digests(parse_job(job()), "r", 1)
    new = answer_digests(parse_job(job(**{section: keys})), "r", 1)
    assert differing_keys(old, new) == differing
    assert (fingerprint(old) == fingerprint(new)) == (not differing)


def test_several_labels_are_at_most_500() -> None:
    def parse(count: int, *, multiple: bool) -> JobSpec:
        labels = [f"label {number}" for number in range(count)]
        task = {"name": "a", "kind": "classify", "labels": labels, "multiple": multiple}
        return parse_job(job(tasks=[task]))

    assert parse(500, multiple=True)
    assert parse(501, multiple=False)
    with pytest.raises(SpecError, match=r"tasks\.0\.labels: .* a list of at most 500 labels, beca"):
        parse(501, multiple=True)


def test_several_labels_are_another_question_and_their_absence_is_none() -> None:
    task = {"name": "a", "kind": "classify", "labels": ["x", "y"]}
    old, unset, new = (
        answer_digests(parse_job(job(tasks=[{**task, **keys}])), "r", 1)
        for keys in ({}, {"multiple": False}, {"multiple": True})
    )
    assert fingerprint(old) == fingerprint(unset)
    assert "tasks.a.multiple" not in old
    assert differing_keys(old, new) == ["tasks.a.multiple"]


@pytest.mark.parametrize(
    "task",
    [
        {"name": "a", "kind": "ask", "question": "Who?"},
        {"name": "a", "kind": "extract", "fields": {"who": "string"}},
    ],
)
def test_evidence_changes_answers_and_quotes_are_what_its_absence_means(
    task: dict[str, object],
) -> None:
    old, unset, new = (
        answer_digests(parse_job(job(tasks=[{**task, **keys}])), "r", 1)
        for keys in ({}, {"evidence": "quotes"}, {"evidence": "anchors"})
    )
    assert fingerprint(old) == fingerprint(unset)
    assert differing_keys(old, new) == ["tasks.a.evidence"]


def test_every_key_of_a_text_changes_it() -> None:
    task = {"name": "a", "kind": "write", "prompt": "p"}
    old = answer_digests(parse_job(job(tasks=[task])), "r", 1)
    for key, value in {
        "prompt": "q", "max_tokens": 9, "temperature": 0.5, "over": "parts", "combine": "c",
    }.items():  # fmt: skip
        new = answer_digests(parse_job(job(tasks=[{**task, key: value}])), "r", 1)
        assert differing_keys(old, new) == [f"tasks.a.{key}"]


def test_the_pinned_revision_and_the_prompt_version_count() -> None:
    spec = parse_job(job())
    old = answer_digests(spec, "r", 1)
    assert differing_keys(old, answer_digests(spec, "s", 1)) == ["model.revision"]
    assert differing_keys(old, answer_digests(spec, "r", 2)) == ["prompt_version"]
    assert {len(digest) for digest in old.values()} == {16}


def test_a_schema_counts_by_its_content_and_its_order(tmp_path: Path) -> None:
    def digests(schema: object) -> dict[str, str]:
        return answer_digests(parse_job(with_task(kind="extract", schema=schema), tmp_path), "r", 1)

    (tmp_path / "a.json").write_text(json.dumps(SCHEMA, indent=2))
    assert digests("a.json") == digests(SCHEMA)
    reordered = {"type": "object", "properties": {"a": {"type": "number"}, "b": {"type": "string"}}}
    assert differing_keys(digests(SCHEMA), digests(reordered)) == ["tasks.task.schema"]


def test_an_input_is_not_followed_into_a_table_which_would_keep_removed_answers() -> None:
    job = {
        "input": {"path": "in", "follow": True},
        "output": {"path": "out", "table": "delta"},
        "tasks": [SUMMARIZE],
    }
    assert message_of(job).startswith("input.follow: got true, must be false with output.table")
    parse_job({**job, "output": {"path": "out"}})


def test_the_version_and_following_of_an_input_keep_the_fingerprint() -> None:
    job = {"input": {"path": "in"}, "output": {"path": "out"}, "tasks": [SUMMARIZE]}
    moved = {**job, "input": {"path": "in", "version": 3, "follow": True}}
    digests = [answer_digests(parse_job(each), None, 1) for each in (job, moved)]
    assert digests[0] == digests[1]


SUMMARIZE = {"name": "s", "kind": "summarize"}
