"""Plans of units that are answered again: their records, what is left of them, and their files."""

from __future__ import annotations

from pathlib import Path

import pytest
from here import ObservedStorage

from pipelines.corpus.units import Unit
from pipelines.errors import Incomplete
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.names import new_staged, plan_of_staged, unit_of
from pipelines.ledger.published import read_files
from pipelines.ledger.records import Commit, Plan, StagedFile, sha256
from pipelines.ledger.redo import Redo, unfinished_redos
from pipelines.storage import Storage


def unit(number: int) -> Unit:
    return Unit(number, "short", "_run/index/x/text-00000", number, 2, 9, 4, 1.0, "ids")


FIRST = Plan((), (unit(0), unit(1)), (), {})
RETRY = Plan(
    (), (), (), {}, table="Delta", version=3,
    redo=Redo(("one", "two"), (unit(1), unit(0)), ("timeout",), {"timeout": 4}),
)  # fmt: skip
GROWTH = Plan((), (), (), {}, redo=Redo(("new",), (unit(0),), job={"fingerprint": "f"}))


@pytest.mark.parametrize("plan", [FIRST, RETRY, GROWTH])
def test_a_plan_is_read_as_it_was_recorded(plan: Plan, tmp_path: Path) -> None:
    ledger = Ledger(Storage(str(tmp_path)))
    assert ledger.add_plan(0, plan)
    (read,) = ledger.plans()
    assert read == plan


def test_units_are_left_until_they_are_revised_for_the_same_plan() -> None:
    withdrawing = Plan((), (), (), {}, withdrawn="withdrawn")
    plans = [FIRST, withdrawing, RETRY, GROWTH]
    (retry, growth) = unfinished_redos(plans, {0: [1], 1: [1]})
    assert (retry.plan, [u.number for u in retry.units], retry.earlier) == (2, [1, 0], (1,))
    assert (growth.plan, [u.number for u in growth.units], growth.earlier) == (3, [0], (2, 1))
    (retry,) = unfinished_redos(plans, {0: [1, 3], 1: [2]})
    assert (retry.plan, [u.number for u in retry.units]) == (2, [0])
    assert unfinished_redos(plans, {0: [2, 3], 1: [2]}) == []
    assert retry.without_units().redo.tasks == ("one", "two")
    assert retry.without_units().redo.units == retry.without_units().units == ()


def staged(storage: Storage, kind: str, data: bytes, revision: int = 0) -> StagedFile:
    name = new_staged(kind, 0, revision)
    storage.write(name, data)
    return StagedFile(name, 1, len(data), sha256(data))


def commit(part: StagedFile | None, errors: StagedFile | None, revision: int = 0) -> Commit:
    return Commit(
        unit=0, plan="p", ids="i", rows=2, answered=1, dead_letters=1, reasons={}, part=part,
        errors=errors, prompt_tokens=1, cached_prompt_tokens=0, output_tokens=1, seconds=1.0,
        host="h", committed_at="now", revision=revision,
    )  # fmt: skip


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """Return the ledger of a run with one unit that is published, and a plan that redoes it."""
    ledger = Ledger(Storage(str(tmp_path)))
    ledger.add_plan(0, FIRST)
    ledger.add_plan(1, RETRY)
    first = commit(staged(ledger.storage, "part", b"a"), staged(ledger.storage, "errors", b"b"))
    ledger.commit(first)
    ledger.publish(first)
    return ledger


def test_the_part_is_published_before_a_dead_letter_leaves(ledger: Ledger) -> None:
    changes: list[str] = []
    observed = Ledger(ObservedStorage(ledger.storage.url, changes.append))
    revision = commit(staged(ledger.storage, "part", b"ab", 1), None, 1)
    assert ledger.revise(revision) and ledger.is_revised(0, 1)
    observed.publish(revision)
    assert changes == [
        "copy to answers/part-000000.parquet", "remove dead_letters/part-000000.parquet",
    ]  # fmt: skip
    changes.clear()
    ledger.storage.write("dead_letters/part-000000.parquet", b"b")
    ledger.storage.write("answers/part-000000.parquet", b"a")
    observed.repair(ledger.commits([0]))
    assert changes == [
        "copy to answers/part-000000.parquet", "remove dead_letters/part-000000.parquet",
    ]  # fmt: skip


def test_a_unit_is_revised_once_for_a_plan(ledger: Ledger) -> None:
    one, other = (commit(staged(ledger.storage, "part", data, 1), None, 1) for data in (b"1", b"2"))
    assert ledger.revise(one) and ledger.revise(one)
    assert not ledger.revise(other)
    assert ledger.commits([0]) == [one] == [ledger.newest(0, (1,))]
    assert ledger.newest(0, ()).revision == 0


def test_a_publisher_that_is_held_up_publishes_the_newer_revision(ledger: Ledger) -> None:
    before = ledger.newest(0, ())
    first = commit(staged(ledger.storage, "part", b"ab", 1), None, 1)
    second = commit(staged(ledger.storage, "part", b"abc", 2), None, 2)
    ledger.add_plan(2, GROWTH)
    ledger.revise(first)
    ledger.revise(second)
    for record in (before, first, second):
        ledger.publish(record)
        assert ledger.storage.read("answers/part-000000.parquet") == b"abc"
        assert not ledger.storage.exists("dead_letters/part-000000.parquet")


def test_a_units_files_are_read_as_its_record_states_them(ledger: Ledger) -> None:
    record = ledger.newest(0, ())
    assert read_files(ledger.storage, record) == [b"a", b"b"]
    # published by another worker meanwhile, or not published yet
    ledger.storage.write("answers/part-000000.parquet", b"newer")
    assert read_files(ledger.storage, record) == [b"a", b"b"]
    ledger.sweep([FIRST])
    with pytest.raises(Incomplete, match=r"answers/part-000000\.parquet is lost or damaged"):
        read_files(ledger.storage, record)


def test_an_older_driver_keeps_the_staged_files_of_plans_that_it_does_not_know(
    ledger: Ledger,
) -> None:
    file = staged(ledger.storage, "part", b"x", 1)
    name = file.staged.rpartition("/")[2]
    assert (unit_of(name), plan_of_staged(name)) == (None, 1)
    ledger.sweep([FIRST])
    assert ledger.storage.names("_run/staging") == [name]
    ledger.sweep([FIRST, RETRY])
    assert ledger.storage.names("_run/staging") == []
