"""Tests that a run finishes only if every commit accounts for the ids of its unit's documents."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from here import InProcessRun, in_process_run

from pipelines.corpus.ids import digest_ids, hash_ids
from pipelines.errors import Incomplete, OutputError
from pipelines.models.resolve import Model


def _run(directory: Path) -> InProcessRun:
    return in_process_run(directory, directory / "corpus.parquet", directory / "out")


@pytest.fixture
def finished(tmp_path: Path, tiny_model: Model) -> Path:
    rows = {"doc": [f"d{number}" for number in range(4)], "text": ["Some words."] * 4}
    pq.write_table(pa.table(rows), tmp_path / "corpus.parquet")
    manifest = _run(tmp_path)()
    assert (manifest["documents"], manifest["units"]) == (4, 4)
    _run(tmp_path)()
    return tmp_path


def _change_commit(directory: Path, unit: int, **fields: str) -> None:
    path = directory / f"out/_run/commits/{unit:06d}.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def test_every_commit_has_the_digest_of_its_unit_and_of_its_plan(finished: Path) -> None:
    ledger = _run(finished).ledger
    (plan,) = ledger.plans()
    for unit, commit in zip(plan.units, ledger.commits(range(4)), strict=True):
        assert (commit.plan, commit.ids) == (plan.digest, unit.ids)
    assert {unit.ids for unit in plan.units} == {
        digest_ids(hash_ids(pa.chunked_array([[f"d{number}"]]))) for number in range(4)
    }


def test_commits_of_other_documents_are_reported_by_unit_even_if_their_number_is_right(
    finished: Path,
) -> None:
    (finished / "out/manifest.json").unlink()
    plan = _run(finished).ledger.plans()[0]
    _change_commit(finished, 1, ids=plan.units[2].ids)
    _change_commit(finished, 2, ids=plan.units[1].ids)
    with pytest.raises(Incomplete, match=r"unit 1: its commit accounts for[^$]*unit 2:") as error:
        _run(finished)()
    assert "unit 0" not in error.value.message and "unit 3" not in error.value.message
    assert not (finished / "out/manifest.json").exists()


def test_a_commit_of_another_plan_is_reported_by_unit(finished: Path) -> None:
    _change_commit(finished, 3, plan="another", host="elsewhere")
    with pytest.raises(Incomplete, match=r"unit 3: its commit, made on elsewhere, is of a plan"):
        _run(finished)()


def test_a_manifest_without_times_is_an_error_that_names_it(finished: Path) -> None:
    (finished / "out/manifest.json").write_text('{"documents": 4}')
    with pytest.raises(OutputError, match=r"/manifest\.json: the record is damaged"):
        _run(finished)()
