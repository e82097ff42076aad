"""A store without exclusive creation is refused before a run writes anything else there."""

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

StorageBehind = Callable[[FaultyProxy], Storage]


@pytest.fixture
def behind(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[StorageBehind]:
    """Yield a function that creates an empty prefix and reaches it through a proxy."""

    def through(proxy: FaultyProxy) -> Storage:
        url = f"{s3.new_bucket()}/out"
        # clients that are already open use the server without the proxy
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
    s3: S3Server, behind: StorageBehind
) -> None:
    with UnconditionalProxy(s3.endpoint) as proxy:
        storage = behind(proxy)
        with pytest.raises(OutputError) as refused:
            check_exclusive_creation(storage)
        message = refused.value.message
        assert storage.url in message and "8 of 8" in message and "without versioning" in message
        assert "docs/guarantees.md" in message
        assert storage.entries("") == []


def test_a_store_without_conditional_writes_is_refused_with_its_own_error(
    s3: S3Server, behind: StorageBehind
) -> None:
    with UnconditionalProxy(s3.endpoint, refuses=True) as proxy:
        storage = behind(proxy)
        with pytest.raises(OutputError, match=r"NotImplemented|not implemented"):
            check_exclusive_creation(storage)
        assert storage.entries("") == []


def test_a_lost_answer_is_no_reason_to_refuse(s3: S3Server, behind: StorageBehind) -> None:
    with FaultyProxy(s3.endpoint, share=0.3, seed=1) as proxy:
        check_exclusive_creation(behind(proxy))
        assert proxy.faults["lost"] > 0


def test_a_store_that_cannot_be_written_is_a_storage_error(s3: S3Server) -> None:
    with pytest.raises(StorageError, match="no-such-bucket"):
        check_exclusive_creation(Storage("s3://no-such-bucket/out"))


class OverwritingStorage(Storage):
    """A store whose second creator gets False, but whose content replaces the first one's."""

    def create(self, name: str, data: bytes) -> bool:
        created = super().create(name, data)
        self.write(name, data)
        return created


def test_a_store_that_keeps_the_losers_content_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="content"):
        check_exclusive_creation(OverwritingStorage(str(tmp_path)))


@pytest.mark.parametrize("code", [errno.EPERM, errno.ENOTSUP])
def test_a_disk_without_hard_links_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def link(*_: object) -> None:
        # the error of vfat, exfat and some network filesystems
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
        results: list[tuple[int, dict[str, Any], str]] = []
        threads = [
            threading.Thread(target=lambda process=process: results.append(ended(process)))
            for process in drivers
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [code for code, _, _ in results] == [2, 2], results
    assert all("create" in answer["error"] for _, answer, _ in results)
    assert fsspec.filesystem("s3").find(bucket) == []
