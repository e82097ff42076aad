"""A batch run: index the corpus, plan its units, run them on Ray Data, finish.

Ray Data carries only units and small result rows. What is done is decided by the ledger alone: this
file can die at any line and a second run goes on from what was committed.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import ray
from ray.data import ActorPoolStrategy, Dataset

from pipelines import ledger as names
from pipelines.cluster import Cluster, Seat, take_seat
from pipelines.corpus import Corpus, Piece, SourceFile, list_files, open_corpus
from pipelines.errors import EngineError, Incomplete, InputError, OutputError, PhifleetError
from pipelines.index import IndexConfig, SpanIndex, cut_spans, find_duplicates, index_span
from pipelines.ledger import Commit, Ledger, Plan
from pipelines.prepared import PreparedJob
from pipelines.progress import Board, Progress
from pipelines.spec import differing_keys
from pipelines.storage import Storage
from pipelines.units import LONG, SHORT, Unit, longest_first, number_units
from pipelines.worker import Worker, WorkerConfig

UNIT_SECONDS = 30.0
# Units that one worker has in hand, so that its engine never drains at a unit's edge.
_UNITS_IN_FLIGHT = 3
_IDS_PER_SHARE = 20_000_000


@dataclass
class RunState:
    """Where a run stands, for whoever watches it. Written by the run, read from another thread."""

    phase: str = "starting"
    documents: int = 0
    prompt_tokens: int = 0
    tokens_to_run: int = 0
    documents_before: int = 0
    units: int = 0
    units_done: int = 0
    spans: int = 0
    spans_done: int = 0
    board: Any = None

    def progress(self) -> Progress:
        """What the workers have reported so far."""
        if self.board is None:
            return Progress()
        progress: Progress = ray.get(self.board.read.remote(), timeout=10)
        return progress


@dataclass
class Timing:
    """Seconds of this session: engine starts, and the time in which any unit was under way."""

    started: float = field(default_factory=time.monotonic)
    engine_start_seconds: float = 0.0
    spans: list[tuple[float, float]] = field(default_factory=list)

    def add(self, row: Mapping[str, Any]) -> None:
        self.spans.append((row["started"], row["ended"]))
        self.engine_start_seconds = max(self.engine_start_seconds, row["engine_start_seconds"])

    @property
    def steady_seconds(self) -> float:
        """Length of the union of all units' times."""
        covered, end = 0.0, float("-inf")
        for start, stop in sorted(self.spans):
            covered += max(0.0, stop - max(start, end))
            end = max(end, stop)
        return covered


