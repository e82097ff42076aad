"""An endpoint as a user starts it, for the tests that ask it."""

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
    """A started endpoint: where it and its metrics are, the file of keys, its process."""

    url: str
    key: str
    keys: Path
    process: subprocess.Popen[str]
    metrics: str

    def client(self, key: str | None = None) -> openai.OpenAI:
        return openai.OpenAI(
            base_url=f"{self.url}/v1", api_key=key or self.key, max_retries=0, timeout=60
        )

    def post(self, path: str, body: Any, key: str | None = None) -> httpx.Response:
        headers = {"authorization": f"Bearer {key or self.key}"}
        return httpx.post(f"{self.url}{path}", json=body, headers=headers, timeout=300)

    def measured(self, name: str, **labels: str) -> float:
        """The sum of a metric over all labels but these, at Ray's endpoint of this node."""
        text = httpx.get(self.metrics, timeout=30).text
        values = [
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        ]
        return sum(values)

    def replicas(self, deployment: str) -> list[psutil.Process]:
        """The processes of a deployment's replicas."""
        mine = psutil.Process(self.process.pid).children(recursive=True)
        # each pool is an application of its own
        title = rf"ServeReplica:tested(-\w+)?:{deployment}"
        return [each for each in mine if re.search(title, _title(each))]


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def start(directory: Path, **more: Any) -> Served:
    """`phifleet serve` with one engine, and a file of keys."""
    key = new_key()
    (directory / "keys.yaml").write_text("keys:\n" + key_line("tested", key) + "\n")
    spec = {
        "name": "tested",
        "model": {"name": "tiny"},
        "tasks": TASKS,
        "keys": {"file": "keys.yaml"},
        "http": {"port": free_port()},
        "feedback": {"path": str(directory / "feedback")},
        **more,
    }
    (directory / "serve.yaml").write_text(yaml.safe_dump(spec))
    environment = {**os.environ, "VLLM_CPU_KVCACHE_SPACE": "1"}
    with (directory / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "jobs.cli", "serve", directory / "serve.yaml", "--json"],
            stdout=subprocess.PIPE, stderr=log, text=True, env=environment,
            process_group=0,  # as a shell gives it
        )  # fmt: skip
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, (directory / "log").read_text()[-5000:]
    told = json.loads(line)
    assert told["key"] is None
    (metrics,) = told["metrics"]
    return Served(told["url"], key, directory / "keys.yaml", process, metrics)


def stop(served: Served, seconds: float = 60) -> int:
    served.process.send_signal(signal.SIGTERM)
    code = served.process.wait(seconds)
    assert served.process.stdout is not None
    served.process.stdout.close()
    return code
