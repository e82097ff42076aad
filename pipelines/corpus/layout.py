"""The columns that a job reads, and whether a file has them: of which type, and alike everywhere.

Knows schemas; nothing of how a file is opened or read.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import unquote

import pyarrow as pa

from pipelines.corpus import jsonl
from pipelines.documents import DOC_ID, KEPT, ROW, SOURCE, TEXT
from pipelines.errors import InputError
from pipelines.job.spec import InputSpec

JSONL = ".jsonl"
_HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"
_EARLIER = "the files that this run has read before"


@dataclass(frozen=True, slots=True)
class Layout:
    """The columns that every file of the corpus has: the type of its ids and of kept columns."""

    id_type: pa.DataType
    kept: pa.Schema

    @property
    def schema(self) -> pa.Schema:
        """The schema of the tables that `read_rows` yields."""
        own = [
            pa.field(SOURCE, pa.string()),
            pa.field(ROW, pa.int64()),
            pa.field(DOC_ID, self.id_type),
            pa.field(TEXT, pa.large_binary()),
        ]
        return pa.schema([*own, *(field.with_name(KEPT + field.name) for field in self.kept)])

    def to_text(self) -> str:
        """As a record keeps it."""
        return base64.b64encode(self.schema.serialize().to_pybytes()).decode()

    @classmethod
    def from_text(cls, text: str) -> Layout:
        schema = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(text)))
        kept = [
            field.with_name(field.name.removeprefix(KEPT))
            for field in schema
            if field.name.startswith(KEPT)
        ]
        return cls(schema.field(DOC_ID).type, pa.schema(kept))


def wanted_columns(spec: InputSpec) -> tuple[str, ...]:
    """The columns that the job names: id, text, and what is kept."""
    return (spec.id_column, spec.text_column, *spec.keep_columns)


def layout_of(schema: pa.Schema, path: str, spec: InputSpec) -> Layout:
    """A file's layout by its schema. Raises InputError naming file and column."""
    partitions = partition_values(path)
    own = (spec.id_column, spec.text_column)
    for column in wanted_columns(spec):
        if column not in schema.names and (column in own or column not in partitions):
            raise InputError(
                f"{path}: no column {column!r}, which {_key(column, spec)} names; it has "
                f"{', '.join(schema.names) or 'none'}"
            )
        if schema.names.count(column) > 1:
            raise InputError(
                f"{path}: column {column!r} stands there more than once; rename the others"
            )
    _check_text(schema, path, spec.text_column)
    id_type = _id_type(schema, path, spec.id_column)
    kept = [
        pa.field(name, _plain(schema.field(name).type) if name in schema.names else pa.string())
        for name in spec.keep_columns
    ]
    return Layout(id_type, pa.schema(kept))


def _key(column: str, spec: InputSpec) -> str:
    """The job file's key that names a column."""
    keys = {spec.text_column: "input.text_column", spec.id_column: "input.id_column"}
    return keys.get(column, "input.keep_columns")


def _check_text(schema: pa.Schema, path: str, column: str) -> None:
    found = _plain(schema.field(column).type)
    if not (pa.types.is_string(found) or pa.types.is_null(found)):
        raise InputError(f"{path}: column {column!r} is {found}; text must be a string column")


def _id_type(schema: pa.Schema, path: str, column: str) -> pa.DataType:
    found = _plain(schema.field(column).type)
    if pa.types.is_string(found):
        return found
    if pa.types.is_integer(found) and found != pa.uint64():
        return pa.int64()
    raise InputError(f"{path}: column {column!r} is {found}; ids must be strings or integers")


def _plain(found: pa.DataType) -> pa.DataType:
    """The type a column is read as: dictionaries as their values, one kind of string."""
    if pa.types.is_dictionary(found):
        return _plain(found.value_type)
    if pa.types.is_large_string(found):
        return pa.string()
    return _without_views(found)


