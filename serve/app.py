"""The endpoint as an application of Ray Serve: `serve.app:build` with a serve file as arguments.

One deployment answers HTTP (`front`), one holds the engines of each pool.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipelines.storage import Storage
from serve.answering import Endpoint
from serve.endpoint import make_app
from serve.feedback import FeedbackKeeper
from serve.gate import App
from serve.keys import Key, Keyring
from serve.metrics import HttpMetrics
from serve.offer import Offer
from serve.pools import ServePool
from serve.quota import Quota
from serve.replica import EngineReplica
from serve.scaling import by_tokens
from serve.spec import PoolReplicas, ServeSpec, parse_serve

FRONT = "front"
# What a request is about stands in no log.
LOGGING = {"enable_access_log": False, "log_level": "WARNING"}
# Far more than an engine runs: what one cannot take it refuses itself, by tokens.
_MOST_REQUESTS = 2048
_READY_SECONDS = 1.0
# Beyond the longest request.
_DRAIN_SECONDS = 30.0
_LOGGER = logging.getLogger("ray.serve")


def build(arguments: Mapping[str, Any]) -> Any:
    """The application of a serve file's plain data. Raises SpecError."""
    return application(parse_serve(arguments))


def application(spec: ServeSpec, keys: tuple[Key, ...] = ()) -> Any:
    """The application, with keys beside those of the file."""
    from ray import serve

    spec = Offer(spec).pinned
    drain = spec.limits.longest_seconds + _DRAIN_SECONDS
    pools = [_pool(spec, name, replicas, drain) for name, replicas in spec.pools.by_name.items()]

    def build_front() -> App:
        return _front(spec, keys)

    front = _deployment(
        # it is called where the front runs; only a function is known to be no application itself
        serve.ingress(build_front)(),
        name=FRONT,
        num_replicas=spec.http.replicas,
        max_ongoing_requests=_MOST_REQUESTS,
        graceful_shutdown_timeout_s=drain,
        # it finds room beside an engine on the smallest machine; a cluster with nodes for it says
        # so in `serveConfigV2`
        ray_actor_options={"num_cpus": 0},
    )
    return front.bind(*pools)


def _pool(spec: ServeSpec, name: str, replicas: PoolReplicas, drain: float) -> Any:
    from ray.serve.config import AutoscalingConfig, AutoscalingPolicy

    gpus = gpus_of(spec)
    deployment = _deployment(
        EngineReplica,
        name=name,
        max_ongoing_requests=_MOST_REQUESTS,
        graceful_shutdown_timeout_s=drain,
        health_check_period_s=5,
        autoscaling_config=AutoscalingConfig(
            min_replicas=replicas.min,
            max_replicas=replicas.max,
            look_back_period_s=30,
            upscale_delay_s=replicas.up_after_seconds,
            downscale_delay_s=replicas.down_after_seconds,
            policy=AutoscalingPolicy(policy_function=by_tokens),  # type: ignore[no-untyped-call]  # as Ray ships it
        ),
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


def _front(spec: ServeSpec, keys: tuple[Key, ...]) -> App:
    """The ASGI application of a replica of the front, made there."""
    from ray import serve

    app = serve.get_replica_context().app_name
    offer = Offer(spec)
    pools = {name: ServePool(serve.get_deployment_handle(name, app)) for name in offer.pools}
    file = Path(spec.keys.file) if spec.keys.file else None
    metrics = HttpMetrics(spec.name)
    return make_app(
        Endpoint(
            offer=offer,
            pools=pools,
            keyring=Keyring(keys, file, _LOGGER.error),
            quota=Quota(1 / spec.http.replicas),
            record=metrics.request,
            first_token=metrics.first_token,
            feedback=FeedbackKeeper(Storage(spec.feedback.path)) if spec.feedback else None,
            ready=_ready(app, _always_there(spec)),
        )
    )


def _always_there(spec: ServeSpec) -> list[str]:
    """The pools that never end their last engine."""
    return [name for name, replicas in spec.pools.by_name.items() if replicas.min > 0]


def _ready(app: str, pools: Sequence[str]) -> Callable[[], Awaitable[str | None]]:
    """Why the endpoint is not ready: one of these pools has no engine. Ray Serve is asked at most
    once a second."""
    known: tuple[float, str | None] = (float("-inf"), None)
    looking = asyncio.Lock()

    def look() -> str | None:
        from ray import serve

        found = serve.status().applications.get(app)
        deployments = found.deployments if found else {}
        running = {
            name: sum(count for state, count in each.replica_states.items() if state == "RUNNING")
            for name, each in deployments.items()
        }
        missing = [name for name in pools if not running.get(name)]
        return f"no engine yet in: {', '.join(missing)}" if missing else None

    async def ready() -> str | None:
        nonlocal known
        async with looking:
            if time.monotonic() - known[0] > _READY_SECONDS:
                known = (time.monotonic(), await asyncio.to_thread(look))
        return known[1]

    return ready
