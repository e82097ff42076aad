"""Which engine of a pool is asked: one that has room, wherever there is one.

By the number of their requests, which is all that Ray Serve looks at, an engine with two long
documents is less busy than one with three short chats, and it would be sent all that it refuses.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from ray.serve.request_router import FIFOMixin, PendingRequest, RequestRouter, RunningReplica

from serve.engines.replica import FULL

ROUTING_STATS_PERIOD_SECONDS = 1.0


class CapacityRouter(FIFOMixin, RequestRouter):
    """Asks one of two replicas with room, and one of two that are full where none has."""

    async def choose_replicas(
        self,
        candidate_replicas: list[RunningReplica],
        pending_request: PendingRequest | None = None,
    ) -> list[list[RunningReplica]]:
        if pending_request is not None:
            # where neither takes it, wait before others are asked
            pending_request.routing_context.should_backoff = True
        full = [each for each in candidate_replicas if each.routing_stats.get(FULL)]
        room = [each for each in candidate_replicas if not each.routing_stats.get(FULL)]
        return [_two_of(each) for each in (room, full) if each]


def _two_of(replicas: Sequence[RunningReplica]) -> list[RunningReplica]:
    """Ray Serve asks the one with fewer requests."""
    return random.sample(replicas, min(2, len(replicas)))
