"""Checks, before a run writes anything, that its store lets only one of many create a name.

Exactly once rests on that. Knows storage; nothing of runs or records.
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
    "Exactly once cannot be kept there. Use a bucket without versioning or object lock, a shared "
    "disk with hard links, or another store of docs/guarantees.md"
)


def check_exclusive_creation(storage: Storage) -> None:
    """Create one new name from several threads at once and once more afterwards, and remove it.

    Raises OutputError where more than one of them is told that it created the name or where its
    content is not the winner's, and StorageError where the store cannot be written.
    """
    name = f"_run/exclusive-{uuid.uuid4().hex}"
    contents = [f"writer {number} of {name}".encode() for number in range(_WRITERS + 1)]
    try:
        won = _create_at_once(storage, name, contents[:-1])
        won.append(storage.create(name, contents[-1]))
        found = storage.read_if_exists(name)
    except BaseException as error:
        with suppress(StorageError):
            storage.remove(name)
        if isinstance(error, StorageError) and knows_no_conditions(error.__cause__):
            raise OutputError(
                f"output.path: {storage.url}: the store cannot create a name only where it does "
                f"not exist: {error.__cause__}. {_REMEDY}"
            ) from error
        raise
    if fault := _fault(won, contents, found):
        with suppress(StorageError):
            storage.remove(name)
        raise OutputError(f"output.path: {storage.url}: {fault}. {_REMEDY}")
    storage.remove(name)


def _create_at_once(storage: Storage, name: str, contents: Sequence[bytes]) -> list[bool]:
    start = threading.Barrier(len(contents))

    def create(content: bytes) -> bool:
        start.wait()
        return storage.create(name, content)

    with ThreadPoolExecutor(len(contents)) as pool:
        return list(pool.map(create, contents))


def _fault(won: Sequence[bool], contents: Sequence[bytes], found: bytes | None) -> str | None:
    """Return what is wrong with the store's answers, None where nothing is.

    Nobody is told that it won where the winner's answer was lost on the way and its client asked
    again; then the content says who it was.
    """
    *at_once, late = won
    winners = sum(at_once)
    if winners > 1:
        return (
            f"{winners} of {len(at_once)} that created one name at the same time were told that "
            "they had created it, where one may"
        )
    if late:
        return "a name that had been created already could be created again"
    possible = [contents[won.index(True)]] if winners else contents[:-1]
    if found not in possible:
        return "the content of a created name is not what its creator wrote"
    return None
