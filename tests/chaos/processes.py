"""Find the processes of a run, and send them signals."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import psutil

# Regular expressions that match the titles of a run's processes.
ENGINES = r"VLLM::EngineCore|QUICK_ENGINE"
WORKERS = r"ray::MapWorker|ray::.*MapBatches|ray::.*Worker\("
RAY = r"raylet|gcs_server"


def tree(driver: subprocess.Popen[Any]) -> list[psutil.Process]:
    """Return the driver and all its descendants; an empty list if the driver has ended."""
    if driver.poll() is not None:
        return []
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(driver.pid)
        return [process, *process.children(recursive=True)]
    return []


def title(process: psutil.Process) -> str:
    """Return a process's name and command line; an empty string if it has ended."""
    with suppress(psutil.Error):
        return " ".join([process.name(), *process.cmdline()])
    return ""


def send(processes: Sequence[psutil.Process], number: int) -> bool:
    """Send a signal to processes. Return False if all of them had ended."""
    sent = False
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)
            sent = True
    return sent
