"""Writes the results of a unit to storage: stage the part, commit it, publish it.

Knows parts and the ledger; nothing of engines or Ray.
"""

from __future__ import annotations

import random
import socket
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import pyarrow as pa

from pipelines.corpus.ids import accounted_hashes, digest_ids
from pipelines.documents import DOC_ID, DocumentResult, Usage
from pipelines.errors import StorageError
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.records import Commit, StagedFile
from pipelines.ledger.staging import stage
from pipelines.run.worker_config import WorkerConfig
from pipelines.tasks.columns import dead_letters_table, part_table

# Seconds before each further try of a commit that failed.
_RETRY_SECONDS = (1.0, 5.0, 20.0)


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

    def __init__(self, config: WorkerConfig) -> None:
        self._config = config
        self._columns = [task.column for task in config.tasks.all]
        self._ledger = Ledger(config.storage)

    def commit(self, answered: AnsweredUnit) -> bool:
        """Stage, commit and publish a unit, and return True; return False if another worker
        committed it first, and delete the staged files.

        Blocks the thread. Retries for about half a minute if the storage fails: the answers have
        cost an engine's time. Raises Fenced, StorageError.
        """
        for pause in _RETRY_SECONDS:
            try:
                return self._commit_once(answered)
            except StorageError:
                # at random, because all workers failed at the same time
                time.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311
        return self._commit_once(answered)

    def _commit_once(self, answered: AnsweredUnit) -> bool:
        self._config.lease.check()
        record = self._stage(answered)
        if not self._ledger.commit(record):
            self._ledger.discard(record)
            return False
        self._ledger.publish(record)
        return True

    def _stage(self, answered: AnsweredUnit) -> Commit:
        unit, results = answered.unit, answered.results
        part = part_table(unit.rows, results, self._columns, self._config.id_column)
        dead_letters = [letter for result in results for letter in result.dead_letters()]
        errors = dead_letters_table(dead_letters, unit.rows.schema.field(DOC_ID).type)
        usages = [answer.usage for result in results for answer in result.answers]
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
            prompt_tokens=sum(usage.prompt_tokens for usage in usages),
            cached_prompt_tokens=sum(usage.cached_prompt_tokens for usage in usages),
            output_tokens=sum(usage.output_tokens for usage in usages),
            decoding=_decoding(results),
            seconds=round(answered.seconds, 3),
            host=socket.gethostname(),
            committed_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
        )

    def _write(self, kind: str, number: int, table: pa.Table) -> StagedFile | None:
        """Stage a table with the metadata of the run; return None for a table without rows."""
        of_columns = table.schema.metadata or {}
        described = table.replace_schema_metadata({**of_columns, **self._config.metadata})
        return stage(self._config.storage, kind, number, described)


def _decoding(results: Sequence[DocumentResult]) -> dict[str, tuple[int, int, int]]:
    """Return for each task its output tokens, the steps that generated them, and drafted tokens."""
    used: defaultdict[str, Usage] = defaultdict(Usage)
    for result in results:
        for answer in result.answers:
            used[answer.task] += answer.usage
    return {
        task: (usage.output_tokens, usage.steps, usage.draft_tokens) for task, usage in used.items()
    }
