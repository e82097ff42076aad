"""The endpoint on this machine: Ray started or joined, the application run, a key shown."""

from __future__ import annotations

import json
import os
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from pipelines.errors import ClusterError, SpecError
from pipelines.job.sections import Section
from pipelines.run.cluster import join_cluster, leave_cluster, metrics_addresses
from pipelines.run.screen import Screen, redirect_output
from pipelines.run.signals import StopRequests, interrupt
from serve.access.keys import ApiKey, key_digest, new_key, read_keys
from serve.app import LOGGING, applications
from serve.environment import FILES_OF_HAPROXY, settings_of
from serve.routes.feedback import feedback_storage
from serve.spec import Feedback, Keys, ServeSpec

_OWNER = "local"
_EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104
_LOOKED_EVERY_SECONDS, _HEARD_WITHIN_SECONDS = 0.5, 60
# For how long a connection is held that asks nothing: whoever asks for the page may hold one.
_KEPT_ALIVE_SECONDS = 20
# For the line that shows how to ask.
_TEXT = "Report.\\nauditor: Smith Sons"
_TASK = '{"name": "auditor", "kind": "ask", "question": "What is the auditor?"}'


def serve_locally(spec: ServeSpec, directory: Path, *, as_json: bool) -> int:
    """Serve until a signal comes; then finish what was accepted, and stop. Raises SpecError,
    ModelError, ClusterError."""
    spec = _absolute(spec, directory)
    key = None if spec.keys.file else new_key()
    if spec.keys.file:
        # the front reads them; what is wrong with them is known before an engine starts
        read_keys(Path(spec.keys.file))
    requests = StopRequests()
    requests.handle(interrupt)
    # a short path, which TMPDIR may not be
    passing_on = Path(tempfile.mkdtemp(prefix="phifleet-", dir="/tmp"))
    os.environ.update(settings_of(spec, passing_on, os.environ))
    told_there = False
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
            told_there = True
            raise
        finally:
            leave_cluster()
            if not told_there:
                shutil.rmtree(passing_on, ignore_errors=True)
    return 0


def _serve(
    spec: ServeSpec, key: str | None, screen: Screen, requests: StopRequests, *, as_json: bool
) -> None:
    from ray import serve

    keys = (ApiKey(name=_OWNER, sha256=key_digest(key)),) if key else ()
    apps = applications(spec, keys)
    targets = [
        serve.RunTarget(app, name, route_prefix="/" if name == spec.name else None)
        for name, app in apps.items()
    ]
    _must_be_ours(spec, list(apps))
    told = threading.Event()
    try:
        _start_serve(spec)
        _run(targets)
        requests.handle(lambda _: told.set())
        if not (_wait_until_ready(list(apps), told, screen) and _wait_until_heard(spec, told)):
            # nobody was told of it; what waits for room in the cluster would be waited for
            raise KeyboardInterrupt
        _tell(spec, key, screen, as_json=as_json)
        told.wait()
        screen.console.print("finishing what was accepted; stop again to leave at once")
        requests.handle(interrupt)
        _finish(*apps)
    except BaseException:
        requests.handle(interrupt)
        # a cluster that was joined would go on with them; what this meets is not what went wrong
        with suppress(Exception):
            _take_back(apps)
        raise


def _start_serve(spec: ServeSpec) -> None:
    """Raises ClusterError, and SpecError where the cluster's Ray Serve runs and listens elsewhere,
    as it goes on to do."""
    from ray import serve
    from ray.serve.context import _get_global_client

    http = spec.http
    options = {
        "host": http.host,
        "port": http.port,
        "keep_alive_timeout_s": _KEPT_ALIVE_SECONDS,
    }
    try:
        serve.start(http_options=options, logging_config=LOGGING)
    # Ray raises whatever its own processes met
    except Exception as error:
        raise ClusterError(f"Ray Serve did not start: {error}; {_where_it_is_told()}") from error
    client = _get_global_client()
    assert client is not None
    there = client.http_config
    if there.port != http.port or there.host not in (http.host, *_EVERYWHERE):
        raise SpecError(
            f"http: the cluster's Ray Serve listens at {there.host}, port {there.port}, and not at "
            f"{http.host}, port {http.port}; say --set http.host={there.host} "
            f"--set http.port={there.port}"
        )


def _run(targets: Sequence[Any]) -> None:
    """Raises SpecError where another application has the front's path."""
    from ray import serve
    from ray.serve.exceptions import RayServeException

    try:
        serve.run_many(
            targets, wait_for_ingress_deployment_creation=False, wait_for_applications_running=False
        )
    except RayServeException as error:
        raise SpecError(
            f"the cluster's Ray Serve does not take the endpoint, which answers at /: {error}"
        ) from error


def _take_back(apps: Iterable[str]) -> None:
    """Have the applications end, without waiting for it."""
    from ray import serve

    for name in apps:
        serve.delete(name, _blocking=False)


def _finish(front: str, *pools: str) -> None:
    """Let the front answer what it accepted, for as long as its replicas are given to drain, then
    end the pools, and only then what takes requests: Ray Serve's own shutdown begins with that."""
    from ray import serve

    for names in ((front,), pools):
        _take_back(names)
        while not serve.status().applications.keys().isdisjoint(names):
            time.sleep(_LOOKED_EVERY_SECONDS)
    if not serve.status().applications:
        # a cluster that was joined may have others
        serve.shutdown()  # type: ignore[no-untyped-call]  # as Ray ships it


