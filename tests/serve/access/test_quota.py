"""Quotas of requests and tokens per minute."""

from __future__ import annotations

from serve.access.quota import Quota


class Clock:
    """A clock that a test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_requests_are_counted_and_free_again_with_time() -> None:
    clock = Clock()
    quota = Quota(clock=clock)
    assert [quota.enter("alice", 3, None) for _ in range(4)] == [None, None, None, 20]
    clock.now = 19.9
    assert quota.enter("alice", 3, None) == 1
    clock.now = 20.1
    assert quota.enter("alice", 3, None) is None


def test_a_key_with_an_overdrawn_token_quota_waits_until_it_has_filled_up() -> None:
    clock = Clock()
    quota = Quota(clock=clock)
    assert quota.enter("alice", None, 600) is None
    quota.spend("alice", 600, 1200)
    assert quota.enter("alice", None, 600) == 61
    clock.now = 60.2
    assert quota.enter("alice", None, 600) is None


def test_a_rejected_request_is_not_counted() -> None:
    clock = Clock()
    quota = Quota(clock=clock)
    quota.spend("alice", 60, 120)
    assert quota.enter("alice", 1, 60) is not None
    clock.now = 62
    assert quota.enter("alice", 1, 60) is None


def test_each_name_has_its_own_quota() -> None:
    quota = Quota(clock=Clock())
    assert quota.enter("alice", 1, None) is None
    assert quota.enter("bob", 1, None) is None
    assert quota.enter("alice", 1, None) is not None


def test_a_process_grants_its_share_but_at_least_one_request() -> None:
    quota = Quota(share=0.5, clock=Clock())
    assert [quota.enter("alice", 4, None) is None for _ in range(3)] == [True, True, False]
    small = Quota(share=0.1, clock=Clock())
    assert small.enter("alice", 1, None) is None


def test_a_changed_quota_starts_full() -> None:
    quota = Quota(clock=Clock())
    assert quota.enter("alice", 1, None) is None
    assert quota.enter("alice", 1, None) is not None
    assert quota.enter("alice", 5, None) is None


def test_a_changed_quota_keeps_a_negative_level() -> None:
    clock = Clock()
    quota = Quota(clock=clock)
    quota.spend("alice", 600, 1200)
    assert quota.enter("alice", None, 6000) == 7
    clock.now = 6.2
    assert quota.enter("alice", None, 6000) is None


def test_a_request_that_began_before_a_quota_changed_is_charged_to_the_present_one() -> None:
    quota = Quota(clock=Clock())
    assert quota.enter("alice", None, 60) is None
    quota.spend("alice", 6000, 120)
    assert quota.enter("alice", None, 60) == 61
    quota.spend("alice", 6000, -120)
    assert quota.enter("alice", None, 60) is None
