"""The serve file as frozen pydantic models: tasks, pools of engines, HTTP, API keys and limits.

It has the sections of a job file except input and output. This module loads no model, and knows no
engine and no Ray.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import Field

from pipelines.corpus.units import LONG, SHORT
from pipelines.job.resources import EngineCompute, Replicas
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
from pipelines.job.spec import LongDocuments, ModelSpec, Port, RunName, shared_gpu_violations
from pipelines.job.task_specs import TaskSpec
from pipelines.stores.protocols import WRITABLE, is_writable

# Time for the endpoint's processes to end after the longest request.
_DRAIN_SECONDS = 30.0


class Http(Section):
    """The section `http`: the address of the endpoint, and `replicas`, its front processes.

    `cors_origins` are the origins of web pages that may send requests from a browser, for example
    `https://example.org`.
    """

    host: NonEmptyStr = "127.0.0.1"
    port: Port = 8000
    replicas: PositiveInt = 1
    cors_origins: NonEmptyStrs = ()

    @property
    def url(self) -> str:
        """The endpoint's URL without a path, an IPv6 address in brackets."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"


class Keys(Section):
    """The section `keys`: the path of the file of API keys, which is read again when it changes.

    Without a file, `phifleet serve` makes one key when it starts and prints it once.
    """

    file: NonEmptyStr | None = None


class PoolReplicas(Replicas):
    """A section of `pools`: the minimum and maximum number of engines, and delays of autoscaling.

    An engine is started if more engines have been needed for `up_after_seconds` without
    interruption, and ended if fewer have been needed for `down_after_seconds`. With `min: 0` an
    idle pool has no engine.
    """

    min: Annotated[int, Field(ge=0), MustBe("a whole number of at least 0")] = 1
    max: PositiveInt = 1
    up_after_seconds: PositiveFloat = 10.0
    down_after_seconds: PositiveFloat = 120.0


class Pools(Section):
    """The section `pools`: engines for prompts within the short rope factors, and for longer ones.

    Without `long`, a document that does not fit the short pool in one pass is read in chunks.
    """

    short: PoolReplicas = PoolReplicas()
    long: PoolReplicas | None = None

    @property
    def by_name(self) -> dict[str, PoolReplicas]:
        """The configured pools by name: `short`, and `long` if the file has it."""
        pools = {SHORT: self.short, LONG: self.long}
        return {name: replicas for name, replicas in pools.items() if replicas is not None}


class ServeCompute(EngineCompute):
    """The section `compute`: the cluster resources of one engine. Other keys are a job file's.

    `cpus_per_replica` is the number of CPUs that Ray reserves for each engine.
    """

    cpus_per_replica: PositiveFloat = 1.0


class ServeLimits(Section):
    """The section `limits`: maxima of one request, and of the load of one engine.

    | key | limits |
    |---|---|
    | `body_bytes` | the size of a request's body |
    | `text_characters` | the length of a document, or of all messages or prompts |
    | `tasks` | the tasks of one request |
    | `schema_depth` | the nesting of a form or schema in a request |
    | `output_tokens` | the tokens of a task's answer, or of all answers to a completion request |
    | `written_tokens` | the tokens of all answers about the parts of a document, together |
    | `request_seconds` | the time from a request's complete body to the end of its answer |
    | `body_seconds` | the time in which a client must send the body |
    | `long_model_len` | the context of an engine of the long pool, in tokens |
    | `outstanding_share` | an engine's outstanding prompt tokens, in capacities of its KV cache |

    If `long_model_len` is None, the context is as long as `long_documents.single_pass_tokens` and
    `output_tokens` need, but at most the model's. With an `outstanding_share` of 2.0, an engine
    accepts requests until their prompts would fill its KV cache twice.
    """

    body_bytes: PositiveInt = 8 * 2**20
    text_characters: PositiveInt = 4_000_000
    tasks: PositiveInt = 16
    schema_depth: PositiveInt = 8
    output_tokens: PositiveInt = 4096
    written_tokens: PositiveInt = 65_536
    request_seconds: PositiveFloat = 600.0
    body_seconds: PositiveFloat = 60.0
    long_model_len: PositiveInt | None = None
    outstanding_share: PositiveFloat = 2.0

    @property
    def longest_seconds(self) -> float:
        """The maximum time from the first byte of a request's body to the end of its answer, in
        seconds."""
        return self.body_seconds + self.request_seconds

    @property
    def drain_seconds(self) -> float:
        """The time that a stopping front or engine has to finish accepted requests, in seconds."""
        return self.longest_seconds + _DRAIN_SECONDS


class Feedback(Section):
    """The section `feedback`: clients' verdicts on answers are stored as Parquet files in `path`, a
    directory or the URL of a store, such as `s3://bucket/feedback`."""

    path: NonEmptyStr

    def violations(self) -> Iterator[Violation]:
        """Yield the key `path`, with what it must be, if its kind of store cannot be written."""
        if not is_writable(self.path):
            yield ("path",), WRITABLE


class ServeSpec(Section):
    """A complete, validated serve file. Every section is optional.

    `name` is that of the endpoint's Ray Serve application, and a label of its metrics. `tasks` are
    the tasks that requests may send by name instead of a definition. `instructions` are the user's
    words that every prompt about a document begins with.
    """

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
    instructions: NonEmptyStr | None = None

    def violations(self) -> Iterator[Violation]:
        """Yield the key path of each task whose name an earlier task has, and of a share of a GPU's
        memory that does not fit, with what it must be."""
        yield from shared_gpu_violations(self.model, self.compute)
        for index, task in enumerate(self.tasks):
            if task.name in [earlier.name for earlier in self.tasks[:index]]:
                yield ("tasks", index, "name"), "a name that no task before it has"


def load_serve(
    path: str | Path, overrides: Sequence[str] = (), environ: Mapping[str, str] = os.environ
) -> ServeSpec:
    """Read the YAML serve file at `path` and return its validated spec.

    `overrides` are assignments such as `http.port=8080`, which replace keys of the file. `${NAME}`
    in a value is replaced by the variable NAME of `environ`. Raises SpecError if it cannot be read
    or a value is invalid, with the path of each wrong key.
    """
    return load(ServeSpec, path, overrides, environ)[0]


def parse_serve(data: Mapping[str, object], directory: Path | None = None) -> ServeSpec:
    """Return the validated spec of a serve file's plain data, e.g. of the arguments in a
    RayService's `serveConfigV2`.

    `${NAME}` is not replaced. Schema files of tasks are relative to `directory`; with None they are
    not allowed. Raises SpecError with the path of each wrong key.
    """
    return checked(ServeSpec, data, data, directory)