def _without_views(found: pa.DataType) -> pa.DataType:
    """The type with plain strings and bytes: Arrow takes no single rows of views within others."""
    if pa.types.is_string_view(found):
        return pa.string()
    if pa.types.is_binary_view(found):
        return pa.binary()
    inner = [field.with_type(_without_views(field.type)) for field in _inner(found)]
    if inner == _inner(found):
        return found
    if pa.types.is_struct(found):
        return pa.struct(inner)
    if pa.types.is_map(found):
        return pa.map_(*_inner(inner[0].type))
    return pa.large_list(inner[0]) if pa.types.is_large_list(found) else pa.list_(inner[0])


def _inner(found: pa.DataType) -> list[pa.Field]:
    return [found.field(at) for at in range(found.num_fields)]


def _check_kept(layout: Layout, path: str) -> None:
    """Raises InputError where Parquet has no place for a column."""
    for field in layout.kept:
        if _has_empty_object(field.type):
            raise InputError(
                f"{path}: column {field.name!r} is {field.type}, and Parquet cannot keep an object "
                "that never has a key; leave it out of input.keep_columns"
            )


def _has_empty_object(found: pa.DataType) -> bool:
    inner = _inner(found)
    empty = pa.types.is_struct(found) and not inner
    return empty or any(_has_empty_object(field.type) for field in inner)


def common_layout(
    layouts: Sequence[Layout | None], paths: Sequence[str], spec: InputSpec
) -> Layout:
    """The layout that all files share. Raises InputError naming the first that differs."""
    found = [(each, path) for each, path in zip(layouts, paths, strict=True) if each is not None]
    if not found:
        return Layout(pa.string(), pa.schema([(name, pa.null()) for name in spec.keep_columns]))
    common, first_path = found[0]
    loose = all(path.endswith(JSONL) for path in paths)
    for other, path in found[1:]:
        if other.id_type != common.id_type:
            raise _differs(spec.id_column, path, other.id_type, first_path, common.id_type)
        kept = [
            _common_field(ours, theirs, path, first_path, loose=loose)
            for ours, theirs in zip(common.kept, other.kept, strict=True)
        ]
        common = Layout(common.id_type, pa.schema(kept))
    _check_kept(common, first_path)
    return common


def later_layout(earlier: Layout, later: Layout, path: str, spec: InputSpec) -> Layout:
    """The layout of files, one of them at `path`, that come to earlier ones: it is theirs, for the
    answers about all are one table. Raises InputError where they cannot be read so."""
    if later.id_type != earlier.id_type:
        raise _differs(spec.id_column, path, later.id_type, _EARLIER, earlier.id_type)
    for ours, theirs in zip(earlier.kept, later.kept, strict=True):
        both = _common_field(ours, theirs, path, _EARLIER, loose=path.endswith(JSONL))
        if both.type != ours.type:
            raise _differs(ours.name, path, theirs.type, _EARLIER, ours.type)
    return earlier


def _common_field(
    ours: pa.Field, theirs: pa.Field, path: str, first_path: str, *, loose: bool
) -> pa.Field:
    """A column that holds only nulls goes with any type; JSON's numbers and objects widen."""
    if ours.type.equals(theirs.type) or pa.types.is_null(theirs.type):
        return ours
    if pa.types.is_null(ours.type):
        return theirs
    try:
        if loose:
            return jsonl.merge_schemas([pa.schema([ours]), pa.schema([theirs])]).field(0)
    except pa.ArrowException:
        pass
    raise _differs(ours.name, path, theirs.type, first_path, ours.type)


def _differs(
    column: str, path: str, found: pa.DataType, first_path: str, wanted: pa.DataType
) -> InputError:
    return InputError(
        f"{path}: column {column!r} is {found}, but {wanted} in {first_path}; make them alike, or "
        "read them into an OUTPUT each"
    )


def partition_values(path: str) -> dict[str, str | None]:
    """Hive partition columns: `year=2024` in a directory's name."""
    parts = [part.partition("=") for part in path.split("/")[:-1] if "=" in part]
    return {name: None if value == _HIVE_NULL else unquote(value) for name, _, value in parts}
