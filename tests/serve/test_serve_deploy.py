"""The configuration of the RayService, deployed to a Ray cluster on this machine and changed under
load, as KubeRay would do it. Minutes."""

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
    """A Ray cluster of one node, joined at a port, with settings in its environment; yields where
    it takes configurations."""
    dashboard = free_port()
    command = [
        str(BIN / "ray"), "start", "--head", "--block", "--num-cpus", "4",
        "--port", str(port),
        "--node-ip-address", "127.0.0.1", "--include-dashboard", "true",
        "--dashboard-port", str(dashboard), "--ray-client-server-port", str(free_port()),
        # Ray's own is one that the kernel gives to anybody
        "--dashboard-agent-listen-port", str(free_port()),
        "--temp-dir", "/tmp/phifleet-ray",  # noqa: S108 (a socket's path must be short)
    ]  # fmt: skip
    # no token is shared with the commands below
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
    return yaml.safe_load((ROOT / "k8s/base/online/rayservice.yaml").read_text())


def settings(directory: Path) -> dict[str, str]:
    """The environment of the RayService's pods, and what two on one machine may not share."""
    [container] = rayservice()["spec"]["rayClusterConfig"]["headGroupSpec"]["template"]["spec"][
        "containers"
    ]
    own = settings_of(parse_serve({}), directory, {})
    own.pop("RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S")
    return own | {each["name"]: each["value"] for each in container["env"]}


def config(directory: Path, port: int) -> dict[str, Any]:
    """The RayService's, with what this machine has: the built-in model, CPUs, a local disk."""
    told: dict[str, Any] = yaml.safe_load(rayservice()["spec"]["serveConfigV2"])
    told["http_options"] = {"host": "127.0.0.1", "port": port}
    (app,) = told["applications"]
    # what a pod has, this machine has not
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
    return told


def deploy(address: str, told: dict[str, Any], file: Path) -> None:
    file.write_text(yaml.safe_dump(told))
    environment = {**os.environ, "RAY_AUTH_MODE": "disabled"}
    subprocess.run([BIN / "serve", "deploy", file, "-a", address], check=True, env=environment)


def await_running(address: str, seconds: float) -> None:
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
    """As Kubernetes does before it sends requests."""
    await_answer(f"{url}/readyz")


def await_answer(url: str) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        with suppress(httpx.HTTPError):
            if httpx.get(url, timeout=2).is_success:
                return
        time.sleep(1)
    raise AssertionError(url)


def test_on_a_cluster_that_is_joined_it_says_what_it_waits_for_and_leaves_nothing_behind(
    tmp_path: Path,
) -> None:
    gcs, port = free_port(), free_port()
    environment = {
        **os.environ, "RAY_AUTH_MODE": "disabled", "RAY_ADDRESS": f"127.0.0.1:{gcs}",
    }  # fmt: skip

    def serve(*more: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "jobs.cli", "serve", "--set", f"http.port={port}", *more]
        return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)

    with cluster(tmp_path, gcs) as address:
        await_cluster(address)
        # no node of this cluster will ever have so many
        first = serve("--set", "compute.cpus_per_replica=64")
        assert first.stderr is not None
        told = ""
        while "waiting:" not in told:
            line = first.stderr.readline()
            assert line, told
            told += line
        assert "64" in told
        elsewhere = ("--set", "name=other", "--set", f"http.port={port + 1}")
        refused = []
        for more in ((), ("--set", "name=other"), elsewhere):
            other = serve(*more)
            _, why = other.communicate(timeout=60)
            assert other.returncode == 2
            refused.append(" ".join(why.split()))
        first.send_signal(signal.SIGTERM)
        _, rest = first.communicate(timeout=60)
        apps = httpx.get(f"{address}/api/serve/applications/").json()["applications"]
    assert "the cluster already runs the applications demo, demo-short" in refused[0]
    assert "which answers at /" in refused[1]
    assert f"listens at 127.0.0.1, port {port}, and not at" in refused[2]
    assert first.returncode == 0, rest
    assert {app["status"] for app in apps.values()} <= {"DELETING"}


def test_a_change_under_load_loses_nothing(tmp_path: Path) -> None:
    key, port = new_key(), free_port()
    (tmp_path / "keys.yaml").write_text("keys:\n" + key_line("tested", key) + "\n")
    headers = {"authorization": f"Bearer {key}"}
    url = f"http://127.0.0.1:{port}"
    told = config(tmp_path, port)
    changed = json.loads(json.dumps(told))
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
        deploy(address, told, tmp_path / "serve.yaml")
        await_running(address, _SECONDS)
        await_ready(url)
        tasks = ["auditor"] * 3
        with ThreadPoolExecutor(4) as threads:
            asking = [threads.submit(ask, number) for number in range(4)]
            deploy(address, changed, tmp_path / "serve.yaml")
            time.sleep(5)
            await_running(address, _SECONDS)
            changing = False
            codes = [code for each in asking for code in each.result()]
        body = {"text": REPORT, "tasks": [*tasks, "auditor"]}
        refused = httpx.post(f"{url}/v1/documents", json=body, headers=headers, timeout=60)
    print(len(codes))
    assert set(codes) == {200}
    assert len(codes) > 10
    # the change has come
    assert "at most 3" in refused.text
