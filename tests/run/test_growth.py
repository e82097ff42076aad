"""A task that is added to the job of a finished run is asked alone and becomes a column."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from here import InProcessRun
from test_retry import (
    ALL,
    BEFORE,
    TASKS,
    Killed,
    changes_of,
    checked,
    outputs,
    run_of,
    seen_by_readers,
    state_of,
    write,
)

from pipelines.errors import Fenced, InputError, OutputError
from pipelines.ledger.verify import verify
from pipelines.storage import Storage

pytestmark = pytest.mark.usefixtures("tiny_model")
__all__ = ["outputs"]
TOPIC: dict[str, Any] = {"name": "topic", "kind": "classify", "labels": ["fine", "other"]}
GROWN = [TASKS[0], TOPIC, TASKS[1]]
TOPIC_ANSWERED = {"topic": "answered"}
AFTER = {
    "a": {**BEFORE["a"], **TOPIC_ANSWERED},
    "b": {**BEFORE["b"], **TOPIC_ANSWERED},
    "c": BEFORE["c"],
    "d": {**BEFORE["d"], **TOPIC_ANSWERED},
    "e": {**BEFORE["e"], **TOPIC_ANSWERED},
}


def grown(directory: Path, output: str = "out", **options: Any) -> InProcessRun:
    return run_of(directory, tasks=GROWN, output=output, **options)


def test_an_added_task_is_asked_alone_and_joins_the_parts(tmp_path: Path) -> None:
    write(tmp_path)
    first = run_of(tmp_path, refusing=True)
    before = first()
    old = pq.read_table(tmp_path / "out/answers").sort_by("doc")
    run = grown(tmp_path)
    manifest = run()
    checked(tmp_path / "out", AFTER)
    assert len(run.prompts) == 4 and all("topic" in p or "fine" in p for p in run.prompts)
    asked = sum(len(ids) for engine in run.engines for ids in engine.asked)
    assert manifest["prompt_tokens"] - before["prompt_tokens"] == asked
    new = pq.read_table(tmp_path / "out/answers").sort_by("doc")
    # the columns are in the job's order, and values of the other tasks are the old ones
    assert new.column_names == ["doc", "n", "summary", "topic", "who"]
    kept = new.filter(pa.compute.is_in(new["doc"], old["doc"])).select(old.column_names)
    assert kept.equals(old)


def test_the_job_record_says_with_which_fingerprint_each_column_was_answered(
    tmp_path: Path,
) -> None:
    write(tmp_path)
    first = run_of(tmp_path)
    manifest = first()
    old = first.prepared.fingerprint
    assert manifest["columns"] == {"summary": old, "who": old}
    run = grown(tmp_path)
    manifest = run()
    expected = {"summary": old, "topic": run.prepared.fingerprint, "who": old}
    assert manifest["columns"] == expected and manifest["fingerprint"] == run.prepared.fingerprint
    job = json.loads((tmp_path / "out/_run/job.json").read_text())
    assert job["columns"] == expected and job["fingerprint"] == run.prepared.fingerprint
    assert [task["name"] for task in job["source"]["tasks"]] == ["summary", "topic", "who"]


def test_new_documents_are_asked_all_tasks_at_once(tmp_path: Path) -> None:
    write(tmp_path)
    run_of(tmp_path)()
    more = {"doc": ["f"], "text": ["Further words."], "n": [0]}
    pq.write_table(pa.table(more), tmp_path / "corpus/b.parquet")
    run = grown(tmp_path)
    run()
    assert sum("Further" in prompt for prompt in run.prompts) == 3
    assert len(run.prompts) == 3 + 4
    rows = pq.read_table(tmp_path / "out/answers").to_pylist()
    assert all(row["topic"]["label"] for row in rows) and len(rows) == 5
    assert verify(Storage(str(tmp_path / "out"))).complete


def test_tasks_are_added_one_after_the_other_and_retried(tmp_path: Path) -> None:
    write(tmp_path)
    run_of(tmp_path, tasks=TASKS[:1], refusing=True)()
    run_of(tmp_path, refusing=True)()
    grown(tmp_path)()
    run = grown(tmp_path, retry=ALL)
    run()
    # "Bad" was refused for the first two tasks, and "Half" for one of them
    assert len(run.prompts) == 3
    answered = {"summary": "answered", "topic": "answered", "who": "answered"}
    checked(tmp_path / "out", {**dict.fromkeys("abde", answered), "c": BEFORE["c"]})
    columns = json.loads((tmp_path / "out/manifest.json").read_text())["columns"]
    assert len(set(columns.values())) == 3


def test_tasks_that_are_removed_or_changed_are_refused_with_their_keys(tmp_path: Path) -> None:
    write(tmp_path)
    grown(tmp_path)()
    with pytest.raises(
        OutputError, match=r"changed keys: tasks\.topic\.kind, tasks\.topic\.labels"
    ):
        run_of(tmp_path).check()
    changed = [TASKS[0], {**TOPIC, "labels": ["fine", "bad"]}, TASKS[1]]
    with pytest.raises(OutputError, match=r"changed keys: tasks\.topic\.labels\. Restore"):
        run_of(tmp_path, tasks=changed).check()
    # an added task does not hide a changed one
    more = {"name": "more", "kind": "summarize"}
    with pytest.raises(OutputError, match=r"changed keys: tasks\.topic\.labels\. Restore"):
        run_of(tmp_path, tasks=[*changed, more]).check()


def test_a_task_that_is_added_to_an_unfinished_run_is_refused(tmp_path: Path) -> None:
    write(tmp_path)

    def die(change: str) -> None:
        if change.startswith("create _run/commits/000002"):
            raise Killed

    with pytest.raises(Killed):
        run_of(tmp_path).observed_by(die)()
    with pytest.raises(OutputError, match=r"topic: added to a job whose run in .* is not"):
        grown(tmp_path)()
    run_of(tmp_path)()
    grown(tmp_path)()
    assert verify(Storage(str(tmp_path / "out"))).complete


def test_a_task_whose_question_changes_how_documents_are_read_is_refused(tmp_path: Path) -> None:
    write(tmp_path)
    run_of(tmp_path)()
    question = "Who? " * 900
    long: dict[str, Any] = {"name": "long", "kind": "ask", "question": question, "max_tokens": 64}
    with pytest.raises(
        OutputError, match=r"an added task \(long\) are so long .* chunks from \d+ to"
    ):
        run_of(tmp_path, tasks=[*TASKS, long]).check()


def test_a_delta_table_of_the_answers_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("deltalake")
    write(tmp_path)
    run_of(tmp_path, table="delta")()
    with pytest.raises(OutputError, match="a task was added, which replaces parts"):
        grown(tmp_path, table="delta")()


def test_changed_input_is_refused_before_tasks_are_added(tmp_path: Path) -> None:
    write(tmp_path)
    follow: dict[str, Any] = {"input": {"keep_columns": ["n"], "follow": True}}
    run_of(tmp_path, **follow)()
    write(tmp_path, {"a": "Other words."})
    with pytest.raises(InputError, match=r"a\.parquet"):
        grown(tmp_path, **follow)()
    run_of(tmp_path, **follow)()
    grown(tmp_path, **follow)()
    assert state_of(tmp_path / "out") == {"a": AFTER["a"]}
    assert verify(Storage(str(tmp_path / "out"))).complete


def test_documents_are_followed_after_a_task_was_added(tmp_path: Path) -> None:
    write(tmp_path)
    follow: dict[str, Any] = {"input": {"keep_columns": ["n"], "follow": True}}
    run_of(tmp_path, **follow)()
    grown(tmp_path, **follow)()
    write(tmp_path, {"a": "Fine words.", "b": "Other words."})
    run = grown(tmp_path, **follow)
    run()
    assert len(run.prompts) == 3
    assert state_of(tmp_path / "out") == {"a": AFTER["a"], "b": AFTER["a"]}
    assert verify(Storage(str(tmp_path / "out"))).complete


@pytest.mark.parametrize("stride", [8, pytest.param(1, marks=pytest.mark.slow)])
def test_a_death_at_any_moment_adds_the_column_once(
    stride: int, outputs: Callable[[], Path], tmp_path: Path
) -> None:
    undisturbed = outputs()
    total = changes_of(grown(tmp_path, undisturbed.name), watched=undisturbed)
    checked(undisturbed, AFTER)
    for moment in range(0, total, stride):
        output = outputs()
        first, second = grown(tmp_path, output.name), grown(tmp_path, output.name)
        with pytest.raises(Killed):
            changes_of(first, watched=output, die_at=moment)
        changes_of(second, watched=output)
        checked(output, AFTER)
        # one unit was in flight
        assert len(first.prompts) + len(second.prompts) <= 4 + 1, moment


@pytest.mark.parametrize("stride", [8, pytest.param(1, marks=pytest.mark.slow)])
def test_a_driver_that_is_overtaken_at_any_moment_adds_the_column_once(
    stride: int, outputs: Callable[[], Path], tmp_path: Path
) -> None:
    undisturbed = outputs()
    total = changes_of(grown(tmp_path, undisturbed.name), watched=undisturbed)
    for moment in range(0, total, stride):
        output = outputs()
        numbers = count()

        def overtake(_: str, moment: int = moment, output: Path = output) -> None:
            seen_by_readers(output)
            if next(numbers) == moment:  # noqa: B023 - called before the next turn
                grown(tmp_path, output.name)()

        first = grown(tmp_path, output.name).observed_by(overtake)
        with suppress(Fenced):
            first()
        grown(tmp_path, output.name)()
        assert sum(plan.redo is not None for plan in first.ledger.plans()) == 1
        checked(output, AFTER)
