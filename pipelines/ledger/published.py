"""The published files of a unit: which there are, copying them from staging, reading them.

Knows storage and commit records; knows nothing of plans.
"""

from __future__ import annotations

from pipelines.errors import Incomplete
from pipelines.ledger.names import dead_letters_name, part_name
from pipelines.ledger.records import Commit, StagedFile, sha256
from pipelines.storage import Storage

RESTORE = (
    "its staged copy is gone too: restore the file from a backup, or set output.path to a new "
    "directory and run again"
)
"""The remedy if both a published file and its staged copy are lost."""


def published_files(record: Commit) -> list[tuple[str, StagedFile]]:
    """Return a pair for each file of a commit, at most its part and its dead letters: the file's
    final name below OUTPUT, and the staged file of which it is a copy."""
    return [(target, staged) for target, staged in _files(record) if staged is not None]


def publish_files(storage: Storage, record: Commit) -> None:
    """Copy a unit's staged files to their final names. Raises Incomplete if a file is neither
    staged nor published intact."""
    # the part first: a document that leaves the dead letters is among the answers by then
    for target, staged in _files(record):
        if staged is None:
            # a revised unit may have had it
            if record.revision:
                storage.remove(target)
            continue
        try:
            storage.copy(staged.staged, target)
        except FileNotFoundError:
            # another driver may have published the unit, finished the run and swept
            if not _is_intact(storage, target, staged):
                raise _lost(record, target) from None


def repair_files(storage: Storage, record: Commit) -> int:
    """Publish again every file of a unit that is missing or differs from its record, and return
    their number. Raises Incomplete if the staged copy of one is missing or damaged too."""
    published = 0
    for target, staged in _files(record):
        if staged is None:
            if record.revision and storage.exists(target):
                storage.remove(target)
            continue
        if _is_intact(storage, target, staged):
            continue
        if not _is_intact(storage, staged.staged, staged):
            raise _lost(record, target)
        storage.copy(staged.staged, target)
        published += 1
    return published


def read_files(storage: Storage, record: Commit) -> list[bytes | None]:
    """Return the contents of a unit's part and dead letters as its record states them, whether they
    are published or only staged; None for a file that it does not have.

    Raises Incomplete if one is neither, for example because a newer revision is published.
    """
    return [
        None if staged is None else _content(storage, record, name, staged)
        for name, staged in _files(record)
    ]


def _content(storage: Storage, record: Commit, target: str, staged: StagedFile) -> bytes:
    for name in (target, staged.staged):
        data = storage.read_if_exists(name)
        if data is not None and sha256(data) == staged.sha256:
            return data
    raise _lost(record, target)


def _is_intact(storage: Storage, name: str, staged: StagedFile) -> bool:
    """Return whether a file exists and matches the checksum of its commit record."""
    data = storage.read_if_exists(name)
    return data is not None and sha256(data) == staged.sha256


def _lost(record: Commit, target: str) -> Incomplete:
    return Incomplete(f"unit {record.unit}: {target} is lost or damaged; {RESTORE}")


def _files(record: Commit) -> list[tuple[str, StagedFile | None]]:
    return [
        (part_name(record.unit), record.part),
        (dead_letters_name(record.unit), record.errors),
    ]
