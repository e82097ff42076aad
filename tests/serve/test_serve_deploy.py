"""Tests of the RayService's configuration on a Ray cluster of this machine, deployed and changed as
KubeRay does it, and of `phifleet serve` on a running cluster. They take minutes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from served import REPORT

from pipelines.run.ports import free_port
from serve.access.keys import key_line, new_key
from serve.environment import settings_of
from serve.spec import parse_serve

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
_SECONDS = 240


@contextmanager
def cluster(directory: Path, port: int, settings: Mapping[str, str] = {}) -> Iterator[str]:
    """Run a Ray cluster of one node during the block, and yield the URL of its dashboard, to which
    configurations are sent. Drivers join it at `port`; `settings` are environment variables."""
    dashboard = free_port()
    command = [
        str(BIN / "ray"), "start", "--head", "--block", "--num-cpus", "4",
        "--port", str(port),
        "--node-ip-address", "127.0.0.1", "--include-dashboard", "true",
        "--dashboard-port", str(dashboard), "--ray-client-server-port", str(free_port()),
        # Ray's default port may be in use by any other process
        "--dashboard-agent-listen-port", str(free_port()),
        "--temp-dir", "/tmp/phifleet-ray",  # noqa: S108 (a socket's path must be short)
    ]  # fmt: skip
    # the commands below have no token for the cluster
    environment = {
        **os.environ, "VLLM_CPU_KVCACHE_SPACE": "1", "RAY_AUTH_MODE": "disabled", **settings,
    }  # fmt: skip
    with (directory / "ray.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        try:
            yield f"http://127.0.0.1:{dashboard}"
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def rayservice() -> Any:
    """Return the manifest of the RayService."""
    return yaml.safe_load((ROOT / "k8s/base/online/rayservice.yaml").read_text())


def settings(directory: Path) -> dict[str, str]:
    """Return the environment of the RayService's pods, with files and ports of one cluster."""
    [container] = rayservice()["spec"]["rayClusterConfig"]["headGroupSpec"]["template"]["spec"][
        "containers"
    ]
    local = settings_of(parse_serve({}), directory, {})
    local.pop("RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S")
    return local | {variable["name"]: variable["value"] for variable in container["env"]}


def config(directory: Path, port: int) -> dict[str, Any]:
    """Return the RayService's configuration with the built-in model, CPUs and a local disk."""
    config: dict[str, Any] = yaml.safe_load(rayservice()["spec"]["serveConfigV2"])
    config["http_options"] = {"host": "127.0.0.1", "port": port}
    (app,) = config["applications"]
    # they need resources that only the pods have
    app.pop("deployments")
    app["args"] |= {
        "model": {"name": "tiny"},
        "tasks": [{"name": "auditor", "kind": "ask", "question": "What is the auditor?"}],
        "pools": {"short": {"min": 1, "max": 1}},
        "compute": {"gpus_per_replica": 0},
        "http": {"replicas": 1},
        "keys": {"file": str(directory / "keys.yaml")},
        "feedback": {"path": str(directory / "feedback")},
        "limits": {"request_seconds": 120},
    }
    return config


def deploy(address: str, config: dict[str, Any], file: Path) -> None:
    """Write `config` to `file`, and deploy it with the command `serve deploy`."""
    file.write_text(yaml.safe_dump(config))
    environment = {**os.environ, "RAY_AUTH_MODE": "disabled"}
    subprocess.run([BIN / "serve", "deploy", file, "-a", address], check=True, env=environment)


def await_running(address: str, seconds: float) -> None:
    """Wait until all applications run."""
    until = time.monotonic() + seconds
    apps: Any = {}
    while time.monotonic() < until:
        try:
            apps = httpx.get(f"{address}/api/serve/applications/", timeout=5).json()["applications"]
        except (httpx.HTTPError, json.JSONDecodeError):
            apps = {}
        if apps and all(app["status"] == "RUNNING" for app in apps.values()):
            return
        time.sleep(1)
    raise AssertionError(apps)