@dataclass
class BatchRun:
    """One run of a job on a cluster. `execute` is the whole of it."""

    prepared: PreparedJob
    cluster: Cluster
    state: RunState = field(default_factory=RunState)
    unit_seconds: float = UNIT_SECONDS

    def __post_init__(self) -> None:
        self.storage = Storage(self.prepared.spec.output.path)
        self.ledger = Ledger(self.storage)
        self.timing = Timing()

    def execute(self) -> dict[str, Any]:
        """Do the job, or go on where it stopped. Returns the manifest.

        Raises InputError, OutputError, StorageError, ClusterError, EngineError, Incomplete.
        """
        seat = take_seat(self.cluster, self.prepared.spec.compute)
        self._open()
        plans = self._index_new_files(self.ledger.plans())
        committed = self.ledger.committed()
        units = [unit for plan in plans for unit in plan.units]
        left = [unit for unit in units if unit.number not in committed]
        self._note_plan(units, left)
        if left:
            self._run(left, seat)
        return self._finish(plans)

    def _open(self) -> None:
        prepared = self.prepared
        job = {
            "source": prepared.job.source,
            "digests": prepared.digests,
            "fingerprint": prepared.fingerprint,
            "model": prepared.model.name,
            "revision": prepared.model.revision,
            "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        recorded = self.ledger.open_job(job)
        differing = differing_keys(recorded["digests"], prepared.digests)
        if differing:
            raise OutputError(
                f"output.path: {self.storage.url} holds a run whose answers were made otherwise; "
                f"keys that differ: {', '.join(differing)}. "
                "Take them back, or choose another OUTPUT"
            )

    def _index_new_files(self, plans: list[Plan]) -> list[Plan]:
        self.state.phase = "indexing"
        spec = self.prepared.spec.input
        files = list_files(spec.path)
        new = _new_files(files, [file for plan in plans for file in plan.files])
        if not new:
            return plans
        corpus = open_corpus(spec, new)
        directory = f"{names.INDEX}/{len(plans):04d}-{uuid.uuid4().hex[:8]}"
        found = self._index(corpus, directory)
        self._check_ids(found, directory, plans)
        first = sum(len(plan.units) for plan in plans)
        self.ledger.add_plan(len(plans), _plan(new, found, directory, first))
        return self.ledger.plans()

    def _index(self, corpus: Corpus, directory: str) -> list[SpanIndex]:
        config = IndexConfig(
            input=corpus.spec,
            layout=corpus.layout,
            tokens=self.prepared.tokens,
            shape=self.prepared.shape,
            cost=self.prepared.cost(self.cluster.device),
            unit_seconds=self.unit_seconds,
            storage=self.storage,
            directory=directory,
        )
        spans = cut_spans(corpus.pieces, self.cluster.cpus)
        self.state.spans = len(spans)
        found = []
        for index in index_spans(spans, config):
            found.append(index)
            self.state.spans_done += 1
            self.state.documents += index.rows
        return found

    def _check_ids(self, found: Sequence[SpanIndex], directory: str, plans: list[Plan]) -> None:
        bad = [where for index in found for where in index.bad_ids]
        if bad:
            raise InputError("ids that are null or empty:\n  " + "\n  ".join(bad[:10]))
        rows = sum(index.rows for index in found)
        files = _rows_files(directory, len(found))
        earlier = [name for plan in plans for name in plan.rows_files]
        doubled = duplicate_ids(self.storage, [*earlier, *files], rows)
        if doubled:
            raise InputError("ids that stand more than once:\n  " + "\n  ".join(doubled[:10]))

    def _note_plan(self, units: Sequence[Unit], left: Sequence[Unit]) -> None:
        state = self.state
        state.documents = sum(unit.rows for unit in units)
        state.prompt_tokens = sum(unit.prompt_tokens for unit in units)
        state.units = len(units)
        state.units_done = len(units) - len(left)
        state.tokens_to_run = sum(unit.prompt_tokens for unit in left)
        state.documents_before = state.documents - sum(unit.rows for unit in left)

    def _run(self, left: Sequence[Unit], seat: Seat) -> None:
        self.state.phase = "starting engines"
        self.state.board = Board.remote()  # type: ignore[attr-defined]
        pools = [[unit for unit in left if unit.pool == name] for name in (SHORT, LONG)]
        waiting = [longest_first(pool) for pool in pools if pool]
        together = seat.room >= len(waiting)
        batches = [waiting] if together else [[pool] for pool in waiting]
        try:
            for batch in batches:
                for row in self._map(batch, seat):
                    self.state.units_done += 1
                    self.timing.add(row)
        except ray.exceptions.RayError as error:
            raise self._reason(error) from error

    def _map(self, pools: Sequence[Sequence[Unit]], seat: Seat) -> Iterator[Mapping[str, Any]]:
        shares = _shares(pools, seat.room)
        first, *others = [
            self._pool_dataset(pool, seat, share) for pool, share in zip(pools, shares, strict=True)
        ]
        yield from first.union(*others).iter_rows() if others else first.iter_rows()

    def _pool_dataset(self, units: Sequence[Unit], seat: Seat, room: int) -> Dataset:
        replicas = self.prepared.spec.compute.replicas
        most = max(1, min(replicas.max, len(units), room))
        rows = [
            {"number": unit.number, "file": unit.file, "row_group": unit.row_group}
            for unit in units
        ]
        # a block for each unit: it is dispatched, and tried again, alone
        return ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
            Worker,
            batch_size=None,
            fn_constructor_args=(self._worker_config(units, seat), self.state.board),
            compute=ActorPoolStrategy(
                min_size=min(replicas.min, most),
                max_size=most,
                initial_size=most,
                max_tasks_in_flight_per_actor=_UNITS_IN_FLIGHT + 1,
                max_concurrent_calls_per_actor=_UNITS_IN_FLIGHT,
            ),
            num_cpus=seat.cpus,
            num_gpus=seat.gpus,
        )

    def _worker_config(self, units: Sequence[Unit], seat: Seat) -> WorkerConfig:
        prepared = self.prepared
        pool = units[0].pool
        longest = max(unit.longest for unit in units)
        return WorkerConfig(
            run=prepared.spec.name,
            pool=pool,
            storage=self.storage,
            engine=prepared.engine_config(pool, longest, gpu=seat.gpus > 0),
            tokens=prepared.tokens,
            tasks=prepared.spec.tasks,
            id_column=prepared.spec.input.id_column,
            metadata=prepared.part_metadata,
        )

    def _reason(self, error: Exception) -> PhifleetError:
        """What a worker said before it failed, or else what Ray says."""
        failures: list[str] = ray.get(self.state.board.failures.remote(), timeout=10)
        reason = failures[0] if failures else str(error).strip().splitlines()[-1]
        return EngineError(f"{reason}\nWhat was committed stays; run the same command to go on")

    def _finish(self, plans: Sequence[Plan]) -> dict[str, Any]:
        self.state.phase = "finishing"
        commits = self.ledger.commits(unit.number for plan in plans for unit in plan.units)
        self.ledger.repair(commits)
        manifest = self._manifest(plans, commits)
        if manifest["documents"] != sum(unit.rows for plan in plans for unit in plan.units):
            raise Incomplete(
                f"{self.storage.url}: {manifest['documents']} documents are accounted for, "
                f"{self.state.documents} were indexed; please report this with _run/"
            )
        self.ledger.write_manifest(manifest)
        self.ledger.sweep(plans)
        self.state.phase = "done"
        return manifest

    def _manifest(self, plans: Sequence[Plan], commits: Sequence[Commit]) -> dict[str, Any]:
        prepared = self.prepared
        answered = sum(commit.answered for commit in commits)
        dead = sum(commit.dead_letters for commit in commits)
        most = prepared.spec.limits.max_dead_letter_fraction
        earlier = self.ledger.manifest() if not self.timing.spans else None
        return {
            "run": prepared.spec.name,
            "status": "too_many_dead_letters" if dead > most * (answered + dead) else "done",
            "documents": answered + dead,
            "answered": answered,
            "dead_letters": dead,
            "units": len(commits),
            "prompt_tokens": sum(commit.prompt_tokens for commit in commits),
            "cached_prompt_tokens": sum(commit.cached_prompt_tokens for commit in commits),
            "output_tokens": sum(commit.output_tokens for commit in commits),
            **(_earlier_times(earlier) if earlier else self._times()),
            "fingerprint": prepared.fingerprint,
            "model": prepared.model.name,
            "revision": prepared.model.revision,
            "dead_letter_reasons": _summed([commit.reasons for commit in commits]),
            "input_files": sum(len(plan.files) for plan in plans),
            "files": [file for commit in commits for file in _published(commit)],
        }

    def _times(self) -> dict[str, float]:
        progress = self.state.progress()
        steady = self.timing.steady_seconds
        tokens = progress.prompt_tokens + progress.output_tokens
        return {
            "engine_start_seconds": round(self.timing.engine_start_seconds, 2),
            "steady_seconds": round(steady, 2),
            "wall_seconds": round(time.monotonic() - self.timing.started, 2),
            "tokens_per_second": round(tokens / steady, 1) if steady else 0.0,
        }


