"""Storage behaves alike on a local disk and on S3, also when operations fail or race."""

from __future__ import annotations

import os
import pickle
import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import s3fs
from botocore.exceptions import ClientError  # type: ignore[import-untyped]
from fakes_storage import S3Server
from s3fs.errors import translate_boto_error

from pipelines.corpus.files import list_files
from pipelines.corpus.rows import open_corpus, read_rows
from pipelines.errors import StorageError
from pipelines.job.spec import InputSpec
from pipelines.storage import Storage


def put(storage: Storage, *names: str) -> None:
    """Write files, each with its own name as content."""
    for name in names:
        storage.write(name, name.encode())


def test_what_is_written_is_read(storage: Storage) -> None:
    storage.write("a/b", b"old")
    storage.write("a/b", b"new")
    assert storage.read("a/b") == b"new"
    with storage.open("a/b") as file:
        file.seek(1)
        assert file.read() == b"ew"


def test_a_missing_name_is_file_not_found(storage: Storage) -> None:
    with pytest.raises(FileNotFoundError):
        storage.read("nothing")
    with pytest.raises(FileNotFoundError):
        storage.copy("nothing", "target")
    with pytest.raises(StorageError, match=r"out.*/nothing"), storage.open("nothing"):
        pass
    assert storage.size("nothing") is None
    assert not storage.exists("nothing")
    assert not storage.exists("target")


def test_names_are_the_files_directly_in_a_directory(storage: Storage) -> None:
    put(storage, "b", "a", "sub/c", "sub/deep/d")
    assert storage.names("") == ["a", "b"]
    assert storage.entries("") == ["a", "b", "sub"]
    assert storage.names("sub") == ["c"]
    assert storage.names("nowhere") == []
    put(storage, "sub/new")
    assert storage.names("sub") == ["c", "new"]


def test_existence_and_size_follow_changes_by_other_processes(storage: Storage) -> None:
    other = pickle.loads(pickle.dumps(storage))  # noqa: S301 - our own bytes
    assert storage.names("") == []
    other.write("a", b"12345")
    assert (storage.exists("a"), storage.size("a"), storage.names("")) == (True, 5, ["a"])
    other.write("a", b"1")
    with storage.open("a") as file:
        assert (file.read(), storage.size("a")) == (b"1", 1)
    other.remove("a")
    assert (storage.exists("a"), storage.size("a"), storage.names("")) == (False, None, [])


def test_remove_deletes_files_and_directories_and_may_be_repeated(storage: Storage) -> None:
    put(storage, "a", "d/x", "d/y", "d2/z")
    for name in ("a", "d", "a", "d", "nothing"):
        storage.remove(name)
    assert (storage.names("d"), storage.entries("")) == ([], ["d2"])


def test_remove_matching_deletes_only_files_whose_names_match(storage: Storage) -> None:
    put(storage, "d/x1", "d/y1", "d/x2", "d/sub/x3", "x4")
    for _ in range(2):
        storage.remove_matching("d", lambda name: name.startswith("x"))
        storage.remove_matching("nowhere", lambda name: True)
    assert storage.entries("d") == ["sub", "y1"]
    assert (storage.names("d/sub"), storage.names("")) == (["x3"], ["x4"])


