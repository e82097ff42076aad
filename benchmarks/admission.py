"""Compares ways to admit requests to an engine with a tight KV cache, on the corpus of the demo.

Every run is a new process with one engine on the CPU, and the sides run in turns. A real Phi-3
needs 384 KiB of KV cache a token, so that its cache is always tight. Prints one table of medians
and writes one JSON file.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import mean, median

import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table
from throughput import describe_machine
from tight_engines import EARLIER, ENGINES, LIMITS, SHARES, Steps, cpu_seconds, start_engine

from jobs.demo import demo_job
from pipelines.corpus.units import SHORT
from pipelines.documents import Document, DocumentResult
from pipelines.engine.keeper import EngineSupervisor
from pipelines.engine.vllm_engine import VllmEngine
from pipelines.run.answerer import DocumentAnswerer, UnitResults
from pipelines.run.prepared import PreparedJob, prepare_job

KV_CACHE_TOKENS = 10_240
"""The default size of the engine's KV cache, in tokens."""
_WARM_UP = Document("warm-up", "owner: Ann Berg\nversion: 3\n" + "A warm-up. " * 40)


@dataclass(frozen=True)
class Run:
    """One pass of one side over the corpus.

    `cpu_seconds` is the CPU time of all its processes, which other work on the machine changes less
    than `seconds`. `cache_use` and `running` are means over the engine's steps: the used share of
    the KV cache and the sequences that ran. `preemptions` are those that vLLM reported, `factor`
    the multiple of the mean answer that was reserved at the end. `answers` has the text of every
    answer.
    """

    side: str
    seconds: float
    cpu_seconds: float
    steps: int
    cache_use: float
    running: float
    preemptions: int
    prompt_tokens: int
    cached_prompt_tokens: int
    output_tokens: int
    factor: float | None
    answers: dict[str, str] = field(repr=False)


def main() -> int:
    """Run all sides in turns, print the table, and write all runs. Returns the exit code."""
    options = _options()
    if options.side:
        return _run_here(options)
    console = Console(width=None if sys.stdout.isatty() else 130, highlight=False)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    runs: list[Run] = []
    for turn in range(options.runs):
        for side in options.sides:
            runs.append(_run_apart(side, options))
            print(f"turn {turn + 1}: {runs[-1]}", file=sys.stderr, flush=True)
    for line in describe_machine()[:2]:
        console.print(line, soft_wrap=True)
    console.print(_table(runs, options.kv_cache_tokens))
    for line in _difference_lines(runs):
        console.print(line, soft_wrap=True)
    options.output.write_text(json.dumps([asdict(run) for run in runs], indent=2) + "\n")
    console.print(f"all runs: {options.output}", soft_wrap=True)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=3, help="runs of each side (default: 3)")
    parser.add_argument("--sides", nargs="+", choices=tuple(ENGINES), default=[LIMITS, SHARES])
    parser.add_argument(
        "--earlier", type=Path, help="an earlier checkout of phifleet, for the side 'earlier'"
    )
    parser.add_argument("--kv-cache-tokens", type=int, default=KV_CACHE_TOKENS, metavar="TOKENS")
    parser.add_argument("--output", type=Path, default=Path("build/admission.json"))
    parser.add_argument("--side", choices=tuple(ENGINES), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if EARLIER in options.sides and options.earlier is None:
        parser.error("the side 'earlier' needs --earlier CHECKOUT")
    return options


def _run_apart(side: str, options: argparse.Namespace) -> Run:
    """Run one side in a process of its own; an earlier checkout's modules come first there."""
    code = options.earlier if side == EARLIER else Path(__file__).parents[1]
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(code).resolve()),
        "VLLM_CPU_KVCACHE_SPACE": "1",
    }
    tokens = str(options.kv_cache_tokens)
    command = [sys.executable, __file__, "--side", side, "--kv-cache-tokens", tokens]
    ended = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
    return Run(**json.loads(ended.stdout))


def _run_here(options: argparse.Namespace) -> int:
    """Run one side in this process, and print its run as JSON; vLLM's output goes to stderr."""
    with os.fdopen(os.dup(1), "w") as results:
        os.dup2(2, 1)
        run = asyncio.run(_measure(options.side, options.kv_cache_tokens))
        print(json.dumps(asdict(run)), file=results)
    return 0


