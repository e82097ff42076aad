"""The screen: phifleet's own words go to the terminal, everybody else's noise to a log file.

Ray, vLLM and the libraries below them write to file descriptors 1 and 2 from many processes and
threads. While a `Screen` is on, those two point into the log.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from rich.console import Console

from pipelines.storage import storage_errors


@dataclass(frozen=True)
class Screen:
    """Where to speak: `console` for people (standard error), `results` for the answer itself."""

    console: Console
    results: TextIO


@contextmanager
def screen_over(log: Path) -> Iterator[Screen]:
    """Send file descriptors 1 and 2 to `log` until the block ends; yield the terminal.

    Raises StorageError where the log cannot be written.
    """
    with storage_errors("write", str(log)):
        log.parent.mkdir(parents=True, exist_ok=True)
        noise = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [os.dup(1), os.dup(2)]
    out, err = (os.fdopen(fd, "w", buffering=1) for fd in kept)
    try:
        os.dup2(noise, 1)
        os.dup2(noise, 2)
        yield Screen(Console(file=err, highlight=False), out)
    finally:
        for number, stream in ((1, sys.stdout), (2, sys.stderr)):
            _flush_noise(number, stream)
            os.dup2(kept[number - 1], number)
        os.close(noise)
        out.close()
        err.close()


def _flush_noise(number: int, stream: TextIO) -> None:
    """Send what waits in a stream to the log; where that is full, nowhere."""
    try:
        stream.flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, number)
        os.close(nowhere)
        stream.flush()
