"""The job file's sections: keys, types, defaults and the combinations that are allowed.

`load_job` reads and validates a file, `parse_job` validates plain data. Corpora, models and Ray are
not looked at: a path or a model that passes validation may still not exist.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, JsonValue

from pipelines.job.engine_options import option_violations
from pipelines.job.resources import Compute, EngineCompute, Limits
from pipelines.job.sections import (
    MustBe,
    NonEmptyStr,
    NonEmptyStrs,
    Section,
    Violation,
    checked,
    load,
)
from pipelines.job.task_specs import TaskSpec

RunName = Annotated[
    str,
    Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"),
    MustBe("1 to 63 letters, digits, '.', '-' or '_', starting with a letter or digit"),
]
"""The name of a run, as a label of its metrics: 1 to 63 ASCII characters."""
Port = Annotated[int, Field(ge=1, le=65535), MustBe("a port number from 1 to 65535")]
"""The number of a TCP port."""
TokenLimit = Annotated[int, Field(ge=16), MustBe("a whole number of at least 16")]
"""A length in tokens: at least 16, the minimum length of a chunk."""


TableVersion = Annotated[
    int, Field(ge=0), MustBe("a version of a Delta table or a snapshot's id: a whole number")
]
"""A version of a table of the input."""


class InputSpec(Section):
    """The section `input`: the corpus and its columns.

    `path` is a file of Parquet or of JSON lines, compressed or not, a directory of such files, or a
    glob, on a disk or in a bucket; or a Delta or Iceberg table, of which `version` is the version
    or the snapshot's id, None the newest. `id_column` names the column with a document's unique id,
    `text_column` the one with its text, and `keep_columns` those to copy to the output. If files or
    rows that a run has read change or disappear, the run is refused, or, with `follow`, removes
    their answers and answers the changed rows again.
    """

    path: NonEmptyStr
    id_column: NonEmptyStr = "id"
    text_column: NonEmptyStr = "text"
    keep_columns: NonEmptyStrs = ()
    version: TableVersion | None = None
    follow: bool = False

    def violations(self) -> Iterator[Violation]:
        """Yield each entry of `keep_columns` that repeats an earlier one or is `id_column`."""
        for index, column in enumerate(self.keep_columns):
            if column in (self.id_column, *self.keep_columns[:index]):
                yield ("keep_columns", index), "a column listed only once, and not id_column"


class OutputSpec(Section):
    """The section `output`: `path` is the directory or bucket prefix that the run writes to. With
    `table: delta`, the answers are a Delta table too.

    Whether it exists is not checked here.
    """

    path: NonEmptyStr
    table: Literal["delta"] | None = None


class ModelSpec(Section):
    """The section `model`: the model and how the engine loads it.

    `name` is a Hugging Face name, a directory or a built-in model. `revision` is a branch, tag or
    commit; if it is None, the run pins the revision that is current when it starts. `quantization`
    (None: as the model's own config says) and `kv_cache_dtype` are passed to vLLM, and so is each
    entry of `engine`, an engine argument of vLLM by name; see docs/engine.md. With `drafting`,
    `auto` or `off`, engines guess tokens of answers and verify several in one step, or do not; the
    answers are the same.
    """

    name: NonEmptyStr = "microsoft/Phi-3-mini-128k-instruct"
    revision: NonEmptyStr | None = None
    quantization: NonEmptyStr | None = None
    kv_cache_dtype: NonEmptyStr = "auto"
    drafting: Literal["auto", "off"] = "auto"
    engine: Annotated[
        dict[str, JsonValue], MustBe("a mapping of vLLM's engine options, such as {dtype: float32}")
    ] = Field(default_factory=dict)

    def violations(self) -> Iterator[Violation]:
        """Yield each entry of `engine` whose name or type of value is wrong."""
        for path, phrase in option_violations(self.engine):
            yield ("engine", *path), phrase


def shared_gpu_violations(model: ModelSpec, compute: EngineCompute) -> Iterator[Violation]:
    """Yield the engine's share of a GPU's memory if it is more than its share of the GPU."""
    share = model.engine.get("gpu_memory_utilization")
    if compute.gpu_share < 1 and isinstance(share, int | float) and share > compute.gpu_share:
        yield (
            ("model", "engine", "gpu_memory_utilization"),
            f"at most compute.gpus_per_replica, which is {compute.gpu_share}, because several "
            "engines share a GPU",
        )


class LongDocuments(Section):
    """The section `long_documents`: how documents of any length are read.

    | strategy | read whole, up to | longer documents |
    |---|---|---|
    | `auto` | `single_pass_tokens` | in chunks |
    | `map_reduce` | `chunk_tokens` | in chunks |
    | `single` | the model's context | a dead letter |
    | `reject` | `single_pass_tokens` | a dead letter |
    | `truncate` | `single_pass_tokens` | only the beginning, of that length |

    All lengths are in tokens; None selects the length up to which the model reads well. A chunk has
    at most `chunk_tokens`, and repeats about the last `overlap_tokens` of the chunk before it, but
    at most half of a chunk. Shorter lengths are used if the prompts would not fit the model.
    """

    strategy: Literal["auto", "single", "map_reduce", "truncate", "reject"] = "auto"
    single_pass_tokens: TokenLimit | None = None
    chunk_tokens: TokenLimit | None = None
    overlap_tokens: Annotated[int, Field(ge=0), MustBe("a whole number of at least 0")] = 128

    def violations(self) -> Iterator[Violation]:
        """Yield `chunk_tokens` if it is set and not greater than `overlap_tokens`."""
        if self.chunk_tokens is not None and self.chunk_tokens <= self.overlap_tokens:
            yield ("chunk_tokens",), f"greater than overlap_tokens, which is {self.overlap_tokens}"


class Metrics(Section):
    """The section `metrics`: `port` is the TCP port at which the run serves its metrics in the
    format of Prometheus; None serves none.

    `pushgateway` is not supported yet: a run rejects a job that sets it.
    """

    port: Port | None = None
    pushgateway: NonEmptyStr | None = None


class JobSpec(Section):
    """A complete job file: its key `name` and its sections.

    `name` is the run's name, as messages and metrics show it. `instructions` are the user's words
    that every prompt begins with. `tasks` has one or more tasks. `input`, `output` and `tasks` are
    required.
    """

    name: RunName = "phifleet"
    input: InputSpec
    output: OutputSpec
    model: ModelSpec = ModelSpec()
    tasks: Annotated[tuple[TaskSpec, ...], Field(strict=False)]
    long_documents: LongDocuments = LongDocuments()
    compute: Compute = Compute()
    limits: Limits = Limits()
    metrics: Metrics = Metrics()
    instructions: NonEmptyStr | None = None

    def violations(self) -> Iterator[Violation]:
        """Yield the key `tasks` if the list is empty, each task name that is not allowed, and a
        share of a GPU's memory that does not fit.

        A name is not allowed if an earlier task or a column of `input` has it, also in other upper
        and lower case, which Spark, DuckDB and Delta tables do not distinguish.
        """
        yield from shared_gpu_violations(self.model, self.compute)
        if not self.tasks:
            yield ("tasks",), "a list of at least one task, such as [{name: s, kind: summarize}]"
        if self.input.follow and self.output.table:
            yield (
                ("input", "follow"),
                "false with output.table: earlier versions of a table would keep removed answers",
            )
        columns = (self.input.id_column, self.input.text_column, *self.input.keep_columns)
        taken = {column.lower() for column in columns}
        for index, task in enumerate(self.tasks):
            if task.name.lower() in taken:
                yield (
                    ("tasks", index, "name"),
                    "a name that differs from all columns of input, not only in case",
                )
            if task.name.lower() in [earlier.name.lower() for earlier in self.tasks[:index]]:
                yield ("tasks", index, "name"), "a name that no other task has, not only in case"


@dataclass(frozen=True, slots=True)
class Job:
    """A validated job file, as `spec` and as plain data (`source`).

    `source` has the file's mappings, lists and scalars as in YAML, with the overrides applied. In
    `spec`, environment variables are replaced by their values too, so `spec` may contain secrets
    and `source` does not.
    """

    spec: JobSpec
    source: dict[str, object]


def load_job(
    path: str | Path, overrides: Sequence[str] = (), environ: Mapping[str, str] = os.environ
) -> Job:
    """Read a YAML job file, apply overrides, expand `${NAME}` from `environ`, and validate it.

    An override is `PATH=VALUE`, such as `tasks.0.max_words=80`. Relative paths stay as written, and
    so are relative to the working directory; a schema's file is read at once, relative to the job
    file's directory. Raises SpecError with one line per fault.
    """
    return Job(*load(JobSpec, path, overrides, environ))


def parse_job(data: Mapping[str, object], directory: Path = Path(".")) -> JobSpec:
    """Validate a job given as `data`, the mapping that a job file holds, and return it.

    References such as `${NAME}` in it stay as they are. Paths of schema files are relative to
    `directory`. Raises SpecError with one line per fault.
    """
    return checked(JobSpec, data, data, directory)
