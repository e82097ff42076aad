"""The run of a sample: its own OUTPUT, and the answers that the whole run would give."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fakes import FakeEngine
from here import InProcessRun, in_process_run

from pipelines.errors import InputError
from pipelines.job.spec import OutputSpec
from pipelines.models.resolve import Model
from pipelines.run.sampling import SampleRun
from pipelines.tasks.kinds import Sampling
from pipelines.text.tokens import ChatTokenizer


@dataclass
class SampleHere(InProcessRun, SampleRun):
    """The run of a sample that answers its units in this process."""


def answer(prompt: str, sampling: Sampling) -> tuple[str, float | None]:
    return f"about {len(prompt)} characters", None


@pytest.fixture
def whole(tmp_path: Path, tiny_model: Model, tiny_tokenizer: ChatTokenizer) -> InProcessRun:
    """A run over 40 documents in two files; OUTPUT lies within the input."""
    (tmp_path / "in").mkdir()
    for name in "ab":
        rows = {
            "doc": [f"{name}{number}" for number in range(20)],
            "text": [f"word {name} " * (number + 1) for number in range(20)],
        }
        pq.write_table(pa.table(rows), tmp_path / f"in/{name}.parquet")
    return in_process_run(
        tmp_path,
        tmp_path / "in",
        tmp_path / "in/out",
        make_engine=lambda: FakeEngine(tiny_tokenizer, answers=answer),
    )


def sample_of(whole: InProcessRun, output: Path, documents: int) -> SampleHere:
    spec = whole.prepared.spec.model_copy(update={"output": OutputSpec(path=str(output))})
    prepared = replace(whole.prepared, job=replace(whole.prepared.job, spec=spec))
    return SampleHere(
        prepared,
        documents=documents,
        exclude=whole.storage.root,
        make_engine=whole.make_engine,
    )


def rows_of(output: Path) -> dict[str, dict[str, Any]]:
    return {row["doc"]: row for row in pq.read_table(output / "answers").to_pylist()}


def test_a_sample_has_the_answers_of_the_whole_run(whole: InProcessRun, tmp_path: Path) -> None:
    run = sample_of(whole, tmp_path / "sample", 6)
    run.check()
    manifest = run()
    assert (manifest["documents"], manifest["answered"]) == (6, 6)
    assert not (tmp_path / "in/out").exists()
    sample = rows_of(tmp_path / "sample")
    assert {doc[0] for doc in sample} == {"a", "b"}
    whole()
    answers = rows_of(tmp_path / "in/out")
    assert {doc: answers[doc] for doc in sample} == sample
    assert len(answers) == 40


def test_a_sample_does_not_read_the_answers_of_a_run_in_its_input(
    whole: InProcessRun, tmp_path: Path
) -> None:
    whole()
    before = sorted(path.name for path in (tmp_path / "in/out").rglob("*"))
    manifest = sample_of(whole, tmp_path / "sample", 100)()
    assert manifest["documents"] == 40
    assert sorted(path.name for path in (tmp_path / "in/out").rglob("*")) == before


def test_an_invalid_id_is_refused_as_by_a_run(whole: InProcessRun, tmp_path: Path) -> None:
    rows = {"doc": ["x", None], "text": ["one", "two"]}
    pq.write_table(pa.table(rows), tmp_path / "in/c.parquet")
    with pytest.raises(InputError, match="has values that are null"):
        sample_of(whole, tmp_path / "sample", 100)()
