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

from pydantic import Field
from typing_extensions import TypeAliasType

from pipelines.job.sections import (
    JsonSchemaInput,
    MustBe,
    NonEmptyStr,
    NonEmptyStrs,
    PositiveFloat,
    PositiveInt,
    Section,
    Time,
    Violation,
    checked,
    known,
    load,
)

RunName = Annotated[
    str,
    Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"),
    MustBe("1 to 63 letters, digits, '.', '-' or '_', starting with a letter or digit"),
]
TaskName = Annotated[
    str,
    Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$"),
    MustBe("letters, digits and underscores that do not start with a digit, such as risk_factors"),
]
GpuCount = Annotated[
    Annotated[int, Field(ge=0)] | Annotated[float, Field(gt=0, lt=1)] | Literal["auto"],
    MustBe("a whole number, a fraction of one GPU such as 0.5, or auto"),
]
Fraction = Annotated[float, Field(ge=0, le=1), MustBe("a number from 0 to 1")]
Port = Annotated[int, Field(ge=1, le=65535), MustBe("a port number from 1 to 65535")]
TokenLimit = Annotated[int, Field(ge=16), MustBe("a whole number of at least 16")]
FieldType = TypeAliasType(
    "FieldType",
    """Annotated[
        Literal["string", "number", "integer", "boolean", "date"]
        | Annotated[list[FieldType], Field(min_length=1, max_length=1)]
        | Annotated[dict[NonEmptyStr, FieldType], Field(min_length=1)],
        MustBe("string, number, integer, boolean, date, a list as [string], or a mapping"),
    ]""",
)
"""The type of an extracted field: a scalar's name, a list of one item type, or nested fields."""

CANNOT_TELL = "cannot tell"
"""The extra label with which the model answers if a chunk supports none of a task's labels."""


class InputSpec(Section):
    """The corpus: its path, and the columns to read; `keep_columns` are copied to the output."""

    path: NonEmptyStr
    id_column: NonEmptyStr = "id"
    text_column: NonEmptyStr = "text"
    keep_columns: NonEmptyStrs = ()

    def violations(self) -> Iterator[Violation]:
        """Yield each column in keep_columns that is repeated or is the id column."""
        for index, column in enumerate(self.keep_columns):
            if column in (self.id_column, *self.keep_columns[:index]):
                yield ("keep_columns", index), "a column listed only once, and not id_column"


class OutputSpec(Section):
    """The directory or bucket prefix that the run writes to."""

    path: NonEmptyStr


class ModelSpec(Section):
    """The model and how the engine loads it.

    `name` is a Hugging Face name, a directory or a built-in model. If `revision` is None, the run
    pins the current one. `quantization` and `kv_cache_dtype` are passed to vLLM.
    """

    name: NonEmptyStr = "microsoft/Phi-3-mini-128k-instruct"
    revision: NonEmptyStr | None = None
    quantization: NonEmptyStr | None = None
    kv_cache_dtype: NonEmptyStr = "auto"


class SummarizeTask(Section):
    """A task that summarizes the document in at most `max_words` words."""

    name: TaskName
    kind: Literal["summarize"] = "summarize"
    max_words: PositiveInt = 120


class ClassifyTask(Section):
    """A task that assigns one of `labels` to the document."""

    name: TaskName
    kind: Literal["classify"] = "classify"
    labels: NonEmptyStrs

    def violations(self) -> Iterator[Violation]:
        """Yield labels that are too few, repeated, reserved, or padded with white space."""
        if len(self.labels) < 2:
            yield ("labels",), "a list of at least two labels"
        for index, label in enumerate(self.labels):
            if label != label.strip():
                yield ("labels", index), "a label without leading or trailing white space"
            if label in self.labels[:index]:
                yield ("labels", index), "a label that is listed only once"
            if label == CANNOT_TELL:
                yield ("labels", index), f"a label other than {CANNOT_TELL!r}, which is reserved"


class AskTask(Section):
    """A task that answers a question in free text, with quotes from the document.

    `max_tokens` limits the answer. With `only_verified`, an answer is null if none of its quotes is
    found in the document.
    """

    name: TaskName
    kind: Literal["ask"] = "ask"
    question: NonEmptyStr
    max_tokens: PositiveInt = 128
    only_verified: bool = False


class ExtractTask(Section):
    """A task that extracts fields, defined either by `fields` or by a JSON Schema.

    If `schema` is the path of a file, the file is read when the job file is validated. Only
    `load_job` and `parse_job` accept a path; a request over HTTP must contain the schema itself.
    With `only_verified`, a field is null if its quote is not found in the document.
    """

    name: TaskName
    kind: Literal["extract"] = "extract"
    fields: Annotated[dict[NonEmptyStr, FieldType], Field(min_length=1)] | None = None
    json_schema: JsonSchemaInput | None = Field(default=None, alias="schema")
    only_verified: bool = False

    def violations(self) -> Iterator[Violation]:
        """Yield a fault unless exactly one of `fields` and `schema` is set."""
        if self.fields is None and self.json_schema is None:
            yield ("fields",), "a mapping such as {company: string}, unless schema is set"
        elif self.fields is not None and self.json_schema is not None:
            yield ("schema",), "absent if fields is set: remove one of them"


