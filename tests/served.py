"""An endpoint in a process of its own, started with `phifleet serve`, for tests over HTTP."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import openai
import psutil
import yaml
from prometheus_client.parser import text_string_to_metric_families

from pipelines.run.ports import free_port
from serve.access.keys import key_line, new_key

REPORT = "Report on harbours.\nauditor: Smith Sons\nrevenue: 12.5\nThe harbour was calm."
TASKS: list[dict[str, Any]] = [
    {"name": "summary", "kind": "summarize", "max_words": 20},
    {"name": "auditor", "kind": "ask", "question": "What is the auditor?"},
    {"name": "facts", "kind": "extract", "fields": {"revenue": "number"}},
]


@dataclass
class Served:
    """A running endpoint: its URL, a key, the file of keys, its process, and the metrics' URL."""

    url: str
    key: str
    keys: Path
    process: subprocess.Popen[str]
    metrics: str

    def client(self, key: str | None = None) -> openai.OpenAI:
        """Return OpenAI's client for the endpoint, without retries."""
        return openai.OpenAI(
            base_url=f"{self.url}/v1", api_key=key or self.key, max_retries=0, timeout=60
        )

    def post(self, path: str, body: Any, key: str | None = None) -> httpx.Response:
        """Send a JSON body to a path of the endpoint."""
        headers = {"authorization": f"Bearer {key or self.key}"}
        return httpx.post(f"{self.url}{path}", json=body, headers=headers, timeout=300)

    def measured(self, name: str, **labels: str) -> float:
        """Return the sum of a metric's samples with these labels, from Ray's endpoint."""
        text = httpx.get(self.metrics, timeout=30).text
        values = [
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        ]
        return sum(values)

    def replicas(self, deployment: str) -> list[psutil.Process]:
        """Return the processes of a deployment's replicas."""
        children = psutil.Process(self.process.pid).children(recursive=True)
        # the application is `tested`, or `tested-POOL` of a pool
        title = rf"ServeReplica:tested(-\w+)?:{deployment}"
        return [child for child in children if re.search(title, _title(child))]


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def start(directory: Path, **sections: Any) -> Served:
    """Start `phifleet serve` with one engine and a file of keys, and wait until it answers.

    The serve file, the keys and the log are in `directory`; `sections` replace those of the file.
    """
    key = new_key()
    (directory / "keys.yaml").write_text("keys:\n" + key_line("tested", key) + "\n")
    spec = {
        "name": "tested",
        "model": {"name": "tiny"},
        "tasks": TASKS,
        "keys": {"file": "keys.yaml"},
        "http": {"port": free_port()},
        "feedback": {"path": str(directory / "feedback")},
        **sections,
    }
    (directory / "serve.yaml").write_text(yaml.safe_dump(spec))
    environment = {**os.environ, "VLLM_CPU_KVCACHE_SPACE": "1"}
    with (directory / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "jobs.cli", "serve", directory / "serve.yaml", "--json"],
            stdout=subprocess.PIPE, stderr=log, text=True, env=environment,
            process_group=0,  # as a shell does
        )  # fmt: skip
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, (directory / "log").read_text()[-5000:]
    announced = json.loads(line)
    assert announced["key"] is None
    (metrics,) = announced["metrics"]
    return Served(announced["url"], key, directory / "keys.yaml", process, metrics)


def stop(served: Served, seconds: float = 60) -> int:
    """Send SIGTERM, wait until the process ends, and return its exit code."""
    served.process.send_signal(signal.SIGTERM)
    code = served.process.wait(seconds)
    assert served.process.stdout is not None
    served.process.stdout.close()
    return code
