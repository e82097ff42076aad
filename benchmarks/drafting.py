"""Measures what guessed tokens save: steps for each token of an answer, time, and equal answers.

Two engines of the built-in `tiny`, of which one drafts, answer the same prompts in turn. No text is
asked about twice, so that no answer was seen before. `drafting_runs.py` measures whole programs.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

from draft_workloads import ALONE, DEMO, OTHERS, Workload
from long_documents import stdout_to_stderr
from rich.console import Console
from rich.table import Table

from pipelines.answering.answer import answer_document
from pipelines.documents import Document
from pipelines.engine.config import EngineConfig
from pipelines.engine.vllm_engine import VllmEngine
from pipelines.job.spec import LongDocuments
from pipelines.models.resolve import Model, resolve
from pipelines.run.prepared import prepare_tasks
from pipelines.tasks.kinds import Completion, Sampling, TaskSet
from pipelines.text.tokens import ChatTokenizer, load_tokenizer

_MAX_MODEL_LEN = 16_384
_BATCHES = (1, 4, 16, 64)
_TIMED_REQUESTS = {1: 60, 4: 120, 16: 240, 64: 360}
WORKLOADS = (DEMO, *OTHERS)

Prompt = tuple[list[int], Sampling]


class Recorder(VllmEngine):
    """An engine that records each prompt and its completion."""

    recorded: list[tuple[Prompt, Completion]]

    async def generate(
        self,
        prompt: Sequence[int],
        sampling: Sampling,
        on_first_token: Callable[[], None] | None = None,
    ) -> Completion:
        completion = await super().generate(prompt, sampling, on_first_token)
        self.recorded.append(((list(prompt), sampling), completion))
        return completion


@dataclass(frozen=True, slots=True)
class Steps:
    """One workload: its answers' tokens and steps, and how many answers differ from those without
    drafting. `differ_without` is that number for a second run without drafting."""

    workload: str
    answers: int
    tokens: int
    steps: int
    drafted: int
    differ: int
    differ_without: int


@dataclass(frozen=True, slots=True)
class Times:
    """The seconds that the same prompts took without and with drafting, `batch` at a time."""

    what: str
    batch: int
    off: float
    auto: float


@contextmanager
def engines(model: Model, tokenizer: ChatTokenizer) -> Iterator[tuple[Recorder, Recorder]]:
    """Run two engines during the block: one without drafting, and one with it."""
    started: list[Recorder] = []
    try:
        for drafting in (False, True):
            config = EngineConfig(model, _MAX_MODEL_LEN, gpu=False, online=True, drafting=drafting)
            started.append(Recorder(config, tokenizer))
        yield started[0], started[1]
    finally:
        for engine in started:
            engine.shutdown()


async def _answered(
    engine: Recorder, texts: Sequence[str], tasks: TaskSet, batch: int
) -> list[tuple[Prompt, Completion]]:
    """Answer texts, `batch` at a time; return all prompts with their completions."""
    engine.recorded = []
    turns = asyncio.Semaphore(batch)

    async def answer(number: int, text: str) -> None:
        async with turns:
            await answer_document(Document(str(number), text), tasks, engine)

    await asyncio.gather(*(answer(number, text) for number, text in enumerate(texts)))
    return engine.recorded


async def measure_steps(workload: Workload, off: Recorder, auto: Recorder, model: Model) -> Steps:
    """Answer a workload's texts with both engines, and twice without drafting."""
    spec = LongDocuments.model_validate({"strategy": workload.strategy})
    tasks = prepare_tasks(workload.tasks, spec, model, off.tokenizer)
    texts = list(workload.texts("steps"))
    plain = await _answered(off, texts, tasks, 8)
    drafted = await _answered(auto, texts, tasks, 8)
    again = await _answered(off, texts, tasks, 4)
    used = [completion.usage for _, completion in drafted]
    return Steps(
        workload=workload.name,
        answers=len(drafted),
        tokens=sum(usage.output_tokens for usage in used),
        steps=sum(usage.steps for usage in used),
        drafted=sum(usage.draft_tokens for usage in used),
        differ=_different(plain, drafted),
        differ_without=_different(plain, again),
    )


def _different(
    one: Sequence[tuple[Prompt, Completion]], other: Sequence[tuple[Prompt, Completion]]
) -> int:
    """Return how many completions of equal prompts differ in text or end. Prompts that only one run
    has, because an earlier answer differed, are not counted again."""
    known = {(*prompt[0], prompt[1]): completion for prompt, completion in one}
    pairs = [(known.get((*prompt[0], prompt[1])), completion) for prompt, completion in other]
    return sum(
        (first.text, first.finish_reason) != (second.text, second.finish_reason)
        for first, second in pairs
        if first is not None
    )


