"""Free ports for servers of this machine that are told theirs before they listen.

A port that the kernel chose may be another's a moment later: it hands the same ones to every
connection, and Ray listens at some of them (52365). These are drawn from where neither the kernel
nor Ray takes any, and no two processes draw the same.
"""

from __future__ import annotations

import random
import socket
from collections.abc import Iterable
from contextlib import suppress

from pipelines.errors import ClusterError

# Below, Ray's workers have 10002 to 19999; above, its fronts have 30000 to 31000, and Linux gives
# out 32768 to 60999 by itself.
PORTS = range(20_000, 30_000)
_TRIED = 200
# A name of Linux that is no file: of one holder, and nobody's when its process ends. Like ports, it
# is known within one network namespace.
_NAME = "\0phifleet-port-{}"
_held: list[socket.socket] = []


def free_port(ports: Iterable[int] = ()) -> int:
    """Return a port that nothing listens on and that no other process, nor this one, is given as
    long as this process lives: the first of `ports`, or any. Raises ClusterError."""
    wanted = list(ports) or random.sample(PORTS, _TRIED)
    for port in wanted:
        holder = _hold(port)
        if holder is None:
            continue
        if _is_free(port):
            _held.append(holder)
            return port
        holder.close()
    raise ClusterError(
        f"none of {len(wanted)} ports from {min(wanted)} to {max(wanted)} of this machine is free; "
        "end what listens there"
    )


def _hold(port: int) -> socket.socket | None:
    """What keeps others from giving out the port, or None where another does already."""
    holder = socket.socket(socket.AF_UNIX)
    try:
        holder.bind(_NAME.format(port))
    except OSError:
        holder.close()
        return None
    return holder


def _is_free(port: int) -> bool:
    with socket.socket() as probe, suppress(OSError):
        # as servers do, also where connections of the last one linger
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("", port))
        return True
    return False
