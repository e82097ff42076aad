"""The job file as frozen models: its keys, what each may hold, which combinations make sense.

`load_job` reads a file; `parse_job` checks plain data and says at once all that is wrong with it;
`answer_digests` is what a run's fingerprint is made of. Knows nothing of corpora, models or Ray: a
path or a name that is well written here may still not exist.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TypeVar, get_args, get_origin

from pydantic import Field, ValidationError
from pydantic.fields import FieldInfo
from typing_extensions import TypeAliasType

from pipelines.errors import SpecError
from pipelines.job import jobfile
from pipelines.job.jobfile import (
    JsonSchemaInput,
    MustBe,
    NonEmptyStr,
    NonEmptyStrs,
    PositiveFloat,
    PositiveInt,
    Section,
    Time,
    Violation,
)

RunName = Annotated[
    str,
    Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"),
    MustBe("1 to 63 letters, digits, dots, hyphens or underscores, a letter or digit first"),
]
TaskName = Annotated[
    str,
    Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$"),
    MustBe("letters, digits and underscores, no digit first"),
]
GpuCount = Annotated[
    Annotated[int, Field(ge=0)] | Annotated[float, Field(gt=0, lt=1)] | Literal["auto"],
    MustBe("a whole number, a share of one GPU below 1, or auto"),
]
TokenLimit = Annotated[int, Field(ge=16), MustBe("a whole number of at least 16")]
FieldType = TypeAliasType(
    "FieldType",
    """Annotated[
        Literal["string", "number", "integer", "boolean", "date"]
        | Annotated[list[FieldType], Field(min_length=1, max_length=1)]
        | Annotated[dict[NonEmptyStr, FieldType], Field(min_length=1)],
        MustBe("string, number, integer, boolean, date, a list of one of these, or a mapping"),
    ]""",
)
"""A field of an extracted document: a scalar's type, a list with its one item type, or fields."""


CANNOT_TELL = "cannot tell"
"""What a chunk that speaks for no label is put under."""


class InputSpec(Section):
    """Where the corpus lies, and which of its columns are read."""

    path: NonEmptyStr
    id_column: NonEmptyStr = "id"
    text_column: NonEmptyStr = "text"
    keep_columns: NonEmptyStrs = ()

    def violations(self) -> Iterator[Violation]:
        for at, column in enumerate(self.keep_columns):
            if column in (self.id_column, *self.keep_columns[:at]):
                yield ("keep_columns", at), "a column that the output does not have already"


class OutputSpec(Section):
    """Where the answers go."""

    path: NonEmptyStr


class ModelSpec(Section):
    """The model, and how the engine holds it. Without a `revision`, the run pins one."""

    name: NonEmptyStr = "microsoft/Phi-3-mini-128k-instruct"
    revision: NonEmptyStr | None = None
    quantization: NonEmptyStr | None = None
    kv_cache_dtype: NonEmptyStr = "auto"


class SummarizeTask(Section):
    """Sum the document up."""

    name: TaskName
    kind: Literal["summarize"] = "summarize"
    max_words: PositiveInt = 120


class ClassifyTask(Section):
    """Put the document under one of the labels."""

    name: TaskName
    kind: Literal["classify"] = "classify"
    labels: NonEmptyStrs

    def violations(self) -> Iterator[Violation]:
        if len(self.labels) < 2:
            yield ("labels",), "a list of at least two labels"
        for at, label in enumerate(self.labels):
            if label != label.strip():
                yield ("labels", at), "a label without blanks around it"
            if label in self.labels[:at]:
                yield ("labels", at), "a label not listed before"
            if label == CANNOT_TELL:
                yield ("labels", at), "another word: a chunk that speaks for no label says this"


class AskTask(Section):
    """Answer a question in free words, with quotes.

    `only_verified`: an answer of which no quote is found in the document becomes null.
    """

    name: TaskName
    kind: Literal["ask"] = "ask"
    question: NonEmptyStr
    max_tokens: PositiveInt = 128
    only_verified: bool = False


