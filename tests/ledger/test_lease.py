"""Of several drivers on one OUTPUT only the newest may commit, on a local disk and on S3."""

from __future__ import annotations

import os
import pickle
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest

from pipelines.errors import Fenced
from pipelines.ledger.lease import Lease, take_lease
from pipelines.storage import Storage


def _fenced(lease: Lease) -> bool:
    try:
        lease.check()
    except Fenced:
        return True
    return False


def test_a_newer_driver_fences_all_older_ones(storage: Storage) -> None:
    first = take_lease(storage)
    assert not _fenced(first)
    second, third = take_lease(storage), take_lease(storage)
    assert [lease.generation for lease in (first, second, third)] == [1, 2, 3]
    assert [_fenced(lease) for lease in (first, second, third)] == [True, True, False]


def test_concurrent_drivers_get_different_generations_and_the_newest_holds(
    storage: Storage,
) -> None:
    with ThreadPoolExecutor(8) as pool:
        leases = list(pool.map(take_lease, [storage] * 8))
    assert sorted(lease.generation for lease in leases) == list(range(1, 9))
    assert [lease.generation for lease in leases if not _fenced(lease)] == [8]


def test_a_fenced_driver_learns_by_whom_where_and_when(storage: Storage) -> None:
    first = take_lease(storage)
    take_lease(storage)
    take_lease(storage)
    with pytest.raises(Fenced) as fenced:
        first.check()
    assert fenced.value.exit_code == 3
    for word in ("generation 3", f"process {os.getpid()} on {socket.gethostname()}, 20"):
        assert word in fenced.value.message
    assert "this run, generation 1, may not commit any more" in fenced.value.message


def test_a_lease_that_was_sent_to_a_worker_can_be_checked_there(storage: Storage) -> None:
    received = pickle.loads(pickle.dumps(take_lease(storage)))  # noqa: S301  # our own bytes
    assert not _fenced(received)
    take_lease(storage)
    assert _fenced(received)
