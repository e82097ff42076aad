"""The serve file as frozen models: which tasks are offered, by which engines, to whom, within what.

As a job file, without input and output. Knows nothing of models, engines or Ray.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import Field

from pipelines.corpus.units import LONG, SHORT
from pipelines.job.sections import (
    MustBe,
    NonEmptyStr,
    NonEmptyStrs,
    PositiveFloat,
    PositiveInt,
    Section,
    Violation,
    checked,
    load,
)
from pipelines.job.spec import (
    EngineCompute,
    LongDocuments,
    ModelSpec,
    Replicas,
    RunName,
    TaskSpec,
)
from pipelines.stores.protocols import WRITABLE, is_writable

# Beyond the longest request.
_DRAIN_SECONDS = 30.0
Port = Annotated[int, Field(ge=1, le=65535), MustBe("from 1 to 65535")]


class Http(Section):
    """Where the endpoint listens, and in how many processes."""

    host: NonEmptyStr = "127.0.0.1"
    port: Port = 8000
    replicas: PositiveInt = 1
    cors_origins: NonEmptyStrs = ()


class Keys(Section):
    """Who may ask: a file of keys, read again whenever it changes. Without one, `phifleet serve`
    makes a key when it starts, and shows it once."""

    file: NonEmptyStr | None = None


class PoolReplicas(Replicas):
    """How many engines of a pool there may be, and how long more or fewer must be wanted before
    one is started or ended."""

    min: Annotated[int, Field(ge=0), MustBe("a whole number of at least 0")] = 1
    max: PositiveInt = 1
    up_after_seconds: PositiveFloat = 10.0
    down_after_seconds: PositiveFloat = 120.0


class Pools(Section):
    """Engines for what fits the short rope factors, and for longer prompts. Without `long`, a
    document that the short pool does not hold in one pass is read in chunks."""

    short: PoolReplicas = PoolReplicas()
    long: PoolReplicas | None = None

    @property
    def by_name(self) -> dict[str, PoolReplicas]:
        """The pools that there are."""
        pools = {SHORT: self.short, LONG: self.long}
        return {name: replicas for name, replicas in pools.items() if replicas is not None}


class ServeCompute(EngineCompute):
    """What one engine takes of the cluster, which Ray Serve is told of its CPUs too."""

    cpus_per_replica: PositiveFloat = 1.0


class ServeLimits(Section):
    """The most that one request may ask for, and an engine may be asked for at a time."""

    body_bytes: PositiveInt = 8 * 2**20
    text_characters: PositiveInt = 4_000_000
    tasks: PositiveInt = 16
    schema_depth: PositiveInt = 8
    output_tokens: PositiveInt = 4096
    request_seconds: PositiveFloat = 600.0
    body_seconds: PositiveFloat = 60.0
    long_model_len: PositiveInt | None = None
    outstanding_share: PositiveFloat = 2.0

    @property
    def longest_seconds(self) -> float:
        """From a request's first byte to the end of its answer."""
        return self.body_seconds + self.request_seconds

    @property
    def drain_seconds(self) -> float:
        """What is granted to whoever ends, to finish what was accepted."""
        return self.longest_seconds + _DRAIN_SECONDS


class Feedback(Section):
    """Where verdicts on answers are kept, as Parquet."""

    path: NonEmptyStr

    def violations(self) -> Iterator[Violation]:
        if not is_writable(self.path):
            yield ("path",), WRITABLE


class ServeSpec(Section):
    """A whole serve file."""

    name: RunName = "phifleet"
    model: ModelSpec = ModelSpec()
    tasks: Annotated[tuple[TaskSpec, ...], Field(strict=False)] = ()
    long_documents: LongDocuments = LongDocuments()
    pools: Pools = Pools()
    compute: ServeCompute = ServeCompute()
    http: Http = Http()
    keys: Keys = Keys()
    limits: ServeLimits = ServeLimits()
    feedback: Feedback | None = None

    def violations(self) -> Iterator[Violation]:
        for at, task in enumerate(self.tasks):
            if task.name in [earlier.name for earlier in self.tasks[:at]]:
                yield ("tasks", at, "name"), "a name that no task before it has"


def load_serve(
    path: str | Path, overrides: Sequence[str] = (), environ: Mapping[str, str] = os.environ
) -> ServeSpec:
    """Reads a YAML serve file as `load_job` does a job file. Raises SpecError."""
    return load(ServeSpec, path, overrides, environ)[0]


def parse_serve(data: Mapping[str, object], directory: Path | None = None) -> ServeSpec:
    """Checks plain data, such as `serveConfigV2` has as arguments. Raises SpecError."""
    return checked(ServeSpec, data, data, directory)
