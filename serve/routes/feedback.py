"""Stores feedback on answers as Parquet files that a job can read.

Feedback that arrives while a file is being written goes into the next file together. Knows no
HTTP.
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
        ("value", pa.string()),
    ]
)
"""The columns of a feedback file. `correction` and `value` are JSON: the right value and the judged
one, null if they were not given; `key` is the name of the sender's key. Files of earlier versions
have no `value`, and no `correction` where it was null."""
_Pending = dict[asyncio.Future[None], pa.Table]


def feedback_storage(path: str) -> Storage:
    """Return the storage at `path`, the value of `feedback.path`, after connecting to it once.

    Raises OutputError if the kind of store cannot be written or its client is not installed, and
    StorageError if the store's server returns an error. Both messages name `feedback.path`.
    """
    storage = Storage(path, key="feedback.path")
    storage.connect()
    return storage


class FeedbackWriter:
    """Writes feedback as Parquet files into `storage`, a directory or the prefix of a bucket."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._pending: _Pending = {}
        self._writing: asyncio.Task[None] | None = None

    async def write(self, feedback: FeedbackRequest, key: str) -> str:
        """Store feedback from the API key with the name `key`, and return the feedback's new id.

        Returns when the file with the feedback is complete. If the caller is cancelled before the
        write has begun, the feedback is dropped. Raises StorageError if the write fails.
        """
        row = _row(feedback, key)
        stored: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        # a row that Arrow cannot convert fails here, and not the rows written together with it
        self._pending[stored] = pa.Table.from_pylist([row], SCHEMA)
        if self._writing is None or self._writing.done():
            # a task of its own, so that a cancelled caller does not stop the write of the others
            self._writing = asyncio.create_task(self._write_pending())
        try:
            await stored
        finally:
            self._pending.pop(stored, None)
        return str(row["id"])

    async def _write_pending(self) -> None:
        """Write a file of all pending feedback, and again until none is pending."""
        while self._pending:
            batch, self._pending = self._pending, {}
            failure = await self._write(list(batch.values()))
            for stored in batch:
                if stored.done():
                    continue
                if failure is None:
                    stored.set_result(None)
                else:
                    stored.set_exception(failure)

    async def _write(self, rows: list[pa.Table]) -> Exception | None:
        """Write a file; return the exception that it failed with, for every caller to raise."""
        try:
            await asyncio.to_thread(self._write_file, rows)
        except Exception as error:
            return error
        return None

    def _write_file(self, rows: list[pa.Table]) -> None:
        now = datetime.now(UTC)
        name = f"feedback-{now:%Y%m%dT%H%M%S}-{uuid.uuid4().hex}.parquet"
        with self._storage.new_file(name) as path:
            pq.write_table(pa.concat_tables(rows), path, compression="zstd")


def _row(feedback: FeedbackRequest, key: str) -> dict[str, Any]:
    return {
        "id": f"fb-{uuid.uuid4().hex}",
        "answer": feedback.answer,
        "task": feedback.task,
        "verdict": feedback.verdict,
        "correction": _given(feedback, "correction"),
        "comment": feedback.comment,
        "text": feedback.text,
        "key": key,
        "received_at": datetime.now(UTC),
        "value": _given(feedback, "value"),
    }


def _given(feedback: FeedbackRequest, name: str) -> str | None:
    """Return a key of the request as JSON; None if the request does not have it. A null that was
    given states that the document has no value."""
    return json.dumps(getattr(feedback, name)) if name in feedback.model_fields_set else None
