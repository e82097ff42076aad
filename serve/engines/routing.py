"""The request router of a pool: it prefers engines with free capacity.

Ray Serve's default router counts the requests of each replica. But an engine with two long
documents has more work than one with three short chats, and the default router would send it
requests that it has to reject.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from ray.serve.request_router import FIFOMixin, PendingRequest, RequestRouter, RunningReplica

from serve.engines.replica import FULL

ROUTING_STATS_PERIOD_SECONDS = 1.0
"""The interval, in seconds, at which replicas report whether they are full."""


class CapacityRouter(FIFOMixin, RequestRouter):
    """Sends a request to a replica with free capacity, or to a full one if all are full."""

    async def choose_replicas(
        self,
        candidate_replicas: list[RunningReplica],
        pending_request: PendingRequest | None = None,
    ) -> list[list[RunningReplica]]:
        """Return up to two random replicas with free capacity, then up to two full ones.

        Ray Serve calls this. It tries the groups in order, and takes the replica of a group that
        has fewer requests.
        """
        if pending_request is not None:
            # wait before the next attempt if no replica accepts the request
            pending_request.routing_context.should_backoff = True
        full = [replica for replica in candidate_replicas if replica.routing_stats.get(FULL)]
        free = [replica for replica in candidate_replicas if not replica.routing_stats.get(FULL)]
        return [_two_of(replicas) for replicas in (free, full) if replicas]


def _two_of(replicas: Sequence[RunningReplica]) -> list[RunningReplica]:
    return random.sample(replicas, min(2, len(replicas)))
