"""Free ports for servers that get their port before they listen on it.

A port that the kernel chose and the caller released may be in use a moment later: the kernel gives
the same range to every outgoing connection, and Ray listens on some of it (52365). These ports come
from a range that neither the kernel nor Ray assigns, and no two processes get the same one.
"""

from __future__ import annotations

import random
import socket
from collections.abc import Iterable
from contextlib import suppress

from pipelines.errors import ClusterError

PORTS = range(20_000, 30_000)
"""The range of ports. Ray's workers use 10002 to 19999, its ingress uses 30000 to 31000, and Linux
assigns 32768 to 60999."""
_MAX_TRIES = 200
# An abstract socket name of Linux, which is not a file: only one socket can be bound to it, and the
# kernel frees it when the process ends. Like a port, it belongs to one network namespace.
_NAME = "\0phifleet-port-{}"


def free_port(ports: Iterable[int] = ()) -> int:
    """Return a TCP port on which nothing listens, and reserve it for this process.

    The port is the first free one of `ports`; if `ports` is empty, a random one in PORTS. No later
    call in any process on this machine returns it while this process runs. Raises ClusterError if
    no port is free.
    """
    candidates = list(ports) or random.sample(PORTS, _MAX_TRIES)
    for port in candidates:
        holder = _reserve(port)
        if holder is None:
            continue
        if _is_free(port):
            holder.detach()  # the descriptor stays open until the process ends
            return port
        holder.close()
    raise ClusterError(
        f"no port is free: all {len(candidates)} tried from {min(candidates)} to "
        f"{max(candidates)} of this machine are in use, or reserved by other phifleet processes; "
        "stop one of the processes that hold them"
    )


def _reserve(port: int) -> socket.socket | None:
    """Return a socket that reserves the port until it is closed, or None if another socket does."""
    holder = socket.socket(socket.AF_UNIX)
    try:
        holder.bind(_NAME.format(port))
    except OSError:
        holder.close()
        return None
    return holder


def _is_free(port: int) -> bool:
    with socket.socket() as probe, suppress(OSError):
        # as servers do: connections of an earlier server may still be in TIME_WAIT
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("", port))
        return True
    return False
