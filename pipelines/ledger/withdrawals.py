"""The withdrawal of documents from OUTPUT: their answers are removed, and nothing else is.

A plan that follows the input to a new version names the documents that have changed or are gone
(`Plan.withdrawn`). Creating that plan is what withdraws them. Afterwards each committed unit that
has such documents is rewritten without them, like a unit is committed: stage the rewritten files,
create the record of the revision exclusively (`_run/withdrawals/PLAN-UNIT.json`, which is a commit
record), and publish. Any process may repeat this at any time, and a crash loses nothing. The newest
revision of a unit takes the place of its commit record.

A plan withdraws only when every unit of the earlier plans is committed: no commit can bring a
withdrawn document back.

Knows the ledger and parts; knows nothing of the input.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.corpus.ids import accounted_hashes, digest_ids, hash_ids
from pipelines.documents import DOC_ID
from pipelines.errors import Incomplete
from pipelines.ledger.ledger import Ledger, published_files
from pipelines.ledger.names import part_name
from pipelines.ledger.records import Commit, Plan
from pipelines.ledger.staging import stage
from pipelines.storage import Storage

Hashes = npt.NDArray[np.uint64]
# Units that are read or rewritten at the same time; each is in memory whole.
_PARALLEL = 8
_UNIT, _ID_HASH = "unit", "id_hash"


def find_owners(ledger: Ledger, units: Sequence[int], withdrawn: Hashes) -> dict[int, Hashes]:
    """Return the hashes of the withdrawn ids that each of these units, all committed, accounts for,
    for those that account for any.

    Raises Incomplete if a withdrawn document is in none of them.
    """
    commits = ledger.commits(units)
    # a crash may have left a unit committed and not published
    ledger.repair(commits)
    with ThreadPoolExecutor(_PARALLEL) as pool:
        accounted = list(pool.map(lambda commit: _accounted(ledger.storage, commit), commits))
    owners = {
        unit: own
        for unit, ids in zip(units, accounted, strict=True)
        if len(own := np.intersect1d(ids, withdrawn))
    }
    found = sum(len(own) for own in owners.values())
    if found != len(withdrawn):
        raise Incomplete(
            f"{ledger.storage.url}: {len(withdrawn)} documents of OUTPUT have changed or were "
            f"removed from the input, but its files contain {found} of them. Check OUTPUT with "
            "phifleet verify"
        )
    return owners


def write_withdrawn(storage: Storage, name: str, owners: Mapping[int, Hashes]) -> None:
    """Write the file that a plan names as its withdrawn documents: each with its unit."""
    units = [np.full(len(ids), unit, dtype=np.int64) for unit, ids in sorted(owners.items())]
    ids = [ids for _, ids in sorted(owners.items())]
    table = pa.table(
        {
            _UNIT: np.concatenate([*units, np.empty(0, np.int64)]),
            _ID_HASH: np.concatenate([*ids, np.empty(0, np.uint64)]),
        }
    )
    with storage.new_file(name) as path:
        pq.write_table(table, path)


def read_withdrawn(storage: Storage, name: str) -> dict[int, Hashes]:
    """Return the withdrawn documents that a file names, by unit, as `write_withdrawn` got them."""
    with storage.open(name) as handle:
        table = pq.read_table(handle)
    units = table.column(_UNIT).to_numpy()
    ids = np.asarray(table.column(_ID_HASH).to_numpy(), dtype=np.uint64)
    numbers, starts = np.unique(units, return_index=True)
    groups = np.split(ids, starts[1:])
    return dict(zip((int(number) for number in numbers), groups, strict=True))


def outstanding(ledger: Ledger, plans: Sequence[Plan]) -> list[tuple[int, int, Hashes]]:
    """Return the withdrawals that are not carried out yet, oldest plan first: the plan's number,
    the unit's, and the hashes of the documents to remove."""
    done = ledger.revisions()
    return [
        (number, unit, ids)
        for number, plan in enumerate(plans)
        if plan.withdrawn is not None
        for unit, ids in read_withdrawn(ledger.storage, plan.withdrawn).items()
        if number not in done.get(unit, ())
    ]