class ExtractTask(Section):
    """Fill in fields, given either as a shorthand or as a JSON Schema.

    A schema's file is read with the job file, so that the task carries the schema itself. Only
    `parse_job` knows a directory for it: from anywhere else, such as HTTP, a path is refused.
    `only_verified`: a field whose quote is not found in the document becomes null.
    """

    name: TaskName
    kind: Literal["extract"] = "extract"
    fields: Annotated[dict[NonEmptyStr, FieldType], Field(min_length=1)] | None = None
    json_schema: JsonSchemaInput | None = Field(default=None, alias="schema")
    only_verified: bool = False

    def violations(self) -> Iterator[Violation]:
        if self.fields is None and self.json_schema is None:
            yield ("fields",), "given where schema is not"
        elif self.fields is not None and self.json_schema is not None:
            yield ("schema",), "left out where fields is given"


TASK_KINDS: dict[object, type[Section]] = {
    kind.model_fields["kind"].default: kind
    for kind in (SummarizeTask, ClassifyTask, AskTask, ExtractTask)
}
TaskSpec = Annotated[
    SummarizeTask | ClassifyTask | AskTask | ExtractTask,
    Field(discriminator="kind"),
    jobfile.known("kind", TASK_KINDS),
]


class LongDocuments(Section):
    """How a document too long for one reading is read. A None follows the model."""

    strategy: Literal["auto", "single", "map_reduce", "truncate", "reject"] = "auto"
    single_pass_tokens: TokenLimit | None = None
    chunk_tokens: TokenLimit | None = None
    overlap_tokens: Annotated[int, Field(ge=0), MustBe("a whole number of at least 0")] = 128

    def violations(self) -> Iterator[Violation]:
        if self.chunk_tokens is not None and self.chunk_tokens <= self.overlap_tokens:
            yield ("chunk_tokens",), f"more than overlap_tokens, which is {self.overlap_tokens}"


class Replicas(Section):
    """How many engines run side by side."""

    min: PositiveInt = 1
    max: PositiveInt = 8

    def violations(self) -> Iterator[Violation]:
        if self.min > self.max:
            yield ("min",), f"at most max, which is {self.max}"


class EngineCompute(Section):
    """What one engine takes of the cluster."""

    gpus_per_replica: GpuCount = "auto"
    tensor_parallel: PositiveInt = 1

    @property
    def gpu_share(self) -> float:
        """How much an engine may have of each of its GPUs: others may share one with it."""
        gpus = self.gpus_per_replica
        return 1.0 if gpus == "auto" else min(1.0, gpus or 1.0)

    def violations(self) -> Iterator[Violation]:
        gpus = self.gpus_per_replica
        if self.tensor_parallel > 1 and gpus != "auto" and gpus < self.tensor_parallel:
            yield ("tensor_parallel",), f"at most gpus_per_replica, which is {gpus}, or 1"


class Compute(EngineCompute):
    """What the engines may use of the cluster."""

    replicas: Replicas = Replicas()


class Limits(Section):
    """When a run gives up or stops."""

    max_dead_letter_fraction: Annotated[float, Field(ge=0, le=1), MustBe("from 0 to 1")] = 0.05
    max_gpu_hours: PositiveFloat | None = None
    max_cost_usd: PositiveFloat | None = None
    deadline: Time | None = None


class Metrics(Section):
    """Where the run's metrics can be read, or are pushed to."""

    port: Annotated[int, Field(ge=1, le=65535), MustBe("from 1 to 65535")] | None = None
    pushgateway: NonEmptyStr | None = None


class JobSpec(Section):
    """A whole job file."""

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
        if not self.tasks:
            yield ("tasks",), "a list of at least one task"
        columns = {self.input.id_column, self.input.text_column, *self.input.keep_columns}
        for at, task in enumerate(self.tasks):
            if task.name in columns:
                yield ("tasks", at, "name"), "a name that no column of the input has"
            if task.name in [earlier.name for earlier in self.tasks[:at]]:
                yield ("tasks", at, "name"), "a name that no task before it has"


@dataclass(frozen=True, slots=True)
class Job:
    """A job file, checked. `spec` may hold the environment's secrets; `source` never does."""

    spec: JobSpec
    source: dict[str, object]


