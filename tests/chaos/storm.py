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
from dataclasses import dataclass, field
from pathlib import Path

import fsspec
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from chaos.checker import Found, check
from chaos.program import MARK

PROGRAM = Path(__file__).with_name("program.py")
MOST_SECONDS = 600
# Of a run, after which it is left to end in peace.
_MOST_BLOWS = 8
_ENGINES = r"VLLM::EngineCore|QUICK_ENGINE"
_WORKERS = r"ray::MapWorker|ray::.*MapBatches|ray::.*Worker\("
_RAY = r"raylet|gcs_server"
EXPECTED_CODES = {0, 3, 4, -signal.SIGKILL, -signal.SIGTERM}


@dataclass(frozen=True)
class Ground:
    """Where runs are made: a local directory for corpora and diaries, an OUTPUT for each run."""

    directory: Path
    outputs: str
    environment: Mapping[str, str]
    documents: int
    engine: str


@dataclass
class Report:
    """What happened so far."""

    blows: Counter[str] = field(default_factory=Counter)
    codes: Counter[int] = field(default_factory=Counter)
    runs: int = 0
    starts: int = 0
    found: list[Found] = field(default_factory=list)

    def total(self, name: str) -> int:
        return sum(getattr(each, name) for each in self.found)

    def table(self) -> str:
        """For people: what was done, and what was found."""
        blows = ", ".join(f"{count} {name}" for name, count in sorted(self.blows.items()))
        codes = ", ".join(f"{count} with {code}" for code, count in sorted(self.codes.items()))
        letters = sum((Counter(each.dead_letters) for each in self.found), Counter[str]())
        share = self.total("redone") / max(1, self.total("asked"))
        return "\n".join(
            (
                f"| blows | {sum(self.blows.values())}: {blows} |",
                f"| runs | {self.runs}, in {self.starts} starts, which ended: {codes} |",
                f"| documents | {self.total('documents'):,} |",
                f"| lost | {self.total('lost')} |",
                f"| doubled | {self.total('doubled')} |",
                f"| strange | {self.total('strange')} |",
                f"| dead letters | {dict(letters)} |",
                f"| asked again after their commit | {self.total('redone')} of "
                f"{self.total('asked'):,} prompts ({share:.2%}) |",
            )
        )

    @property
    def sound(self) -> bool:
        strangers = set(self.codes) - EXPECTED_CODES
        return all(each.sound for each in self.found) and not strangers


