"""Tests of a prepared job: token limits, pools, the fingerprint."""

from __future__ import annotations

from typing import Any

import pytest

from pipelines.errors import ModelError, SpecError
from pipelines.job.spec import Job, parse_job
from pipelines.models.resolve import Model
from pipelines.run.prepared import PreparedJob, prepare_job


def prepared(
    *, label: str = "other", gpus: str | float = "auto", **long_documents: object
) -> PreparedJob:
    source: dict[str, object] = {
        "input": {"path": "in"},
        "output": {"path": "out"},
        "model": {"name": "tiny-random"},
        "tasks": [{"name": "topic", "kind": "classify", "labels": ["risk", label]}],
        "long_documents": long_documents,
        "compute": {"gpus_per_replica": gpus},
    }
    return prepare_job(Job(parse_job(source), source))


@pytest.mark.usefixtures("tiny_model")
def test_defaults_that_depend_on_the_model_enter_the_fingerprint_as_values() -> None:
    default = prepared()
    same = prepared(single_pass_tokens=16_384, chunk_tokens=3072)
    assert default.fingerprint == same.fingerprint
    assert default.fingerprint != prepared(chunk_tokens=1000).fingerprint
    assert default.fingerprint != prepared(single_pass_tokens=8000).fingerprint


@pytest.mark.parametrize(
    ("requested", "earlier_request", "resolved"),
    [(None, None, "abc"), ("main", "main", "abc"), ("v2", None, "v2")],
)
def test_a_resumed_run_keeps_the_commit_that_it_resolved_on_the_hub(
    monkeypatch: pytest.MonkeyPatch,
    requested: str | None,
    earlier_request: str | None,
    resolved: str,
) -> None:
    def resolve(name: str, revision: str | None, *, weights: bool) -> Model:
        assert not weights
        raise ModelError(f"{name} at {revision}")

    monkeypatch.setattr("pipelines.run.prepared.resolve", resolve)
    source: dict[str, object] = {
        "input": {"path": "in"},
        "output": {"path": "out"},
        "model": {"name": "team/phi", "revision": requested},
        "tasks": [{"name": "summary", "kind": "summarize"}],
    }
    source_before = {"model": {"revision": earlier_request}}
    recorded = {"model": "team/phi", "revision": "abc", "source": source_before}
    with pytest.raises(ModelError, match=f"team/phi at {resolved}"):
        prepare_job(Job(parse_job(source), source), recorded)


def test_documents_go_to_the_pool_of_their_longest_prompt(tiny_model: Model) -> None:
    job = prepared()
    assert [job.pool_of(tokens) for tokens in (3000, 10_000, 100_000)] == ["short", "long", "short"]
    assert job.engine_config("short", 900, gpu=False).max_model_len == tiny_model.short_rope_len
    assert job.engine_config("long", 5000, gpu=False).max_model_len == 5120


@pytest.mark.usefixtures("tiny_model")
def test_engines_of_the_long_pool_have_room_for_a_long_list() -> None:
    def length(field: object, **more: object) -> int:
        form = {"name": "facts", "kind": "extract", "fields": {"a": field}, **more}
        source: dict[str, Any] = {
            "input": {"path": "in"},
            "output": {"path": "out"},
            "model": {"name": "tiny-random"},
            "tasks": [form],
        }
        job = prepare_job(Job(parse_job(source), source))
        return job.engine_config("long", 5000, gpu=False).max_model_len

    assert length("string") == length(["string"], max_tokens=500) == 5120
    assert length(["string"]) == 5120 + 4096


@pytest.mark.parametrize(("gpus", "share"), [("auto", 1), (0, 1), (2, 1), (0.25, 0.25)])
@pytest.mark.usefixtures("tiny_model")
def test_an_engine_has_its_share_of_a_gpu(gpus: str | float, share: float) -> None:
    job = prepared(gpus=gpus)
    assert job.engine_config("short", 900, gpu=True).gpu_share == share


@pytest.mark.usefixtures("tiny_model")
def test_a_label_that_means_no_label_in_chunks_is_an_error() -> None:
    with pytest.raises(SpecError, match=r"labels\.1: .*it means that a chunk shows no label"):
        prepared(label="cannot tell")


@pytest.mark.usefixtures("tiny_model")
@pytest.mark.parametrize("drafting", ["auto", "off"])
def test_engines_draft_unless_the_job_switches_it_off(drafting: str) -> None:
    source: dict[str, object] = {
        "input": {"path": "in"},
        "output": {"path": "out"},
        "model": {"name": "tiny-random", "drafting": drafting},
        "tasks": [{"name": "summary", "kind": "summarize"}],
    }
    job = prepare_job(Job(parse_job(source), source))
    assert job.engine_config("short", 1000, gpu=False).drafting == (drafting == "auto")
