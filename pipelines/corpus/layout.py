"""The columns that a job reads: whether a file has them, with which types, and whether all files
agree.

Knows schemas; knows nothing of opening or reading files.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import unquote

import pyarrow as pa

from pipelines.corpus import jsonl
from pipelines.corpus.formats import format_of
from pipelines.documents import BROKEN, DOC_ID, KEPT, ROW, SOURCE, TEXT
from pipelines.errors import InputError
from pipelines.job.spec import InputSpec

_HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"
_EARLIER = "the files that this run has read before"


@dataclass(frozen=True, slots=True)
class Layout:
    """The types that ids and kept columns have in every file of the corpus.

    `id_type` is string or int64. `kept` has a field for every column of `input.keep_columns`, under
    its own name.
    """

    id_type: pa.DataType
    kept: pa.Schema

    @property
    def schema(self) -> pa.Schema:
        """The schema of the tables that `rows.read_rows` yields."""
        fields = [
            pa.field(SOURCE, pa.string()),
            pa.field(ROW, pa.int64()),
            pa.field(DOC_ID, self.id_type),
            pa.field(TEXT, pa.large_binary()),
            pa.field(BROKEN, pa.string()),
        ]
        return pa.schema([*fields, *(field.with_name(KEPT + field.name) for field in self.kept)])

    def to_text(self) -> str:
        """Return the layout as base64 text, for a plan's record; `from_text` reads it."""
        return base64.b64encode(self.schema.serialize().to_pybytes()).decode()

    @classmethod
    def from_text(cls, text: str) -> Layout:
        """Return the layout that `to_text` wrote."""
        schema = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(text)))
        kept = [
            field.with_name(field.name.removeprefix(KEPT))
            for field in schema
            if field.name.startswith(KEPT)
        ]
        return cls(schema.field(DOC_ID).type, pa.schema(kept))


def columns_of(spec: InputSpec) -> tuple[str, ...]:
    """Return the names of the columns that the job reads: the id, the text, and those to keep."""
    return (spec.id_column, spec.text_column, *spec.keep_columns)


def layout_of(schema: pa.Schema, path: str, spec: InputSpec) -> Layout:
    """Return the layout of the file at `path`, whose columns are those of `schema`.

    A column of `input.keep_columns` may also be a Hive partition in the file's path; it is then a
    string. Raises InputError naming file and column if a column is missing, occurs more than once,
    or has a type that an id or a text cannot have.
    """
    partitions = partition_values(path)
    required = (spec.id_column, spec.text_column)
    for column in columns_of(spec):
        if column not in schema.names and (column in required or column not in partitions):
            raise InputError(
                f"{path}: no column {column!r}, which {_key(column, spec)} names; it has "
                f"{', '.join(schema.names) or 'none'}. Correct {_key(column, spec)} or the file"
            )
        if schema.names.count(column) > 1:
            raise InputError(
                f"{path}: column {column!r} occurs more than once; rename all but one of them"
            )
    _check_text(schema, path, spec.text_column)
    id_type = _id_type(schema, path, spec.id_column)
    kept = [
        pa.field(name, _plain(schema.field(name).type) if name in schema.names else pa.string())
        for name in spec.keep_columns
    ]
    return Layout(id_type, pa.schema(kept))


def _key(column: str, spec: InputSpec) -> str:
    """Return the key of the job file that names a column."""
    keys = {spec.text_column: "input.text_column", spec.id_column: "input.id_column"}
    return keys.get(column, "input.keep_columns")


def _check_text(schema: pa.Schema, path: str, column: str) -> None:
    kind = _plain(schema.field(column).type)
    if not (pa.types.is_string(kind) or pa.types.is_null(kind)):
        raise InputError(
            f"{path}: column {column!r} is {kind}; text must be a string column: convert it, or "
            "set input.text_column to another column"
        )


def _id_type(schema: pa.Schema, path: str, column: str) -> pa.DataType:
    kind = _plain(schema.field(column).type)
    if pa.types.is_string(kind) or kind == jsonl.ANY_INTEGER:
        return pa.string()
    if pa.types.is_integer(kind) and kind != pa.uint64():
        return pa.int64()
    raise InputError(
        f"{path}: column {column!r} is {kind}; ids must be strings or integers (other than "
        "uint64): convert it, or set input.id_column to another column"
    )


def _plain(kind: pa.DataType) -> pa.DataType:
    """Return the type that a column is read as: a dictionary's values, and one type of strings."""
    if pa.types.is_dictionary(kind):
        return _plain(kind.value_type)
    if pa.types.is_large_string(kind):
        return pa.string()
    return _without_views(kind)