class Storm:
    """Disturbs runs until there were enough blows."""

    def __init__(self, ground: Ground, seed: int) -> None:
        self._ground = ground
        self._dice = random.Random(seed)  # noqa: S311
        self.report = Report()
        self._calm_seconds = 20.0

    def rage(self, blows: int) -> Report:
        """A run in peace, which tells how long one takes, then others until there were so many
        blows."""
        self.report.found.append(self._one_run(0, 0))
        self.report.runs = 1
        while sum(self.report.blows.values()) < blows:
            found = self._one_run(self.report.runs, blows - sum(self.report.blows.values()))
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
        struck = 0
        until = time.monotonic() + MOST_SECONDS
        while True:
            began = time.monotonic()
            driver = self._start(job, directory)
            strike = struck < min(blows, _MOST_BLOWS)
            if strike and self._alive_after(driver, self._dice.uniform(1, self._calm_seconds)):
                struck += self._strike(driver, job, directory)
            if self._end(driver) == 0:
                break
            if time.monotonic() > until:
                raise TimeoutError(f"{directory}: not done after {MOST_SECONDS} s")
        if not struck:
            self._calm_seconds = time.monotonic() - began
        filesystem, path = fsspec.core.url_to_fs(output)
        return check(filesystem, path, ids, directory / "diary")

    def _start(self, job: Path, directory: Path) -> subprocess.Popen[bytes]:
        self.report.starts += 1
        environment = {
            **os.environ,
            **self._ground.environment,
            "CHAOS_ENGINE": self._ground.engine,
            "CHAOS_DIARY": str(directory / "diary"),
        }
        with (directory / "log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, PROGRAM, "run", job, "--json", "--unit-seconds", "1"],
                stdout=log, stderr=log, env=environment,
            )  # fmt: skip

    def _alive_after(self, driver: subprocess.Popen[bytes], seconds: float) -> bool:
        with suppress(subprocess.TimeoutExpired):
            driver.wait(seconds)
        return driver.poll() is None

    def _end(self, driver: subprocess.Popen[bytes]) -> int:
        """Wait for the run's end."""
        code = driver.wait(MOST_SECONDS)
        self.report.codes[code] += 1
        return code

    def _strike(self, driver: subprocess.Popen[bytes], job: Path, directory: Path) -> int:
        """One blow, where there is something to hit: returns how many."""
        blows: Sequence[tuple[str, Callable[[], bool]]] = (
            ("driver SIGKILL", lambda: _signal(_tree(driver)[:1], signal.SIGKILL)),
            ("driver SIGTERM", lambda: _signal(_tree(driver)[:1], signal.SIGTERM)),
            ("driver SIGINT", lambda: _signal(_tree(driver)[:1], signal.SIGINT)),
            ("worker SIGKILL", lambda: _signal(self._one(driver, _WORKERS), signal.SIGKILL)),
            ("engine SIGKILL", lambda: _signal(self._one(driver, _ENGINES), signal.SIGKILL)),
            ("Ray SIGKILL", lambda: _signal(self._one(driver, _RAY), signal.SIGKILL)),
            ("all SIGKILL", lambda: _signal(_tree(driver), signal.SIGKILL)),
            ("overlap", lambda: self._overlap(driver, job, directory, stop=False)),
            ("SIGSTOP and overlap", lambda: self._overlap(driver, job, directory, stop=True)),
        )
        name, blow = self._dice.choice(blows)
        if not blow():
            return 0
        self.report.blows[name] += 1
        return 1

    def _one(self, driver: subprocess.Popen[bytes], pattern: str) -> list[psutil.Process]:
        found = [each for each in _tree(driver)[1:] if re.search(pattern, _title(each))]
        return [self._dice.choice(found)] if found else []

    def _overlap(
        self, driver: subprocess.Popen[bytes], job: Path, directory: Path, *, stop: bool
    ) -> bool:
        """Another driver on the same OUTPUT; with `stop`, the first hangs meanwhile."""
        if stop and not _signal(_tree(driver)[:1], signal.SIGSTOP):
            return False
        other = self._start(job, directory)
        if stop:
            self._alive_after(other, self._dice.uniform(1, 2 * self._calm_seconds))
            _signal(_tree(driver)[:1], signal.SIGCONT)
        self._end(other)
        return True


def _tree(driver: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """The driver and all that it started; nothing where it has ended."""
    if driver.poll() is not None:
        return []
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(driver.pid)
        return [process, *process.children(recursive=True)]
    return []


def _title(process: psutil.Process) -> str:
    with suppress(psutil.Error):
        return " ".join([process.name(), *process.cmdline()])
    return ""


def _signal(processes: Sequence[psutil.Process], number: int) -> bool:
    """Send a signal to processes; False where none was there any more."""
    hit = False
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)
            hit = True
    return hit


def write_corpus(path: Path, documents: int) -> list[str]:
    words = ("ship", "harbour", "storm", "letter", "river", "stone", "garden", "winter", "the")
    dice = random.Random(documents)  # noqa: S311
    rows = [
        {
            "doc": f"paper-{number}",
            "text": f"{MARK.format(number)} "
            + " ".join(dice.choices(words, k=dice.randint(20, 400))),
        }
        for number in range(documents)
    ]
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=100)
    return [row["doc"] for row in rows]


def write_job(path: Path, corpus: Path, output: str) -> Path:
    job = {
        "name": "chaos",
        "input": {"path": str(corpus), "id_column": "doc"},
        "output": {"path": output},
        "model": {"name": "tiny-random"},
        "tasks": [
            {"name": "summary", "kind": "summarize", "max_words": 4},
            {"name": "topic", "kind": "classify", "labels": ["sea", "land"]},
        ],
    }
    path.write_text(yaml.safe_dump(job))
    return path
