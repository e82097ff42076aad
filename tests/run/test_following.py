"""A run follows its input: changed documents are answered again, removed ones leave OUTPUT."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from here import InProcessRun, in_process_run

from pipelines.errors import Fenced, InputError, OutputError
from pipelines.ledger.verify import verify
from pipelines.storage import Storage

deltalake = pytest.importorskip("deltalake")
pytestmark = pytest.mark.usefixtures("tiny_model")
TEXTS = {"a": "First words.", "b": "Second words.", "c": "", "d": "Fourth words."}


class Killed(Exception):
    """Stands for the death of the process."""


def rows_of(texts: dict[str, str]) -> pa.Table:
    return pa.table(
        {"doc": list(texts), "text": list(texts.values()), "n": [len(texts)] * len(texts)}
    )


def write(path: Path, texts: dict[str, str], mode: str = "overwrite") -> None:
    """Write documents to a Delta table."""
    deltalake.write_deltalake(str(path), rows_of(texts), mode=mode)


def run(directory: Path, *, follow: bool = True, **options: Any) -> InProcessRun:
    job = {"path": str(directory / "corpus"), "id_column": "doc", "follow": follow, **options}
    return in_process_run(directory, directory / "corpus", directory / "out", input=job)


def output(directory: Path) -> dict[str, str]:
    """Return the ids in OUTPUT: "answered" or the reason of the dead letter. Fails for doubles."""
    found: dict[str, str] = {}
    for kind in ("answers", "dead_letters"):
        files = sorted((directory / f"out/{kind}").glob("*.parquet"))
        for row in [row for file in files for row in pq.read_table(file).to_pylist()]:
            doc_id = row["doc"] if kind == "answers" else row["doc_id"]
            assert doc_id not in found
            found[doc_id] = row.get("reason", "answered")
    return found


def no_texts_below(directory: Path) -> bool:
    """Return whether no file of a finished run's bookkeeping holds a text or an answer."""
    staged = list((directory / "staging").glob("*"))
    return not staged and not list(directory.glob("index/*/text-*"))


def test_a_table_that_moves_on_is_followed(tmp_path: Path) -> None:
    table = tmp_path / "corpus"
    write(table, TEXTS)
    manifest = run(tmp_path)()
    assert manifest["input_table"] == {"format": "Delta", "version": 0}
    assert output(tmp_path) == {"a": "answered", "b": "answered", "c": "empty", "d": "answered"}
    first = pq.read_table(tmp_path / "out/answers")

    deltalake.DeltaTable(str(table)).delete("doc = 'b' or doc = 'c'")
    deltalake.DeltaTable(str(table)).update({"text": "'Other words.'"}, predicate="doc = 'd'")
    write(table, {"e": "Fifth words."}, mode="append")
    follows = run(tmp_path)
    manifest = follows()
    assert output(tmp_path) == {"a": "answered", "d": "answered", "e": "answered"}
    assert manifest["documents"] == 3 and manifest["dead_letters"] == 0
    assert manifest["dead_letter_reasons"] == {}
    assert manifest["input_table"] == {"format": "Delta", "version": 3}
    (changes,) = manifest["input_changes"]
    assert {name: changes[name] for name in ("added", "changed", "removed", "unchanged")} == {
        "added": 1, "changed": 1, "removed": 2, "unchanged": 1,
    }  # fmt: skip
    assert changes["at"].startswith("20")
    # only new and changed documents are answered
    texts = " ".join(follows.prompts)
    assert "Fifth" in texts and "Other" in texts and "First" not in texts
    later = pq.read_table(tmp_path / "out/answers")
    unchanged = [t.filter(pa.compute.equal(t["doc"], "a")) for t in (first, later)]
    assert unchanged[0] == unchanged[1]
    report = verify(Storage(str(tmp_path / "out")))
    assert report.complete and report.documents == 3
    assert no_texts_below(tmp_path / "out/_run")
    assert run(tmp_path)()["documents"] == 3


def test_without_follow_added_documents_are_new_work_and_other_changes_are_refused(
    tmp_path: Path,
) -> None:
    table = tmp_path / "corpus"
    write(table, TEXTS)
    run(tmp_path, follow=False)()
    write(table, {"e": "Fifth words."}, mode="append")
    deltalake.DeltaTable(str(table)).optimize.compact()
    assert run(tmp_path, follow=False)()["documents"] == 5
    before = output(tmp_path)
    deltalake.DeltaTable(str(table)).delete("doc = 'b'")
    write(table, {"f": "Sixth words."}, mode="append")
    refused = run(tmp_path, follow=False)
    with pytest.raises(InputError, match=r"adds 1 documents .* changes 0 and removes 1\."):
        refused()
    assert refused.prompts == [] and output(tmp_path) == before
    assert len(list((tmp_path / "out/_run/index").iterdir())) == 2
    assert run(tmp_path, follow=False, version=2)()["documents"] == 5
    assert verify(Storage(str(tmp_path / "out"))).complete