def _must_be_ours(spec: ServeSpec, apps: Sequence[str]) -> None:
    """Raises SpecError where the endpoint would take what is another's: its applications, or the
    port that it listens at, which Ray Serve would share, so that each gets some of the other's
    requests."""
    from ray import serve

    status = serve.status()
    if there := status.applications.keys() & set(apps):
        raise SpecError(
            f"name: the cluster runs {', '.join(sorted(there))} already; end it first: "
            "serve shutdown"
        )
    if status.proxies:
        # Ray Serve listens already
        return
    http = spec.http
    family = socket.AF_INET6 if ":" in http.host else socket.AF_INET
    with socket.socket(family) as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind((http.host, http.port))
        except OSError as error:
            raise SpecError(
                f"http: cannot listen at {http.host}, port {http.port}: {error.strerror}; "
                "choose another, as by --set http.port=8001"
            ) from error


def _absolute(spec: ServeSpec, directory: Path) -> ServeSpec:
    """With paths that mean the same in every process: the keys beside the serve file, feedback as
    a job's output."""
    changed: dict[str, Section] = {}
    if spec.keys.file is not None:
        changed["keys"] = Keys(file=str((directory / spec.keys.file).resolve()))
    if spec.feedback is not None:
        changed["feedback"] = Feedback(path=feedback_storage(spec.feedback.path).url)
    return spec.model_copy(update=changed)


def _wait_until_ready(apps: Sequence[str], told: threading.Event, screen: Screen) -> bool:
    """Whether it got ready before it was to stop; what it waits for is shown. Raises ClusterError
    where it never will."""
    from ray import serve

    waits_for: set[str] = set()
    while not told.wait(_LOOKED_EVERY_SECONDS):
        status = serve.status().applications
        found = [status[name] for name in apps]
        for each in found:
            reasons = {name: part.message for name, part in each.deployments.items()}
            if each.status in ("DEPLOY_FAILED", "UNHEALTHY"):
                told_why = " ".join(filter(None, reasons.values())) or each.message
                raise ClusterError(f"the endpoint did not start: {told_why}")
            for reason in filter(None, reasons.values()):
                # it comes after 30 s, and again with other numbers as the cluster changes
                first = reason.partition(". ")[0]
                if first not in waits_for:
                    waits_for.add(first)
                    screen.console.print(f"waiting: {reason}", soft_wrap=True)
        if all(each.status == "RUNNING" for each in found):
            return True
    return False


def _wait_until_heard(spec: ServeSpec, told: threading.Event) -> bool:
    """Whether requests come through before it is to stop: what passes them on learns of a front a
    moment after it is there. Raises ClusterError where they do not. Of several nodes, one without
    a front is not heard."""
    if len(metrics_addresses()) > 1:
        return True
    until = time.monotonic() + _HEARD_WITHIN_SECONDS
    while not _hears(spec):
        if told.wait(_LOOKED_EVERY_SECONDS):
            return False
        if time.monotonic() > until:
            raise ClusterError(
                f"the endpoint runs, but nothing comes through at {_url(spec)}; "
                f"{_where_it_is_told()}"
            )
    return True


def _where_it_is_told() -> str:
    told = "what passes requests on writes to /tmp/ray/session_latest/logs/serve"
    own = os.environ.get(FILES_OF_HAPROXY)
    return f"{told}, and HAProxy to {Path(own).parent}" if own else told


def _hears(spec: ServeSpec) -> bool:
    asking = HTTPConnection(spec.http.host, spec.http.port, timeout=5)
    try:
        asking.request("GET", "/healthz")
        return asking.getresponse().status == HTTPStatus.OK
    except (OSError, HTTPException):
        return False
    finally:
        asking.close()


def _url(spec: ServeSpec) -> str:
    host = spec.http.host
    return f"http://{f'[{host}]' if ':' in host else host}:{spec.http.port}"


def _tell(spec: ServeSpec, key: str | None, screen: Screen, *, as_json: bool) -> None:
    """Where it is, a key where it was made here, and how to ask."""
    url = _url(spec)
    if as_json:
        told = {
            "url": url,
            "key": key,
            "model": spec.model.name,
            "metrics": metrics_addresses(),
        }
        print(json.dumps(told), file=screen.results, flush=True)
        return
    console = screen.console
    answers = f"{spec.model.name} answers at {url}; a page to try it is there"
    console.print(answers, style="bold", soft_wrap=True)
    for address in metrics_addresses():
        console.print(f"metrics are at {address}", soft_wrap=True)
    if key:
        console.print(f"a key, shown this once: {key}", style="bold", soft_wrap=True)
    asked = f'"{spec.tasks[0].name}"' if spec.tasks else _TASK
    console.print(
        f"""
curl {url}/v1/documents \\
  -H 'Authorization: Bearer {key or "YOUR_KEY"}' \\
  -H 'Content-Type: application/json' \\
  -d '{{"text": "{_TEXT}", "tasks": [{asked}]}}'
""",
        soft_wrap=True,
    )
