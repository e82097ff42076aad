"""The storm: runs are started, disturbed at random moments, started again until they are done, and
then checked. Seeded, as far as the moments of other processes allow."""

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

import fsspec
import psutil

from chaos.checker import Found, check
from chaos.disk import SmallDisk
from chaos.papers import write_corpus, write_job
from chaos.processes import ENGINES, RAY, WORKERS, send, title, tree
from chaos.report import EXPECTED_CODES, Report
from jobs.cli import UNEXPECTED

PROGRAM = Path(__file__).with_name("program.py")
MOST_SECONDS = 600
# So that a run has many units, and much to lose.
_UNIT_SECONDS = "0.25"
# Of a quick engine: a run is at work for longer than Ray takes to start, and so it is struck there.
_PROMPT_SECONDS = "1"
# Of a run, after which it is left to end in peace.
_MOST_BLOWS = 8
# Characters of a log.
_TOLD = 6000
FULL_DISK = "full disk"


@dataclass(frozen=True)
class Ground:
    """Where runs are made: a local directory for corpora and diaries, an OUTPUT for each run.

    `disk` is what OUTPUT lies on, where that can be filled. `faults` counts what a proxy does to
    requests.
    """

    directory: Path
    outputs: str
    documents: int
    engine: str
    environment: Mapping[str, str] = field(default_factory=dict)
    disk: SmallDisk | None = None
    faults: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Run:
    """One job that is started again and again, and its driver of the moment."""

    directory: Path
    job: Path
    driver: subprocess.Popen[bytes]


class Storm:
    """Disturbs runs until there were enough blows. `only` names the blows, else there are all."""

    def __init__(self, ground: Ground, seed: int, only: Sequence[str] = ()) -> None:
        self._ground = ground
        self._dice = random.Random(seed)  # noqa: S311
        self._only = only
        self.report = Report(faults=ground.faults)
        self._calm_seconds = 20.0

    def rage(self, blows: int) -> Report:
        """A run in peace, which tells how long one takes, then others until there were so many
        blows."""
        self.report.found.append(self._one_run(0, 0))
        self.report.runs = 1
        while self.report.blows.total() < blows:
            found = self._one_run(self.report.runs, blows - self.report.blows.total())
            self.report.found.append(found)
            self.report.runs += 1
            print(f"run {self.report.runs}: {found}", file=sys.stderr, flush=True)
        return self.report

    def _one_run(self, number: int, blows: int) -> Found:
        directory = self._ground.directory / f"run-{number}"
        (directory / "corpus").mkdir(parents=True)
        (directory / "diary").mkdir()
        output = f"{self._ground.outputs}/run-{number}"
        ids = write_corpus(directory / "corpus/papers.parquet", self._ground.documents)
        job = write_job(directory / "job.yaml", directory / "corpus", output)
        self._run_until_done(directory, job, blows)
        filesystem, path = fsspec.core.url_to_fs(output)
        return check(filesystem, path, ids, directory / "diary")

    def _run_until_done(self, directory: Path, job: Path, blows: int) -> None:
        struck = 0
        until = time.monotonic() + MOST_SECONDS
        while True:
            began = time.monotonic()
            run = Run(directory, job, self._start(job, directory))
            while struck < min(blows, _MOST_BLOWS) and self._lives_on(run):
                struck += self._strike(run)
            if self._end(run) == 0:
                break
            if time.monotonic() > until:
                raise TimeoutError(f"{directory}: not done after {MOST_SECONDS} s")
        if not struck:
            self._calm_seconds = time.monotonic() - began

    def _lives_on(self, run: Run) -> bool:
        return _is_alive_after(run.driver, self._dice.uniform(1, self._calm_seconds))

    def _start(self, job: Path, directory: Path) -> subprocess.Popen[bytes]:
        self.report.starts += 1
        environment = {
            **os.environ,
            **self._ground.environment,
            "CHAOS_ENGINE": self._ground.engine,
            "CHAOS_SECONDS": _PROMPT_SECONDS,
            "CHAOS_DIARY": str(directory / "diary"),
        }
        with (directory / "log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, PROGRAM, "run", job, "--json", "--unit-seconds", _UNIT_SECONDS],
                stdout=log, stderr=log, env=environment,
            )  # fmt: skip

    def _end(self, run: Run) -> int:
        """Wait for the run's end; tell what it said last where it ended as none should."""
        code = run.driver.wait(MOST_SECONDS)
        self.report.codes[code] += 1
        log = (run.directory / "log").read_text(errors="replace")
        if code not in EXPECTED_CODES or UNEXPECTED in log:
            self.report.strange_ends += 1
            told = f"{run.directory} ended with {code}:\n{log[-_TOLD:]}"
            print(told, file=sys.stderr, flush=True)
        return code

    def _strike(self, run: Run) -> int:
        """One blow, where there is something to hit: returns how many."""
        name, blow = self._dice.choice(self._blows())
        if not blow(run):
            return 0
        self.report.blows[name] += 1
        return 1

    def _blows(self) -> Sequence[tuple[str, Callable[[Run], bool]]]:
        def hit(number: int, run: Run) -> bool:
            return send(tree(run.driver)[:1], number)

        def hit_one(pattern: str, run: Run) -> bool:
            return send(self._one(run.driver, pattern), signal.SIGKILL)

        known: list[tuple[str, Callable[[Run], bool]]] = [
            ("driver SIGKILL", partial(hit, signal.SIGKILL)),
            ("driver SIGTERM", partial(hit, signal.SIGTERM)),
            ("driver SIGINT", partial(hit, signal.SIGINT)),
            ("worker SIGKILL", partial(hit_one, WORKERS)),
            ("engine SIGKILL", partial(hit_one, ENGINES)),
            ("Ray SIGKILL", partial(hit_one, RAY)),
            ("all SIGKILL", lambda run: send(tree(run.driver), signal.SIGKILL)),
            ("overlap", partial(self._overlap, stop=False)),
            ("SIGSTOP and overlap", partial(self._overlap, stop=True)),
        ]
        if self._ground.disk:
            known.append((FULL_DISK, partial(self._fill, self._ground.disk)))
        return [each for each in known if not self._only or each[0] in self._only]

    def _one(self, driver: subprocess.Popen[bytes], pattern: str) -> list[psutil.Process]:
        """One of the driver's processes of this title, at some moment after it is there."""
        while _is_alive_after(driver, self._dice.uniform(0.2, 2)):
            found = [each for each in tree(driver)[1:] if re.search(pattern, title(each))]
            if found:
                return [self._dice.choice(found)]
        return []

    def _overlap(self, run: Run, *, stop: bool) -> bool:
        """Another driver on the same OUTPUT; with `stop`, the first hangs meanwhile."""
        if stop and not send(tree(run.driver)[:1], signal.SIGSTOP):
            return False
        other = replace(run, driver=self._start(run.job, run.directory))
        if stop:
            _is_alive_after(other.driver, self._dice.uniform(1, 2 * self._calm_seconds))
            send(tree(run.driver)[:1], signal.SIGCONT)
        self._end(other)
        return True

    def _fill(self, disk: SmallDisk, run: Run) -> bool:
        """No space is left, for some seconds or until the run ends of it."""
        if not tree(run.driver):
            return False
        with disk.full():
            _is_alive_after(run.driver, self._dice.uniform(1, 3 * self._calm_seconds))
        return True


def _is_alive_after(driver: subprocess.Popen[bytes], seconds: float) -> bool:
    with suppress(subprocess.TimeoutExpired):
        driver.wait(seconds)
    return driver.poll() is None
