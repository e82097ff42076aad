"""The endpoint on this machine: start or join Ray, run the applications, end them on a signal.

`startup` waits until requests are answered, `announcement` prints the address and a key.
"""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from pipelines.errors import ClusterError, SpecError
from pipelines.job.sections import Section
from pipelines.run.cluster import join_cluster, leave_cluster
from pipelines.run.screen import Screen, redirect_output
from pipelines.run.signals import StopRequests, interrupt
from serve.access.keys import ApiKey, key_digest, new_key, read_keys
from serve.announcement import announce
from serve.app import LOGGING, applications
from serve.environment import settings_of
from serve.routes.feedback import feedback_storage
from serve.spec import Feedback, Keys, ServeSpec
from serve.startup import logs_hint, wait_until_reachable, wait_until_running

# The name of the key that is made if the serve file names no file of keys.
_GENERATED_KEY_NAME = "local"
_ALL_ADDRESSES = ("0.0.0.0", "::")  # noqa: S104
_POLL_SECONDS = 0.5
# An idle connection is closed after this time; browsers keep one open for the page.
_KEEP_ALIVE_SECONDS = 20


def serve_locally(spec: ServeSpec, directory: Path, *, as_json: bool) -> int:
    """Run the endpoint until SIGINT or SIGTERM, finish the accepted requests, and return 0.

    Starts Ray, or joins the cluster of RAY_ADDRESS. A relative `keys.file` is resolved against
    `directory`. With `as_json`, the only output on standard output is one JSON object with the
    address and the key, once the endpoint is ready. A second signal ends the endpoint without
    waiting for requests. Raises SpecError, ModelError, ClusterError.
    """
    spec = _with_absolute_paths(spec, directory)
    key = None if spec.keys.file else new_key()
    if spec.keys.file:
        # only the front uses the keys, but a mistake in the file is to be reported before Ray and
        # the engines start
        read_keys(Path(spec.keys.file))
    requests = StopRequests()
    requests.handle(interrupt)
    # in /tmp, not in TMPDIR: the path of a Unix socket has at most 107 bytes
    haproxy_directory = Path(tempfile.mkdtemp(prefix="phifleet-", dir="/tmp"))
    os.environ.update(settings_of(spec, haproxy_directory, os.environ))
    keep_haproxy_files = False
    log = Path(tempfile.mkdtemp(prefix="phifleet-")) / "serve.log"
    with redirect_output(log) as screen:
        console = screen.console
        console.print(f"phifleet serve {spec.name}: starting; the log is {log}", soft_wrap=True)
        try:
            join_cluster()
            _serve(spec, key, screen, requests, as_json=as_json)
        except KeyboardInterrupt:
            console.print("stopped")
        except ClusterError:
            # the error message names these files
            keep_haproxy_files = True
            raise
        finally:
            leave_cluster()
            if not keep_haproxy_files:
                shutil.rmtree(haproxy_directory, ignore_errors=True)
    return 0


def _serve(
    spec: ServeSpec, key: str | None, screen: Screen, requests: StopRequests, *, as_json: bool
) -> None:
    from ray import serve

    keys = (ApiKey(name=_GENERATED_KEY_NAME, sha256=key_digest(key)),) if key else ()
    apps = applications(spec, keys)
    targets = [
        serve.RunTarget(app, name, route_prefix="/" if name == spec.name else None)
        for name, app in apps.items()
    ]
    _check_free(spec, list(apps))
    stop = threading.Event()
    try:
        _start_ray_serve(spec)
        _run(targets)
        requests.handle(lambda _: stop.set())
        if not (
            wait_until_running(list(apps), stop, screen) and wait_until_reachable(spec.http, stop)
        ):
            # the address was never announced, so there are no requests to finish
            raise KeyboardInterrupt
        announce(spec, key, screen, as_json=as_json)
        # a signal that another thread receives does not wake this one, which runs the handler
        while not stop.wait(1):
            pass
        screen.console.print("finishing accepted requests; interrupt again to stop at once")
        requests.handle(interrupt)
        _finish(*apps)
    except BaseException:
        requests.handle(interrupt)
        # a cluster that was joined would keep running the applications; an error here must not
        # replace the one that is being raised
        with suppress(Exception):
            _delete(apps)
        raise


