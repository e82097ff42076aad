"""Verify reports what is lost, duplicated, damaged, unknown or unfinished, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.corpus.files import SourceFile
from pipelines.corpus.ids import accounted_hashes, digest_ids, hash_ids
from pipelines.corpus.units import Unit
from pipelines.errors import OutputError
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.records import Commit, Plan, StagedFile, sha256
from pipelines.ledger.verify import VerifyReport, verify
from pipelines.storage import Storage

IDS = pa.chunked_array([[f"d{number}" for number in range(6)]])
UNITS = tuple(
    Unit(number, "short", "text", number, 3, 9, 4, 1.0, digest_ids(hash_ids(IDS[3 * number :][:3])))
    for number in range(2)
)


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    """Return the OUTPUT of a finished run of two units with three documents each, of which the last
    is a dead letter."""
    storage = Storage(str(tmp_path))
    ledger = Ledger(storage)
    _write(storage, "_run/index/rows", pa.table({"doc_id": IDS, "id_hash": hash_ids(IDS)}))
    files = (SourceFile("a.parquet", 1, "v"),)
    ledger.add_plan(0, Plan(files, UNITS, ("_run/index/rows",), {}))
    for unit in (0, 1):
        _commit(ledger, unit, [f"d{3 * unit}", f"d{3 * unit + 1}"], [f"d{3 * unit + 2}"])
    ledger.write_manifest({"documents": 6})
    return storage


def _write(storage: Storage, name: str, table: pa.Table) -> StagedFile:
    with storage.new_file(name) as path:
        pq.write_table(table, path)
        data = path.read_bytes()
    return StagedFile(name, table.num_rows, len(data), sha256(data))


def _commit(
    ledger: Ledger,
    unit: int,
    answered: list[str],
    dead: list[str],
    failed: Sequence[str] = (),
    plan: str | None = None,
) -> None:
    """Commit and publish a unit. `dead` are documents with a dead letter of the whole document,
    `failed` those with dead letters of tasks only; the first answered document has one too. `plan`
    is the digest of the unit's plan, by default that of the recorded one."""
    failed = [*failed, answered[0]]
    part = pa.table({"id": answered, "summary": [{"text": "s"}] * len(answered)})
    tasks = [*[None] * len(dead), *["summary"] * len(failed)]
    dead_letters = pa.table({"doc_id": [*dead, *failed], "task": pa.array(tasks, pa.string())})
    record = Commit(
        unit=unit, plan=plan or ledger.plans()[0].digest,
        ids=digest_ids(accounted_hashes(part, dead_letters)),
        rows=3, answered=len(answered), dead_letters=len(dead), reasons={},
        part=_write(ledger.storage, f"_run/staging/p{unit}", part),
        errors=_write(ledger.storage, f"_run/staging/e{unit}", dead_letters),
        prompt_tokens=1, cached_prompt_tokens=0, output_tokens=1, seconds=1.0, host="h",
        committed_at="now",
    )  # fmt: skip
    ledger.commit(record)
    ledger.publish(record)


def test_a_finished_run_is_complete(storage: Storage) -> None:
    assert verify(storage) == VerifyReport(6, 4, 2, 2, 2, ())
    assert verify(storage).complete


def test_a_document_whose_every_task_failed_is_accounted_for(storage: Storage) -> None:
    storage.remove("_run/commits/000001.json")
    _commit(Ledger(storage), 1, ["d3"], ["d5"], failed=["d4", "d4"])
    assert verify(storage).complete


def remove_part(storage: Storage) -> None:
    storage.remove("answers/part-000001.parquet")


def damage_part(storage: Storage) -> None:
    storage.write("answers/part-000001.parquet", storage.read("answers/part-000000.parquet"))


def remove_part_with_its_copy(storage: Storage) -> None:
    storage.remove("answers/part-000001.parquet")
    storage.remove_matching("_run/staging", lambda _: True)


def add_unknown_part(storage: Storage) -> None:
    storage.copy("answers/part-000001.parquet", "answers/part-000009.parquet")


def add_unknown_dead_letters(storage: Storage) -> None:
    storage.copy("dead_letters/part-000001.parquet", "dead_letters/other.parquet")


