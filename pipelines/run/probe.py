"""`python -m pipelines.run.probe`: joins or starts Ray as a run does, and prints what it found.

The output is a line of JSON: `cpus`, `gpus` and `accelerator` of the cluster and the number of its
`nodes`; or `error`. Runs nothing on the cluster, and leaves it.
"""

from __future__ import annotations

import json
from typing import Any

from pipelines.errors import ClusterError
from pipelines.run.cluster import alive_nodes, join_cluster, leave_cluster

_REACHABLE_WITHIN = 5.0


def probe() -> dict[str, Any]:
    """Return what the module prints, as JSON values by key."""
    try:
        cluster = join_cluster(_REACHABLE_WITHIN)
        return {
            "cpus": cluster.cpus,
            "gpus": cluster.gpus,
            "accelerator": cluster.accelerator,
            "nodes": alive_nodes(),
        }
    except ClusterError as error:
        return {"error": error.message}
    finally:
        leave_cluster()


if __name__ == "__main__":
    print(json.dumps(probe()), flush=True)
