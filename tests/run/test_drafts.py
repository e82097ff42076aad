"""Tests that a run uses the index that planning made, and that nothing else follows from planning.

The corpora are so small that they are indexed in this process, without Ray.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.errors import InputError
from pipelines.job.spec import Job, parse_job
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.names import INDEX
from pipelines.ledger.records import Plan
from pipelines.run.cluster import Cluster
from pipelines.run.drafts import Drafts
from pipelines.run.following import InputChanges, find_changes
from pipelines.run.planner import Planner
from pipelines.run.prepared import prepare_job
from pipelines.run.state import RunState
from pipelines.storage import Storage

pytestmark = pytest.mark.usefixtures("tiny_model")
CLUSTER = Cluster(cpus=2, gpus=0, accelerator=None)


class Ground:
    """A job over some documents in a directory, and its planner."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.ledger = Ledger(Storage(str(directory / "out")))
        self.add("first", ["a", "b"])

    def add(self, name: str, ids: list[str]) -> None:
        """Add a file with these documents to the input."""
        path = self.directory / "in" / f"{name}.parquet"
        path.parent.mkdir(exist_ok=True)
        pq.write_table(pa.table({"id": ids, "text": [f"text of {each}" for each in ids]}), path)

    def planner(
        self, unit_seconds: float = 30.0, cluster: Cluster = CLUSTER, **job: Any
    ) -> Planner:
        """Return the planner of the job with other sections."""
        source: dict[str, Any] = {
            "input": {"path": str(self.directory / "in"), "id_column": "id"},
            "output": {"path": str(self.directory / "out")},
            "model": {"name": "tiny-random"},
            "tasks": [{"name": "who", "kind": "ask", "question": "Who?"}],
            **job,
        }
        prepared = prepare_job(Job(parse_job(source), source))
        return Planner(prepared, self.ledger, cluster, unit_seconds, RunState())

    def changes(self) -> InputChanges:
        """Return how the input differs from what is recorded."""
        plans = self.ledger.plans()
        spec = self.planner().prepared.spec.input
        return find_changes(spec, plans, (), self.ledger.storage.root)

    def draft(self, **job: Any) -> Plan:
        """Plan, and return the plan that is not recorded."""
        return self.planner(**job).draft(self.ledger.plans(), self.changes()).plans[-1]

    def run(self, **job: Any) -> Plan:
        """Index as a run does, and return the last recorded plan."""
        return self.planner(**job).extend(self.ledger.plans(), self.changes())[-1]

    @property
    def indexes(self) -> list[str]:
        """The directories of indexes."""
        return self.ledger.storage.entries(INDEX)


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    return Ground(tmp_path)


def test_planning_records_no_job_and_no_plan_and_takes_no_lease(ground: Ground) -> None:
    ground.draft()
    assert ground.ledger.job() is None and ground.ledger.plans() == []
    assert ground.ledger.storage.entries("_run") == ["index"]
    ground.ledger.check_output_is_ours()


def test_a_run_uses_the_index_that_planning_made(ground: Ground) -> None:
    drafted = ground.draft()
    recorded = ground.run()
    assert recorded == drafted and recorded.digest
    assert [f"{INDEX}/{name}" for name in ground.indexes] == [
        drafted.rows_files[0].rpartition("/")[0]
    ]


def test_planning_again_uses_the_draft_too(ground: Ground) -> None:
    assert ground.draft().rows_files == ground.draft().rows_files
    assert len(ground.indexes) == 1


@pytest.mark.parametrize(
    "edited",
    [
        {"long_documents": {"chunk_tokens": 1000}},
        {"tasks": [{"name": "who", "kind": "ask", "question": "Who was it then?"}]},
        {"unit_seconds": 1.0},
        {"cluster": replace(CLUSTER, gpus=1.0, accelerator="H100")},
    ],
    ids=["chunks", "question", "units", "device"],
)
def test_a_job_that_was_edited_after_planning_runs_in_the_same_output(
    ground: Ground, edited: dict[str, Any]
) -> None:
    drafted = ground.draft()
    recorded = ground.run(**edited)
    assert recorded.rows_files != drafted.rows_files
    # the draft has a copy of all texts, which nobody needs any more
    assert len(ground.indexes) == 1


