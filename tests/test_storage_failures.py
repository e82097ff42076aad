"""Operations of storage that fail raise StorageError, name the path, and leave nothing behind."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import s3fs
from chaos.disk import SmallDisk
from fakes_storage import S3Server

from pipelines.errors import StorageError
from pipelines.storage import Storage


def test_files_that_s3_does_not_delete_are_reported(
    s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def delete_nothing(*_: object, **__: object) -> list[str]:
        # S3's answer if it deleted none of a request's keys
        return []

    storage = Storage(f"{s3.new_bucket()}/out")
    for name in ("d/x", "d/y"):
        storage.write(name, b"")
    monkeypatch.setattr(s3fs.S3FileSystem, "_bulk_delete", delete_nothing)
    with pytest.raises(StorageError, match=r"out/d: cannot delete: .*it still exists"):
        storage.remove("d")
    with pytest.raises(StorageError, match=r"out/d: cannot delete files: .*it still exists"):
        storage.remove_matching("d", lambda name: True)


def test_a_failing_writer_leaves_nothing(storage: Storage) -> None:
    with pytest.raises(ZeroDivisionError), storage.new_file("d/new") as path:
        path.write_bytes(b"half")
        raise ZeroDivisionError
    assert storage.names("d") == []
    assert not path.exists()


def test_a_full_disk_is_a_storage_error_and_leaves_nothing(storage: Storage) -> None:
    full = pytest.raises(StorageError, match=r"d/new: cannot write: .*full")
    with full, storage.new_file("d/new") as path:
        path.write_bytes(b"half")
        raise OSError(28, "disk full")
    assert storage.names("d") == []
    assert not path.exists()


def write_failures(storage: Storage) -> list[str]:
    """Return the error messages of all operations that write; each of them must fail."""

    def write_file() -> None:
        with storage.new_file("d/a") as path:
            path.touch()

    messages = []
    for operation in (
        lambda: storage.write("d/a", b""),
        lambda: storage.create("d/a", b""),
        write_file,
    ):
        with pytest.raises(StorageError) as error:
            operation()
        messages.append(error.value.message)
    return messages


def test_a_path_that_is_not_a_directory_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    storage = Storage(str(tmp_path / "file"))
    assert all(f"{tmp_path}/file/d/a: cannot" in message for message in write_failures(storage))


@pytest.fixture
def read_only(tmp_path: Path, mount: Callable[..., SmallDisk]) -> Path:
    """Return a directory that this user cannot write to; for root, on a read-only filesystem."""
    if os.geteuid() == 0:
        return mount("-o", "ro").where
    tmp_path.chmod(0o500)
    return tmp_path


def test_a_read_only_directory_is_named(read_only: Path) -> None:
    assert all(
        f"{read_only}/d/a: cannot" in message for message in write_failures(Storage(str(read_only)))
    )


@pytest.mark.usefixtures("s3")
def test_a_missing_bucket_is_named() -> None:
    messages = write_failures(Storage("s3://no-such-bucket/out"))
    assert all("no-such-bucket/out/d/a: cannot" in message for message in messages)


@pytest.mark.usefixtures("s3")
def test_missing_credentials_are_a_storage_error(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    storage = Storage("s3://other/out")
    storage.filesystem.connect(refresh=True)
    with pytest.raises(StorageError, match=r"other/out/a: cannot read: .*credentials"):
        storage.read("a")