_TIMES = ("engine_start_seconds", "steady_seconds", "wall_seconds", "tokens_per_second")


def _earlier_times(manifest: Mapping[str, Any]) -> dict[str, float]:
    """Times of the session that did the work, where this one found nothing left to do."""
    return {name: manifest[name] for name in _TIMES}


def index_spans(spans: Sequence[Sequence[Piece]], config: IndexConfig) -> Iterator[SpanIndex]:
    """Index spans on Ray Data, one CPU each, in any order."""
    shared = ray.put(config)

    def index(row: dict[str, Any]) -> dict[str, Any]:
        return {"index": index_span(row["number"], row["pieces"], ray.get(shared))}

    rows = [{"number": number, "pieces": list(span)} for number, span in enumerate(spans)]
    dataset = ray.data.from_items(rows, override_num_blocks=max(1, len(rows)))
    for row in dataset.map(index, num_cpus=1).iter_rows():
        yield row["index"]


def duplicate_ids(storage: Storage, rows_files: Sequence[str], rows: int) -> list[str]:
    """Ids that stand twice in the index, the first ten; looked for on Ray, a share at a time."""
    shares = 1 + rows // _IDS_PER_SHARE

    @ray.remote(num_cpus=1)
    def look(share: int) -> list[str]:
        return find_duplicates(storage, rows_files, share, shares)

    return [found for share in range(shares) for found in ray.get(look.remote(share))]


def _new_files(files: Sequence[SourceFile], known: Sequence[SourceFile]) -> list[SourceFile]:
    """Files that no plan knows. Raises InputError where a known one changed or is gone."""
    present = {file.path: file for file in files}
    for file in known:
        if file.path not in present:
            raise InputError(f"{file.path}: was part of this run and is gone; put it back")
        if present[file.path] != file:
            raise InputError(
                f"{file.path}: has changed since it was indexed; put the old one back, or run "
                "into another OUTPUT"
            )
    paths = {file.path for file in known}
    return [file for file in files if file.path not in paths]


def _rows_files(directory: str, spans: int) -> list[str]:
    return [f"{directory}/rows-{number:05d}.parquet" for number in range(spans)]


def _plan(
    files: Sequence[SourceFile], found: Sequence[SpanIndex], directory: str, first: int
) -> Plan:
    units = number_units([unit for index in found for unit in index.units], first)
    problems = _summed([index.problems for index in found])
    return Plan(tuple(files), tuple(units), tuple(_rows_files(directory, len(found))), problems)


def _summed(counts: Sequence[Mapping[str, int]]) -> dict[str, int]:
    keys = sorted({key for count in counts for key in count})
    return {key: sum(count.get(key, 0) for count in counts) for key in keys}


def _shares(pools: Sequence[Sequence[Unit]], room: int) -> list[int]:
    """How many engines each pool may have: by the seconds it has to do, at least one."""
    seconds = [sum(unit.seconds for unit in pool) for pool in pools]
    whole = sum(seconds) or 1.0
    spare = room - len(pools)
    return [1 + int(spare * own / whole) for own in seconds] if spare > 0 else [1] * len(pools)


def _published(commit: Commit) -> list[dict[str, Any]]:
    places = {
        names.part_name(commit.unit): commit.part,
        names.errors_name(commit.unit): commit.errors,
    }
    return [
        {"name": name, "rows": file.rows, "size_bytes": file.size_bytes, "sha256": file.sha256}
        for name, file in places.items()
        if file is not None
    ]