async def _measure(side: str, kv_cache_tokens: int) -> Run:
    steps = Steps()
    with tempfile.TemporaryDirectory() as directory:
        job = demo_job(Path(directory))
        corpus = list(_corpus(Path(directory) / "corpus" / "topics.parquet"))
    prepared = prepare_job(job)
    longest = prepared.tasks.reading.short_limit or prepared.model.max_model_len
    config = prepared.engine_config(SHORT, longest, gpu=False)
    engine = start_engine(side, config, prepared.tasks.tokenizer, kv_cache_tokens, steps)
    try:
        await _answer(prepared, engine, [_WARM_UP])
        before = engine.used
        steps.recording = True
        started_at, used_before = time.monotonic(), cpu_seconds()
        results = await _answer(prepared, engine, corpus)
        seconds, used = time.monotonic() - started_at, cpu_seconds() - used_before
    finally:
        engine.shutdown()
    return Run(
        side,
        seconds,
        used,
        len(steps.running),
        mean(steps.cache_use),
        mean(steps.running),
        steps.preemptions,
        engine.used.prompt_tokens - before.prompt_tokens,
        engine.used.cached_prompt_tokens - before.cached_prompt_tokens,
        engine.used.output_tokens - before.output_tokens,
        engine.answer_lengths.factor if side == SHARES else None,
        dict(_answers(results)),
    )


def _corpus(path: Path) -> Iterator[Document]:
    for row in pq.read_table(path).to_pylist():
        yield Document(row["topic"], row["text"])


async def _answer(
    prepared: PreparedJob, engine: VllmEngine, documents: Sequence[Document]
) -> Sequence[DocumentResult]:
    """Answer documents as a worker of a batch run does."""
    answerer = DocumentAnswerer(prepared.tasks, EngineSupervisor(lambda: engine), None)
    results = await answerer.answer(documents, engine)
    if not isinstance(results, UnitResults):
        raise SystemExit(f"the engine was lost: {results.error}")
    return results.documents


def _answers(results: Sequence[DocumentResult]) -> Iterator[tuple[str, str]]:
    """Yield a key and the value's text of every answer."""
    for result in results:
        for answer in result.answers:
            text = repr(answer.value if answer.problem is None else answer.problem)
            yield f"{result.document.doc_id} {answer.task}", text


def _table(runs: Sequence[Run], kv_cache_tokens: int) -> Table:
    table = Table(title=f"the demo's corpus, KV cache of {kv_cache_tokens:,} tokens, medians")
    for name in ("side", "runs", "seconds", "CPU", "cache use", "running", "steps"):
        table.add_column(name, justify="right")
    for name in ("preemptions", "cached tokens", "output tokens"):
        table.add_column(name, justify="right")
    for side in dict.fromkeys(run.side for run in runs):
        own = [run for run in runs if run.side == side]
        table.add_row(
            side,
            str(len(own)),
            f"{median(run.seconds for run in own):.1f}",
            f"{median(run.cpu_seconds for run in own):.1f}",
            f"{median(run.cache_use for run in own):.2f}",
            f"{median(run.running for run in own):.1f}",
            f"{median(run.steps for run in own):,.0f}",
            f"{median(run.preemptions for run in own):,.0f}",
            f"{median(run.cached_prompt_tokens for run in own):,.0f}",
            f"{median(run.output_tokens for run in own):,.0f}",
        )
    return table


def _difference_lines(runs: Sequence[Run]) -> Iterator[str]:
    """Yield how the answers of runs differ: within the first side, and between it and others."""
    first, *others = dict.fromkeys(run.side for run in runs)
    base = [run for run in runs if run.side == first]
    pairs = [(a, b) for number, a in enumerate(base) for b in base[number + 1 :]]
    if pairs:
        yield f"answers that differ between two runs of {first}: {_differences(pairs)}"
    for side in others:
        own = [run for run in runs if run.side == side]
        differing = _differences([(a, b) for a in base for b in own])
        seconds = median(run.seconds for run in own) / median(run.seconds for run in base)
        yield (
            f"{side} takes {seconds:.2f} of the time of {first}; answers that differ between a run "
            f"of each: {differing}"
        )


def _differences(pairs: Sequence[tuple[Run, Run]]) -> str:
    counts = [sum(a.answers[key] != b.answers[key] for key in a.answers) for a, b in pairs]
    return f"{min(counts)} to {max(counts)} of {len(pairs[0][0].answers)}"


if __name__ == "__main__":
    sys.exit(main())
