"""A job is given as a path, a dict or a loaded job."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

import phifleet
from phifleet.job import output_of
from pipelines.job.task_specs import ExtractTask

JOB: dict[str, Any] = {
    "input": {"path": "in"},
    "output": {"path": "out"},
    "tasks": [{"name": "summary", "kind": "summarize"}],
}


class Facts(BaseModel):
    """Facts of a text."""

    company: str
    risks: list[str] = []


def test_a_dict_is_the_same_job_as_a_file_with_its_keys(tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump(JOB))
    assert phifleet.load(JOB) == phifleet.load(path) == phifleet.load(str(path))


def test_a_dict_may_have_paths_tuples_times_and_a_pydantic_class(tmp_path: Path) -> None:
    job = phifleet.load(
        {
            "input": {"path": tmp_path, "keep_columns": ("title",)},
            "output": {"path": tmp_path / "out"},
            "limits": {"deadline": datetime(2030, 1, 31, tzinfo=UTC)},
            "tasks": ({"name": "facts", "kind": "extract", "schema": Facts},),
        }
    )
    assert job.spec.output.path == str(tmp_path / "out")
    (task,) = job.spec.tasks
    assert isinstance(task, ExtractTask)
    assert task.json_schema == Facts.model_json_schema()
    # what is recorded in OUTPUT is JSON
    assert json.loads(json.dumps(job.source)) == job.source


def test_a_dict_reads_the_environment_and_its_record_does_not_have_the_value(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PLACE", "secret-place")
    job = phifleet.load({**JOB, "output": {"path": "out/${PLACE}"}})
    assert job.spec.output.path == "out/secret-place"
    assert "secret-place" not in json.dumps(job.source)


def test_overrides_replace_keys_of_a_dict_or_a_file() -> None:
    job = phifleet.load(JOB, ["tasks.0.max_words=7"])
    assert job.spec.tasks[0].model_dump()["max_words"] == 7
    assert JOB["tasks"][0] == {"name": "summary", "kind": "summarize"}
    with pytest.raises(phifleet.SpecError, match="loaded already; pass them to load"):
        phifleet.load(job, ["tasks.0.max_words=8"])


def test_a_wrong_dict_is_an_error_that_names_the_key() -> None:
    with pytest.raises(phifleet.SpecError, match=r"tasks\.0\.max_words: got 'many', must be"):
        phifleet.load({**JOB, "tasks": [{**JOB["tasks"][0], "max_words": "many"}]})


def test_an_output_is_itself_and_a_jobs_output_is_its_path(tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump(JOB))
    assert output_of(path) == output_of(JOB) == output_of(phifleet.load(JOB)) == "out"
    assert output_of("s3://bucket/out/") == "s3://bucket/out/"
    assert output_of(tmp_path) == str(tmp_path)
