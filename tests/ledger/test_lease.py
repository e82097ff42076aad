"""Of several drivers on one OUTPUT the newest alone may commit, on a local disk and on S3."""

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


def test_whoever_comes_later_fences_all_before(storage: Storage) -> None:
    first = take_lease(storage)
    assert not _fenced(first)
    second, third = take_lease(storage), take_lease(storage)
    assert [lease.generation for lease in (first, second, third)] == [1, 2, 3]
    assert [_fenced(lease) for lease in (first, second, third)] == [True, True, False]


def test_of_many_at_once_each_has_its_own_generation_and_the_last_holds(storage: Storage) -> None:
    with ThreadPoolExecutor(8) as pool:
        leases = list(pool.map(take_lease, [storage] * 8))
    assert sorted(lease.generation for lease in leases) == list(range(1, 9))
    assert [lease.generation for lease in leases if not _fenced(lease)] == [8]


def test_the_fenced_is_told_by_whom_where_and_when(storage: Storage) -> None:
    first = take_lease(storage)
    take_lease(storage)
    take_lease(storage)
    with pytest.raises(Fenced) as told:
        first.check()
    assert told.value.exit_code == 3
    for word in ("generation 3", f"process {os.getpid()} on {socket.gethostname()}, 20"):
        assert word in told.value.message
    assert "generation 1 and commits no more" in told.value.message


def test_workers_elsewhere_carry_it(storage: Storage) -> None:
    carried = pickle.loads(pickle.dumps(take_lease(storage)))  # noqa: S301  # our own bytes
    assert not _fenced(carried)
    take_lease(storage)
    assert _fenced(carried)
