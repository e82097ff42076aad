"""Why the processes of workers ended: from their own records, and from their drivers' heartbeats.

Knows storage; knows nothing of engines or Ray.
"""

from __future__ import annotations

from collections.abc import Sequence

from pipelines.ledger.heartbeat import FAILED, FENCED, STOPPED, read_heartbeat
from pipelines.ledger.worker_records import ENDED, WorkerRecord, settled
from pipelines.storage import Storage


def settle(
    storage: Storage, records: Sequence[WorkerRecord], finished: int | None = None
) -> list[WorkerRecord]:
    """Return the records of processes that have all ended, each with the reason.

    `finished` is the generation whose workers had no more work, None if there is none. Raises
    StorageError, and OutputError for a damaged heartbeat.
    """
    ends = {}
    for generation in {record.generation for record in records if not record.ended}:
        heartbeat = read_heartbeat(storage, generation)
        if heartbeat is not None and heartbeat.ended:
            stopped = heartbeat.state in (STOPPED, FAILED, FENCED)
            ends[generation] = heartbeat.state if stopped else ENDED
    return settled(records, ends, finished)
