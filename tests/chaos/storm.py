"""Fault injection runs: start runs of phifleet, disturb them, and restart them until they are done.

Every finished run is checked. Faults and their moments come from a seeded random generator; what
exactly they hit still depends on the timing of other processes.
"""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from threading import Timer

import fsspec
import psutil

from chaos.checker import CheckResult, check
from chaos.disk import SmallDisk
from chaos.papers import DeltaCorpus, write_corpus, write_job
from chaos.processes import ENGINES, RAY, WORKERS, send, title, tree
from chaos.report import EXPECTED_CODES, RAY_ENDED_IT, Report
from jobs.cli import UNEXPECTED

PROGRAM = Path(__file__).with_name("program.py")
"""The program that runs `phifleet` with engines that log their prompts."""
_MAX_SECONDS = 600
# Short, so that a run has many units, and faults can hit it between their commits.
_UNIT_SECONDS = "0.25"
# Of a quick engine. Long, so that a run computes longer than Ray takes to start, and most faults
# hit it while it computes.
_PROMPT_SECONDS = "1"
# After this many faults a run is left to finish.
_MAX_FAULTS_PER_RUN = 8
_LOG_CHARACTERS = 6000
FULL_DISK = "full disk"
"""The name of the fault that fills the disk with the output."""

Fault = Callable[["Run"], bool]
"""Disturbs a run. Returns False if there was nothing to disturb."""


@dataclass(frozen=True)
class Environment:
    """The environment of fault injection runs: directories, input size, engine and storage.

    Attributes:
        directory: a local directory for corpora, logs and request logs.
        outputs: the directory or URL under which each run has its OUTPUT.
        documents: how many documents a run has.
        engine: `real` for vLLM, `quick` for a fake engine.
        variables: environment variables of the drivers.
        disk: the disk that contains `outputs`, if it can be filled.
        moving: the corpus is a Delta table, of which a new version arrives in the middle of each
            run.
        request_faults: counts the requests that a proxy failed, by kind of fault.
    """

    directory: Path
    outputs: str
    documents: int
    engine: str
    variables: Mapping[str, str] = field(default_factory=dict)
    disk: SmallDisk | None = None
    moving: bool = False
    request_faults: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Run:
    """A job that is started repeatedly until it is done, and its current driver process."""

    directory: Path
    job: Path
    driver: subprocess.Popen[bytes]


