"""Feedback that arrives together is stored in one file, and independently of its senders."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pipelines.errors import OutputError, StorageError
from pipelines.storage import Storage
from serve.routes.feedback import FeedbackWriter, feedback_storage
from serve.wire import FeedbackRequest

VERDICT = FeedbackRequest(answer="a", verdict="right")


class SlowStorage(Storage):
    """Writes each file when `allow` is released; the first write fails with `failure`."""

    def __init__(self, url: str, failure: Exception | None = None) -> None:
        super().__init__(url)
        self.began, self.allow = threading.Semaphore(0), threading.Semaphore(0)
        self._failure = failure

    @contextmanager
    def new_file(self, name: str) -> Iterator[Path]:
        self.began.release()
        assert self.allow.acquire(timeout=60)
        failure, self._failure = self._failure, None
        if failure:
            raise failure
        with super().new_file(name) as path:
            yield path


async def writing_first(storage: SlowStorage) -> tuple[FeedbackWriter, asyncio.Task[str]]:
    """A writer that is writing a file, and the task that waits for it."""
    writer = FeedbackWriter(storage)
    first = asyncio.create_task(writer.write(VERDICT, "key"))
    await asyncio.to_thread(storage.began.acquire, timeout=60)
    return writer, first


async def three_writes(storage: SlowStorage) -> list[asyncio.Task[str]]:
    """The tasks of three writes, of which two begin while the first file is written."""
    writer, first = await writing_first(storage)
    return [first, *(asyncio.create_task(writer.write(VERDICT, "key")) for _ in range(2))]


def stored_in(directory: Path) -> list[list[str]]:
    """The ids in each file, the file with the fewest rows first."""
    files = [pq.read_table(file)["id"].to_pylist() for file in directory.glob("*.parquet")]
    return sorted(files, key=len)


async def test_feedback_that_arrives_during_a_write_is_one_file(tmp_path: Path) -> None:
    storage = SlowStorage(str(tmp_path))
    sent = await three_writes(storage)
    await asyncio.sleep(0)
    storage.allow.release(2)
    first, *others = await asyncio.gather(*sent)
    assert stored_in(tmp_path) == [[first], others]


async def test_a_cancelled_write_does_not_stop_the_writes_of_others(
    tmp_path: Path,
) -> None:
    storage = SlowStorage(str(tmp_path))
    first, second, third = await three_writes(storage)
    await asyncio.sleep(0)
    storage.allow.release()
    await first
    await asyncio.to_thread(storage.began.acquire, timeout=60)
    second.cancel()
    await asyncio.sleep(0)
    storage.allow.release(2)
    stored = await asyncio.wait_for(third, 60)
    assert stored in stored_in(tmp_path)[-1]
    assert second.cancelled()


async def test_a_write_cancelled_before_it_begins_stores_nothing(
    tmp_path: Path,
) -> None:
    storage = SlowStorage(str(tmp_path))
    first, second, third = await three_writes(storage)
    await asyncio.sleep(0)
    second.cancel()
    await asyncio.sleep(0)
    storage.allow.release(2)
    stored = sorted(await asyncio.gather(first, third))
    assert sorted(id for (id,) in stored_in(tmp_path)) == stored


async def test_feedback_that_arrow_cannot_convert_fails_alone(tmp_path: Path) -> None:
    storage = SlowStorage(str(tmp_path))
    writer, first = await writing_first(storage)
    broken = VERDICT.model_copy(update={"text": "\ud800"})
    others = [asyncio.create_task(writer.write(item, "key")) for item in (VERDICT, broken, VERDICT)]
    await asyncio.sleep(0)
    storage.allow.release(2)
    second, failed, third = await asyncio.gather(*others, return_exceptions=True)
    assert stored_in(tmp_path) == [[await first], [second, third]]
    assert isinstance(failed, UnicodeEncodeError)


async def test_a_failed_write_raises_and_later_feedback_is_stored(tmp_path: Path) -> None:
    storage = SlowStorage(str(tmp_path), StorageError("full"))
    first, *others = await three_writes(storage)
    await asyncio.sleep(0)
    storage.allow.release(2)
    with pytest.raises(StorageError):
        await first
    assert await asyncio.gather(*others) in stored_in(tmp_path)


def test_a_store_that_cannot_be_opened_is_refused_at_the_start_and_its_key_is_named() -> None:
    with pytest.raises(OutputError, match=r"^feedback\.path: sftp://host/f: "):
        feedback_storage("sftp://host/f")


def test_a_missing_client_is_refused_at_the_start_and_its_key_is_named() -> None:
    program = (
        "import sys; sys.modules['gcsfs'] = None; "
        "from serve.routes.feedback import feedback_storage; feedback_storage('gs://b/f')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "OutputError: feedback.path: gs://b/f: a package is missing here" in done.stderr
    assert "pip install 'phifleet[gcs]'" in done.stderr


@pytest.mark.parametrize(
    ("given", "value", "correction"),
    [
        ({"value": {"text": "Ann"}}, '{"text": "Ann"}', None),
        ({"value": "Ann", "correction": "Bob"}, '"Ann"', '"Bob"'),
        # null was given: the document states no value
        ({"correction": None}, None, "null"),
        ({}, None, None),
    ],
)
async def test_the_judged_value_and_the_correction_are_stored_as_json(
    tmp_path: Path, given: dict[str, Any], value: str | None, correction: str | None
) -> None:
    writer = FeedbackWriter(Storage(str(tmp_path)))
    await writer.write(FeedbackRequest(answer="a", verdict="wrong", **given), "key")
    (row,) = pq.read_table(tmp_path).to_pylist()
    assert (row["value"], row["correction"]) == (value, correction)