def drop_commit(storage: Storage) -> None:
    storage.remove("_run/commits/000001.json")


def drop_manifest(storage: Storage) -> None:
    storage.remove("manifest.json")


def write_older_manifest(storage: Storage) -> None:
    Ledger(storage).write_manifest({"documents": 3})


def recommit(
    answered: list[str], dead: list[str], plan: str | None = None
) -> Callable[[Storage], None]:
    def change(storage: Storage) -> None:
        storage.remove("_run/commits/000001.json")
        _commit(Ledger(storage), 1, answered, dead, plan=plan)

    return change


def swap_ids(storage: Storage) -> None:
    name = "_run/commits/000001.json"
    record = json.loads(storage.read(name))
    storage.write(name, json.dumps(record | {"ids": "other"}).encode())


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            remove_part,
            "answers/part-000001.parquet: missing; run the job again (phifleet run) to publish",
        ),
        (
            remove_part_with_its_copy,
            "answers/part-000001.parquet: missing; its staged copy is gone too",
        ),
        (damage_part, "answers/part-000001.parquet: its content is not what was committed"),
        (add_unknown_part, "answers/part-000009.parquet: no commit names this file"),
        (add_unknown_dead_letters, "dead_letters/other.parquet: no commit names this file"),
        (drop_commit, "1 of 2 units are not committed"),
        (drop_manifest, "manifest.json does not exist; run the job again"),
        (write_older_manifest, "manifest.json states 3 documents, but 6 are committed"),
        (recommit(["d3"], ["d5"]), "1 documents of the input are in no part"),
        (recommit(["d3", "d4", "d4"], ["d5"]), "1 documents occur more than once in the output"),
        (recommit(["d3", "d4"], ["d5", "d4"]), "1 documents occur more than once in the output"),
        (recommit(["d3", "d4", "x"], ["d5"]), "1 documents of the output are not in the input"),
        (recommit(["d3", "d1"], ["d5"]), "unit 1: its commit accounts for 3 documents, which are"),
        (recommit(["d3", "d4"], ["d5"], "p"), "unit 1: its commit, made on h, is of a plan that"),
        (swap_ids, "unit 1: its files contain other documents than its commit states"),
    ],
)
def test_every_fault_is_reported(
    storage: Storage, change: Callable[[Storage], None], expected: str
) -> None:
    change(storage)
    report = verify(storage)
    assert not report.complete
    assert any(expected in problem for problem in report.problems), report.problems


def test_documents_that_two_units_exchanged_are_named_by_unit(storage: Storage) -> None:
    for unit, answered, dead in ((0, ["d0", "d3"], ["d2"]), (1, ["d1", "d4"], ["d5"])):
        storage.remove(f"_run/commits/{unit:06d}.json")
        _commit(Ledger(storage), unit, answered, dead)
    problems = [line for line in verify(storage).problems if line.startswith("unit ")]
    assert [line.partition(":")[0] for line in problems] == ["unit 0", "unit 1"]


def test_a_directory_without_a_run_is_not_complete(tmp_path: Path) -> None:
    report = verify(Storage(str(tmp_path / "empty")))
    assert "empty contains no plan" in report.problems[0]


@pytest.mark.parametrize(
    "manifest", [b"{}", b'{"docs": 6}', b'{"documents": 6, "skipped_files": 5}', b"[]", b"5"]
)
def test_a_manifest_of_another_format_is_an_error_that_names_it(
    storage: Storage, manifest: bytes
) -> None:
    storage.write("manifest.json", manifest)
    with pytest.raises(OutputError, match=r"/manifest\.json: the record is damaged"):
        verify(storage)


@pytest.mark.parametrize("name", ["000001.json.bak", "copy.json", "1.json", "000001"])
def test_a_file_among_the_commits_that_is_none_is_reported(storage: Storage, name: str) -> None:
    storage.write(f"_run/commits/{name}", b"{}")
    report = verify(storage)
    assert report.units_committed == 2
    (problem,) = report.problems
    assert problem.startswith(f"_run/commits/{name}: ")
