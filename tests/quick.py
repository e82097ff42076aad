"""Runs of `phifleet` as processes, with fast fake engines (chaos/program.py)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from chaos.papers import write_corpus, write_job
from chaos.storm import PROGRAM

_LIMIT_SECONDS = 300


class QuickRun:
    """A job over `documents` short documents, which can be run repeatedly.

    `output` is the job's output.path; `environment` are environment variables of its processes.
    """

    def __init__(self, directory: Path, output: str, documents: int, **environment: str) -> None:
        self.editions = write_corpus(directory / "corpus", documents)
        self._job = write_job(directory / "job.yaml", directory / "corpus", output)
        self.diary = directory / "diary"
        self.diary.mkdir()
        engines = {"CHAOS_ENGINE": "quick", "CHAOS_REQUEST_LOG": str(self.diary)}
        self._environment: Mapping[str, str] = os.environ | engines | environment

    def start(self, *options: str, **environment: str) -> subprocess.Popen[str]:
        """Start `phifleet run`, with further options and environment variables."""
        return subprocess.Popen(
            [sys.executable, PROGRAM, "run", self._job, "--json", "--unit-seconds", "1", *options],
            env={**self._environment, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            process_group=0,  # as a shell starts a command
        )

    def __call__(self, *options: str) -> tuple[int, dict[str, Any], str]:
        """Run the job to its end; returns as `ended`."""
        return ended(self.start(*options))


def ended(process: subprocess.Popen[str]) -> tuple[int, dict[str, Any], str]:
    """Wait for the end of a run; return its exit code, the JSON on standard output, and standard
    error."""
    output, errors = process.communicate(timeout=_LIMIT_SECONDS)
    return process.returncode, json.loads(output), errors
