"""The endpoint as an application of Ray Serve: `serve.app:build` with a serve file as arguments. On
one machine the front and the pools are applications of their own.

One deployment answers HTTP (`front`), one holds the engines of each pool.
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
AppOf = Callable[[str, str], str]
"""The application of a pool, by the front's and the pool's name."""
# What a request is about stands in no log.
LOGGING = {"enable_access_log": False, "log_level": "WARNING"}
# Far more than an engine runs: what one cannot take it refuses itself, by tokens.
_MOST_REQUESTS = 2048
_READY_SECONDS, _READY_WAIT_SECONDS = 1.0, 5.0
_LOGGER = logging.getLogger("ray.serve")


def build(arguments: Mapping[str, Any]) -> Any:
    """The application of a serve file's plain data. Raises SpecError."""
    spec = parse_serve(arguments)
    if spec.keys.file is None:
        raise SpecError("keys.file: missing, must be given: only `phifleet serve` makes a key")
    check_haproxy_timeouts(spec, os.environ)
    spec = PreparedEndpoint(spec).pinned
    return _front_deployment(spec, (), _together).bind(*_pools(spec).values())


def applications(spec: ServeSpec, keys: tuple[ApiKey, ...]) -> dict[str, Any]:
    """The front, with keys beside those of the file, and each pool as an application of its own, by
    name, the front first. Ray Serve ends all that is in an application at once; of these the front
    can be ended first, and asks the pools until it has answered what it accepted."""
    spec = PreparedEndpoint(spec).pinned
    door = _deployment(PassthroughIngress, name="door", ray_actor_options={"num_cpus": 0})
    pools = {_apart(spec.name, name): door.bind(pool) for name, pool in _pools(spec).items()}
    return {spec.name: _front_deployment(spec, keys, _apart).bind(), **pools}


class PassthroughIngress:
    """What a pool's own application begins with: Ray Serve has its own ways to where requests from
    outside would come in, and here none do."""

    def __init__(self, engines: Any) -> None:
        """Their handle is all that there is to an application."""


def _together(app: str, pool: str) -> str:
    return app


def _apart(app: str, pool: str) -> str:
    return f"{app}-{pool}"


def _front_deployment(spec: ServeSpec, keys: tuple[ApiKey, ...], app_of: AppOf) -> Any:
    from ray import serve

    def build_front() -> App:
        return _front(spec, keys, app_of)

    return _deployment(
        # it is called where the front runs; only a function is known to be no application itself
        serve.ingress(build_front)(),
        name=FRONT,
        num_replicas=spec.http.replicas,
        max_ongoing_requests=_MOST_REQUESTS,
        graceful_shutdown_timeout_s=spec.limits.drain_seconds,
        # it finds room beside an engine on the smallest machine; a cluster with nodes for it says
        # so in `serveConfigV2`
        ray_actor_options={"num_cpus": 0},
    )


def _pools(spec: ServeSpec) -> dict[str, Any]:
    return {name: _pool(spec, name, replicas) for name, replicas in spec.pools.by_name.items()}


def _pool(spec: ServeSpec, name: str, replicas: PoolReplicas) -> Any:
    from ray.serve.config import AutoscalingConfig, AutoscalingPolicy, RequestRouterConfig

    from serve.engines.routing import ROUTING_STATS_PERIOD_SECONDS, CapacityRouter

    gpus = gpus_of(spec)
    router: dict[str, Any] = {
        "request_router_class": CapacityRouter,
        "request_routing_stats_period_s": ROUTING_STATS_PERIOD_SECONDS,
    }
    deployment = _deployment(
        EngineReplica,
        name=name,
        max_ongoing_requests=_MOST_REQUESTS,
        graceful_shutdown_timeout_s=spec.limits.drain_seconds,
        health_check_period_s=5,
        autoscaling_config=AutoscalingConfig(
            min_replicas=replicas.min,
            max_replicas=replicas.max,
            look_back_period_s=30,
            upscale_delay_s=replicas.up_after_seconds,
            downscale_delay_s=replicas.down_after_seconds,
            policy=AutoscalingPolicy(policy_function=scale_by_tokens),  # type: ignore[no-untyped-call]  # as Ray ships it
        ),
        request_router_config=RequestRouterConfig(**router),
        ray_actor_options={"num_cpus": spec.compute.cpus_per_replica, "num_gpus": gpus},
    )
    return deployment.bind(spec, name, gpus > 0)


def _deployment(target: Any, **options: Any) -> Any:
    """Ray's types know only its use as a decorator."""
    from ray import serve

    made: Any = serve.deployment(target, logging_config=LOGGING, **options)
    return made


def gpus_of(spec: ServeSpec) -> float:
    """GPUs of one engine: what the file says, or as many as it is spread over where there are
    any."""
    wanted = spec.compute.gpus_per_replica
    if wanted != "auto":
        return float(wanted)
    import ray

    found = ray.cluster_resources() if ray.is_initialized() else {}  # type: ignore[no-untyped-call]  # as Ray ships it
    return float(spec.compute.tensor_parallel) if found.get("GPU") else 0.0


def _front(spec: ServeSpec, keys: tuple[ApiKey, ...], app_of: AppOf) -> App:
    """The ASGI application of a replica of the front, made there."""
    from ray import serve

    offer = PreparedEndpoint(spec)
    own = serve.get_replica_context().app_name
    apps = {name: app_of(own, name) for name in offer.pools}
    pools = {
        name: RayServePool(serve.get_deployment_handle(name, app)) for name, app in apps.items()
    }
    file = Path(spec.keys.file) if spec.keys.file else None
    metrics = HttpMetrics(spec.name)
    writer = FeedbackWriter(feedback_storage(spec.feedback.path)) if spec.feedback else None
    return make_app(
        EndpointContext(
            prepared=offer,
            pools=pools,
            keyring=Keyring(keys, file, _LOGGER.error),
            quota=Quota(1 / spec.http.replicas),
            record=metrics.request,
            first_token=metrics.first_token,
            feedback=writer,
            ready=readiness({name: apps[name] for name in _always_there(spec)}),
        )
    )


def _always_there(spec: ServeSpec) -> list[str]:
    """The pools that never end their last engine."""
    return [name for name, replicas in spec.pools.by_name.items() if replicas.min > 0]


def readiness(apps: Mapping[str, str]) -> Callable[[], Awaitable[str | None]]:
    """Why the endpoint is not ready: one of these pools, each with its application, has no engine.
    Ray Serve is asked at most once a second, and once at a time: it may not answer for as long as
    its head is away."""
    began = float("-inf")
    looking: asyncio.Task[str | None] | None = None

    def look() -> str | None:
        from ray import serve

        found = serve.status().applications
        missing = [name for name, app in apps.items() if not _has_engine(found.get(app), name)]
        return f"no engine yet in: {', '.join(missing)}" if missing else None

    async def ready() -> str | None:
        nonlocal began, looking
        if looking is None or (looking.done() and time.monotonic() - began > _READY_SECONDS):
            began = time.monotonic()
            looking = asyncio.create_task(asyncio.to_thread(look))
            # what it raises is told to who still waits
            looking.add_done_callback(lambda done: done.cancelled() or done.exception())
        try:
            return await asyncio.wait_for(asyncio.shield(looking), _READY_WAIT_SECONDS)
        except TimeoutError:
            return "Ray Serve does not tell which engines there are"

    return ready


def _has_engine(app: Any, pool: str) -> bool:
    deployment = app.deployments.get(pool) if app else None
    states = deployment.replica_states if deployment else {}
    return any(state == "RUNNING" and count for state, count in states.items())