def _without_views(kind: pa.DataType) -> pa.DataType:
    """Return the type with plain strings and bytes in place of views: Arrow cannot select single
    rows of a nested type that contains views."""
    if pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_binary_view(kind):
        return pa.binary()
    inner = [field.with_type(_without_views(field.type)) for field in _inner(kind)]
    if inner == _inner(kind):
        return kind
    if pa.types.is_struct(kind):
        return pa.struct(inner)
    if pa.types.is_map(kind):
        return pa.map_(*_inner(inner[0].type))
    return pa.large_list(inner[0]) if pa.types.is_large_list(kind) else pa.list_(inner[0])


def _inner(kind: pa.DataType) -> list[pa.Field]:
    return [kind.field(index) for index in range(kind.num_fields)]


def _check_kept(layout: Layout, path: str) -> None:
    """Raise InputError if a kept column has a type that Parquet cannot store."""
    for field in layout.kept:
        if _has_empty_object(field.type):
            raise InputError(
                f"{path}: column {field.name!r} is {field.type}, and Parquet cannot store an "
                "object that never has a key; remove the column from input.keep_columns"
            )


def _has_empty_object(kind: pa.DataType) -> bool:
    inner = _inner(kind)
    empty = pa.types.is_struct(kind) and not inner
    return empty or any(_has_empty_object(field.type) for field in inner)


def common_layout(
    layouts: Sequence[Layout | None], paths: Sequence[str], spec: InputSpec
) -> Layout:
    """Return the layout that the files at `paths` share; None stands for a file without rows.

    `layouts` and `paths` have an entry for each file. The types of a kept column may differ if one
    of them is null, or if all files are JSONL and one type can be widened to the other, such as
    integers to floats. If no file has rows, ids are strings and kept columns null. Raises
    InputError naming the first file and column that differ.
    """
    present = [
        (layout, path) for layout, path in zip(layouts, paths, strict=True) if layout is not None
    ]
    if not present:
        return Layout(pa.string(), pa.schema([(name, pa.null()) for name in spec.keep_columns]))
    common, first_path = present[0]
    widen = all(map(_is_lines, paths))
    for layout, path in present[1:]:
        if layout.id_type != common.id_type:
            raise _differs(spec.id_column, path, layout.id_type, first_path, common.id_type)
        kept = [
            _common_field(ours, theirs, path, first_path, widen=widen)
            for ours, theirs in zip(common.kept, layout.kept, strict=True)
        ]
        common = Layout(common.id_type, pa.schema(kept))
    _check_kept(common, first_path)
    return common


def later_layout(earlier: Layout, later: Layout, path: str, spec: InputSpec) -> Layout:
    """Check that new files can be read in the layout `earlier` of the files that the run has
    already indexed, and return `earlier`: all parts of OUTPUT form one table.

    `later` is the layout of the new files, and `path` is one of them, for messages. Raises
    InputError if the new files cannot be read in the layout `earlier`.
    """
    if later.id_type != earlier.id_type:
        raise _differs(spec.id_column, path, later.id_type, _EARLIER, earlier.id_type)
    for ours, theirs in zip(earlier.kept, later.kept, strict=True):
        both = _common_field(ours, theirs, path, _EARLIER, widen=_is_lines(path))
        if both.type != ours.type:
            raise _differs(ours.name, path, theirs.type, _EARLIER, ours.type)
    return earlier


def _is_lines(path: str) -> bool:
    kind = format_of(path)
    return kind is not None and kind.is_lines


def _common_field(
    ours: pa.Field, theirs: pa.Field, path: str, first_path: str, *, widen: bool
) -> pa.Field:
    """Return a column's field for both files. A column of nulls only agrees with any type; with
    `widen` (JSON), numbers and objects widen. Raises InputError."""
    if ours.type.equals(theirs.type) or pa.types.is_null(theirs.type):
        return ours
    if pa.types.is_null(ours.type):
        return theirs
    try:
        if widen:
            return jsonl.merge_schemas([pa.schema([ours]), pa.schema([theirs])]).field(0)
    except pa.ArrowException:
        pass
    raise _differs(ours.name, path, theirs.type, first_path, ours.type)


def _differs(
    column: str, path: str, kind: pa.DataType, first_path: str, first_kind: pa.DataType
) -> InputError:
    return InputError(
        f"{path}: column {column!r} is {kind}, but {first_kind} in {first_path}; convert the "
        "column in one of them, or run a job for each with its own output.path"
    )


def partition_values(path: str) -> dict[str, str | None]:
    """Return the Hive partition columns of a path: for a directory `year=2024`, the key `year` with
    the string `2024`. The value is None for Hive's name of a null."""
    parts = [part.partition("=") for part in path.split("/")[:-1] if "=" in part]
    return {name: None if value == _HIVE_NULL else unquote(value) for name, _, value in parts}
