"""Verdicts on answers, kept as Parquet that a job can read: a file for what came together.

A verdict is kept before its sender is told so. Knows no HTTP.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.storage import Storage
from serve.wire import FeedbackRequest

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("answer", pa.string()),
        ("task", pa.string()),
        ("verdict", pa.string()),
        ("correction", pa.string()),
        ("comment", pa.string()),
        ("text", pa.string()),
        ("key", pa.string()),
        ("received_at", pa.timestamp("ms", tz="UTC")),
    ]
)
_Waiting = dict[asyncio.Future[None], pa.Table]


def feedback_storage(path: str) -> Storage:
    """Return the storage of `feedback.path`, after opening its store once.

    Raises OutputError if the store cannot be written or its client is not installed, and
    StorageError if its server returns an error. Both name the key `feedback.path`.
    """
    storage = Storage(path, key="feedback.path")
    storage.connect()
    return storage


class FeedbackWriter:
    """Writes feedback into a directory or bucket prefix."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._waiting: _Waiting = {}
        self._writing: asyncio.Task[None] | None = None

    async def write(self, given: FeedbackRequest, key: str) -> str:
        """Keep a verdict; returns its id when it is safe. One whose sender waits no longer is
        dropped, if it is not being written. Raises StorageError."""
        row = _row(given, key)
        kept: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        # what cannot be written fails here, and not those that it would be written with
        self._waiting[kept] = pa.Table.from_pylist([row], SCHEMA)
        if self._writing is None or self._writing.done():
            # a task of its own: a sender that hangs up must not stop what others wait for
            self._writing = asyncio.create_task(self._write_all())
        try:
            await kept
        finally:
            self._waiting.pop(kept, None)
        return str(row["id"])

    async def _write_all(self) -> None:
        """Write until nobody waits: a file for all who came while the one before was written."""
        while self._waiting:
            written, self._waiting = self._waiting, {}
            failure = await self._write(list(written.values()))
            for kept in written:
                if kept.done():
                    continue
                if failure is None:
                    kept.set_result(None)
                else:
                    kept.set_exception(failure)

    async def _write(self, rows: list[pa.Table]) -> Exception | None:
        try:
            await asyncio.to_thread(self._write_file, rows)
        except Exception as error:
            # each sender is told
            return error
        return None

    def _write_file(self, rows: list[pa.Table]) -> None:
        now = datetime.now(UTC)
        name = f"feedback-{now:%Y%m%dT%H%M%S}-{uuid.uuid4().hex}.parquet"
        with self._storage.new_file(name) as path:
            pq.write_table(pa.concat_tables(rows), path, compression="zstd")


def _row(given: FeedbackRequest, key: str) -> dict[str, Any]:
    return {
        "id": f"fb-{uuid.uuid4().hex}",
        "answer": given.answer,
        "task": given.task,
        "verdict": given.verdict,
        "correction": None if given.correction is None else json.dumps(given.correction),
        "comment": given.comment,
        "text": given.text,
        "key": key,
        "received_at": datetime.now(UTC),
    }
