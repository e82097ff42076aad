"""The processes of a run: which they are, and signals to them."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from contextlib import suppress

import psutil

ENGINES = r"VLLM::EngineCore|QUICK_ENGINE"
WORKERS = r"ray::MapWorker|ray::.*MapBatches|ray::.*Worker\("
RAY = r"raylet|gcs_server"


def tree(driver: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """The driver and all that it started; nothing where it has ended."""
    if driver.poll() is not None:
        return []
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(driver.pid)
        return [process, *process.children(recursive=True)]
    return []


def title(process: psutil.Process) -> str:
    with suppress(psutil.Error):
        return " ".join([process.name(), *process.cmdline()])
    return ""


def send(processes: Sequence[psutil.Process], number: int) -> bool:
    """Send a signal to processes; False where none was there any more."""
    hit = False
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)
            hit = True
    return hit
