"""The account of a run: commits and what workers have used beyond them, each counted once."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.documents import Usage
from pipelines.ledger.accounts import Account, CommitSums, DeviceTime, bill, sum_commits
from pipelines.ledger.records import Commit
from pipelines.ledger.used import ENGINE_DIED, IDLE, WORKER_DIED, Used, Waste
from pipelines.ledger.worker_records import ENDED, WorkerRecord, settled


def commit(unit: int, used: Used, tokens: int = 100, dead: int = 0) -> Commit:
    return Commit(
        unit=unit, plan="p", ids="i", rows=10, answered=10 - dead, dead_letters=dead,
        reasons={"empty": dead} if dead else {}, part=None, errors=None, prompt_tokens=tokens,
        cached_prompt_tokens=0, output_tokens=7, seconds=1.0, host="h", committed_at="now",
        used=used,
    )  # fmt: skip


def used(seconds: float, life: str = "a", **fields: object) -> Used:
    values = {"device": "H100", "gpus": 2.0, "cpus": 1.0, **fields}
    return Used(worker=life, engine_seconds=seconds, **values)  # type: ignore[arg-type]


def record(
    life: str, seconds: float, tokens: Usage, worker: str = "w", **fields: object
) -> WorkerRecord:
    ended = str(fields.pop("ended", ""))
    return WorkerRecord(
        life,
        worker,
        1,
        "short",
        "h",
        used=used(seconds, life, **fields),
        tokens=tokens,
        ended=ended,
    )


def test_the_account_of_commits_is_their_sum() -> None:
    account = sum_commits([commit(0, used(20.0)), commit(1, used(5.0, "b"), dead=2)]).account
    assert (account.units, account.documents, account.dead_letters) == (2, 20, 2)
    assert account.reasons == {"empty": 2}
    assert account.tokens == account.all_tokens == Usage(200, 0, 14)
    assert account.devices == {"H100": DeviceTime(25.0, 50.0, 25.0)}
    assert account.gpu_seconds == 50


def test_what_a_dead_process_has_used_beyond_its_commits_is_waste() -> None:
    sums = sum_commits([commit(0, used(20.0, start_seconds=8.0, starts=1))])
    died = record("a", 33.0, Usage(150, 0, 9), start_seconds=8.0, starts=1)
    account = bill(sums, [died])
    assert account.used.waste == {WORKER_DIED: Waste(13.0, Usage(50, 0, 2))}
    assert (account.used.engine_seconds, account.used.start_seconds) == (33, 8)
    assert account.gpu_seconds == 66
    assert account.tokens == Usage(100, 0, 7)
    assert account.all_tokens == Usage(150, 0, 9)


def test_reasons_that_the_process_knew_are_kept_apart() -> None:
    known = {ENGINE_DIED: Waste(4.0, Usage(30)), IDLE: Waste(2.0)}
    charged = used(20.0, waste={IDLE: Waste(2.0)})
    died = record("a", 30.0, Usage(140, 0, 7), waste=known)
    account = bill(sum_commits([commit(0, charged)]), [died])
    assert account.used.waste == {
        IDLE: Waste(2.0),
        ENGINE_DIED: Waste(4.0, Usage(30)),
        WORKER_DIED: Waste(6.0, Usage(10)),
    }


def test_what_a_living_process_has_used_is_in_hand_and_its_predecessor_is_dead() -> None:
    processes = [record("a", 10.0, Usage(20)), record("b", 5.0, Usage(8))]
    account = bill(CommitSums(), processes, live=1)
    assert account.in_hand == Waste(5.0, Usage(8))
    assert account.used.waste == {WORKER_DIED: Waste(10.0, Usage(20))}
    assert account.all_tokens == Usage(28)
    assert bill(CommitSums(), processes, live=2).in_hand == Waste()


def test_the_end_of_the_last_commit_is_no_waste() -> None:
    ended = record("a", 20.5, Usage(100, 0, 7), ended=ENDED)
    account = bill(sum_commits([commit(0, used(20.0))]), [ended])
    assert account.used.waste == {}
    assert account.used.engine_seconds == 20.5


def test_a_record_that_is_older_than_the_commits_adds_nothing() -> None:
    sums = sum_commits([commit(0, used(20.0))])
    assert bill(sums, [record("a", 12.0, Usage(50, 0, 3))]).all_tokens == Usage(100, 0, 7)
    assert bill(sums, [record("a", 12.0, Usage())]).used.engine_seconds == 20


def test_records_are_settled_by_what_is_known_of_the_end() -> None:
    first, second = record("a", 1.0, Usage()), record("b", 1.0, Usage())
    said = record("c", 1.0, Usage(), "other", ended=ENDED)
    ends = [r.ended for r in settled([first, second, said], {1: "stopped"})]
    assert ends == [WORKER_DIED, "stopped", ENDED]
    assert [r.ended for r in settled([first, second], {}, finished=1)] == [WORKER_DIED, ENDED]
    assert [r.ended for r in settled([second], {})] == [WORKER_DIED]


def test_sums_and_accounts_can_be_read_again() -> None:
    waste = {IDLE: Waste(2.0, Usage(3))}
    sums = sum_commits([commit(0, used(20.0, waste=waste)), commit(1, used(1.0, "b"), dead=1)])
    assert CommitSums.from_json(sums.to_json()) == sums
    account = bill(sums, [record("a", 30.0, Usage(140, 0, 9))], live=1)
    assert Account.from_json(account.to_json()) == account


@given(
    st.lists(st.tuples(st.integers(0, 99), st.sampled_from("abc")), max_size=20), st.integers(0, 20)
)
def test_sums_do_not_depend_on_how_the_commits_are_divided(
    parts: list[tuple[int, str]], at: int
) -> None:
    commits = [
        commit(unit, used(float(seconds), life), seconds)
        for unit, (seconds, life) in enumerate(parts)
    ]
    whole = sum_commits(commits)
    assert sum_commits(commits[:at]) + sum_commits(commits[at:]) == whole
    assert whole.account.units == len(commits)
    assert whole.account.tokens.prompt_tokens == sum(seconds for seconds, _ in parts)


@pytest.mark.parametrize("lost", list(itertools.product((0, 3), (0, 40))))
def test_the_bill_is_what_the_processes_have_used(lost: tuple[int, int]) -> None:
    seconds, tokens = lost
    sums = sum_commits([commit(0, used(20.0)), commit(1, used(6.0))])
    died = record("a", 26.0 + seconds, Usage(200 + tokens, 0, 14))
    account = bill(sums, [died])
    assert account.used.engine_seconds == 26 + seconds
    assert account.all_tokens == Usage(200 + tokens, 0, 14)