def test_only_the_requested_bytes_of_a_parquet_file_on_s3_are_read(
    s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched: list[int] = []
    fetch = s3fs.S3File._fetch_range

    def counting(file: s3fs.S3File, start: int, end: int) -> bytes:
        data: bytes = fetch(file, start, end)
        fetched.append(len(data))
        return data

    monkeypatch.setattr(s3fs.S3File, "_fetch_range", counting)
    storage = Storage(f"{s3.new_bucket()}/out")
    dice = random.Random(0)  # noqa: S311
    rows = pa.table({"id": range(40), "text": [dice.randbytes(50_000).hex() for _ in range(40)]})
    with storage.new_file("corpus.parquet") as path:
        pq.write_table(rows, path, row_group_size=1)
        size = path.stat().st_size
    for group in range(40):
        with storage.open("corpus.parquet") as file:
            pq.ParquetFile(file).read_row_group(group)
    by_units = sum(fetched)
    fetched.clear()
    spec = InputSpec(path=f"{storage.url}/corpus.parquet", id_column="id")
    corpus = open_corpus(spec, list_files(spec.path))
    for fragment in corpus.fragments:
        assert sum(table.num_rows for table in read_rows(spec, corpus.layout, fragment)) == 1
        # the footer is read with the last 64 KiB of the file
    max_bytes = size + 41 * 2**16
    assert size / 2 < by_units < max_bytes
    assert size / 2 < sum(fetched) < max_bytes


def test_copy_replaces_the_target(storage: Storage) -> None:
    put(storage, "from")
    storage.write("to/name", b"something longer than before")
    storage.copy("from", "to/name")
    assert (storage.read("to/name"), storage.read("from")) == (b"from", b"from")


def test_create_makes_a_name_only_once(storage: Storage) -> None:
    assert storage.create("d/a", b"first")
    assert not storage.create("d/a", b"second")
    assert storage.read("d/a") == b"first"
    assert storage.names("d") == ["a"]


def test_create_has_one_winner_among_many(storage: Storage) -> None:
    start = threading.Barrier(16)

    def race(number: int) -> bool:
        start.wait()
        return storage.create("lock", f"{number}".encode())

    with ThreadPoolExecutor(16) as pool:
        created = list(pool.map(race, range(16)))
    assert created.count(True) == 1
    assert storage.read("lock") == f"{created.index(True)}".encode()


@pytest.mark.parametrize(("conflicts", "created"), [(3, True), (100, False)])
def test_create_is_repeated_while_s3_reports_a_conflict(
    s3: S3Server, monkeypatch: pytest.MonkeyPatch, conflicts: int, created: bool
) -> None:
    remaining = iter(range(conflicts))
    call = s3fs.S3FileSystem._call_s3
    answer = {"Error": {"Code": "ConditionalRequestConflict", "Message": "try again"}}

    async def conflicting(s3: Any, method: str, *args: Any, **kwargs: Any) -> Any:
        if method == "put_object" and next(remaining, None) is not None:
            raise translate_boto_error(ClientError(answer, "PutObject"))
        return await call(s3, method, *args, **kwargs)

    storage = Storage(f"{s3.new_bucket()}/out")
    monkeypatch.setattr(s3fs.S3FileSystem, "_call_s3", conflicting)
    if created:
        assert storage.create("a", b"one")
        assert not storage.create("a", b"two")
    else:
        with pytest.raises(StorageError, match="try again"):
            storage.create("a", b"one")


def test_a_reader_never_sees_half_a_write(storage: Storage) -> None:
    contents = {bytes([value]) * 300_000 for value in range(4)}
    storage.write("a", min(contents))
    done = threading.Event()

    def write() -> None:
        for content in sorted(contents) * (20 if storage.local else 3):
            storage.write("a", content)
        done.set()

    with ThreadPoolExecutor(1) as pool:
        writer = pool.submit(write)
        seen = {storage.read("a")}
        while not done.is_set():
            seen.add(storage.read("a"))
        writer.result()
    assert seen <= contents


def test_a_new_file_appears_whole_at_the_end(storage: Storage) -> None:
    with storage.new_file("d/new") as path:
        path.write_bytes(b"half")
        assert storage.names("d") == []
    assert storage.read("d/new") == b"half"
    assert not path.exists()


def _write_new(storage: Storage, name: str) -> None:
    with storage.new_file(name) as path:
        path.write_bytes(b"new")


@pytest.mark.parametrize(
    "operation",
    [
        lambda storage, name: storage.write(name, b"new"),
        lambda storage, name: storage.create(name, b"new"),
        _write_new,
    ],
    ids=["write", "create", "new_file"],
)
def test_the_directory_is_synced_after_the_name_exists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, operation: Callable[[Storage, str], None]
) -> None:
    synced: list[tuple[bool, bool]] = []

    def fsync(opened: int) -> None:
        is_directory = os.path.samestat(os.fstat(opened), tmp_path.stat())
        synced.append((is_directory, (tmp_path / "a").exists()))

    monkeypatch.setattr("pipelines.storage.os.fsync", fsync)
    operation(Storage(str(tmp_path)), "a")
    assert synced == [(False, False), (True, True)]


def test_no_hidden_file_stays_behind(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    put(storage, "a")
    storage.create("a", b"late")
    storage.create("b", b"")
    with storage.new_file("c") as path:
        path.touch()
    assert sorted(os.listdir(tmp_path)) == ["a", "b", "c"]


def test_a_relative_path_is_resolved_when_the_storage_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    storage = Storage("out")
    monkeypatch.chdir("/")
    storage.write("a", b"")
    assert (tmp_path / "out" / "a").exists()
    assert Storage(f"file://{tmp_path}/out").names("") == ["a"]
