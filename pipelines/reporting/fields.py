"""The tasks of an OUTPUT, and the fields of their answers that can be compared with right ones.

Knows the Arrow types of parts; knows no values, files or gold.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import pyarrow as pa

from pipelines.tasks.columns import ANSWER, EVIDENCE, RESERVED_FIELDS
from pipelines.tasks.paths import field_path


class FieldKind(StrEnum):
    """The kinds of fields, by how an answer is compared with the right one.

    - LABEL: the label of a `classify` task.
    - LABELS: the labels of a `classify` task with `multiple`, as a set.
    - REPLY: the text of an `ask` task.
    - TEXT: a free text (`summarize`, `write`), compared by similarity.
    - VALUE: a single value of an `extract` task.
    - ITEMS: the single values in a list, or in objects of a list, of an `extract` task.
    - OBJECTS: the objects in a list, each right if all its values are.
    """

    LABEL = "label"
    LABELS = "labels"
    REPLY = "reply"
    TEXT = "text"
    VALUE = "value"
    ITEMS = "items"
    OBJECTS = "objects"

    @property
    def is_single(self) -> bool:
        """Return whether each document has one value, which is right or wrong as a whole."""
        return self in (FieldKind.LABEL, FieldKind.REPLY, FieldKind.VALUE)

    @property
    def is_counted(self) -> bool:
        """Return whether the field's values count in totals over fields: not free texts, nor
        objects, whose values count themselves."""
        return self not in (FieldKind.TEXT, FieldKind.OBJECTS)


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a task's answer.

    `path` begins with the task's name; `[]` stands for the items of a list, and `{}` for the values
    of a map, as in `facts.parties[].name`. `task` is the task's name.
    """

    path: str
    task: str
    kind: FieldKind


@dataclass(frozen=True, slots=True)
class EvaluatedTask:
    """A task of an OUTPUT.

    Attributes:
        name: the task's name, which is the name of its column.
        kind: the task's kind, such as `classify`.
        type: the struct type of its value, without `_evidence` and `_answer`.
        labels: the labels of a `classify` task; empty for other kinds, or if they are not known.
    """

    name: str
    kind: str
    type: pa.StructType
    labels: tuple[str, ...] = ()

    @property
    def multiple(self) -> bool:
        """Return whether it is a `classify` task that may give several labels."""
        return self.kind == "classify" and self.type.get_field_index("labels") >= 0

    @property
    def fields(self) -> list[Field]:
        """Return the task's fields, in the order of the column."""
        kinds = {
            "classify": FieldKind.LABELS if self.multiple else FieldKind.LABEL,
            "ask": FieldKind.REPLY,
            "summarize": FieldKind.TEXT,
            "write": FieldKind.TEXT,
        }
        if self.kind in kinds:
            return [Field(self.name, self.name, kinds[self.kind])]
        return [
            Field(path, self.name, kind)
            for each in struct_fields(self.type)
            for path, kind in _fields_of(each.type, field_path(self.name, each.name), inside=False)
        ]


def struct_fields(kind: pa.StructType) -> list[pa.Field]:
    """Return the fields of a struct type."""
    return [kind.field(at) for at in range(kind.num_fields)]


def _fields_of(kind: pa.DataType, path: str, *, inside: bool) -> Iterator[tuple[str, FieldKind]]:
    """Yield the paths and kinds of the fields below a type; `inside` a list or a map or not."""
    if pa.types.is_struct(kind):
        for each in struct_fields(kind):
            yield from _fields_of(each.type, field_path(path, each.name), inside=inside)
    elif pa.types.is_list(kind) or pa.types.is_map(kind):
        items = item_path_of(kind, path)
        if not is_single(item_type(kind)):
            yield items, FieldKind.OBJECTS
        yield from _fields_of(item_type(kind), items, inside=True)
    else:
        yield path, FieldKind.ITEMS if inside else FieldKind.VALUE


def item_type(kind: pa.DataType) -> pa.DataType:
    """Return the type of the items of a list type, or of the values of a map type."""
    return kind.item_type if pa.types.is_map(kind) else kind.value_type


def item_path_of(kind: pa.DataType, path: str) -> str:
    """Return the path of the items of a list or map at `path`, in the notation of `Field.path`."""
    return f"{path}{{}}" if pa.types.is_map(kind) else f"{path}[]"


def is_single(kind: pa.DataType) -> bool:
    """Return whether a type is that of single values, which are neither lists nor objects."""
    return not (pa.types.is_struct(kind) or pa.types.is_list(kind) or pa.types.is_map(kind))


def tasks_of(schema: pa.Schema, job: Mapping[str, Any]) -> list[EvaluatedTask]:
    """Return the tasks whose columns a part has, in their order.

    `schema` is the part's, and `job` the source of the job file as the ledger records it, which
    tells kinds and labels.
    """
    specs = {spec.get("name"): spec for spec in job.get("tasks", ()) if isinstance(spec, Mapping)}
    return [_task(column, specs.get(column.name, {})) for column in schema if _is_task(column.type)]


def _is_task(kind: pa.DataType) -> bool:
    return pa.types.is_struct(kind) and all(
        kind.get_field_index(name) >= 0 for name in (EVIDENCE, ANSWER)
    )


def _task(column: pa.Field, spec: Mapping[str, Any]) -> EvaluatedTask:
    values = [each for each in struct_fields(column.type) if each.name not in RESERVED_FIELDS]
    names = {each.name for each in values}
    guess = "ask" if names == {"text"} else "classify" if "confidence" in names else "extract"
    labels = tuple(spec.get("labels", ()))
    return EvaluatedTask(column.name, spec.get("kind", guess), pa.struct(values), labels)
