"""Waiting for a started endpoint, until its engines run and its address answers.

Both functions return early if the user stops the endpoint in the meantime.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from pipelines.errors import ClusterError
from pipelines.run.cluster import metrics_addresses
from pipelines.run.screen import Screen
from serve.environment import HAPROXY_SOCKET_VARIABLE
from serve.spec import Http

_POLL_SECONDS, _REACHABLE_WITHIN_SECONDS = 0.5, 60


def wait_until_running(apps: Sequence[str], stop: threading.Event, screen: Screen) -> bool:
    """Wait until the applications with the names `apps` run, and return True; return False if
    `stop` is set before.

    Prints what Ray Serve reports as missing, such as CPUs or GPUs. Raises ClusterError if an
    application failed to deploy or is unhealthy.
    """
    from ray import serve

    printed: set[str] = set()
    while not stop.wait(_POLL_SECONDS):
        applications = serve.status().applications
        statuses = [applications[name] for name in apps]
        for status in statuses:
            messages = {
                name: part.message for name, part in status.deployments.items() if part.message
            }
            if status.status in ("DEPLOY_FAILED", "UNHEALTHY"):
                reasons = [f"{name}: {message}" for name, message in messages.items()]
                raise ClusterError(
                    f"the endpoint did not start: {'; '.join(reasons) or status.message}; remove "
                    f"the cause and start it again; {logs_hint()}"
                )
            for message in messages.values():
                # Ray Serve reports after 30 s, and again with other numbers when the cluster
                # changes: only the first sentence tells whether it is a new reason
                sentence = message.partition(". ")[0]
                if sentence not in printed:
                    printed.add(sentence)
                    screen.console.print(f"waiting: {message}", soft_wrap=True)
        if all(status.status == "RUNNING" for status in statuses):
            return True
    return False


def wait_until_reachable(http: Http, stop: threading.Event) -> bool:
    """Wait until the endpoint answers at the address of `http`, and return True; return False if
    `stop` is set before.

    The proxy receives the front's address a moment after the front has started. Raises ClusterError
    if there is no answer within a minute. On a cluster of several nodes, returns True at once: the
    proxy of this node may have no front to send requests to.
    """
    if len(metrics_addresses()) > 1:
        return True
    until = time.monotonic() + _REACHABLE_WITHIN_SECONDS
    while not _is_healthy(http):
        if stop.wait(_POLL_SECONDS):
            return False
        if time.monotonic() > until:
            raise ClusterError(
                f"the endpoint runs, but {http.url}/healthz did not answer within "
                f"{_REACHABLE_WITHIN_SECONDS} s; {logs_hint()}"
            )
    return True


def logs_hint() -> str:
    """Return the end of an error message: "see ..." with the places of Ray Serve's and HAProxy's
    logs."""
    hint = "see Ray Serve's logs in /tmp/ray/session_latest/logs/serve on the node that failed"
    socket = os.environ.get(HAPROXY_SOCKET_VARIABLE)
    return f"{hint}, and HAProxy's logs in {Path(socket).parent}" if socket else hint


def _is_healthy(http: Http) -> bool:
    connection = HTTPConnection(http.host, http.port, timeout=5)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == HTTPStatus.OK
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()