def withdraw(ledger: Ledger, plans: Sequence[Plan]) -> int:
    """Carry out all withdrawals that are not yet: rewrite the units' files, commit and publish
    them. Returns the number of units. Raises Incomplete if a unit's files are lost or damaged, and
    StorageError."""
    waiting = outstanding(ledger, plans)
    for number in sorted({plan for plan, _, _ in waiting}):
        units = [(unit, ids) for plan, unit, ids in waiting if plan == number]
        with ThreadPoolExecutor(_PARALLEL) as pool:
            jobs = [pool.submit(_withdraw, ledger, number, unit, ids) for unit, ids in units]
            for job in jobs:
                job.result()
    _repair_newest(ledger, plans)
    return len(waiting)


def _repair_newest(ledger: Ledger, plans: Sequence[Plan]) -> None:
    """Publish the revisions that a killed process has recorded and not published. Those of all
    plans but the newest were published before the units of a later plan ran."""
    names = [plan.withdrawn for plan in plans if plan.withdrawn is not None]
    if names:
        ledger.repair(ledger.commits(read_withdrawn(ledger.storage, names[-1])))


def _withdraw(ledger: Ledger, plan: int, unit: int, ids: Hashes) -> None:
    (commit,) = ledger.commits([unit])
    revision = _rewritten(ledger.storage, commit, plan, ids)
    if not ledger.revise(revision):
        ledger.discard(revision)
        (revision,) = ledger.commits([unit])
    ledger.publish(revision)


def _rewritten(storage: Storage, commit: Commit, plan: int, ids: Hashes) -> Commit:
    """Stage a unit's files without some documents, and return the record of the revision."""
    tables = dict(_tables(storage, commit))
    part = _without(tables.get(True), 0, ids)
    letters = _without(tables.get(False), DOC_ID, ids)
    accounted = accounted_hashes(part, letters)
    rows = commit.rows - len(ids)
    if len(accounted) != rows:
        raise Incomplete(
            f"unit {commit.unit}: its files contain {len(accounted)} documents besides "
            f"{len(ids)} that were withdrawn, but its commit states {commit.rows}. Check OUTPUT "
            "with phifleet verify"
        )
    answered = part.num_rows if part is not None else 0
    reasons = letters.column("reason").to_pylist() if letters is not None else []
    return replace(
        commit,
        revision=plan,
        planned_ids=commit.planned_ids or commit.ids,
        ids=digest_ids(accounted),
        rows=rows,
        answered=answered,
        dead_letters=rows - answered,
        reasons=dict(Counter(reasons)),
        part=stage(storage, "part", commit.unit, part),
        errors=stage(storage, "errors", commit.unit, letters),
        committed_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
    )


def _without(table: pa.Table | None, column: int | str, ids: Hashes) -> pa.Table | None:
    if table is None:
        return None
    kept = table.filter(pa.array(~np.isin(hash_ids(table.column(column)), ids)))
    return kept if kept.num_rows else None


def _accounted(storage: Storage, commit: Commit) -> Hashes:
    tables = dict(_tables(storage, commit, ids_only=True))
    return accounted_hashes(tables.get(True), tables.get(False))


def _tables(
    storage: Storage, commit: Commit, *, ids_only: bool = False
) -> Iterable[tuple[bool, pa.Table]]:
    """Yield a unit's published files as tables: True with its part, False with its dead letters."""
    for name, _ in published_files(commit):
        is_part = name == part_name(commit.unit)
        with storage.open(name) as handle:
            file = pq.ParquetFile(handle)
            names = file.schema_arrow.names
            columns = [names[0]] if is_part else [DOC_ID, "task"]
            yield is_part, file.read(columns=columns if ids_only else None)
