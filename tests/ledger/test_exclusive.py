"""A store where several can create one name is refused before a run writes anything else there."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from chaos.proxy import FaultyProxy, UnconditionalProxy
from fakes_storage import S3Server
from quick import QuickRun, ended

from pipelines.errors import OutputError, StorageError
from pipelines.ledger.exclusive import check_exclusive_creation
from pipelines.models.resolve import Model
from pipelines.storage import Storage

ASKS = Callable[[FaultyProxy], Storage]


@pytest.fixture
def behind(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[ASKS]:
    """Makes an empty prefix that is reached through a proxy."""

    def through(proxy: FaultyProxy) -> Storage:
        url = f"{s3.new_bucket()}/out"
        # clients that are open already know the server itself
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        fsspec.get_filesystem_class("s3").clear_instance_cache()
        return Storage(url)

    yield through
    fsspec.get_filesystem_class("s3").clear_instance_cache()


def test_a_store_with_one_winner_is_accepted_and_left_empty(storage: Storage) -> None:
    check_exclusive_creation(storage)
    assert storage.entries("") in ([], ["_run"])
    assert storage.entries("_run") == []


def test_a_store_that_ignores_conditions_is_refused_and_left_empty(
    s3: S3Server, behind: ASKS
) -> None:
    with UnconditionalProxy(s3.endpoint) as proxy:
        storage = behind(proxy)
        with pytest.raises(OutputError) as refused:
            check_exclusive_creation(storage)
        told = refused.value.message
        assert storage.url in told and "8 of 8" in told and "without versioning" in told
        assert "docs/guarantees.md" in told
        assert storage.entries("") == []


def test_a_store_that_knows_no_conditions_is_refused_by_its_own_words(
    s3: S3Server, behind: ASKS
) -> None:
    with UnconditionalProxy(s3.endpoint, refuses=True) as proxy:
        storage = behind(proxy)
        with pytest.raises(OutputError, match=r"NotImplemented|not implemented"):
            check_exclusive_creation(storage)
        assert storage.entries("") == []


def test_an_answer_that_is_lost_is_no_reason_to_refuse(s3: S3Server, behind: ASKS) -> None:
    with FaultyProxy(s3.endpoint, share=0.3, seed=1) as proxy:
        check_exclusive_creation(behind(proxy))
        assert proxy.faults["lost"] > 0


def test_a_store_that_cannot_be_written_says_so(s3: S3Server) -> None:
    with pytest.raises(StorageError, match="no-such-bucket"):
        check_exclusive_creation(Storage("s3://no-such-bucket/out"))


class ForgetfulStorage(Storage):
    """Tells the second creator that it lost, and keeps its content all the same."""

    def create(self, name: str, data: bytes) -> bool:
        won = super().create(name, data)
        self.write(name, data)
        return won


def test_a_store_that_keeps_the_losers_content_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="content"):
        check_exclusive_creation(ForgetfulStorage(str(tmp_path)))


@pytest.mark.parametrize("code", [errno.EPERM, errno.ENOTSUP])
def test_a_disk_without_hard_links_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def link(*_: object) -> None:
        # as vfat, exfat and some mounted filesystems answer
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "link", link)
    storage = Storage(str(tmp_path / "out"))
    with pytest.raises(OutputError, match=r"out/_run/.*hard links"):
        check_exclusive_creation(storage)
    assert storage.entries("_run") == []


def test_two_drivers_on_a_store_that_ignores_conditions_are_both_refused(
    tmp_path: Path, tiny_model: Model, s3: S3Server
) -> None:
    bucket = s3.new_bucket()
    with UnconditionalProxy(s3.endpoint) as proxy:
        run = QuickRun(tmp_path, f"{bucket}/out", 50, AWS_ENDPOINT_URL=proxy.endpoint)
        drivers = [run.start(), run.start()]
        told: list[tuple[int, dict[str, Any], str]] = []
        threads = [
            threading.Thread(target=lambda each=each: told.append(ended(each))) for each in drivers
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [code for code, _, _ in told] == [2, 2], told
    assert all("create" in answer["error"] for _, answer, _ in told)
    assert fsspec.filesystem("s3").find(bucket) == []
