"""A run in the kernel of a notebook: its progress, an interrupt, and a second run."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.manager import KernelManager
from programs import LIMIT_SECONDS, SETUP, environment, job_in

from pipelines.models.resolve import Model


class Notebook:
    """A kernel that executes cells, one after the other."""

    def __init__(self, directory: Path) -> None:
        self.manager = KernelManager()
        self.manager.start_kernel(cwd=str(directory), env=environment(directory))
        self.client = self.manager.blocking_client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=LIMIT_SECONDS)

    def execute(self, code: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Execute a cell; return the reply, and the messages with its outputs."""
        outputs: list[dict[str, Any]] = []
        reply = self.client.execute_interactive(
            code, timeout=LIMIT_SECONDS, output_hook=outputs.append
        )
        return reply["content"], outputs

    def shutdown(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel()


@pytest.fixture
def notebook(tmp_path: Path, tiny_model: Model) -> Iterator[Notebook]:
    job_in(tmp_path)
    notebook = Notebook(tmp_path)
    yield notebook
    notebook.shutdown()


def texts(outputs: list[dict[str, Any]], kind: str) -> list[str]:
    """Return the plain texts of the output messages of a type, in order."""
    return [
        output["content"].get("text") or output["content"]["data"]["text/plain"]
        for output in outputs
        if output["msg_type"] == kind
    ]


def interrupt_after_a_commit(notebook: Notebook, directory: Path) -> None:
    def wait() -> None:
        while not list((directory / "out/_run/commits").glob("*.json")):
            time.sleep(0.1)
        notebook.manager.interrupt_kernel()

    threading.Thread(target=wait, daemon=True).start()


# on a loaded machine the notice of the interrupt is sometimes missing from the cell
@pytest.mark.slow
def test_a_notebook_shows_the_progress_and_can_interrupt_and_resume_a_run(
    notebook: Notebook, tmp_path: Path
) -> None:
    reply, _ = notebook.execute(SETUP)
    assert reply["status"] == "ok", reply
    interrupt_after_a_commit(notebook, tmp_path)
    reply, outputs = notebook.execute("phifleet.run('job.yaml', unit_seconds=1)")
    assert (reply["status"], reply["ename"]) == ("error", "KeyboardInterrupt")
    assert any("stopped by SIGINT" in text for text in texts(outputs, "display_data"))

    reply, outputs = notebook.execute("result = phifleet.run('job.yaml', unit_seconds=1); result")
    assert reply["status"] == "ok", reply
    views = texts(outputs, "update_display_data")
    assert any("chaos - " in view for view in views)
    assert "60 of 60" in views[-1]
    (result,) = texts(outputs, "execute_result")
    assert "status='done'" in result
    assert any("<pre" in each["content"]["data"]["text/html"]
               for each in outputs if each["msg_type"] == "update_display_data")  # fmt: skip
    # what Ray and the workers print goes to the log
    assert texts(outputs, "stream") == []

    reply, outputs = notebook.execute("print('afterwards')")
    assert texts(outputs, "stream") == ["afterwards\n"]
