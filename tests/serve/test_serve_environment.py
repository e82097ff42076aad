"""Tests of the environment of Ray Serve's processes, and of the end of HAProxy."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest

from pipelines.errors import SpecError
from serve import haproxy
from serve.environment import check_haproxy_timeouts, settings_of, write_haproxy_command
from serve.spec import parse_serve


@pytest.mark.parametrize(
    ("host", "by_haproxy"),
    [("127.0.0.1", "1"), ("0.0.0.0", "1"), ("127.0.0.2", "0"), ("::1", "0")],  # noqa: S104
)
def test_haproxy_is_used_only_for_hosts_where_it_finds_the_front(
    tmp_path: Path, host: str, by_haproxy: str
) -> None:
    # the environment cannot turn it on for another host
    for environ in ({}, {"RAY_SERVE_ENABLE_HA_PROXY": "1"}):
        settings = settings_of(parse_serve({"http": {"host": host}}), tmp_path, environ)
        assert settings["RAY_SERVE_ENABLE_HA_PROXY"] == by_haproxy
        assert ("RAY_SERVE_HAPROXY_STATS_PORT" in settings) == (by_haproxy == "1")
    without = settings_of(parse_serve({}), tmp_path, {"RAY_SERVE_ENABLE_HA_PROXY": "0"})
    assert without["RAY_SERVE_ENABLE_HA_PROXY"] == "0"
    assert without["RAY_SERVE_ENABLE_DIRECT_INGRESS"] == "0"


def test_variables_that_are_set_keep_their_values(tmp_path: Path) -> None:
    environ = {"RAY_SERVE_HAPROXY_STATS_PORT": "8404", "OTHER": "1"}
    settings = settings_of(parse_serve({}), tmp_path, environ)
    assert settings["RAY_SERVE_HAPROXY_STATS_PORT"] == "8404"
    assert "OTHER" not in settings


def test_haproxy_has_private_files_and_ports_and_cuts_off_no_answer() -> None:
    limits = {"request_seconds": 1800, "body_seconds": 60}
    spec = parse_serve({"limits": limits})
    # the kind of directory that `phifleet serve` makes
    with tempfile.TemporaryDirectory(prefix="phifleet-", dir="/tmp") as directory:
        settings = settings_of(spec, Path(directory), {})
        files = Path(settings["RAY_SERVE_HAPROXY_SOCKET_PATH"]).parent
        assert files.stat().st_mode & 0o077 == 0
    ports = [settings[name] for name in settings if name.endswith("_PORT")]
    assert len(set(ports)) == len(ports) == 3
    socket = settings["RAY_SERVE_HAPROXY_SOCKET_PATH"]
    assert socket.startswith(directory)
    # Ray adds a node's id and, for a moment, a process's id; Linux allows 107 bytes
    assert len(socket) + len(f"/{'0' * 56}.1234567.tmp") <= 107
    hard_stop = settings["RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S"]
    assert float(hard_stop) >= spec.limits.drain_seconds
    # longer than a body may take, but not much: a client that stops in its body keeps a connection
    assert 60 < float(settings["RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S"]) < 70


def test_a_cluster_whose_haproxy_cuts_answers_off_is_an_error() -> None:
    spec = parse_serve({"limits": {"request_seconds": 1800, "body_seconds": 60}})
    needed = spec.limits.drain_seconds
    check_haproxy_timeouts(spec, {})
    check_haproxy_timeouts(spec, {"RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S": str(needed)})
    with pytest.raises(
        SpecError,
        match=r"limits\.request_seconds: .* 1890 s, and RAY_SERVE_HAPROXY_HARD\w+ is 690; set this",
    ):
        check_haproxy_timeouts(spec, {"RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S": "690"})


def test_a_limit_of_connections_that_is_not_a_number_is_an_error_before_the_start(
    tmp_path: Path,
) -> None:
    environ = {"PHIFLEET_CONNECTIONS_PER_SOURCE": "a few"}
    with pytest.raises(
        SpecError, match="PER_SOURCE: the environment variable is 'a few', must be a whole number"
    ):
        settings_of(parse_serve({}), tmp_path, environ)


def test_a_haproxy_named_by_the_environment_gets_the_limits_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = str(Path("/bin/true").resolve())
    monkeypatch.setenv("RAY_SERVE_HAPROXY_BINARY_PATH", named)
    settings = settings_of(parse_serve({}), tmp_path, os.environ)
    command = Path(settings["RAY_SERVE_HAPROXY_BINARY_PATH"])
    assert command.parent == tmp_path
    assert f"{haproxy.__file__} {named}" in command.read_text()


def test_ray_reads_every_variable_that_is_set(tmp_path: Path) -> None:
    """Ray ignores a variable that it does not know, so a renamed one would have no effect."""
    package = find_spec("ray")
    assert package is not None and package.submodule_search_locations
    private = Path(package.submodule_search_locations[0]) / "serve/_private"
    source = "".join(path.read_text() for path in private.glob("*.py"))
    settings = settings_of(parse_serve({}), tmp_path, {})
    assert [name for name in settings if f'"{name}"' not in source] == ["VLLM_LOGGING_LEVEL"]


def test_a_command_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    sleep = shutil.which("sleep")
    assert sleep is not None
    command = write_haproxy_command(sleep, tmp_path)
    program = (
        f"import subprocess as s; p = s.Popen([{str(command)!r}, '300']); print(p.pid); p.wait()"
    )
    parent = subprocess.Popen([sys.executable, "-uc", program], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = psutil.Process(int(parent.stdout.readline()))
    until = time.monotonic() + 30
    while child.name() != "sleep" and time.monotonic() < until:
        time.sleep(0.01)
    assert child.is_running()
    parent.kill()
    parent.wait()
    parent.stdout.close()
    gone, _ = psutil.wait_procs([child], timeout=30)
    assert gone == [child]
