"""Tests of reading a job file: YAML, overrides, environment variables and schema files."""

import json
from pathlib import Path
from typing import Any

import pydantic
import pytest

from pipelines.errors import SpecError
from pipelines.job.spec import Job, load_job
from pipelines.job.task_specs import ClassifyTask, ExtractTask, SummarizeTask, TaskSpec

SCHEMA = {"type": "object", "properties": {"b": {"type": "string"}}}
SMALL = """
input: {path: in}
output: {path: out}
tasks:
  - {name: summary, kind: summarize}
  - {name: facts, kind: extract, fields: {a: string}}
"""


def load(tmp_path: Path, text: str, *overrides: str, **environ: str) -> Job:
    (tmp_path / "job.yaml").write_text(text)
    return load_job(tmp_path / "job.yaml", overrides, environ)


def message_of(tmp_path: Path, text: str, *overrides: str, **environ: str) -> str:
    with pytest.raises(SpecError) as caught:
        load(tmp_path, text, *overrides, **environ)
    return caught.value.message.replace(f"{tmp_path}/", "")


def test_a_missing_job_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"none\.yaml: cannot read the file: No such file"):
        load_job(tmp_path / "none.yaml")


def test_a_job_file_that_is_not_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_bytes(b"name: \xff")
    with pytest.raises(SpecError, match="not valid UTF-8: invalid start byte at byte 6"):
        load_job(tmp_path / "job.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "job.yaml: the file is empty, must be a YAML mapping with the keys input, output"),
        ("- a", "job.yaml: got ['a'], must be a YAML mapping with the keys input, output, tasks"),
        ("a: 1\nb: [", "job.yaml, line 2: not valid YAML: "),
        ("a: 1\nb: 2\na: 3", "job.yaml, line 3: not valid YAML: key 'a' occurs twice: remove one"),
        ("a: 1\n---\nb: 2", "job.yaml, line 2: not valid YAML: but found another document"),
        ("a: 1\n2: b", "job.yaml, line 2: not valid YAML: key '2' must be a string"),
        ("a: &a\n  b: *a", "job.yaml, line 1: not valid YAML: found unconstructable recursive"),
        ("a: !!timestamp 2030-01-01", "job.yaml, line 1: not valid YAML: could not determine"),
        ("a: \x01", "job.yaml: not valid YAML: "),
    ],
)
def test_a_file_that_is_not_a_job_file_is_rejected_with_its_line(
    tmp_path: Path, text: str, message: str
) -> None:
    assert message_of(tmp_path, text).startswith(message)


def test_words_and_dates_stay_strings(tmp_path: Path) -> None:
    labels = "[yes, no, 1:30, 2030-01-01, 010, 1_000]"
    task = load(tmp_path, SMALL, f"tasks.0={{name: a, kind: classify, labels: {labels}}}")
    assert isinstance(task.spec.tasks[0], ClassifyTask)
    assert task.spec.tasks[0].labels == ("yes", "no", "1:30", "2030-01-01", "010", "1_000")


def test_numbers_are_read_as_yaml_1_2_does(tmp_path: Path) -> None:
    text = SMALL + "limits: {max_gpu_hours: 1e3, max_cost_usd: 2.5, max_dead_letter_fraction: .1}"
    limits = load(tmp_path, text).spec.limits
    assert (limits.max_gpu_hours, limits.max_cost_usd) == (1000.0, 2.5)
    assert limits.max_dead_letter_fraction == 0.1


def test_anchors_and_merges_work(tmp_path: Path) -> None:
    text = SMALL.replace("{path: in}", "&a {path: in}").replace("{path: out}", "{<<: *a, path: b}")
    assert load(tmp_path, text).spec.output.path == "b"


def test_an_override_replaces_a_value_and_is_part_of_the_source(tmp_path: Path) -> None:
    job = load(tmp_path, SMALL, "tasks.0.max_words=80", "input.path=a=b", "tasks.1.fields.c=[date]")
    summary, facts = job.spec.tasks
    assert isinstance(summary, SummarizeTask)
    assert isinstance(facts, ExtractTask)
    assert (summary.max_words, job.spec.input.path) == (80, "a=b")
    assert facts.fields == {"a": "string", "c": ["date"]}
    tasks: Any = job.source["tasks"]
    assert tasks[0]["max_words"] == 80


