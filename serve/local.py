"""The endpoint on this machine: Ray started or joined, the application run, a key shown."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
from pathlib import Path

from pipelines.cluster import join_cluster, leave_cluster
from pipelines.errors import ClusterError
from pipelines.jobfile import Section
from pipelines.storage import Storage
from serve.app import application
from serve.keys import Key, digest, new_key
from serve.spec import Feedback, Keys, ServeSpec

_OWNER = "local"
_TEXT = "Report.\\nAuditor: Smith & Sons"
# A front takes none, Serve's own actors take none; an engine takes what the file says.
_LEAST_CPUS = 2


def serve_here(spec: ServeSpec, directory: Path, *, as_json: bool) -> int:
    """Serve until a signal comes; then finish what was accepted, and stop. Raises SpecError,
    ModelError, ClusterError."""
    spec = _absolute(spec, directory)
    key = None if spec.keys.file else new_key()
    keys = (Key(name=_OWNER, sha256=digest(key)),) if key else ()
    told = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: told.set())
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
    os.environ.setdefault("RAY_SERVE_LOG_TO_STDERR", "0")
    print("phifleet: starting Ray and the engines (a minute on a CPU)", file=sys.stderr)
    join_cluster()
    from ray import serve

    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    try:
        serve.start(http_options={"host": spec.http.host, "port": spec.http.port})
        serve.run_many(
            [serve.RunTarget(application(spec, keys), name=spec.name)],
            wait_for_ingress_deployment_creation=False,
            wait_for_applications_running=False,
        )
        if not _wait_until_ready(spec, told):
            return 0
        _tell(spec, key, as_json)
        told.wait()
        print("phifleet: finishing what was accepted; stop again to leave at once", file=sys.stderr)
        signal.signal(signal.SIGINT, lambda *_: os._exit(3))
        serve.shutdown()  # type: ignore[no-untyped-call]  # as Ray ships it
    finally:
        leave_cluster()
    return 0


def _absolute(spec: ServeSpec, directory: Path) -> ServeSpec:
    """With paths that mean the same in every process: the keys beside the serve file, feedback as
    a job's output."""
    changed: dict[str, Section] = {}
    if spec.keys.file is not None:
        changed["keys"] = Keys(file=str((directory / spec.keys.file).resolve()))
    if spec.feedback is not None:
        changed["feedback"] = Feedback(path=Storage(spec.feedback.path).url)
    return spec.model_copy(update=changed)


def _wait_until_ready(spec: ServeSpec, told: threading.Event) -> bool:
    """Whether it got ready before it was to stop. Raises ClusterError where it never will."""
    from ray import serve

    while not told.wait(0.5):
        found = serve.status().applications[spec.name]
        if found.status == "RUNNING":
            return True
        if found.status in ("DEPLOY_FAILED", "UNHEALTHY"):
            reasons = [each.message for each in found.deployments.values() if each.message]
            raise ClusterError(f"the endpoint did not start: {' '.join(reasons) or found.message}")
    return False


def _tell(spec: ServeSpec, key: str | None, as_json: bool) -> None:
    """Where it is, a key where it was made here, and how to ask."""
    url = f"http://{spec.http.host}:{spec.http.port}"
    if as_json:
        print(json.dumps({"url": url, "key": key, "model": spec.model.name}), flush=True)
        return
    task = spec.tasks[0].name if spec.tasks else None
    asked = (
        f'"{task}"'
        if task
        else '{"name": "auditor", "kind": "ask", "question": "What is the Auditor?"}'
    )
    print(f"phifleet: {spec.model.name} answers at {url}", file=sys.stderr)
    if key:
        print(f"phifleet: a key, shown this once: {key}", file=sys.stderr)
    print(
        f"""
curl {url}/v1/documents -H 'Authorization: Bearer {key or "YOUR_KEY"}' \\
  -H 'Content-Type: application/json' \\
  -d '{{"text": "{_TEXT}", "tasks": [{asked}]}}'
""",
        flush=True,
    )