async def measure_times(
    workload: Workload, off: Recorder, auto: Recorder, model: Model, runs: int
) -> list[Times]:
    """Time the workload's prompts at each batch size, in turn without and with drafting."""
    tasks = prepare_tasks(workload.tasks, LongDocuments(), model, off.tokenizer)
    prompts = _prompts(workload, tasks)
    await _seconds(off, list(islice(prompts, 60)), 8)
    await _seconds(auto, list(islice(prompts, 60)), 8)
    times = []
    for batch in _BATCHES:
        for run in range(runs):
            asked = list(islice(prompts, _TIMED_REQUESTS[batch]))
            # the engine that comes first changes, as the machine's speed may
            order = (off, auto) if run % 2 else (auto, off)
            seconds = {engine: await _seconds(engine, asked, batch) for engine in order}
            times.append(Times(workload.name, batch, seconds[off], seconds[auto]))
    return times


def _prompts(workload: Workload, tasks: TaskSet) -> Iterator[Prompt]:
    salt = 0
    while True:
        salt += 1
        for text in workload.texts(f"times {salt}"):
            # another beginning, so that no run finds its prompts in the prefix cache
            ids = tasks.tokenizer.encode(f"{salt} {text}"[:6_000])
            prefix = tasks.prompts.document_prefix(ids)
            for task in tasks.all:
                question = task.question.about(text, len(ids), 1024)
                prompt = tasks.tokenizer.build_prompt(prefix.token_ids, question.token_ids)
                yield list(prompt), question.sampling


async def _seconds(engine: Recorder, prompts: Sequence[Prompt], batch: int) -> float:
    turns = asyncio.Semaphore(batch)
    engine.recorded = []

    async def ask(prompt: Prompt) -> None:
        async with turns:
            await engine.generate(*prompt)

    started = time.monotonic()
    await asyncio.gather(*map(ask, prompts))
    return time.monotonic() - started


async def measure_alone(off: Recorder, auto: Recorder, model: Model, runs: int) -> list[Times]:
    """Time single documents with four asks and a form, one after another."""
    tasks = prepare_tasks(ALONE.tasks, LongDocuments(), model, off.tokenizer)
    texts = ALONE.texts("alone")
    times = []
    for run in range(-2, runs):
        documents = list(islice(texts, 10))
        seconds = {}
        for engine in (off, auto) if run % 2 else (auto, off):
            started = time.monotonic()
            await _answered(engine, documents, tasks, 1)
            seconds[engine] = time.monotonic() - started
        if run >= 0:  # the first runs warm up
            times.append(Times("one document: 4 asks, a form", 1, seconds[off], seconds[auto]))
    return times


def _steps_table(rows: Sequence[Steps]) -> Table:
    table = Table(title="steps for each token of an answer")
    for name in ("workload", "answers", "tokens", "steps/token", "accepted", "differ", "of itself"):
        table.add_column(name, justify="left" if name == "workload" else "right")
    for row in rows:
        accepted = (row.tokens - row.steps) / max(1, row.drafted)
        table.add_row(
            row.workload, str(row.answers), f"{row.tokens:,}", f"{row.steps / row.tokens:.3f}",
            f"{accepted:.0%}", str(row.differ), str(row.differ_without),
        )  # fmt: skip
    return table


def _times_table(times: Sequence[Times]) -> Table:
    table = Table(title="seconds without and with drafting, medians")
    for name in ("what", "at a time", "off", "auto", "ratio"):
        table.add_column(name, justify="left" if name == "what" else "right")
    for what, batch in dict.fromkeys((row.what, row.batch) for row in times):
        runs = [row for row in times if (row.what, row.batch) == (what, batch)]
        off, auto = median(run.off for run in runs), median(run.auto for run in runs)
        ratio = median(run.auto / run.off for run in runs)
        table.add_row(what, str(batch), f"{off:.2f}", f"{auto:.2f}", f"{ratio:.2f}")
    return table


async def _measure(model: Model, options: argparse.Namespace) -> tuple[list[Steps], list[Times]]:
    steps: list[Steps] = []
    times: list[Times] = []
    with engines(model, load_tokenizer(model.path)) as (off, auto):
        if "steps" in options.only:
            for workload in [WORKLOADS[number] for number in options.workloads]:
                steps.append(await measure_steps(workload, off, auto, model))
                print(steps[-1], file=sys.stderr, flush=True)
        if "times" in options.only:
            times += await measure_times(DEMO, off, auto, model, options.runs)
        if "alone" in options.only:
            times += await measure_alone(off, auto, model, options.runs)
    return steps, times


def main() -> None:
    """Measure what the command line asks for, print tables, and write all numbers as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--only", nargs="+", default=["steps", "times", "alone"])
    parser.add_argument(
        "--workloads", type=int, nargs="+", default=list(range(len(WORKLOADS))), metavar="NUMBER"
    )
    parser.add_argument("--output", type=Path, default=Path("build/drafting.json"))
    options = parser.parse_args()
    with stdout_to_stderr():
        steps, times = asyncio.run(_measure(resolve(options.model), options))
    console = Console(width=120)
    if steps:
        console.print(_steps_table(steps))
    if times:
        console.print(_times_table(times))
    options.output.parent.mkdir(parents=True, exist_ok=True)
    numbers: dict[str, Any] = {
        "steps": [asdict(row) for row in steps], "times": [asdict(row) for row in times]
    }  # fmt: skip
    options.output.write_text(json.dumps(numbers, indent=2) + "\n")


if __name__ == "__main__":
    main()