def _start_ray_serve(spec: ServeSpec) -> None:
    """Start Ray Serve on the cluster, or use the one that runs there.

    Raises ClusterError if it does not start, and SpecError if a running one listens at another
    address than `http`, which cannot be changed.
    """
    from ray import serve
    from ray.serve.context import _get_global_client

    http = spec.http
    options = {
        "host": http.host,
        "port": http.port,
        "keep_alive_timeout_s": _KEEP_ALIVE_SECONDS,
    }
    try:
        serve.start(http_options=options, logging_config=LOGGING)
    # errors of Ray Serve's processes arrive here with their own types
    except Exception as error:
        raise ClusterError(f"Ray Serve did not start: {error}; {logs_hint()}") from error
    client = _get_global_client()
    assert client is not None
    running = client.http_config
    if running.port != http.port or running.host not in (http.host, *_ALL_ADDRESSES):
        raise SpecError(
            f"http: the cluster's Ray Serve already listens at {running.host}, port "
            f"{running.port}, and not at {http.host}, port {http.port}; add "
            f"--set http.host={running.host} --set http.port={running.port}"
        )


def _run(targets: Sequence[Any]) -> None:
    """Deploy the applications without waiting for them. Raises SpecError if Ray Serve rejects one,
    e.g. because another application has the route `/`."""
    from ray import serve
    from ray.serve.exceptions import RayServeException

    try:
        serve.run_many(
            targets, wait_for_ingress_deployment_creation=False, wait_for_applications_running=False
        )
    except RayServeException as error:
        raise SpecError(
            f"the cluster's Ray Serve rejected the endpoint, which answers at /: {error}; "
            "delete the application that has this route, or use another cluster"
        ) from error


def _delete(apps: Iterable[str]) -> None:
    """Delete the applications without waiting until they have ended."""
    from ray import serve

    for name in apps:
        serve.delete(name, _blocking=False)


def _finish(front: str, *pools: str) -> None:
    """Delete the front's application, then those of the pools, then shut Ray Serve down.

    Waits for each step. The front answers its accepted requests before it ends, and for that the
    pools and Ray Serve's proxies must still run; `serve.shutdown` would end the proxies first.
    """
    from ray import serve

    for names in ((front,), pools):
        _delete(names)
        while not serve.status().applications.keys().isdisjoint(names):
            time.sleep(_POLL_SECONDS)
    if not serve.status().applications:
        # a cluster that was joined may run other applications
        serve.shutdown()  # type: ignore[no-untyped-call]  # Ray has no types for it


def _check_free(spec: ServeSpec, apps: Sequence[str]) -> None:
    """Raise SpecError if the cluster runs applications with these names, or if another process
    listens at the endpoint's port. Ray Serve would share that port, so that each of the two
    processes would get some of the other's requests."""
    from ray import serve

    status = serve.status()
    if existing := status.applications.keys() & set(apps):
        raise SpecError(
            f"name: the cluster already runs the applications {', '.join(sorted(existing))}; "
            "choose another name, e.g. --set name=other, or end all applications of the cluster "
            "with `serve shutdown`"
        )
    if status.proxies:
        # the process that listens is the cluster's own Ray Serve
        return
    http = spec.http
    family = socket.AF_INET6 if ":" in http.host else socket.AF_INET
    with socket.socket(family) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((http.host, http.port))
        except OSError as error:
            raise SpecError(
                f"http: cannot listen at {http.host}, port {http.port}: {error.strerror}; "
                "choose another host or port, e.g. --set http.port=8001"
            ) from error


def _with_absolute_paths(spec: ServeSpec, directory: Path) -> ServeSpec:
    """Return `spec` with paths that have the same meaning in every process of the cluster.

    `keys.file` is relative to `directory`, `feedback.path` to the working directory.
    """
    changes: dict[str, Section] = {}
    if spec.keys.file is not None:
        changes["keys"] = Keys(file=str((directory / spec.keys.file).resolve()))
    if spec.feedback is not None:
        changes["feedback"] = Feedback(path=feedback_storage(spec.feedback.path).url)
    return spec.model_copy(update=changes)