TASK_KINDS: dict[object, type[Section]] = {
    kind.model_fields["kind"].default: kind
    for kind in (SummarizeTask, ClassifyTask, AskTask, ExtractTask)
}
TaskSpec = Annotated[
    SummarizeTask | ClassifyTask | AskTask | ExtractTask,
    Field(discriminator="kind"),
    known("kind", TASK_KINDS),
]


class LongDocuments(Section):
    """How documents are read that are longer than `single_pass_tokens`.

    Lengths are in tokens. None selects the length at which the model reads well. Chunks have
    `chunk_tokens` and repeat the last `overlap_tokens` of the chunk before.
    """

    strategy: Literal["auto", "single", "map_reduce", "truncate", "reject"] = "auto"
    single_pass_tokens: TokenLimit | None = None
    chunk_tokens: TokenLimit | None = None
    overlap_tokens: Annotated[int, Field(ge=0), MustBe("a whole number of at least 0")] = 128

    def violations(self) -> Iterator[Violation]:
        """Yield chunk_tokens if it is not greater than overlap_tokens."""
        if self.chunk_tokens is not None and self.chunk_tokens <= self.overlap_tokens:
            yield ("chunk_tokens",), f"greater than overlap_tokens, which is {self.overlap_tokens}"


class Replicas(Section):
    """The minimum and maximum number of engines that run concurrently."""

    min: PositiveInt = 1
    max: PositiveInt = 8

    def violations(self) -> Iterator[Violation]:
        """Yield min if it is greater than max."""
        if self.min > self.max:
            yield ("min",), f"at most max, which is {self.max}"


class EngineCompute(Section):
    """The cluster resources of one engine.

    `gpus_per_replica` is a number of GPUs, or a fraction of one that several engines share; with 0,
    engines run on CPUs.
    """

    gpus_per_replica: GpuCount = "auto"
    tensor_parallel: PositiveInt = 1

    @property
    def gpu_share(self) -> float:
        """Return the fraction of each of its GPUs that one engine may use, from 0 to 1."""
        gpus = self.gpus_per_replica
        return 1.0 if gpus == "auto" else min(1.0, gpus or 1.0)

    def violations(self) -> Iterator[Violation]:
        """Yield tensor_parallel if it is greater than the number of GPUs."""
        gpus = self.gpus_per_replica
        if self.tensor_parallel > 1 and gpus != "auto" and gpus < self.tensor_parallel:
            yield ("tensor_parallel",), f"at most gpus_per_replica, which is {gpus}, or 1"


class Compute(EngineCompute):
    """The cluster resources of all engines of a run."""

    replicas: Replicas = Replicas()


class Limits(Section):
    """Limits of a run: its fraction of dead letters, GPU hours, cost, and the time to stop."""

    max_dead_letter_fraction: Fraction = 0.05
    max_gpu_hours: PositiveFloat | None = None
    max_cost_usd: PositiveFloat | None = None
    deadline: Time | None = None


class Metrics(Section):
    """The port on which the run serves its metrics, and the Pushgateway that it pushes them to."""

    port: Port | None = None
    pushgateway: NonEmptyStr | None = None


class JobSpec(Section):
    """A complete job file."""

    name: RunName = "phifleet"
    input: InputSpec
    output: OutputSpec
    model: ModelSpec = ModelSpec()
    tasks: Annotated[tuple[TaskSpec, ...], Field(strict=False)]
    long_documents: LongDocuments = LongDocuments()
    compute: Compute = Compute()
    limits: Limits = Limits()
    metrics: Metrics = Metrics()

    def violations(self) -> Iterator[Violation]:
        """Yield tasks if there are none, and each task name that is not unique."""
        if not self.tasks:
            yield ("tasks",), "a list of at least one task, such as [{name: s, kind: summarize}]"
        columns = {self.input.id_column, self.input.text_column, *self.input.keep_columns}
        for index, task in enumerate(self.tasks):
            if task.name in columns:
                yield ("tasks", index, "name"), "a name that differs from all columns of input"
            if task.name in [earlier.name for earlier in self.tasks[:index]]:
                yield ("tasks", index, "name"), "a name that no other task has"


@dataclass(frozen=True, slots=True)
class Job:
    """A validated job file.

    `source` is the file's plain data with overrides applied. `spec` also has environment variables
    expanded, so only `spec` may contain secrets.
    """

    spec: JobSpec
    source: dict[str, object]


def load_job(
    path: str | Path, overrides: Sequence[str] = (), environ: Mapping[str, str] = os.environ
) -> Job:
    """Read a YAML job file, apply overrides, expand `${NAME}` from `environ`, and validate it.

    An override is `key.path=value`. Relative paths stay as written, except for a schema's, which is
    relative to the job file's directory. Raises SpecError with one line per fault.
    """
    return Job(*load(JobSpec, path, overrides, environ))


def parse_job(data: Mapping[str, object], directory: Path = Path(".")) -> JobSpec:
    """Validate plain data; schema files are relative to `directory`. Raises SpecError."""
    return checked(JobSpec, data, data, directory)
