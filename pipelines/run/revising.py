"""Joins the results of a unit that is answered again into its files: stage, revise, publish.

The record of the revision is created exclusively, like a commit. It follows from the unit's newest
earlier record and the results, whatever other workers do meanwhile. Knows parts and the ledger;
nothing of engines or Ray.
"""

from __future__ import annotations

import socket
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.checks.counting import count_checks
from pipelines.corpus.ids import accounted_hashes, digest_ids
from pipelines.documents import Usage
from pipelines.errors import Incomplete
from pipelines.ledger.published import read_files
from pipelines.ledger.records import Commit, StagedFile, sum_decoding
from pipelines.ledger.staging import stage
from pipelines.ledger.used import Used
from pipelines.run.committing import AnsweredUnit, Committer, decoding_of
from pipelines.run.engine_clock import EngineClock
from pipelines.run.worker_config import WorkerConfig
from pipelines.tasks.joining import UnitTables, join_results


class Reviser(Committer):
    """Commits units that are answered again: a commit is a revision of the unit.

    Its methods raise Incomplete too, if a unit's files are lost or damaged.
    """

    def __init__(self, config: WorkerConfig, clock: EngineClock) -> None:
        super().__init__(config, clock)
        assert config.redoing is not None
        self._redoing = config.redoing

    def _stage(self, answered: AnsweredUnit, used: Used) -> Commit | None:
        """Stage the unit's files with the new answers and return the record of the revision, or
        None if another worker has revised the unit."""
        self._config.lease.check()
        if self._is_revised(answered):
            return None
        before = self._ledger.newest(answered.unit.number, self._redoing.earlier)
        try:
            unit = UnitTables(*map(_table, read_files(self._config.storage, before)))
        except Incomplete:
            # another worker may have revised and published it since
            if self._is_revised(answered):
                return None
            raise
        return self._join(before, unit, answered, used)

    def _create(self, record: Commit) -> bool:
        return self._ledger.revise(record)

    def _is_revised(self, answered: AnsweredUnit) -> bool:
        return self._ledger.is_revised(answered.unit.number, self._redoing.plan)

    def _join(self, before: Commit, unit: UnitTables, answered: AnsweredUnit, used: Used) -> Commit:
        rows, results = answered.unit.rows, answered.results
        joined = join_results(unit, rows, results, self._columns, self._config.id_column)
        ids = digest_ids(accounted_hashes(joined.part, joined.letters))
        if ids != before.ids:
            raise Incomplete(
                f"unit {before.unit}: with the new answers its files would have other documents "
                "than its commit states. Check OUTPUT with phifleet verify"
            )
        part_rows = joined.part.num_rows if joined.part is not None else 0
        reasons = joined.letters["reason"].to_pylist() if joined.letters is not None else []
        answers = [answer.usage for result in results for answer in result.answers]
        usage = sum(answers, Usage())
        decoding = sum_decoding((before.decoding, decoding_of(results)))
        return replace(
            before,
            revision=self._redoing.plan,
            planned_ids=before.planned_ids or before.ids,
            answered=part_rows,
            dead_letters=before.rows - part_rows,
            reasons=dict(Counter(reasons)),
            checks=count_checks(joined.part, joined.letters, decoding),
            part=self._stage_table("part", before.unit, joined.part),
            errors=self._stage_table("errors", before.unit, joined.letters),
            prompt_tokens=before.prompt_tokens + usage.prompt_tokens,
            cached_prompt_tokens=before.cached_prompt_tokens + usage.cached_prompt_tokens,
            output_tokens=before.output_tokens + usage.output_tokens,
            decoding=decoding,
            seconds=round(before.seconds + answered.seconds, 3),
            host=socket.gethostname(),
            committed_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
            answered_at="",
            used=replace(used, steps=usage.steps, draft_tokens=usage.draft_tokens),
            earlier=before.work,
        )

    def _stage_table(self, kind: str, number: int, table: pa.Table | None) -> StagedFile | None:
        if table is None:
            return None
        metadata = {**(table.schema.metadata or {}), **self._config.metadata}
        described = table.replace_schema_metadata(metadata)
        return stage(self._config.storage, kind, number, described, self._redoing.plan)


def _table(data: bytes | None) -> pa.Table | None:
    return None if data is None else pq.read_table(pa.BufferReader(data))
