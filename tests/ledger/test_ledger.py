"""The ledger: one commit per unit under races; lost parts are published again from staging."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.corpus.files import SourceFile
from pipelines.corpus.units import Unit
from pipelines.errors import Incomplete, OutputError
from pipelines.ledger.attempts import Attempts
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.names import new_index, new_staged
from pipelines.ledger.records import Commit, Plan, StagedFile, sha256
from pipelines.storage import Storage

UNITS = tuple(Unit(number, "short", "text", number, 3, 90, 40, 1.5, "ids") for number in range(3))
PLAN = Plan((SourceFile("a.parquet", 9, "v1"),), UNITS, ("rows",), {"empty": 2})

JOB_RECORD = {"source": {}, "digests": {}, "fingerprint": "one", "model": "m", "revision": "r"}


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(Storage(str(tmp_path / "out")))


def _staged(ledger: Ledger, kind: str, unit: int, data: bytes) -> StagedFile:
    name = new_staged(kind, unit)
    ledger.storage.write(name, data)
    return StagedFile(name, 2, len(data), sha256(data))


def _record(ledger: Ledger, unit: int = 0) -> Commit:
    return Commit(
        unit=unit, plan="plan", ids="ids", rows=3, answered=2, dead_letters=1, reasons={"empty": 1},
        part=_staged(ledger, "part", unit, b"part"),
        errors=_staged(ledger, "errors", unit, b"dead letters"),
        prompt_tokens=10, cached_prompt_tokens=4, output_tokens=2, seconds=1.5, host="here",
        committed_at="now",
    )  # fmt: skip


def _staged_part(record: Commit) -> str:
    assert record.part is not None
    return record.part.staged


def test_the_first_job_is_recorded_and_later_drivers_read_it(ledger: Ledger) -> None:
    assert ledger.job() is None
    assert ledger.open_job(JOB_RECORD) == JOB_RECORD
    assert ledger.open_job({**JOB_RECORD, "fingerprint": "two"}) == JOB_RECORD
    assert ledger.job() == JOB_RECORD


@pytest.mark.parametrize(
    "record",
    [
        *({key: JOB_RECORD[key] for key in JOB_RECORD if key != name} for name in JOB_RECORD),
        {**JOB_RECORD, "digests": 5},
        {**JOB_RECORD, "source": None},
        [],
        5,
    ],
)
def test_a_job_of_another_format_is_an_error_that_names_it(ledger: Ledger, record: object) -> None:
    ledger.storage.write("_run/job.json", json.dumps(record).encode())
    with pytest.raises(OutputError, match=r"/_run/job\.json: the record is damaged"):
        ledger.job()


def test_an_output_that_contains_other_files_is_refused(ledger: Ledger) -> None:
    ledger.check_output_is_ours()
    ledger.storage.write("notes.txt", b"mine")
    with pytest.raises(OutputError, match=r"contains notes\.txt, but no phifleet run"):
        ledger.check_output_is_ours()
    ledger.open_job(JOB_RECORD)
    ledger.check_output_is_ours()


def test_plans_are_read_as_written_and_the_first_of_a_number_is_kept(
    ledger: Ledger,
) -> None:
    ledger.add_plan(0, PLAN)
    ledger.add_plan(0, replace(PLAN, problems={}))
    ledger.add_plan(1, replace(PLAN, units=(), rows_files=()))
    assert ledger.plans() == [PLAN, replace(PLAN, units=(), rows_files=())]


def test_a_plan_whose_creation_the_client_repeats_is_ours(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = Storage.create

    def create_twice(storage: Storage, name: str, data: bytes) -> bool:
        """Repeat a request as a client does whose first answer was lost."""
        return create(storage, name, data) and create(storage, name, data)

    monkeypatch.setattr(Storage, "create", create_twice)
    assert ledger.add_plan(0, PLAN)
    assert not ledger.add_plan(0, replace(PLAN, rows_files=("theirs",)))


def test_a_plan_has_the_digest_of_its_record(ledger: Ledger) -> None:
    ledger.add_plan(0, PLAN)
    ledger.add_plan(1, replace(PLAN, units=UNITS[:1]))
    first, second = ledger.plans()
    assert first.digest == sha256(ledger.storage.read("_run/units")) != second.digest


def _older_plan(ledger: Ledger) -> None:
    sink = io.BytesIO()
    pq.write_table(pq.read_table(io.BytesIO(PLAN.to_bytes())).drop_columns(["ids"]), sink)
    ledger.storage.write("_run/units", sink.getvalue())


def _damaged_plan(ledger: Ledger) -> None:
    ledger.storage.write("_run/units", PLAN.to_bytes()[:-9])


def _foreign_plan(ledger: Ledger) -> None:
    sink = io.BytesIO()
    pq.write_table(pa.table({"number": [1]}), sink)
    ledger.storage.write("_run/units", sink.getvalue())


@pytest.mark.parametrize("make", [_older_plan, _damaged_plan, _foreign_plan])
def test_a_plan_of_another_shape_is_refused_by_name(
    ledger: Ledger, make: Callable[[Ledger], None]
) -> None:
    make(ledger)
    with pytest.raises(OutputError, match=r"_run/units: .*another version of phifleet"):
        ledger.plans()


@pytest.mark.parametrize(
    "change", [{"plan": None}, {"ids": None}, {"unheard_of": 1}, {"part": {"name": "x"}}, None]
)
def test_a_commit_of_another_shape_is_refused_by_name(
    ledger: Ledger, change: dict[str, Any] | None
) -> None:
    record: Any = json.loads(_record(ledger).to_json())
    for name, value in (change or {}).items():
        if value is None:
            del record[name]
        else:
            record[name] = value
    data = json.dumps(record if change else [record]).encode()
    ledger.storage.write("_run/commits/000000.json", data)
    with pytest.raises(OutputError, match=r"commits/000000\.json: .*another version of phifleet"):
        ledger.commits([0])


def test_a_plan_of_very_many_files_can_be_read(ledger: Ledger) -> None:
    files = tuple(SourceFile("a" * 1000, 9, str(number)) for number in range(80_000))
    assert ledger.add_plan(0, replace(PLAN, files=files))
    assert ledger.plans() == [replace(PLAN, files=files)]


def test_one_of_many_concurrent_commits_of_a_unit_wins(ledger: Ledger) -> None:
    records = [_record(ledger) for _ in range(16)]
    with ThreadPoolExecutor(16) as pool:
        results = list(pool.map(ledger.commit, records))
    assert sum(results) == 1
    (committed,) = ledger.commits([0])
    assert committed == records[results.index(True)]
    assert ledger.committed() == {0}


def test_repeating_a_commit_succeeds(ledger: Ledger) -> None:
    record = _record(ledger)
    assert ledger.commit(record) and ledger.commit(record)


def test_publishing_can_be_repeated_and_survives_a_swept_staging(ledger: Ledger) -> None:
    record = _record(ledger)
    ledger.commit(record)
    ledger.publish(record)
    ledger.publish(record)
    assert ledger.storage.read("answers/part-000000.parquet") == b"part"
    assert ledger.storage.read("dead_letters/part-000000.parquet") == b"dead letters"
    ledger.sweep([PLAN])
    ledger.publish(record)
    assert ledger.storage.names("_run/staging") == []


def test_a_missing_or_changed_part_is_published_again(ledger: Ledger) -> None:
    record = _record(ledger)
    ledger.commit(record)
    assert ledger.repair([record]) == 2
    assert ledger.repair([record]) == 0
    ledger.storage.write("answers/part-000000.parquet", b"part, but damaged")
    assert ledger.repair([record]) == 1
    assert ledger.storage.read("answers/part-000000.parquet") == b"part"


def test_a_part_that_is_lost_with_its_staged_copy_is_named(ledger: Ledger) -> None:
    record = _record(ledger)
    ledger.commit(record)
    ledger.storage.remove(_staged_part(record))
    with pytest.raises(Incomplete, match=r"unit 0: answers/part-000000\.parquet is lost"):
        ledger.repair([record])
    with pytest.raises(Incomplete, match=r"unit 0: answers/part-000000\.parquet is lost"):
        ledger.publish(record)


def test_a_damaged_staged_copy_is_never_published(ledger: Ledger) -> None:
    record = _record(ledger)
    ledger.commit(record)
    ledger.storage.write(_staged_part(record), b"half")
    with pytest.raises(Incomplete):
        ledger.repair([record])
    assert not ledger.storage.exists("answers/part-000000.parquet")


def test_discarding_a_commit_deletes_its_staged_files(ledger: Ledger) -> None:
    record = _record(ledger)
    ledger.discard(record)
    assert ledger.storage.names("_run/staging") == []


def test_a_sweep_keeps_the_files_of_a_newer_run(storage: Storage) -> None:
    ledger, attempts = Ledger(storage), Attempts(storage, 1)
    own, newer = _record(ledger, unit=2), _record(ledger, unit=3)
    attempts.begin(2)

    running = attempts.begin(3).record
    index = f"{new_index(1)}/text-00000"
    storage.write(index, b"text")
    ledger.sweep([PLAN])
    assert not storage.exists(_staged_part(own))
    assert storage.names("_run/attempts") == [running]
    assert storage.exists(index)
    ledger.commit(newer)
    ledger.publish(newer)
    assert storage.read("answers/part-000003.parquet") == b"part"


def test_a_sweep_deletes_an_index_that_became_no_plan(storage: Storage) -> None:
    ledger = Ledger(storage)
    first, second = new_index(0), new_index(0)
    for directory in (first, second):
        for kind in ("text", "rows"):
            storage.write(f"{directory}/{kind}-00000", b"")
    units = tuple(replace(unit, file=f"{first}/text-00000") for unit in UNITS)
    ledger.sweep([replace(PLAN, units=units, rows_files=(f"{first}/rows-00000",))])
    assert storage.entries("_run/index") == [first.rpartition("/")[2]]
    assert storage.names(first) == ["rows-00000"]


def test_a_sweep_deletes_the_temporary_file_of_a_killed_writer(tmp_path: Path) -> None:
    ledger = Ledger(Storage(str(tmp_path)))
    staged = tmp_path / new_staged("part", 1)
    staged.parent.mkdir(parents=True)
    staged.with_name(f".{staged.name}.half").touch()
    ledger.sweep([PLAN])
    assert list(staged.parent.iterdir()) == []


def test_a_sweep_keeps_unknown_names(storage: Storage) -> None:
    names = ("_run/staging/.nfs0001", "_run/attempts/notes", "_run/index/notes")
    for name in names:
        storage.write(name, b"")
    Ledger(storage).sweep([PLAN])
    assert all(storage.exists(name) for name in names)