def test_lengths_that_planning_counted_are_not_counted_again(ground: Ground) -> None:
    """A draft with wrong lengths shows whose lengths a later index has."""
    directory = ground.draft().rows_files[0].rpartition("/")[0]
    path = ground.directory / "out" / directory / "rows-00000"
    rows = pq.read_table(path)
    at = rows.column_names.index("tokens")
    planted = rows.set_column(at, rows.schema.field("tokens"), pa.array([7, 8], pa.int64()))
    pq.write_table(planted, path)
    recorded = ground.run(long_documents={"chunk_tokens": 1000})
    with ground.ledger.storage.open(recorded.rows_files[0]) as file:
        assert pq.read_table(file).column("tokens").to_pylist() == [7, 8]


def test_lengths_are_counted_again_where_a_text_has_changed(ground: Ground) -> None:
    ground.draft()
    ground.add("first", ["a", "c"])
    recorded = ground.run()
    with ground.ledger.storage.open(recorded.rows_files[0]) as file:
        assert min(pq.read_table(file).column("tokens").to_pylist()) > 0


def test_an_input_that_changed_after_planning_is_indexed_anew(ground: Ground) -> None:
    drafted = ground.draft()
    ground.add("second", ["c"])
    recorded = ground.run()
    assert sum(unit.rows for unit in drafted.units) == 2
    assert sum(unit.rows for unit in recorded.units) == 3


def test_planning_an_edited_job_removes_the_earlier_draft(ground: Ground) -> None:
    ground.draft()
    ground.draft(long_documents={"chunk_tokens": 1000})
    assert len(ground.indexes) == 1


def test_files_added_to_a_run_are_drafted_as_its_next_plan(ground: Ground) -> None:
    first = ground.run()
    ground.add("second", ["c"])
    drafted = ground.draft()
    assert [unit.number for unit in drafted.units] == [len(first.units)]
    assert ground.run() == drafted and len(ground.ledger.plans()) == 2


def test_a_draft_that_a_run_has_taken_is_not_removed(ground: Ground) -> None:
    """Between taking a draft and recording its plan, another `plan` may want to remove it."""
    ground.draft()
    drafts = Drafts(ground.ledger.storage, 0)
    planner = ground.planner()
    key = planner._key([], ground.changes())
    assert drafts.adopt(key) is not None
    ground.draft(long_documents={"chunk_tokens": 1000})
    assert len(ground.indexes) == 2
    # the run that took it, or any later one, may go on
    assert drafts.adopt(key) is not None


def test_a_draft_that_is_being_removed_is_not_taken(ground: Ground) -> None:
    drafted = ground.draft()
    drafts, key = Drafts(ground.ledger.storage, 0), ground.planner()._key([], ground.changes())
    directory = drafted.rows_files[0].rpartition("/")[0]
    assert ground.ledger.storage.create(f"{directory}/taken", b"removed")
    assert drafts.adopt(key) is None and drafts.find(key) is None
    assert ground.run().rows_files != drafted.rows_files


def test_an_index_without_its_key_is_no_draft(ground: Ground) -> None:
    """A process that died while it indexed leaves a directory that is not complete."""
    drafted = ground.draft()
    directory = drafted.rows_files[0].rpartition("/")[0]
    ground.ledger.storage.remove(f"{directory}/draft-key")
    assert ground.run().rows_files != drafted.rows_files


def test_duplicate_ids_are_refused_and_leave_no_draft(ground: Ground) -> None:
    ground.add("second", ["a"])
    with pytest.raises(InputError, match="duplicate"):
        ground.draft()
    assert ground.indexes == []


def test_the_end_of_a_run_removes_drafts_that_became_no_plan(ground: Ground) -> None:
    ground.draft()
    drafts = Drafts(ground.ledger.storage, 0)
    assert drafts.adopt(ground.planner()._key([], ground.changes())) is not None
    recorded = ground.run(long_documents={"chunk_tokens": 1000})
    assert len(ground.indexes) == 2
    ground.ledger.sweep([recorded])
    assert len(ground.indexes) == 1