def load_job(
    path: str | Path, overrides: Sequence[str] = (), environ: Mapping[str, str] = os.environ
) -> Job:
    """Reads a YAML job file, applies `key.path=value` overrides, fills in `${NAME}` and checks it.

    SpecError names every key that is wrong. Relative paths in it stay as written, but a schema's,
    which is read from beside the job file.
    """
    return Job(*load(JobSpec, path, overrides, environ))


def parse_job(data: Mapping[str, object], directory: Path = Path(".")) -> JobSpec:
    """Checks plain data. One SpecError has a line for each thing that is wrong."""
    return checked(JobSpec, data, data, directory)


S = TypeVar("S", bound=Section)


def load(
    kind: type[S],
    path: str | Path,
    overrides: Sequence[str] = (),
    environ: Mapping[str, str] = os.environ,
) -> tuple[S, dict[str, object]]:
    """A YAML file of this kind, checked, and its plain data without the environment's secrets.
    As `load_job`."""
    needed = [name for name, field in kind.model_fields.items() if field.is_required()]
    source = jobfile.read(Path(path), needed)
    for assignment in overrides:
        source = jobfile.override(source, assignment, keys_under(kind))
    return checked(kind, jobfile.expand(source, environ), source, Path(path).parent), source


def checked(kind: type[S], data: object, shown: object, directory: Path | None) -> S:
    """Plain data as this kind of file. `shown` is `data` before the environment was filled in;
    with a `directory`, a schema may be the path of a file in it. Raises SpecError."""
    try:
        return kind.model_validate(data, context=directory and {"directory": directory})
    except ValidationError as error:
        lines = jobfile.violation_lines(error, data, shown, keys_under(kind))
        raise SpecError("\n".join(lines)) from None


def keys_under(kind: type[Section]) -> jobfile.KeysAt:
    """Of this kind of file, the keys that it may have at a path; None where it has none of its
    own."""

    def keys_at(data: object, path: jobfile.KeyPath) -> tuple[str, ...] | None:
        section: object = kind
        if path[:1] == ("tasks",) and len(path) == 2:
            task = jobfile.value_at(data, path)
            section = TASK_KINDS.get(str(task.get("kind"))) if isinstance(task, Mapping) else None
        else:
            for part in path:
                listed = get_origin(section) is tuple and isinstance(part, int)
                field = _fields(section).get(part)
                section = get_args(section)[0] if listed else getattr(field, "annotation", None)
        fields = _fields(section)
        return tuple(field.alias or str(name) for name, field in fields.items()) or None

    return keys_at


def _fields(annotation: object) -> Mapping[str | int, FieldInfo]:
    """The fields of a section, also of one that may be left out."""
    kinds = {*get_args(annotation)} - {type(None)} or {annotation}
    return getattr(kinds.pop(), "model_fields", {}) if len(kinds) == 1 else {}


def answer_digests(spec: JobSpec, revision: str | None, prompt_version: int) -> dict[str, str]:
    """A short hash for each key that changes an answer or the shape of its row, by the key's path.

    `revision` is the one that was pinned. The order of labels, fields and a schema's properties
    counts, for a model answers in that order; a task is known by its name, not its place.
    """
    kept = spec.input.model_dump(include={"id_column", "text_column", "keep_columns"})
    sections = {
        "input": kept,
        "model": {**spec.model.model_dump(), "revision": revision},
        "long_documents": spec.long_documents.model_dump(),
    }
    for task in spec.tasks:
        sections[f"tasks.{task.name}"] = task.model_dump(exclude={"name"})
    digests = {
        f"{section}.{key}": _sha256(value)[:16]
        for section, values in sections.items()
        for key, value in values.items()
    }
    return {**digests, "prompt_version": _sha256(prompt_version)[:16]}


def fingerprint(digests: Mapping[str, str]) -> str:
    """One hash, in hex, of all digests."""
    return _sha256(sorted(digests.items()))


def differing_keys(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    """The keys, sorted, that only one of two runs has or that differ between them."""
    return sorted(key for key in {*old, *new} if old.get(key) != new.get(key))


def _sha256(value: object) -> str:
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
