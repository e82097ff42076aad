"""The division of a worker's time: nothing is counted twice, and nothing is left out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.documents import Usage
from pipelines.ledger.used import ENGINE_DIED, IDLE, LOST_RACE, WATCHDOG, Used, Waste
from pipelines.run.engine_clock import EngineClock

HOLDER = Used(worker="w", device="H100", gpus=2.0, cpus=1.0)


class Time:
    """A clock that is moved on by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def started() -> tuple[EngineClock, Time]:
    """Return a clock whose engine took 20 s to start, with one unit in hand."""
    time = Time()
    clock = EngineClock(HOLDER, time)
    time.now += 20
    clock.engine_started()
    clock.unit_began()
    return clock, time


def test_overlapping_units_share_the_time_between_their_commits() -> None:
    clock, time = started()
    clock.unit_began()
    time.now += 30
    first = clock.charge()
    time.now += 5
    second = clock.charge()
    assert (first.engine_seconds, first.start_seconds, first.starts) == (50, 20, 1)
    assert (second.engine_seconds, second.start_seconds, second.starts) == (5, 0, 0)
    assert (first.gpu_seconds, first.device, first.worker) == (100, "H100", "w")
    assert (first + second).engine_seconds == clock.total().engine_seconds == 55


def test_time_before_the_death_of_an_engine_is_waste_and_its_replacement_is_a_restart() -> None:
    clock, time = started()
    time.now += 10
    clock.charge()
    time.now += 7
    clock.engine_died(ENGINE_DIED)
    time.now += 3
    clock.engine_started()
    time.now += 4
    used = clock.charge()
    assert used.waste == {ENGINE_DIED: Waste(7.0)}
    assert (used.start_seconds, used.starts, used.restarts) == (3, 1, 1)
    assert (used.engine_seconds, used.answering_seconds) == (14, 4)


def test_time_without_a_unit_in_hand_is_idle() -> None:
    clock, time = started()
    time.now += 1
    clock.unit_ended()
    time.now += 9
    clock.unit_began()
    time.now += 2
    assert clock.charge().waste == {IDLE: Waste(9.0)}


def test_a_commit_that_lost_the_race_is_waste_of_the_next_one() -> None:
    clock, time = started()
    time.now += 10
    clock.refund(clock.charge(), LOST_RACE)
    clock.waste_tokens(LOST_RACE, Usage(100, 20, 5))
    time.now += 1
    used = clock.charge()
    assert used.waste == {LOST_RACE: Waste(10.0, Usage(100, 20, 5))}
    assert (used.start_seconds, used.starts, used.answering_seconds) == (20, 1, 1)
    assert clock.total() == used


def test_a_restart_of_the_worker_itself_belongs_to_its_first_commit() -> None:
    clock = EngineClock(Used(restarts=1), Time())
    clock.engine_started()
    assert [clock.charge().restarts, clock.charge().restarts] == [1, 0]
    assert clock.total().restarts == 1


def test_time_in_which_all_units_in_hand_are_written_is_the_commits() -> None:
    clock, time = started()
    clock.unit_began()
    time.now += 10
    clock.commit_began()
    time.now += 2  # the other unit is answered meanwhile
    clock.commit_began()
    time.now += 3
    clock.commit_ended()
    time.now += 4
    used = clock.charge()
    assert (used.commit_seconds, used.answering_seconds) == (3, 19)
    assert clock.charge().commit_seconds == 0


def test_commits_before_the_death_of_an_engine_are_waste_with_the_rest() -> None:
    clock, time = started()
    clock.commit_began()
    time.now += 5
    clock.engine_died(ENGINE_DIED)
    used = clock.charge()
    assert (used.commit_seconds, used.waste) == (0, {ENGINE_DIED: Waste(5.0)})


EVENTS = (
    *("began", "ended", "died", "hung", "started", "charge", "lost", "tokens"),
    *("writing", "written"),
)


@given(st.lists(st.tuples(st.sampled_from(EVENTS), st.integers(0, 50))))
def test_commits_and_what_is_not_charged_yet_are_the_life_of_the_worker(
    events: list[tuple[str, int]],
) -> None:
    clock, time = started()
    committed, in_hand = Used(), 1
    tokens = 0
    for event, seconds in events:
        time.now += seconds
        if event == "began":
            clock.unit_began()
            in_hand += 1
        elif event == "ended" and in_hand:
            clock.unit_ended()
            in_hand -= 1
        elif event in ("died", "hung"):
            clock.engine_died(ENGINE_DIED if event == "died" else WATCHDOG)
        elif event == "started":
            clock.engine_started()
        elif event == "charge":
            committed += clock.charge()
        elif event == "lost":
            clock.refund(clock.charge(), LOST_RACE)
        elif event == "tokens":
            clock.waste_tokens(ENGINE_DIED, Usage(seconds))
            tokens += seconds
        elif event == "writing":
            clock.commit_began()
        elif event == "written":
            clock.commit_ended()
    total = clock.total()
    committed += clock.charge()
    for name in ("engine_seconds", "start_seconds", "starts", "restarts", "commit_seconds"):
        assert getattr(committed, name) == getattr(total, name)
    assert committed.waste == total.waste
    assert total.engine_seconds == time.now - 100
    assert total.wasted.tokens.prompt_tokens == tokens
    assert 0 <= total.commit_seconds <= total.answering_seconds
    assert all(waste.seconds >= 0 for waste in total.waste.values())


@given(
    st.builds(
        Used,
        worker=st.sampled_from(["", "w"]),
        engine_seconds=st.integers(0, 10**9).map(lambda value: value / 64),
        starts=st.integers(0, 3),
        waste=st.dictionaries(
            st.sampled_from([IDLE, ENGINE_DIED]),
            st.builds(Waste, st.integers(1, 99).map(float), st.builds(Usage, st.integers(0, 9))),
        ),
    )
)
def test_a_record_of_what_was_used_can_be_read_again(used: Used) -> None:
    assert Used.from_json(used.to_json()) == used


def test_a_sum_names_a_device_only_if_it_is_the_same() -> None:
    whole = Used(device="H100", gpus=1.0) + Used(device="L4", gpus=1.0)
    assert (whole.device, whole.gpus) == ("", 1.0)


def test_keys_of_other_versions_are_ignored() -> None:
    assert Used.from_json({"new": 1, "starts": 2}) == Used(starts=2)


@pytest.mark.parametrize("missing", ["worker", "waste"])
def test_an_empty_value_is_not_written(missing: str) -> None:
    assert missing not in Used(starts=1).to_json()
