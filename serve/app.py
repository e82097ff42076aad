"""The endpoint as Ray Serve applications: an HTTP front, and one pool of engines for each kind.

A client's request reaches the *front*, a Ray Serve deployment of FastAPI processes without an
engine. It checks the request and its API key, and chooses a pool. A *pool* is a Ray Serve
deployment whose replicas own one engine each: `short` for prompts within the model's short rope
factors, `long` for longer ones. The front sends the request to a replica of that pool and returns
its answer. Ray Serve starts and stops a pool's replicas by the prompt tokens that wait for them.

On Kubernetes, `build` puts all deployments into one application (`import_path: serve.app:build`, a
serve file as its arguments), which KubeRay deploys and Ray Serve updates in place. On one machine,
`applications` makes the front and each pool separate applications, so that they can be deleted one
after the other: Ray Serve deletes all deployments of an application at once, and a front that loses
its pools at that moment could not answer the requests that it has accepted.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from pipelines.errors import SpecError
from serve.access.asgi import App
from serve.access.keys import ApiKey, Keyring
from serve.access.quota import Quota
from serve.engines.offer import PreparedEndpoint
from serve.engines.pools import RayServePool
from serve.engines.replica import EngineReplica
from serve.engines.scaling import scale_by_tokens
from serve.environment import check_haproxy_timeouts
from serve.metrics import HttpMetrics
from serve.routes.answering import EndpointContext
from serve.routes.endpoint import make_app
from serve.routes.feedback import FeedbackWriter, feedback_storage
from serve.spec import PoolReplicas, ServeSpec, parse_serve

FRONT = "front"
"""The name of the deployment that answers HTTP."""
ApplicationNamer = Callable[[str, str], str]
"""Returns the name of a pool's application, from the front's application and the pool's name."""
LOGGING = {"enable_access_log": False, "log_level": "WARNING"}
"""Ray Serve's log settings. The access log is off, because it would hold what clients send."""
# More than one engine runs concurrently, so that Ray Serve never queues requests itself: an engine
# limits its load by prompt tokens (serve/engines/load.py).
_MAX_ONGOING_REQUESTS = 2048
_READY_SECONDS, _READY_WAIT_SECONDS = 1.0, 5.0
_LOGGER = logging.getLogger("ray.serve")


def build(arguments: Mapping[str, Any]) -> Any:
    """Return one Ray Serve application with the front and all pools.

    `arguments` is the plain data of a serve file; `keys.file` is required. Raises SpecError if the
    data is invalid, or if HAProxy's timeouts in this process's environment are shorter than the
    time that the data's `limits` allow a request; ModelError if the model cannot be found.
    """
    spec = parse_serve(arguments)
    if spec.keys.file is None:
        raise SpecError(
            "keys.file: missing, must name a file of API keys (only the command `phifleet serve` "
            "can make a key itself); `phifleet serve --new-key NAME` prints a key and its line for "
            "the file"
        )
    check_haproxy_timeouts(spec, os.environ)
    spec = PreparedEndpoint(spec).pinned
    return _front_deployment(spec, (), _same_application).bind(*_pools(spec).values())


def applications(spec: ServeSpec, keys: tuple[ApiKey, ...]) -> dict[str, Any]:
    """Return the front and each pool as separate Ray Serve applications, by name, the front first.

    The front accepts `keys` in addition to those of the file `keys.file`. With separate
    applications the caller can delete the front before the pools: the front keeps using the pools
    until it has answered the requests that it accepted. Raises SpecError, ModelError.
    """
    spec = PreparedEndpoint(spec).pinned
    ingress = _deployment(PoolIngress, name="ingress", ray_actor_options={"num_cpus": 0})
    pools = {
        _separate_application(spec.name, name): ingress.bind(pool)
        for name, pool in _pools(spec).items()
    }
    return {spec.name: _front_deployment(spec, keys, _separate_application).bind(), **pools}


class PoolIngress:
    """A placeholder that never receives a request: the ingress of a pool's own application.

    Ray Serve requires an ingress, the deployment that receives requests from outside. A pool has
    no such requests: the front calls the pool's deployment directly, by its handle.
    """

    def __init__(self, engines: Any) -> None:
        """`engines` is the pool's deployment; binding it here adds it to the application."""


def _same_application(app: str, pool: str) -> str:
    return app


def _separate_application(app: str, pool: str) -> str:
    return f"{app}-{pool}"


def _front_deployment(
    spec: ServeSpec, keys: tuple[ApiKey, ...], application_of: ApplicationNamer
) -> Any:
    from ray import serve

    def build_front() -> App:
        return _front(spec, keys, application_of)

    return _deployment(
        # Ray Serve calls a function in the front's process, but takes other callables for an ASGI
        # application
        serve.ingress(build_front)(),
        name=FRONT,
        num_replicas=spec.http.replicas,
        max_ongoing_requests=_MAX_ONGOING_REQUESTS,
        graceful_shutdown_timeout_s=spec.limits.drain_seconds,
        # no CPU is reserved, so that the front fits on the smallest machine in addition to an
        # engine; `serveConfigV2` sets the CPUs for a cluster with nodes for the front
        ray_actor_options={"num_cpus": 0},
    )


def _pools(spec: ServeSpec) -> dict[str, Any]:
    return {name: _pool(spec, name, replicas) for name, replicas in spec.pools.by_name.items()}