def test_an_override_adds_sections_that_are_missing_in_the_file(tmp_path: Path) -> None:
    job = load(tmp_path, SMALL + "limits:\n", "compute.replicas.max=2", "limits.max_cost_usd=5")
    assert job.spec.compute.replicas.max == 2
    assert job.spec.limits.max_cost_usd == 5.0


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "tasks.0.max_wrds=80",
            "--set tasks.0.max_wrds: no such key; did you mean 'max_words'? "
            "allowed keys: name, kind, max_words",
        ),
        (
            "modle.name=a",
            "--set modle: no such key; did you mean 'model'? allowed keys: name, input",
        ),
        ("compute.replicas.x=a", "--set compute.replicas.x: no such key; allowed keys: min, max"),
        ("tasks.2.name=a", "--set tasks.2: no such key; allowed keys: 0, 1"),
        ("tasks.first.name=a", "--set tasks.first: no such key; allowed keys: 0, 1"),
        (
            "input.path.x=a",
            "--set input.path.x: no such key; input.path is 'in', not a mapping or a list",
        ),
        ("name", "--set name: must be PATH=VALUE, such as --set model.name=tiny or "),
        ("name=[", "--set name=[, line 1: not valid YAML"),
        ("tasks.0.max_words=many", "tasks.0.max_words: got 'many', must be a whole number"),
    ],
)
def test_an_invalid_override_is_rejected_with_the_keys_that_are_allowed(
    tmp_path: Path, override: str, message: str
) -> None:
    assert message_of(tmp_path, SMALL, override).startswith(message)


def test_the_environment_is_filled_in_but_never_part_of_the_source(tmp_path: Path) -> None:
    text = SMALL + "metrics: {pushgateway: 'https://u:${TOKEN}@gate'}"
    job = load(tmp_path, text, "output.path=${BASE}/out", TOKEN="hush", BASE="s3://b")  # noqa: S106 (no secret)
    assert job.spec.metrics.pushgateway == "https://u:hush@gate"
    assert job.spec.output.path == "s3://b/out"
    assert "hush" not in json.dumps(job.source)
    assert "${BASE}/out" in json.dumps(job.source)


def test_a_doubled_dollar_is_an_escaped_dollar(tmp_path: Path) -> None:
    job = load(tmp_path, SMALL, "input.path=$${HOME}/$x", HOME="never")
    assert job.spec.input.path == "${HOME}/$x"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("input.path=${NOPE}", "input.path: the environment variable NOPE is not set"),
        ("input.keep_columns=[a, '${NOPE}']", "input.keep_columns.1: the environment variable"),
        (
            "input.path='${a b}'",
            "input.path: '${' must start a reference such as ${HOME}; write a literal",
        ),
    ],
)
def test_a_reference_that_cannot_be_expanded_is_named_by_its_key(
    tmp_path: Path, override: str, message: str
) -> None:
    assert message_of(tmp_path, SMALL, override).startswith(message)


def test_a_message_does_not_show_values_from_the_environment(tmp_path: Path) -> None:
    message = message_of(tmp_path, SMALL, "metrics.port=${PORT}", PORT="hush")
    assert message == (
        "metrics.port: got '${PORT}' (a string from the environment), "
        "must be a port number from 1 to 65535"
    )


def test_a_schema_file_is_read_from_beside_the_job_file(tmp_path: Path) -> None:
    (tmp_path / "facts.schema.json").write_text(json.dumps(SCHEMA))
    loaded = load(
        tmp_path, SMALL, "tasks.1={name: facts, kind: extract, schema: facts.schema.json}"
    )
    task = loaded.spec.tasks[1]
    assert isinstance(task, ExtractTask)
    assert task.json_schema == SCHEMA
    assert "properties" not in json.dumps(loaded.source)


@pytest.mark.parametrize(
    ("content", "reason"), [(None, "No such file or directory"), ("{", "Expecting property name")]
)
def test_a_schema_file_that_cannot_be_read_is_named(
    tmp_path: Path, content: str | None, reason: str
) -> None:
    if content is not None:
        (tmp_path / "a.json").write_text(content)
    message = message_of(tmp_path, SMALL, "tasks.1={name: a, kind: extract, schema: a.json}")
    assert message.startswith("tasks.1.schema: got 'a.json', must be the path of a JSON file, ")
    assert reason in message


def test_a_task_from_elsewhere_cannot_name_a_schema_file(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(SCHEMA))
    adapter: pydantic.TypeAdapter[TaskSpec] = pydantic.TypeAdapter(TaskSpec)
    task = {"name": "facts", "kind": "extract", "schema": str(tmp_path / "a.json")}
    with pytest.raises(pydantic.ValidationError):
        adapter.validate_python(task)
    assert adapter.validate_python({**task, "schema": SCHEMA}).name == "facts"