def test_an_id_may_leave_and_come_back(tmp_path: Path) -> None:
    table = tmp_path / "corpus"
    for texts in (TEXTS, {"a": "First words."}, TEXTS, {"b": "Second words."}, TEXTS):
        write(table, texts)
        assert run(tmp_path)()["documents"] == len(texts)
        assert set(output(tmp_path)) == set(texts)
        assert verify(Storage(str(tmp_path / "out"))).complete


def test_rows_that_move_between_files_several_times_stay_answered(tmp_path: Path) -> None:
    table = tmp_path / "corpus"
    write(table, TEXTS)
    run(tmp_path)()
    answers = pq.read_table(tmp_path / "out/answers").sort_by("doc")
    for _ in range(3):
        write(table, TEXTS)
        moved = run(tmp_path)
        manifest = moved()
        assert manifest["input_changes"][-1]["unchanged"] == 4
        assert moved.prompts == []
    assert pq.read_table(tmp_path / "out/answers").sort_by("doc") == answers
    write(table, {"a": "First words."})
    assert run(tmp_path)()["documents"] == 1
    assert set(output(tmp_path)) == {"a"}


def test_a_run_that_is_resumed_keeps_the_version_with_which_it_began(tmp_path: Path) -> None:
    table = tmp_path / "corpus"
    write(table, TEXTS)
    kill(run(tmp_path, follow=False), "create _run/commits/000001.json")
    deltalake.DeltaTable(str(table)).delete("doc = 'a'")
    manifest = run(tmp_path, follow=False)()
    assert manifest["input_table"]["version"] == 0
    assert set(output(tmp_path)) == set(TEXTS)
    with pytest.raises(InputError, match=r"input\.follow"):
        run(tmp_path, follow=False)()


def kill(killed: InProcessRun, moment: str) -> None:
    """Let a run die before a change of storage."""

    def die(change: str) -> None:
        if change.startswith(moment):
            raise Killed(change)

    with pytest.raises(Killed):
        killed.observed_by(die)()


def count_changes(observed: InProcessRun, *, die_at: int = -1) -> int:
    """Run, and die before the change number `die_at`; return the number of changes."""
    changes: list[str] = []

    def on_change(change: str) -> None:
        if len(changes) == die_at:
            raise Killed(change)
        changes.append(change)

    observed.observed_by(on_change)()
    return len(changes)


def expected(steps: Sequence[dict[str, str]]) -> dict[str, str]:
    return {doc: "answered" if text else "empty" for doc, text in steps[-1].items()}


STEPS: list[dict[str, str]] = [
    TEXTS,
    {"a": "First words.", "b": "New second words.", "e": "Fifth words."},
    {"b": "", "c": "Third words.", "e": "Fifth words."},
]


def _delta(path: Path, texts: dict[str, str]) -> None:
    write(path, texts)


def _files(path: Path, texts: dict[str, str]) -> None:
    """Write plain files: two documents each, as a program that replaces files does."""
    path.mkdir(exist_ok=True)
    for old in path.iterdir():
        old.unlink()
    names = list(texts)
    for start in range(0, len(names), 2):
        chosen = {name: texts[name] for name in names[start : start + 2]}
        pq.write_table(rows_of(chosen), path / f"{start}.parquet")


@pytest.mark.parametrize("store", [_delta, _files])
@pytest.mark.parametrize("stride", [9, pytest.param(1, marks=pytest.mark.slow)])
def test_a_death_at_any_moment_loses_doubles_and_resurrects_nothing(
    stride: int, store: Callable[[Path, dict[str, str]], None], tmp_path: Path
) -> None:
    moment, deaths, changes = 0, 0, 10**6
    while True:
        directory = tmp_path / str(moment)
        directory.mkdir()
        for step, texts in enumerate(STEPS):
            store(directory / "corpus", texts)
            if step == 0:
                run(directory)()
                continue
            try:
                changes = count_changes(run(directory), die_at=moment)
            except Killed:
                deaths += 1
                # every document in OUTPUT is there once, whatever was finished
                output(directory)
                run(directory)()
            else:
                assert moment >= changes
            assert output(directory) == expected(STEPS[: step + 1])
            report = verify(Storage(str(directory / "out")))
            assert report.complete, report.problems
        if moment >= changes:
            break
        moment += stride
    assert deaths * stride > 40


@pytest.mark.parametrize("stride", [8, pytest.param(1, marks=pytest.mark.slow)])
def test_a_driver_that_is_overtaken_at_any_moment_brings_nothing_back(
    stride: int, tmp_path: Path
) -> None:
    moment, overtaken = 0, True
    while overtaken:
        directory = tmp_path / str(moment)
        directory.mkdir()
        write(directory / "corpus", STEPS[0])
        run(directory)()
        write(directory / "corpus", STEPS[1])
        overtaken = follow_overtaken(directory, moment)
        assert output(directory) == expected(STEPS[:2])
        report = verify(Storage(str(directory / "out")))
        assert report.complete, report.problems
        moment += stride
    assert moment > 2 * stride


