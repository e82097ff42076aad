"""A model is found in its directory, in the hub's cache or on the hub, and is not downloaded."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from model_hub import COMMIT, PHI3_128K, Hub

from pipelines.doctor.checks import Status
from pipelines.doctor.model import check_model

PROGRAM = (
    "import json, sys; from pipelines.doctor.model import check_model; "
    "print(json.dumps(check_model(sys.argv[1]).to_json()))"
)


@pytest.fixture(scope="module")
def hub() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def check_elsewhere(name: str, home: Path, **environment: str) -> dict[str, Any]:
    """Check a model in a new process, because huggingface_hub reads the environment on import.

    `home` is the hub's cache.
    """
    kept = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, name],
        env=kept | {"HF_HOME": str(home)} | environment,
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    check: dict[str, Any] = json.loads(done.stdout)
    return check


def fill_cache(home: Path, *files: str) -> None:
    repo = home / "hub/models--team--phi"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs/main").write_text(COMMIT)
    snapshot = repo / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text(json.dumps(PHI3_128K))
    for name in files:
        (snapshot / name).write_text("")


def test_the_built_in_model_is_there() -> None:
    check = check_model()
    assert check.status is Status.OK
    assert check.detail.startswith("tiny, built in, revision ")


def test_a_directory_needs_a_config_and_weights(tmp_path: Path) -> None:
    check = check_model(str(tmp_path))
    assert (check.status, "config.json" in check.detail) == (Status.FAILED, True)
    (tmp_path / "config.json").write_text(json.dumps(PHI3_128K))
    check = check_model(str(tmp_path))
    assert (check.status, "no file *.safetensors" in check.detail) == (Status.FAILED, True)
    (tmp_path / "model.safetensors").write_text("")
    assert check_model(str(tmp_path)).status is Status.OK


def test_a_cached_model_is_ok_with_its_revision_without_a_network(tmp_path: Path) -> None:
    fill_cache(tmp_path, "model.safetensors")
    check = check_elsewhere("team/phi", tmp_path, HF_HUB_OFFLINE="1")
    assert check["status"] == "ok"
    assert f"in this machine's cache, revision {COMMIT}" in check["detail"]


def test_a_model_on_the_hub_is_a_warning_and_is_not_downloaded(hub: str, tmp_path: Path) -> None:
    check = check_elsewhere("team/phi", tmp_path, HF_ENDPOINT=hub)
    assert (check["status"], check["remedy"]) == ("warning", "run: phifleet model team/phi")
    assert f"revision {COMMIT}" in check["detail"]
    assert list(tmp_path.rglob("config.json")) == []


def test_a_cache_without_weights_does_not_count(hub: str, tmp_path: Path) -> None:
    fill_cache(tmp_path)
    assert check_elsewhere("team/phi", tmp_path, HF_ENDPOINT=hub)["status"] == "warning"
    assert check_elsewhere("team/phi", tmp_path, HF_HUB_OFFLINE="1")["status"] == "failed"


@pytest.mark.parametrize("name", ["nobody/nothing", "no such name"])
@pytest.mark.parametrize("offline", ["0", "1"])
def test_an_unknown_name_fails_with_the_remedy(
    hub: str, tmp_path: Path, name: str, offline: str
) -> None:
    check = check_elsewhere(name, tmp_path, HF_ENDPOINT=hub, HF_HUB_OFFLINE=offline)
    assert (check["status"], name in check["detail"]) == ("failed", True)
    assert "HF_TOKEN" in check["remedy"] and f"phifleet model {name}" in check["remedy"]
