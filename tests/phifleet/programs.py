"""Programs that call `phifleet.run`, with the fast fake engines of the fault injection."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from chaos.papers import write_corpus, write_job

TESTS = Path(__file__).parents[1]
LIMIT_SECONDS = 400
SETUP = """
import asyncio, json, os, signal, sys, threading, time
from pathlib import Path
from chaos.program import ChaosWorker
from pipelines.run import batch
batch.Worker = ChaosWorker
# its import changed the handler
signal.signal(signal.SIGINT, signal.default_int_handler)
import phifleet

def when_committed(output, act):
    # calls `act` in another thread once a unit is committed
    def wait():
        while not list(Path(output, "_run/commits").glob("*.json")):
            time.sleep(0.05)
        act()
    threading.Thread(target=wait, daemon=True).start()

def state():
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    files = [os.readlink(f"/proc/self/fd/{number}") for number in (1, 2)]
    return handlers, files, sys.stdout, sys.stderr
"""
"""The beginning of each program."""


def environment(directory: Path) -> dict[str, str]:
    """Return the environment variables of a program; its engines' logs go to `directory`."""
    diary = directory / "diary"
    diary.mkdir(exist_ok=True)
    return {
        **os.environ,
        "CHAOS_ENGINE": "quick",
        "CHAOS_REQUEST_LOG": str(diary),
        "CHAOS_SECONDS": "0.3",
        # workers import the engines, too
        "PYTHONPATH": os.pathsep.join([str(TESTS.parent), str(TESTS)]),
    }


def job_in(directory: Path, documents: int = 60) -> Path:
    """Write a corpus and a job that writes to `directory`/out, and return the job's path."""
    write_corpus(directory / "corpus", documents)
    return write_job(directory / "job.yaml", directory / "corpus", str(directory / "out"))


def run_program(program: str, directory: Path) -> subprocess.CompletedProcess[str]:
    """Run SETUP and a program in `directory` to its end."""
    return subprocess.run(
        [sys.executable, "-c", SETUP + program],
        cwd=directory,
        env=environment(directory),
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
    )
