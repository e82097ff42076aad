"""Plans a job: indexes its input as a run does, or a sample of it, and makes the forecast.

The index is kept as a draft in OUTPUT, which a run of the same job uses (`run/drafts.py`). No job
is recorded and no lease taken, so that planning neither binds the user nor ends a run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from pipelines.corpus.rows import open_corpus
from pipelines.corpus.units import Unit
from pipelines.errors import ClusterError
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.records import Plan, current_rows
from pipelines.models.devices import Device, timed_device
from pipelines.reporting.planning.calibration import Calibration
from pipelines.reporting.planning.exact import corrections, needs_cutting
from pipelines.reporting.planning.forecast import (
    BYTES_PER_OUTPUT_TOKEN,
    Basis,
    Forecast,
    InputFacts,
    forecast,
    usual_uses,
)
from pipelines.reporting.planning.indexed import Indexed, read_indexed, sample_texts, text_sizes
from pipelines.reporting.planning.sampled import Sample, sample_corpus
from pipelines.reporting.planning.workload import Corrections
from pipelines.run.cluster import Cluster, engine_resources
from pipelines.run.following import InputChanges, find_changes, refuse_stale_table
from pipelines.run.planner import Planner, layout_of
from pipelines.run.prepared import PreparedJob
from pipelines.run.state import RunState
from pipelines.tasks.kinds import TaskSet

CUT_CHARACTERS, CUT_SHARE = 2_000_000, 0.015
"""Characters of texts that are cut to correct estimates of chunks: at most these, or this share of
all texts if that is more."""


@dataclass(frozen=True)
class Planning:
    """What `plan_job` needs besides the ledger.

    Attributes:
        prepared: the job with its model and tasks.
        cluster: the cluster at hand.
        prices: US dollars per hour by the name of a device.
        unit_seconds: engine time for which units are cut.
        skip_bad_files: whether damaged files are skipped.
        calibration: what a run has measured; None without one.
        state: shows the progress of indexing.
    """

    prepared: PreparedJob
    cluster: Cluster
    prices: dict[str, float]
    unit_seconds: float
    skip_bad_files: bool = False
    calibration: Calibration | None = None
    state: RunState = field(default_factory=RunState)

    @property
    def here(self) -> Device:
        """The device of the cluster at hand."""
        return timed_device(self.cluster.device)

    def _engines(self) -> int:
        """Return how many engines fit the cluster at hand; a job may be planned where none does."""
        try:
            return engine_resources(self.cluster, self.prepared.spec.compute).max_engines
        except ClusterError:
            return 0

    def basis(self, cut: Corrections) -> Basis:
        """Return what estimates rest on, with the factors from cutting texts."""
        uses, measured = usual_uses(self.prepared), self.calibration
        engines = self._engines()
        if measured is None:
            return Basis(self.prepared, uses, cut, self.here, self.prices, engines)
        known = {name: use for name, use in measured.uses.items() if name in uses}
        return Basis(
            prepared=self.prepared,
            uses={**uses, **known},
            corrections=cut,
            here=self.here,
            prices=self.prices,
            engines_here=engines,
            speed=measured.speed,
            bytes_per_output_token=measured.bytes_per_output_token or BYTES_PER_OUTPUT_TOKEN,
            calibrated=frozenset(known),
        )


def plan_job(planning: Planning, ledger: Ledger) -> Forecast:
    """Index the files that no plan in OUTPUT has, keep the index as a draft, and return the
    forecast of the whole job. Raises InputError, OutputError, StorageError, RayError."""
    prepared = planning.prepared
    plans, changes = recorded(prepared, ledger)
    planner = Planner(
        prepared,
        ledger,
        planning.cluster,
        planning.unit_seconds,
        planning.state,
        planning.skip_bad_files,
    )
    drafted = planner.draft(plans, changes)
    try:
        planning.state.phase = "reading the index"
        return _forecast(planning, ledger, drafted.plans, changes)
    finally:
        if drafted.scratch:
            ledger.storage.remove(drafted.scratch)


def recorded(prepared: PreparedJob, ledger: Ledger) -> tuple[Sequence[Plan], InputChanges]:
    """Return the plans recorded in OUTPUT, and how the input differs from them. Raises InputError,
    OutputError, StorageError."""
    spec, storage = prepared.spec.input, ledger.storage
    plans = ledger.plans()
    refuse_stale_table(spec, storage)
    return plans, find_changes(spec, plans, ledger.committed(), storage.root)


def _forecast(
    planning: Planning, ledger: Ledger, plans: Sequence[Plan], changes: InputChanges
) -> Forecast:
    storage = ledger.storage
    indexed = read_indexed(storage, current_rows(plans))
    units = [unit for plan in plans for unit in plan.units]
    files = {file.path: file for plan in plans for file in plan.files}
    # a finished run has deleted its copy of the texts
    copies = {name for name in {unit.file for unit in units} if storage.exists(name)}
    copied = [unit for unit in units if unit.file in copies]
    sizes = text_sizes(storage, copied)
    facts = InputFacts(
        files=len(files),
        size_bytes=sum(file.size_bytes for file in files.values()),
        without_rows=sum(len(plan.without_rows) for plan in plans),
        not_read=changes.not_read,
        skipped=planning.state.skipped_files,
        sizes=sizes if len(copied) == len(units) else None,
        units=units,
        committed_units=len(ledger.committed()),
    )
    cut = _corrections(planning, ledger, indexed, copied, sizes.text_bytes)
    return forecast(indexed, facts, planning.basis(cut))


def _corrections(
    planning: Planning, ledger: Ledger, indexed: Indexed, units: Sequence[Unit], text_bytes: int
) -> Corrections:
    """Return the factors from cutting documents of these units, whose texts the index has."""
    tasks = planning.prepared.tasks
    if not any(needs_cutting(int(length), tasks) for length in indexed.counts.lengths[-1:]):
        return Corrections()
    planning.state.phase = "cutting a sample of long documents"
    budget = max(CUT_CHARACTERS, int(CUT_SHARE * text_bytes))
    candidates = [unit for unit in units if _may_be_cut(unit, tasks)]
    texts = sample_texts(
        ledger.storage, candidates, lambda text: _tokens_to_cut(text, tasks), budget
    )
    return corrections(texts, tasks)


def _may_be_cut(unit: Unit, tasks: TaskSet) -> bool:
    """Return whether a unit may have documents that are cut: prompts about chunks count as long as
    they may become."""
    reading = tasks.reading
    shortest = min(
        reading.max_single_pass_tokens + reading.document_shape.around, reading.chunk_prompt_limit
    )
    return any(task.in_parts for task in tasks.all) or unit.longest >= shortest


def _tokens_to_cut(text: str, tasks: TaskSet) -> int | None:
    """Return the tokens of a text that is read in chunks, parts or only at its beginning."""
    in_parts = any(task.in_parts for task in tasks.all)
    # a token has at least one character, or is a byte of one
    if not in_parts and 4 * len(text) <= tasks.reading.max_single_pass_tokens:
        return None
    (tokens,) = tasks.tokenizer.count_all([text])
    return tokens if needs_cutting(tokens, tasks) else None


def plan_sample(planning: Planning, ledger: Ledger, fraction: float) -> Forecast:
    """Measure a random share of the documents and return the forecast with its intervals. Writes
    nothing. Raises as `plan_job` does."""
    prepared = planning.prepared
    plans, changes = recorded(prepared, ledger)
    everything = (
        find_changes(prepared.spec.input, (), (), ledger.storage.root) if plans else changes
    )
    corpus = open_corpus(prepared.spec.input, everything.new, layout_of(plans))
    cost = prepared.cost(planning.cluster.device)
    sample: Sample = sample_corpus(corpus, prepared.tasks, cost, fraction, planning.cluster.cpus)
    facts = InputFacts(
        files=len(everything.new),
        size_bytes=sum(file.size_bytes for file in everything.new),
        without_rows=len(corpus.without_rows),
        not_read=everything.not_read,
        committed_units=len(ledger.committed()),
    )
    basis = planning.basis(sample.corrections)
    return forecast(sample.indexed, facts, basis, sample.note)
