"""Runs a benchmark's own script with the code of one checkout or another."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def measure_alternately(
    script: str, arguments: Sequence[str], against: Path | None, repeats: int
) -> list[list[dict[str, Any]]]:
    """Run `script` with `arguments` in processes of their own, `repeats` times with this checkout
    and with `against`, if it is given, in turn; return the JSON objects that they print last, for
    each checkout."""
    sides = [Path(__file__).parents[1], *([against] if against else [])]
    runs: list[list[dict[str, Any]]] = [[] for _ in sides]
    for _ in range(repeats):
        for side, checkout in zip(runs, sides, strict=True):
            side.append(_run(checkout, script, arguments))
    return runs


def median_of(runs: Sequence[Sequence[dict[str, Any]]], name: str) -> list[float]:
    """Return the median of one number in the runs of each checkout."""
    return [statistics.median(run[name] for run in side) for side in runs]


def _run(checkout: Path, script: str, arguments: Sequence[str]) -> dict[str, Any]:
    done = subprocess.run(  # our own program
        [sys.executable, script, *arguments],
        env={**os.environ, "PYTHONPATH": str(checkout)},
        check=True,
        capture_output=True,
        text=True,
    )
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result
