"""A run over a few documents of a job's corpus, into an OUTPUT of its own.

It is a run like any other, with the same workers and prompts, but for the choice of documents.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipelines.corpus.index import SpanIndex, index_tables
from pipelines.corpus.row_changes import HashedRows
from pipelines.corpus.rows import Corpus
from pipelines.corpus.sampling import sample_rows, spread
from pipelines.corpus.sources import list_input
from pipelines.errors import ClusterError, InputError
from pipelines.run.batch import BatchRun
from pipelines.run.cluster import Cluster, alive_nodes
from pipelines.run.drafts import Lengths
from pipelines.run.following import InputChanges
from pipelines.run.output_state import Claim, OutputState
from pipelines.run.planner import Planner

MAX_FILES = 64
"""The number of files of the corpus that a sample looks at, at most."""
# Rows whose texts are tokenized at a time.
_TABLE_ROWS = 512


@dataclass(frozen=True)
class SamplePlanner(Planner):
    """Plans units of `documents` documents that are spread over the files and their lengths."""

    documents: int = 1

    def _index(
        self, corpus: Corpus, directory: str, known: HashedRows, lengths: Lengths | None
    ) -> list[SpanIndex]:
        self.state.spans = 1
        rows = sample_rows(corpus, self.documents)
        tables = [rows.slice(start, _TABLE_ROWS) for start in range(0, rows.num_rows, _TABLE_ROWS)]
        indexed = index_tables(0, tables, self._config(corpus, directory, None))
        self.state.spans_done = 1
        self.state.documents = indexed.rows
        return [indexed]


@dataclass
class SampleRun(BatchRun):
    """A run over some documents of a job.

    The prepared job's `output.path` is the sample's own OUTPUT, not that of the job.

    Attributes:
        documents: the number of documents.
        exclude: the path of the job's OUTPUT, which is not part of the input.
        on_this_machine: True if OUTPUT is a directory that other nodes do not have.
    """

    documents: int = 1
    exclude: str = ""
    on_this_machine: bool = False

    def claim(self, cluster: Cluster) -> Claim:
        """Do what `BatchRun.claim` does. Raises ClusterError if workers on other nodes could not
        write to OUTPUT."""
        if self.on_this_machine and (nodes := alive_nodes()) > 1:
            raise ClusterError(
                f"--sample: the cluster has {nodes} nodes, which cannot write to the temporary "
                f"directory {self.storage.url} of this machine; set --sample-output to a shared "
                "directory or a bucket, such as s3://results/samples/"
            )
        return super().claim(cluster)

    def _planner(self, cluster: Cluster) -> Planner:
        return SamplePlanner(
            self.prepared,
            self.ledger,
            cluster,
            self.unit_seconds,
            self.state,
            self.skip_bad_files,
            self.documents,
        )

    def _read_output(self, recorded: Mapping[str, Any]) -> OutputState:
        plans = self.ledger.plans()
        changes = InputChanges() if plans else self._sampled()
        return OutputState(plans, recorded, (), (), changes)

    def _sampled(self) -> InputChanges:
        spec = self.prepared.spec.input
        listed = list_input(spec, self.exclude)
        if not listed.files:
            raise InputError(f"input.path: the table {spec.path} has no rows; check input.version")
        self.state.files_not_read = listed.not_read
        files = spread(listed.files, MAX_FILES)
        return InputChanges(new=files, table=listed.table, version=listed.version)


def engine_seconds(manifest: dict[str, Any]) -> float:
    """Return the seconds in which engines of a sample's run worked, without their start."""
    bill = manifest["bill"]
    return float(bill["engine_seconds"] - bill["start_seconds"])
