"""Writes the results of a unit to storage: stage the part, commit it, publish it.

Knows parts and the ledger; nothing of engines or Ray.
"""

from __future__ import annotations

import random
import socket
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TypeVar

import pyarrow as pa

from pipelines.corpus.ids import accounted_hashes, digest_ids
from pipelines.documents import DOC_ID, DocumentResult, Usage
from pipelines.errors import Fenced, StorageError
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.records import Commit, StagedFile
from pipelines.ledger.staging import stage
from pipelines.ledger.used import FAILED, FENCED, LOST_RACE, Used
from pipelines.run.engine_clock import EngineClock
from pipelines.run.worker_config import WorkerConfig
from pipelines.tasks.columns import dead_letters_table, part_table

# Seconds before each further try of a commit that failed.
_RETRY_SECONDS = (1.0, 5.0, 20.0)
T = TypeVar("T")


@dataclass(frozen=True)
class UnitRows:
    """A unit to answer: its number, the digest of the plan that it belongs to, and its documents.

    `rows` has one row per document, with the columns of `Layout.schema`, read from the file that
    indexing wrote below OUTPUT.
    """

    number: int
    plan: str
    rows: pa.Table


@dataclass(frozen=True)
class AnsweredUnit:
    """A unit with one result for each of its rows, in the order of the rows, and the seconds that
    answering took."""

    unit: UnitRows
    results: Sequence[DocumentResult]
    seconds: float


class Committer:
    """Commits the units of one worker."""

    def __init__(self, config: WorkerConfig, clock: EngineClock) -> None:
        """`clock` states what the worker has used since its commit before."""
        self._config = config
        self._clock = clock
        self._columns = [task.column for task in config.tasks.all]
        self._ledger = Ledger(config.storage)

    def commit(self, answered: AnsweredUnit) -> Commit | None:
        """Stage, commit and publish a unit, and return its commit; return None if another worker
        committed it first, and delete the staged files.

        Blocks the thread. Retries for about half a minute if the storage fails: the answers have
        cost an engine's time. The time since the worker's commit before is charged to this one; if
        it is not made, that time is waste. Raises Fenced, StorageError.
        """
        used = self._clock.charge()
        self._clock.commit_began()
        try:
            committed = self._commit(answered, used)
        except Fenced:
            self._clock.refund(used, FENCED)
            raise
        except Exception:
            self._clock.refund(used, FAILED)
            raise
        finally:
            self._clock.commit_ended()
        if committed is None:
            self._clock.refund(used, LOST_RACE)
        return committed

    def _commit(self, answered: AnsweredUnit, used: Used) -> Commit | None:
        record = _retried(lambda: self._stage(answered, used))
        if record is None:
            return None
        # the same record each time: one that was created although its request failed is our own
        return record if _retried(lambda: self._settle(record)) else None

    def _settle(self, record: Commit) -> bool:
        """Commit and publish a staged unit, or delete its files and return False."""
        self._config.lease.check()
        if not self._create(record):
            self._ledger.discard(record)
            return False
        self._ledger.publish(record)
        return True

    def _create(self, record: Commit) -> bool:
        return self._ledger.commit(record)

    def _stage(self, answered: AnsweredUnit, used: Used) -> Commit | None:
        """Stage the files of a unit and return its record, or None if another worker has committed
        it already."""
        self._config.lease.check()
        unit, results = answered.unit, answered.results
        part = part_table(unit.rows, results, self._columns, self._config.id_column)
        dead_letters = [letter for result in results for letter in result.dead_letters()]
        errors = dead_letters_table(dead_letters, unit.rows.schema.field(DOC_ID).type)
        tokens = sum((answer.usage for result in results for answer in result.answers), Usage())
        answered_documents = sum(result.answered for result in results)
        return Commit(
            unit=unit.number,
            plan=unit.plan,
            ids=digest_ids(accounted_hashes(part, errors)),
            rows=len(results),
            answered=answered_documents,
            dead_letters=len(results) - answered_documents,
            reasons=dict(Counter(letter.problem.reason for letter in dead_letters)),
            part=self._write("part", unit.number, part),
            errors=self._write("errors", unit.number, errors),
            prompt_tokens=tokens.prompt_tokens,
            cached_prompt_tokens=tokens.cached_prompt_tokens,
            output_tokens=tokens.output_tokens,
            decoding=decoding_of(results),
            checks=_found_by_checks(results),
            seconds=round(answered.seconds, 3),
            host=socket.gethostname(),
            committed_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
            used=replace(used, steps=tokens.steps, draft_tokens=tokens.draft_tokens),
        )

    def _write(self, kind: str, number: int, table: pa.Table) -> StagedFile | None:
        """Stage a table with the metadata of the run; return None for a table without rows."""
        of_columns = table.schema.metadata or {}
        described = table.replace_schema_metadata({**of_columns, **self._config.metadata})
        return stage(self._config.storage, kind, number, described)


def _retried(step: Callable[[], T]) -> T:
    """Return what `step` returns, after up to three further tries if the storage fails."""
    for pause in _RETRY_SECONDS:
        try:
            return step()
        except StorageError:
            # at random, because all workers failed at the same time
            time.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311
    return step()


def _found_by_checks(results: Sequence[DocumentResult]) -> dict[str, int]:
    """Return the number of answers in which each check found something, by its name."""
    found: Counter[str] = Counter()
    for result in results:
        found.update({name: count for (name, _), count in result.found_by_checks().items()})
    return dict(sorted(found.items()))


def decoding_of(results: Sequence[DocumentResult]) -> dict[str, tuple[int, int, int]]:
    """Return for each task its output tokens, the steps that generated them, and drafted tokens."""
    used: defaultdict[str, Usage] = defaultdict(Usage)
    for result in results:
        for answer in result.answers:
            used[answer.task] += answer.usage
    return {
        task: (usage.output_tokens, usage.steps, usage.draft_tokens) for task, usage in used.items()
    }