def await_cluster(address: str) -> None:
    await_answer(f"{address}/api/version")


def await_ready(url: str) -> None:
    """Wait until the endpoint is ready, as Kubernetes does before it sends requests."""
    await_answer(f"{url}/readyz")


def await_answer(url: str) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        with suppress(httpx.HTTPError):
            if httpx.get(url, timeout=2).is_success:
                return
        time.sleep(1)
    raise AssertionError(url)


def test_on_a_joined_cluster_it_reports_missing_resources_and_leaves_no_application(
    tmp_path: Path,
) -> None:
    gcs, port = free_port(), free_port()
    environment = {
        **os.environ, "RAY_AUTH_MODE": "disabled", "RAY_ADDRESS": f"127.0.0.1:{gcs}",
    }  # fmt: skip

    def serve(*options: str) -> subprocess.Popen[str]:
        set_port = ["--set", f"http.port={port}"]
        command = [sys.executable, "-m", "jobs.cli", "serve", *set_port, *options]
        return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)

    with cluster(tmp_path, gcs) as address:
        await_cluster(address)
        # no node of this cluster has so many CPUs
        first = serve("--set", "compute.cpus_per_replica=64")
        assert first.stderr is not None
        output = ""
        while "waiting:" not in output:
            line = first.stderr.readline()
            assert line, output
            output += line
        assert "64" in output
        other_port = ("--set", "name=other", "--set", f"http.port={port + 1}")
        errors = []
        for options in ((), ("--set", "name=other"), other_port):
            second = serve(*options)
            _, error = second.communicate(timeout=60)
            assert second.returncode == 2
            errors.append(" ".join(error.split()))
        first.send_signal(signal.SIGTERM)
        _, rest = first.communicate(timeout=60)
        apps = httpx.get(f"{address}/api/serve/applications/").json()["applications"]
    assert "the cluster already runs the applications demo, demo-short" in errors[0]
    assert "which answers at /" in errors[1]
    assert f"listens at 127.0.0.1, port {port}, and not at" in errors[2]
    assert first.returncode == 0, rest
    assert {app["status"] for app in apps.values()} <= {"DELETING"}


def test_a_change_of_configuration_under_load_loses_no_request(tmp_path: Path) -> None:
    key, port = new_key(), free_port()
    (tmp_path / "keys.yaml").write_text("keys:\n" + key_line("tested", key) + "\n")
    headers = {"authorization": f"Bearer {key}"}
    url = f"http://127.0.0.1:{port}"
    first = config(tmp_path, port)
    changed = json.loads(json.dumps(first))
    changed["applications"][0]["args"]["limits"]["tasks"] = 3
    changing = True

    def ask(number: int) -> list[int]:
        codes = []
        while changing:
            body = {"text": f"{number}\n{REPORT}", "tasks": ["auditor"]}
            answer = httpx.post(f"{url}/v1/documents", json=body, headers=headers, timeout=150)
            codes.append(answer.status_code)
        return codes

    with (
        tempfile.TemporaryDirectory(prefix="phifleet-", dir="/tmp") as short,
        cluster(tmp_path, free_port(), settings(Path(short))) as address,
    ):
        await_cluster(address)
        deploy(address, first, tmp_path / "serve.yaml")
        await_running(address, _SECONDS)
        await_ready(url)
        tasks = ["auditor"] * 3
        with ThreadPoolExecutor(4) as threads:
            clients = [threads.submit(ask, number) for number in range(4)]
            deploy(address, changed, tmp_path / "serve.yaml")
            time.sleep(5)
            await_running(address, _SECONDS)
            changing = False
            codes = [code for client in clients for code in client.result()]
        body = {"text": REPORT, "tasks": [*tasks, "auditor"]}
        rejected = httpx.post(f"{url}/v1/documents", json=body, headers=headers, timeout=60)
    print(len(codes))
    assert set(codes) == {200}
    assert len(codes) > 10
    # the changed limit applies
    assert "at most 3" in rejected.text
