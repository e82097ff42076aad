"""Verdicts, kept together where they come together."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipelines.errors import OutputError, StorageError
from pipelines.storage import Storage
from serve.routes.feedback import FeedbackWriter, feedback_storage
from serve.wire import FeedbackRequest

VERDICT = FeedbackRequest(answer="a", verdict="right")


class SlowStorage(Storage):
    """Writes each file when it is let; the first may fail."""

    def __init__(self, url: str, failure: Exception | None = None) -> None:
        super().__init__(url)
        self.began, self.let = threading.Semaphore(0), threading.Semaphore(0)
        self._failure = failure

    @contextmanager
    def new_file(self, name: str) -> Iterator[Path]:
        self.began.release()
        assert self.let.acquire(timeout=60)
        failure, self._failure = self._failure, None
        if failure:
            raise failure
        with super().new_file(name) as path:
            yield path


async def begun(storage: SlowStorage) -> tuple[FeedbackWriter, asyncio.Task[str]]:
    """A keeper that is writing a first verdict."""
    keeper = FeedbackWriter(storage)
    first = asyncio.create_task(keeper.write(VERDICT, "key"))
    await asyncio.to_thread(storage.began.acquire, timeout=60)
    return keeper, first


async def three(storage: SlowStorage) -> list[asyncio.Task[str]]:
    """Three verdicts, of which two come while the first is written."""
    keeper, first = await begun(storage)
    return [first, *(asyncio.create_task(keeper.write(VERDICT, "key")) for _ in range(2))]


def kept_in(directory: Path) -> list[list[str]]:
    files = [pq.read_table(file)["id"].to_pylist() for file in directory.glob("*.parquet")]
    return sorted(files, key=len)


async def test_what_comes_together_is_one_file(tmp_path: Path) -> None:
    storage = SlowStorage(str(tmp_path))
    sent = await three(storage)
    await asyncio.sleep(0)
    storage.let.release(2)
    first, *others = await asyncio.gather(*sent)
    assert kept_in(tmp_path) == [[first], others]


async def test_a_sender_that_hangs_up_leaves_the_verdicts_of_others_to_be_kept(
    tmp_path: Path,
) -> None:
    storage = SlowStorage(str(tmp_path))
    first, second, third = await three(storage)
    await asyncio.sleep(0)
    storage.let.release()
    await first
    await asyncio.to_thread(storage.began.acquire, timeout=60)
    second.cancel()
    await asyncio.sleep(0)
    storage.let.release(2)
    kept = await asyncio.wait_for(third, 60)
    assert kept in kept_in(tmp_path)[-1]
    assert second.cancelled()


async def test_a_sender_that_hangs_up_while_another_is_written_leaves_nothing(
    tmp_path: Path,
) -> None:
    storage = SlowStorage(str(tmp_path))
    first, second, third = await three(storage)
    await asyncio.sleep(0)
    second.cancel()
    await asyncio.sleep(0)
    storage.let.release(2)
    kept = sorted(await asyncio.gather(first, third))
    assert sorted(id for (id,) in kept_in(tmp_path)) == kept


async def test_what_no_file_takes_fails_alone(tmp_path: Path) -> None:
    storage = SlowStorage(str(tmp_path))
    keeper, first = await begun(storage)
    broken = VERDICT.model_copy(update={"text": "\ud800"})
    others = [asyncio.create_task(keeper.write(each, "key")) for each in (VERDICT, broken, VERDICT)]
    await asyncio.sleep(0)
    storage.let.release(2)
    second, failed, third = await asyncio.gather(*others, return_exceptions=True)
    assert kept_in(tmp_path) == [[await first], [second, third]]
    assert isinstance(failed, UnicodeEncodeError)


async def test_what_cannot_be_written_is_told_and_what_comes_later_is_kept(tmp_path: Path) -> None:
    storage = SlowStorage(str(tmp_path), StorageError("full"))
    first, *others = await three(storage)
    await asyncio.sleep(0)
    storage.let.release(2)
    with pytest.raises(StorageError):
        await first
    assert await asyncio.gather(*others) in kept_in(tmp_path)


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
