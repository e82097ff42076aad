"""The autoscaling policy of a pool: engines by waiting prompt tokens, not by requests."""

from __future__ import annotations

from typing import Any

from serve.engines.replica import FULLNESS

TARGET_FULLNESS = 0.7
"""The targeted mean fullness of a pool's engines (see `replica.FULLNESS`); above it, another engine
is started."""


def scale_by_tokens(context: Any) -> tuple[float, dict[str, Any]]:
    """Return the number of engines that a pool needs, not rounded, and an empty state.

    An autoscaling policy as Ray Serve calls it, with the deployment's metrics as `context`. The
    number is the sum of the running engines' fullness divided by TARGET_FULLNESS, or the current
    target if no running engine has reported its fullness. An engine's fullness is its outstanding
    prompt tokens divided by its capacity in tokens (see `replica.FULLNESS`). Ray Serve applies the
    minimum, the maximum and the delays, and starts the first replica of an idle pool for a request.
    """
    reported = context.aggregated_metrics.get(FULLNESS, {})
    running = {
        replica: reported[replica] for replica in context.running_replicas if replica in reported
    }
    if not running:
        return context.target_num_replicas, {}
    return sum(running.values()) / TARGET_FULLNESS, {}