def follow_overtaken(directory: Path, moment: int) -> bool:
    """Run, and before the change number `moment` let another driver run to its end. Returns whether
    there was such a change. The first driver may end with the error that it is fenced."""
    changes: list[str] = []

    def on_change(change: str) -> None:
        changes.append(change)
        if len(changes) == moment + 1:
            run(directory)()

    with suppress(Fenced):
        run(directory).observed_by(on_change)()
    return len(changes) > moment


def test_a_new_version_in_the_middle_of_a_run_is_followed_when_its_units_are_done(
    tmp_path: Path,
) -> None:
    write(tmp_path / "corpus", STEPS[0])
    kill(run(tmp_path), "create _run/commits/000002.json")
    write(tmp_path / "corpus", STEPS[1])
    assert run(tmp_path)()["input_table"]["version"] == 1
    assert output(tmp_path) == expected(STEPS[:2])
    assert verify(Storage(str(tmp_path / "out"))).complete


def test_a_publisher_that_was_held_up_brings_nothing_back(tmp_path: Path) -> None:
    write(tmp_path / "corpus", STEPS[0])
    first = run(tmp_path)
    units = first()["units"]
    commits = [path.read_bytes() for path in sorted((tmp_path / "out/_run/commits").iterdir())]
    write(tmp_path / "corpus", {"a": "First words."})
    held = run(tmp_path)
    before = {commit.unit: commit for commit in held.ledger.commits(range(units))}
    held()
    # the older driver's copies of the staged files still exist while it is held up
    for commit, record in zip(before.values(), commits, strict=True):
        assert json.loads(record)["ids"] == commit.ids
    for commit in before.values():
        if commit.unit:
            with pytest.raises(Exception, match="lost or damaged"):
                held.ledger.publish(commit)
    assert set(output(tmp_path)) == {"a"}


def test_changed_and_missing_files_are_refused_without_follow(tmp_path: Path) -> None:
    _files(tmp_path / "corpus", TEXTS)
    run(tmp_path, follow=False)()
    path = tmp_path / "corpus/0.parquet"
    data = path.read_bytes()
    path.unlink()
    missing = r"0\.parquet: was indexed by this run and is missing or empty now; .*input\.follow"
    with pytest.raises(InputError, match=missing):
        run(tmp_path, follow=False)()
    path.write_bytes(data)
    pq.write_table(rows_of({"a": "Changed.", "b": "Second words."}), path)
    with pytest.raises(InputError, match=r"0\.parquet: has changed.*input\.follow"):
        run(tmp_path, follow=False)()
    followed = run(tmp_path)()
    assert followed["input_changes"][0]["changed"] == 1


def test_a_delta_table_of_answers_would_become_stale(tmp_path: Path) -> None:
    _files(tmp_path / "corpus", TEXTS)
    corpus, out = tmp_path / "corpus", tmp_path / "out"
    in_process_run(tmp_path, corpus, out, table="delta")()
    with pytest.raises(OutputError, match=r"_delta_log: an earlier run .*input\.follow"):
        run(tmp_path)()


def test_files_that_are_written_with_other_types_are_unchanged(tmp_path: Path) -> None:
    _files(tmp_path / "corpus", TEXTS)
    run(tmp_path)()
    before = output(tmp_path)
    path = tmp_path / "corpus/0.parquet"
    rows = pq.read_table(path)
    ids = rows.column("doc").cast(pa.large_string())
    texts = rows.column("text").dictionary_encode()
    pq.write_table(pa.table({"doc": ids, "text": texts, "n": rows.column("n")}), path)
    again = run(tmp_path)
    changes = again()["input_changes"][0]
    assert (changes["changed"], changes["removed"], changes["added"]) == (0, 0, 0)
    assert changes["unchanged"] and not again.prompts and output(tmp_path) == before


def test_a_table_that_becomes_plain_files_is_refused(tmp_path: Path) -> None:
    import shutil

    write(tmp_path / "corpus", TEXTS)
    run(tmp_path)()
    shutil.rmtree(tmp_path / "corpus")
    _files(tmp_path / "corpus", TEXTS)
    with pytest.raises(InputError, match="is not a table now, and was a Delta table"):
        run(tmp_path)()


def test_an_id_that_a_new_version_has_twice_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "corpus", TEXTS)
    run(tmp_path)()
    write(tmp_path / "corpus", {"a": "First words."}, mode="append")
    with pytest.raises(InputError, match="duplicate values"):
        run(tmp_path)()
    assert set(output(tmp_path)) == set(TEXTS)
