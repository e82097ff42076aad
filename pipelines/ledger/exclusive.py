"""The check that a store supports exclusive creation, made before a run writes anything else.

Exclusive creation means: of several writers that create one name, exactly one succeeds, and the
name keeps that writer's content. Leases, plans and commits depend on it. Some stores accept the
condition of a request and ignore it; a run on such a store could lose or duplicate documents.

Knows storage; knows nothing of runs or records.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from pipelines.errors import OutputError, StorageError
from pipelines.storage import Storage
from pipelines.stores.protocols import knows_no_conditions

_WRITERS = 8
_REMEDY = (
    "Exactly-once is impossible there. Use a bucket without versioning or object lock, a shared "
    "disk with hard links, or another store listed in docs/guarantees.md"
)


def check_exclusive_creation(storage: Storage) -> None:
    """Check that of several writers of one new name in `storage` exactly one succeeds.

    Creates the name from eight threads concurrently and a ninth time afterwards, compares the
    results and the content, and deletes the name. Raises OutputError if more than one of the
    writers succeeded, if the content is not the winner's, or if the store does not support
    conditional writes; StorageError if the store cannot be written.
    """
    name = f"_run/exclusive-{uuid.uuid4().hex}"
    contents = [f"writer {number} of {name}".encode() for number in range(_WRITERS + 1)]
    try:
        created = _create_concurrently(storage, name, contents[:-1])
        created.append(storage.create(name, contents[-1]))
        content = storage.read_if_exists(name)
    except BaseException as error:
        with suppress(StorageError):
            storage.remove(name)
        if isinstance(error, StorageError) and knows_no_conditions(error.__cause__):
            raise OutputError(
                f"output.path: {storage.url}: the store cannot create a name on the condition that "
                f"it does not exist: {error.__cause__}. {_REMEDY}"
            ) from error
        raise
    if fault := _fault(created, contents, content):
        with suppress(StorageError):
            storage.remove(name)
        raise OutputError(f"output.path: {storage.url}: {fault}. {_REMEDY}")
    storage.remove(name)


def _create_concurrently(storage: Storage, name: str, contents: Sequence[bytes]) -> list[bool]:
    start = threading.Barrier(len(contents))

    def create(content: bytes) -> bool:
        start.wait()
        return storage.create(name, content)

    with ThreadPoolExecutor(len(contents)) as pool:
        return list(pool.map(create, contents))


def _fault(created: Sequence[bool], contents: Sequence[bytes], content: bytes | None) -> str | None:
    """Return what the store did wrong, or None.

    `created` has the result of every writer, the late one last, `contents` what each of them wrote,
    and `content` is what the name holds. It is no fault if no writer succeeded: if the answer to
    the winner's request is lost, its client repeats the request and finds the name taken. The
    content then shows which writer won.
    """
    *concurrent, late = created
    winners = sum(concurrent)
    if winners > 1:
        return (
            f"{winners} of {len(concurrent)} writers that created one name at the same time "
            "succeeded, where only one may"
        )
    if late:
        return "a name that existed already was created again"
    possible = [contents[created.index(True)]] if winners else contents[:-1]
    if content not in possible:
        return "the content of a created name is not what its creator wrote"
    return None
