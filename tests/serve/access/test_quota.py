"""What a key may use in a minute."""

from __future__ import annotations

from serve.access.quota import Quota


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_requests_are_counted_and_come_back_with_time() -> None:
    clock = Clock()
    quota = Quota(clock=clock)
    assert [quota.enter("alice", 3, None) for _ in range(4)] == [None, None, None, 20]
    clock.now = 19.9
    assert quota.enter("alice", 3, None) == 1
    clock.now = 20.1
    assert quota.enter("alice", 3, None) is None


def test_who_has_used_more_tokens_than_a_minute_gives_waits_until_they_are_paid() -> None:
    clock = Clock()
    quota = Quota(clock=clock)
    assert quota.enter("alice", None, 600) is None
    quota.spend("alice", 600, 1200)
    assert quota.enter("alice", None, 600) == 61
    clock.now = 60.2
    assert quota.enter("alice", None, 600) is None


def test_a_refused_request_costs_nothing() -> None:
    clock = Clock()
    quota = Quota(clock=clock)
    quota.spend("alice", 60, 120)
    assert quota.enter("alice", 1, 60) is not None
    clock.now = 62
    assert quota.enter("alice", 1, 60) is None


def test_names_do_not_share() -> None:
    quota = Quota(clock=Clock())
    assert quota.enter("alice", 1, None) is None
    assert quota.enter("bob", 1, None) is None
    assert quota.enter("alice", 1, None) is not None


def test_several_processes_share_what_there_is() -> None:
    quota = Quota(share=0.5, clock=Clock())
    assert [quota.enter("alice", 4, None) is None for _ in range(3)] == [True, True, False]
    one = Quota(share=0.1, clock=Clock())
    assert one.enter("alice", 1, None) is None


def test_another_amount_begins_anew() -> None:
    quota = Quota(clock=Clock())
    assert quota.enter("alice", 1, None) is None
    assert quota.enter("alice", 1, None) is not None
    assert quota.enter("alice", 5, None) is None


def test_another_amount_pays_no_debt() -> None:
    clock = Clock()
    quota = Quota(clock=clock)
    quota.spend("alice", 600, 1200)
    assert quota.enter("alice", None, 6000) == 7
    clock.now = 6.2
    assert quota.enter("alice", None, 6000) is None


def test_a_request_that_began_under_another_amount_is_paid_of_the_present_one() -> None:
    quota = Quota(clock=Clock())
    assert quota.enter("alice", None, 60) is None
    quota.spend("alice", 6000, 120)
    assert quota.enter("alice", None, 60) == 61
    quota.spend("alice", 6000, -120)
    assert quota.enter("alice", None, 60) is None
