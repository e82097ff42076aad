"""How many engines a pool should have: by the tokens that wait for them, not by requests."""

from __future__ import annotations

from typing import Any

from serve.engines.replica import FULLNESS

# An engine is meant to be filled so far; what comes above it has room in the next one.
TARGET_FULLNESS = 0.7


def scale_by_tokens(context: Any) -> tuple[float, dict[str, Any]]:
    """A policy of Ray Serve's autoscaler. Ray itself keeps the bounds and the delays, and starts
    the first replica where somebody waits and there is none."""
    told = context.aggregated_metrics.get(FULLNESS, {})
    running = {replica: told[replica] for replica in context.running_replicas if replica in told}
    if not running:
        return context.target_num_replicas, {}
    return sum(running.values()) / TARGET_FULLNESS, {}
