"""The facts of a report as values: every number that the page shows, and what `--json` prints.

Knows nothing of files, of how the facts are read, or of HTML.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pipelines.reporting.page.document_facts import DocumentPage


@dataclass(frozen=True, slots=True)
class TaskFacts:
    """A task of the job: `asks` is its question, its labels or its fields, in a phrase."""

    name: str
    kind: str
    asks: str


@dataclass(frozen=True, slots=True)
class CheckFacts:
    """A check of the job, and the number of answers in which it found something."""

    name: str
    kind: str
    action: str
    answers: int


@dataclass(frozen=True, slots=True)
class JobFacts:
    """What ran. `strategy` is that of `long_documents`, `id_column` that of the input, and
    `versions` what the parts state about the program and the model that wrote them."""

    model: str
    revision: str
    fingerprint: str
    created_at: str
    input: str
    strategy: str
    id_column: str
    tasks: Sequence[TaskFacts]
    checks: Sequence[CheckFacts]
    versions: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class DocumentFacts:
    """Documents and units: those that are planned, and what became of the committed ones. The
    shares are of the committed documents, 0 if there are none."""

    planned: int
    done: int
    answered: int
    dead_letters: int
    answered_share: float
    units: int
    units_done: int


@dataclass(frozen=True, slots=True)
class TokenFacts:
    """Tokens of committed answers, and the prompt tokens that the plans had foreseen: for all
    units, and for the committed ones. `actual_share` is `prompt` by `planned_done`, None without
    a plan; `reused_share` is the part of `prompt` from the prefix cache."""

    planned: int
    planned_done: int
    prompt: int
    actual_share: float | None
    cached: int
    reused_share: float
    output: int
    steps: int
    draft: int
    steps_per_token: float | None


@dataclass(frozen=True, slots=True)
class TaskSteps:
    """The decoding of one task's answers. Sums over the commits that the report has read."""

    task: str
    output_tokens: int
    steps: int
    draft_tokens: int
    steps_per_token: float | None


@dataclass(frozen=True, slots=True)
class TimeFacts:
    """Times of all sessions, in seconds; `tokens_per_second` is over the steady seconds of a
    finished run, or over the wall time of any other."""

    sessions: int
    resumed: int
    engine_restarts: int
    wall_seconds: float
    steady_seconds: float | None
    tokens_per_second: float


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar of a distribution: the number of things of at least `low` and below `high`."""

    low: float
    high: float
    count: int


@dataclass(frozen=True, slots=True)
class Distribution:
    """How seconds are distributed over units."""

    units: int
    median: float
    p90: float
    longest: float
    bars: Sequence[Bar]


@dataclass(frozen=True, slots=True)
class Timeline:
    """Tokens per second over the run, in buckets of `bucket_seconds`, from `begins` to `ends`, ISO
    8601 times. If only some commits were read, the rates are scaled to all."""

    begins: str
    ends: str
    bucket_seconds: float
    prompt_tokens_per_second: Sequence[float]
    output_tokens_per_second: Sequence[float]


@dataclass(frozen=True, slots=True)
class WorkFacts:
    """What the commits state about time and decoding; `read` of all `commits` were read."""

    commits: int
    read: int
    timeline: Timeline | None
    unit_seconds: Distribution | None
    tasks: Sequence[TaskSteps]


@dataclass(frozen=True, slots=True)
class DeviceFacts:
    """The use of one kind of device in hours; `usd` is GPU hours by the list price, None without
    a price."""

    device: str
    engine_hours: float
    gpu_hours: float
    cpu_hours: float
    usd_per_hour: float | None
    usd: float | None


@dataclass(frozen=True, slots=True)
class WasteFacts:
    """Engine time and tokens for nothing, by reason; `share` is of the engine time."""

    reason: str
    meaning: str
    seconds: float
    share: float
    prompt_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class CostFacts:
    """What the run has used. `usd` is None if no device has a price."""

    engine_hours: float
    gpu_hours: float
    start_seconds: float
    wasted_share: float
    usd: float | None
    prices_of: str
    devices: Sequence[DeviceFacts]
    waste: Sequence[WasteFacts]


@dataclass(frozen=True, slots=True)
class LengthFacts:
    """Answers about documents whose prompts have `low` to `high` tokens: their number by strategy,
    and the mean number of chunks."""

    low: int
    high: int
    answers: int
    mean_chunks: float
    strategies: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class EvidenceFacts:
    """The values of a task's answers by the status of their best evidence."""

    task: str
    shown: int
    found: int
    near: int
    absent: int
    not_applicable: int


@dataclass(frozen=True, slots=True)
class ReadingFacts:
    """What a sample of the answers says: `documents` of `parts_read` of `parts` part files.

    `shown_share` is the share of values that the text shows (`shown` or `found`) among those that
    it would have to show, None if there are none.
    """

    parts: int
    parts_read: int
    documents: int
    lengths: Sequence[LengthFacts]
    evidence: Sequence[EvidenceFacts]
    values: int
    shown_share: float | None


@dataclass(frozen=True, slots=True)
class LetterExample:
    """One dead letter: `task` is None for a whole document."""

    document: str
    task: str | None
    message: str


@dataclass(frozen=True, slots=True)
class ReasonFacts:
    """The dead letters with one reason, those of single tasks included, with some examples."""

    reason: str
    count: int
    meaning: str
    remedy: str
    retry: str
    examples: Sequence[LetterExample]


@dataclass(frozen=True, slots=True)
class Report:
    """All facts of a report. `made_at` is an ISO 8601 time, and `status` as `phifleet status`
    states it. `files_of_letters` are the dead letters' files, of which `letters_read` were read for
    examples."""

    run: str
    status: str
    reason: str
    output: str
    made_at: str
    job: JobFacts
    documents: DocumentFacts
    tokens: TokenFacts
    time: TimeFacts
    work: WorkFacts
    cost: CostFacts
    reading: ReadingFacts
    letters: Sequence[ReasonFacts]
    files_of_letters: int
    letters_read: int
    shown: Sequence[DocumentPage]

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values, by the names of the attributes."""
        return asdict(self)