def _pool(spec: ServeSpec, name: str, replicas: PoolReplicas) -> Any:
    from ray.serve.config import AutoscalingConfig, AutoscalingPolicy, RequestRouterConfig

    from serve.engines.routing import ROUTING_STATS_PERIOD_SECONDS, CapacityRouter

    gpus = gpus_per_engine(spec)
    router: dict[str, Any] = {
        "request_router_class": CapacityRouter,
        "request_routing_stats_period_s": ROUTING_STATS_PERIOD_SECONDS,
    }
    deployment = _deployment(
        EngineReplica,
        name=name,
        max_ongoing_requests=_MAX_ONGOING_REQUESTS,
        graceful_shutdown_timeout_s=spec.limits.drain_seconds,
        health_check_period_s=5,
        autoscaling_config=AutoscalingConfig(
            min_replicas=replicas.min,
            max_replicas=replicas.max,
            look_back_period_s=30,
            upscale_delay_s=replicas.up_after_seconds,
            downscale_delay_s=replicas.down_after_seconds,
            policy=AutoscalingPolicy(policy_function=scale_by_tokens),  # type: ignore[no-untyped-call]  # Ray has no types for it
        ),
        request_router_config=RequestRouterConfig(**router),
        ray_actor_options={"num_cpus": spec.compute.cpus_per_replica, "num_gpus": gpus},
    )
    return deployment.bind(spec, name, gpus > 0)


def _deployment(target: Any, **options: Any) -> Any:
    """Return `target` as a deployment. Ray's type hints cover only the use as a decorator."""
    from ray import serve

    deployment: Any = serve.deployment(target, logging_config=LOGGING, **options)
    return deployment


def gpus_per_engine(spec: ServeSpec) -> float:
    """Return the GPUs that Ray reserves for one engine.

    This is `compute.gpus_per_replica`; for `auto` it is `compute.tensor_parallel` if the cluster
    has GPUs, and 0 if it has none or if this process has not joined a cluster.
    """
    gpus = spec.compute.gpus_per_replica
    if gpus != "auto":
        return float(gpus)
    import ray

    resources = ray.cluster_resources() if ray.is_initialized() else {}  # type: ignore[no-untyped-call]  # Ray has no types for it
    return float(spec.compute.tensor_parallel) if resources.get("GPU") else 0.0


def _front(spec: ServeSpec, keys: tuple[ApiKey, ...], application_of: ApplicationNamer) -> App:
    """Return the ASGI application of one front replica. Runs in that replica's process."""
    from ray import serve

    prepared = PreparedEndpoint(spec)
    front_app = serve.get_replica_context().app_name
    apps = {name: application_of(front_app, name) for name in prepared.pools}
    pools = {
        name: RayServePool(serve.get_deployment_handle(name, app)) for name, app in apps.items()
    }
    file = Path(spec.keys.file) if spec.keys.file else None
    metrics = HttpMetrics(spec.name)
    writer = FeedbackWriter(feedback_storage(spec.feedback.path)) if spec.feedback else None
    return make_app(
        EndpointContext(
            prepared=prepared,
            pools=pools,
            keyring=Keyring(keys, file, _LOGGER.error),
            quota=Quota(1 / spec.http.replicas),
            record=metrics.request,
            first_token=metrics.first_token,
            feedback=writer,
            ready=readiness({name: apps[name] for name in _permanent_pools(spec)}),
        )
    )


def _permanent_pools(spec: ServeSpec) -> list[str]:
    """Return the pools that are never scaled down to zero engines."""
    return [name for name, replicas in spec.pools.by_name.items() if replicas.min > 0]


def readiness(apps: Mapping[str, str]) -> Callable[[], Awaitable[str | None]]:
    """Return an async function that returns None if the endpoint is ready, else the reason.

    `apps` maps names of pools to names of their applications. The endpoint is ready if each of
    these pools has a running engine. Ray Serve's status is requested at most once a second, and
    never twice concurrently, because it does not answer while the head node is unreachable; after
    5 s without an answer the endpoint is reported as not ready.
    """
    began = float("-inf")
    lookup: asyncio.Task[str | None] | None = None

    def look_up() -> str | None:
        from ray import serve

        status = serve.status().applications
        missing = [name for name, app in apps.items() if not _has_engine(status.get(app), name)]
        names = ", ".join(missing)
        return f"No engine is running in: {names}. Wait until one has started." if missing else None

    async def ready() -> str | None:
        nonlocal began, lookup
        if lookup is None or (lookup.done() and time.monotonic() - began > _READY_SECONDS):
            began = time.monotonic()
            lookup = asyncio.create_task(asyncio.to_thread(look_up))
            # read the exception even if every caller has timed out, or asyncio logs it as lost
            lookup.add_done_callback(lambda done: done.cancelled() or done.exception())
        try:
            return await asyncio.wait_for(asyncio.shield(lookup), _READY_WAIT_SECONDS)
        except TimeoutError:
            return (
                f"Ray Serve did not report its engines within {_READY_WAIT_SECONDS:g} s. Try "
                "again; if this lasts, check the cluster's head node."
            )

    return ready


def _has_engine(app: Any, pool: str) -> bool:
    deployment = app.deployments.get(pool) if app else None
    states = deployment.replica_states if deployment else {}
    return any(state == "RUNNING" and count for state, count in states.items())