class FaultInjector:
    """Disturbs runs until enough faults were injected.

    `only` restricts the faults to these names; without it all are used.
    """

    def __init__(self, environment: Environment, seed: int, only: Sequence[str] = ()) -> None:
        self._environment = environment
        self._dice = random.Random(seed)  # noqa: S311
        self._only = only
        self.report = Report(request_faults=environment.request_faults)
        # how long the longest start of an undisturbed run takes; measured by the first one
        self._undisturbed_seconds = 20.0

    def run(self, faults: int) -> Report:
        """Make one undisturbed run, then disturbed ones until `faults` faults were injected."""
        self.report.results.append(self._one_run(0, 0))
        self.report.runs = 1
        while self.report.faults.total() < faults:
            result = self._one_run(self.report.runs, faults - self.report.faults.total())
            self.report.results.append(result)
            self.report.runs += 1
            print(f"run {self.report.runs}: {result}", file=sys.stderr, flush=True)
        return self.report

    def _one_run(self, number: int, faults: int) -> CheckResult:
        directory = self._environment.directory / f"run-{number}"
        (directory / "requests").mkdir(parents=True)
        output = f"{self._environment.outputs}/run-{number}"
        documents, moving = self._environment.documents, self._environment.moving
        job = write_job(directory / "job.yaml", directory / "corpus", output, follow=moving)
        if moving:
            corpus = DeltaCorpus.write(directory / "corpus", documents)
            editions = corpus.editions
            self._run_until_done(directory, job, faults, corpus)
            if max(editions.values()) == 1:
                raise RuntimeError(f"{directory}: the table did not get its new version")
        else:
            editions = write_corpus(directory / "corpus", documents)
            self._run_until_done(directory, job, faults)
        filesystem, path = fsspec.core.url_to_fs(output)
        return check(filesystem, path, editions, directory / "requests")

    def _run_until_done(
        self, directory: Path, job: Path, faults: int, corpus: DeltaCorpus | None = None
    ) -> None:
        """Start the run until it ends with 0.

        `corpus` gets a new version at a random moment; the last start begins after it.
        """
        injected = 0
        longest = 0.0
        deadline = time.monotonic() + _MAX_SECONDS
        move = None
        if corpus is not None:
            move = Timer(self._dice.uniform(0, 2 * self._undisturbed_seconds), corpus.move_on)
            move.start()
        while True:
            began, moved = time.monotonic(), move is None or not move.is_alive()
            run = Run(directory, job, self._start(job, directory))
            while injected < min(faults, _MAX_FAULTS_PER_RUN) and self._survives_a_while(run):
                injected += self._inject(run)
            code = self._end(run)
            longest = max(longest, time.monotonic() - began)
            if code == 0 and moved:
                break
            if code == 0 and move is not None:
                move.join()
            if time.monotonic() > deadline:
                raise TimeoutError(f"{directory}: the run is not done after {_MAX_SECONDS} s")
        if not injected:
            self._undisturbed_seconds = longest

    def _survives_a_while(self, run: Run) -> bool:
        return _is_alive_after(run.driver, self._dice.uniform(1, self._undisturbed_seconds))

    def _start(self, job: Path, directory: Path) -> subprocess.Popen[bytes]:
        self.report.starts += 1
        variables = {
            **os.environ,
            **self._environment.variables,
            "CHAOS_ENGINE": self._environment.engine,
            "CHAOS_SECONDS": _PROMPT_SECONDS,
            "CHAOS_REQUEST_LOG": str(directory / "requests"),
        }
        with (directory / "log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, PROGRAM, "run", job, "--json", "--unit-seconds", _UNIT_SECONDS],
                stdout=log, stderr=log, env=variables,
            )  # fmt: skip

    def _end(self, run: Run) -> int:
        """Wait until the driver ends, and return its exit code.

        If it ended unexpectedly, count this and print the end of its log.
        """
        code = run.driver.wait(_MAX_SECONDS)
        self.report.codes[code] += 1
        log = (run.directory / "log").read_text(errors="replace")
        if code == RAY_ENDED_IT[0] and _is_last_line(RAY_ENDED_IT[1], _libraries_log(log)):
            self.report.ended_by_ray += 1
        elif code not in EXPECTED_CODES or UNEXPECTED in log:
            self.report.unexpected_ends += 1
            message = f"{run.directory} ended with {code}:\n{log[-_LOG_CHARACTERS:]}"
            print(message, file=sys.stderr, flush=True)
        return code

    def _inject(self, run: Run) -> int:
        """Inject one random fault; return how many were injected: 0 if there was nothing to hit."""
        name, fault = self._dice.choice(self._faults())
        if not fault(run):
            return 0
        self.report.faults[name] += 1
        return 1

    def _faults(self) -> Sequence[tuple[str, Fault]]:
        def signal_driver(number: int, run: Run) -> bool:
            return send(tree(run.driver)[:1], number)

        def kill_one(pattern: str, run: Run) -> bool:
            return send(self._one(run.driver, pattern), signal.SIGKILL)

        faults: list[tuple[str, Fault]] = [
            ("driver SIGKILL", partial(signal_driver, signal.SIGKILL)),
            ("driver SIGTERM", partial(signal_driver, signal.SIGTERM)),
            ("driver SIGINT", partial(signal_driver, signal.SIGINT)),
            ("worker SIGKILL", partial(kill_one, WORKERS)),
            ("engine SIGKILL", partial(kill_one, ENGINES)),
            ("Ray SIGKILL", partial(kill_one, RAY)),
            ("all SIGKILL", lambda run: send(tree(run.driver), signal.SIGKILL)),
            ("overlap", partial(self._overlap, stop=False)),
            ("SIGSTOP and overlap", partial(self._overlap, stop=True)),
        ]
        if self._environment.disk:
            faults.append((FULL_DISK, partial(self._fill, self._environment.disk)))
        return [(name, fault) for name, fault in faults if not self._only or name in self._only]

    def _one(self, driver: subprocess.Popen[bytes], pattern: str) -> list[psutil.Process]:
        """Wait for processes whose title matches; return one, or none if the driver ends first."""
        while _is_alive_after(driver, self._dice.uniform(0.2, 2)):
            matches = [
                process for process in tree(driver)[1:] if re.search(pattern, title(process))
            ]
            if matches:
                return [self._dice.choice(matches)]
        return []

    def _overlap(self, run: Run, *, stop: bool) -> bool:
        """Start a second driver on the same OUTPUT; with `stop`, suspend the first for a while."""
        if stop and not send(tree(run.driver)[:1], signal.SIGSTOP):
            return False
        second = replace(run, driver=self._start(run.job, run.directory))
        if stop:
            _is_alive_after(second.driver, self._dice.uniform(1, 2 * self._undisturbed_seconds))
            send(tree(run.driver)[:1], signal.SIGCONT)
        self._end(second)
        return True

    def _fill(self, disk: SmallDisk, run: Run) -> bool:
        """Keep the disk full for some seconds, or until the run ends because of it."""
        if not tree(run.driver):
            return False
        with disk.full():
            _is_alive_after(run.driver, self._dice.uniform(1, 3 * self._undisturbed_seconds))
        return True


def _is_alive_after(driver: subprocess.Popen[bytes], seconds: float) -> bool:
    """Wait up to `seconds` for the driver to end; return whether it is still running."""
    with suppress(subprocess.TimeoutExpired):
        driver.wait(seconds)
    return driver.poll() is None


def _libraries_log(log: str) -> str:
    """Return the output of libraries in the last start of a run, whose own output is `log`."""
    names = re.findall(r"the log is (.+)$", log, re.MULTILINE)
    return Path(names[-1]).read_text(errors="replace") if names else ""


def _is_last_line(words: str, log: str) -> bool:
    lines = log.strip().splitlines()
    return bool(lines) and words in lines[-1]
