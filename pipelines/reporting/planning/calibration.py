"""Calibration: what a run of the same model left behind, as answer lengths and speed of engines.

The run may have read another corpus. Answers are taken by the length of what was read, and time as
a factor of the estimated time of the run's own work. Knows ledgers and parts; starts no engine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipelines.errors import OutputError, SpecError
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.records import Commit
from pipelines.models.devices import CPU, Device, device_named, timed_device
from pipelines.reporting.planning.answer_use import AnswerUse, LengthCurve
from pipelines.reporting.planning.concluding_work import concluding
from pipelines.reporting.planning.costs import CPU_START_SECONDS, GPU_START_SECONDS, Speed
from pipelines.reporting.planning.measured import (
    TaskAnswers,
    engine_time,
    read_answers,
    steps_by_task,
)
from pipelines.reporting.planning.work import EngineKind, Work, engine_times
from pipelines.run.prepared import PreparedJob
from pipelines.storage import Storage
from pipelines.tasks.kinds import Task, TaskSet
from pipelines.text.lengths import MAP_REDUCE, PARTS, SINGLE

_ROUNDS = 3
"""Rounds in which answers about chunks and the combining prompts that they need are fitted."""


@dataclass(frozen=True)
class Calibration:
    """What a run measured.

    Attributes:
        source: the OUTPUT of the run.
        documents: the documents whose answers were read.
        uses: what the answers of each task took, by its name.
        speed: the speed of the engines; None if nothing was timed.
        bytes_per_output_token: bytes of the parts for each generated token; None without any.
        device_known: whether the run recorded its device; if not, `speed` is taken as of the
            cluster at hand.
    """

    source: str
    documents: int
    uses: Mapping[str, AnswerUse]
    speed: Speed | None
    bytes_per_output_token: float | None
    device_known: bool


def calibrate(
    output: str,
    prepared: PreparedJob,
    uses: Mapping[str, AnswerUse],
    engine: EngineKind,
    here: Device,
) -> Calibration:
    """Return what the run in `output` measured of the job's model and tasks.

    A task is measured if the run had one of the same name and kind. Raises OutputError if there is
    no run or nothing is committed, SpecError if it had another model, and StorageError.

    Args:
        output: directory or URL of the run's OUTPUT.
        prepared: the job that is planned.
        uses: what the answers of the job's tasks are assumed to take.
        engine: the settings of the job's engines.
        here: the device of the cluster at hand.
    """
    storage = Storage(output, key="--calibrate")
    ledger = Ledger(storage)
    recorded = ledger.job()
    if recorded is None:
        raise OutputError(
            f"--calibrate {output}: contains no phifleet run; give the output.path of a job that "
            "has been run"
        )
    if recorded["model"] != prepared.model.name:
        raise SpecError(
            f"--calibrate {output}: its run used the model {recorded['model']!r}, and this job "
            f"uses {prepared.model.name!r}, of which it says nothing; give the OUTPUT of a run of "
            "the same model"
        )
    commits = ledger.commits(sorted(ledger.committed()))
    if not commits:
        raise OutputError(
            f"--calibrate {output}: the run has not committed any unit yet; wait for it, or give "
            "another OUTPUT"
        )
    kinds = {task.get("name"): task.get("kind") for task in recorded["source"].get("tasks", ())}
    tasks = [task for task in prepared.tasks.all if kinds.get(task.spec.name) == task.spec.kind]
    answers = read_answers(storage, ledger.plans(), commits, [task.spec.name for task in tasks])
    steps = steps_by_task(commits)
    measured = {
        task.spec.name: task_use(task, answers, uses[task.spec.name], steps, prepared.tasks)
        for task in tasks
        if task.spec.name in answers
    }
    timed = engine_time(commits)
    device = _device(timed.device) if timed.device else here
    manifest = ledger.manifest() or {}
    return Calibration(
        source=output,
        documents=max((len(each.tokens) for each in answers.values()), default=0),
        uses=measured,
        speed=_speed(commits, answers, timed.seconds, engine, device, manifest),
        bytes_per_output_token=_output_bytes(commits),
        device_known=timed.device is not None,
    )


def _device(name: str) -> Device:
    """Return the device of this name in the records of a run."""
    return timed_device(device_named(None if name == CPU.name else name))


def task_use(
    task: Task,
    answers: Mapping[str, TaskAnswers],
    assumed: AnswerUse,
    steps: Mapping[str, float],
    tasks: TaskSet,
) -> AnswerUse:
    """Return what the answers of a task took; what no document shows is as assumed, but scaled.

    `answers` are those of all measured tasks: a document's task with the shortest prompts tells
    how long the prompts about its passages are.
    """
    own = answers[task.spec.name]
    read = own.prompt_tokens > 0
    whole, cut = (read & (own.strategy == how) for how in (SINGLE, MAP_REDUCE))
    parts = read & (own.strategy == PARTS)
    use = AnswerUse(
        whole=assumed.whole,
        chunk=assumed.chunk,
        steps_per_token=steps.get(task.spec.name, assumed.steps_per_token),
        growth=assumed.growth,
    )
    if whole.any():
        use = _with_whole(use, own.where(whole), task, tasks)
        if not cut.any():
            factor = float(np.mean(use.whole.tokens)) / max(1.0, assumed.whole.tokens[0])
            use = use.but(chunk=factor * assumed.chunk)
    if parts.any():
        use = _with_parts(use, own.where(parts))
    if cut.any():
        use = _with_chunks(use, own.where(cut), _first_prompts(answers, tasks)[cut], task, tasks)
        if not whole.any():
            factor = use.chunk / max(1.0, assumed.chunk)
            use = use.but(whole=LengthCurve.constant(factor * assumed.whole.tokens[0]))
    return use


def _with_whole(use: AnswerUse, own: TaskAnswers, task: Task, tasks: TaskSet) -> AnswerUse:
    """Return the use with the answers about documents read whole."""
    around = tasks.prompts.whole_overhead + len(task.question.token_ids)
    once = float((own.tokens + around).sum())
    repeats = max(0.0, float(own.prompt_tokens.sum()) / once - 1)
    # another question or other instructions make every prompt a little longer, and none twice as
    # long
    if np.median(own.prompt_tokens - own.tokens) != around:
        repeats = 0.0
    return use.but(whole=_curve(own.tokens, own.output_tokens / (1 + repeats)), repeats=repeats)


def _curve(lengths: npt.NDArray[np.int64], outputs: npt.NDArray[np.float64]) -> LengthCurve:
    exponents = np.floor(np.log2(np.maximum(lengths, 1))).astype(int)
    present = np.unique(exponents)
    means = [float(outputs[exponents == exponent].mean()) for exponent in present]
    return LengthCurve(tuple(present.tolist()), tuple(means))


def _with_parts(use: AnswerUse, own: TaskAnswers) -> AnswerUse:
    outputs = float(own.output_tokens.sum())
    return use.but(
        chunk=outputs / max(1, int(own.chunks.sum())),
        growth=None if use.growth is None else outputs / max(1, int(own.tokens.sum())),
    )


def _with_chunks(
    use: AnswerUse,
    own: TaskAnswers,
    first_prompts: npt.NDArray[np.float64],
    task: Task,
    tasks: TaskSet,
) -> AnswerUse:
    """Return the use with the answers about chunks.

    What the prompts of a document have beyond those about its chunks (`first_prompts`, without the
    questions) was spent on combining them.
    """
    question = len(task.chunk_question.token_ids)
    extra = float((own.prompt_tokens - first_prompts - own.chunks * question).clip(0).sum())
    outputs, passages = float(own.output_tokens.sum()), float(own.chunks.sum())
    use = use.but(chunk=outputs / passages, concluded=1.0)
    for _ in range(_ROUNDS):
        expected = [concluding(task, int(n), use.but(concluded=1.0), tasks) for n in own.chunks]
        prompts = sum(each.prompt_tokens for each in expected)
        if not prompts:
            return use
        share = extra / prompts
        requests = share * sum(each.requests for each in expected)
        # choosing between values takes a number, which counts for nothing
        chooses = task.spec.kind == "extract"
        answered = passages + (0.0 if chooses else requests)
        use = use.but(chunk=outputs / max(1.0, answered), concluded=share)
    return use


def _first_prompts(answers: Mapping[str, TaskAnswers], tasks: TaskSet) -> npt.NDArray[np.float64]:
    """Return for each document the tokens of the prompts about its chunks, without questions: the
    fewest that any task had, since some tasks combine chunks without a prompt."""
    fewest: list[npt.NDArray[np.float64]] = []
    for task in tasks.all:
        own = answers.get(task.spec.name)
        if own is None or task.in_parts:
            continue
        asked = own.prompt_tokens - own.chunks * len(task.chunk_question.token_ids)
        fewest.append(np.where(own.prompt_tokens > 0, asked, np.inf))
    least: npt.NDArray[np.float64] = np.min(fewest, axis=0)
    return least


def _speed(
    commits: Sequence[Commit],
    answers: Mapping[str, TaskAnswers],
    seconds: float,
    engine: EngineKind,
    device: Device,
    manifest: Mapping[str, object],
) -> Speed | None:
    work = measured_work(commits, answers)
    estimated = engine_times(work, engine, device).total
    if not seconds or not estimated or not np.isfinite(estimated):
        return None
    start = manifest.get("engine_start_seconds")
    default = GPU_START_SECONDS if device.gpu else CPU_START_SECONDS
    return Speed(
        device=device.name,
        factor=seconds / estimated,
        start_seconds=float(start) if isinstance(start, int | float) and start else default,
    )


def measured_work(commits: Sequence[Commit], answers: Mapping[str, TaskAnswers]) -> Work:
    """Return the work of a run: tokens and steps as its commits count them, and what depends on
    the length of each prompt from the answers that were read."""
    prompts = float(sum(commit.prompt_tokens for commit in commits))
    computed = prompts - sum(commit.cached_prompt_tokens for commit in commits)
    output = float(sum(commit.output_tokens for commit in commits))
    steps = float(sum(counts[1] for c in commits for counts in c.decoding.values())) or output
    read_prompts = sum(float(each.prompt_tokens.sum()) for each in answers.values())
    if not read_prompts:
        return Work(0.0, prompts, computed, 0.0, output, steps, 0.0)
    requests = sum(float(each.chunks.sum()) for each in answers.values())
    lengths = {name: _prompt_lengths(each) for name, each in answers.items()}
    # computed tokens attend to half of their own prompt, and those of questions to all of it
    first = next(iter(answers.values()))
    shared = np.min(list(lengths.values()), axis=0)
    passages = float((first.chunks * shared).sum())
    scale = prompts / read_prompts
    questions = max(0.0, computed - scale * passages)
    mean = float((first.chunks * shared**2).sum()) / max(1.0, passages)
    context = sum(float((each.output_tokens * lengths[n]).sum()) for n, each in answers.items())
    outputs = sum(float(each.output_tokens.sum()) for each in answers.values())
    return Work(
        requests=scale * requests,
        prompt_tokens=prompts,
        computed_tokens=computed,
        pairs=scale * float((first.chunks * shared**2).sum()) / 2 + questions * mean,
        output_tokens=output,
        steps=steps,
        step_context=steps * context / max(1.0, outputs),
    )


def _prompt_lengths(each: TaskAnswers) -> npt.NDArray[np.float64]:
    """Return the mean length of each document's prompts."""
    lengths: npt.NDArray[np.float64] = each.prompt_tokens / np.maximum(1, each.chunks)
    return lengths


def _output_bytes(commits: Sequence[Commit]) -> float | None:
    tokens = sum(commit.output_tokens for commit in commits)
    size = sum(commit.part.size_bytes for commit in commits if commit.part is not None)
    return size / tokens if tokens else None
