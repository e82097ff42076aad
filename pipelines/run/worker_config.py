"""The settings that the driver sends to every worker of a pool."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pipelines.checks.checking import NO_CHECKS, AnswerChecks
from pipelines.engine.config import EngineConfig
from pipelines.ledger.lease import Lease
from pipelines.ledger.redo import Redoing
from pipelines.storage import Storage
from pipelines.tasks.kinds import TaskSet


@dataclass(frozen=True)
class WorkerConfig:
    """All settings of the workers of one pool.

    Attributes:
        run: the job's name, a label of metrics.
        pool: the pool's name, `short` or `long`, a label of metrics.
        storage: OUTPUT.
        lease: the driver's lease on OUTPUT; a worker checks it before each commit.
        engine: the configuration of the pool's engines.
        tasks: the job's tokenized tasks.
        id_column: name of the id column in the input and in parts.
        metadata: key-value metadata of every Parquet file that a worker writes.
        checks: the checks of answers, without their classification models, which a worker loads.
        cpus: the CPUs that each worker holds.
        gpus: the GPUs that each worker holds, a fraction of one if several share it.
        redoing: what the units are answered again for, None if they are not committed yet.
    """

    run: str
    pool: str
    storage: Storage
    lease: Lease
    engine: EngineConfig
    tasks: TaskSet
    id_column: str
    metadata: Mapping[str, str]
    checks: AnswerChecks = NO_CHECKS
    cpus: float = 1.0
    gpus: float = 0.0
    redoing: Redoing | None = None
