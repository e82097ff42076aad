"""The columns that a job reads: whether a file has them, and with which types they are read.

Knows schemas; knows nothing of opening or reading files. agreement.py finds the layout that all
files have in common.
"""

from __future__ import annotations

import base64
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import pyarrow as pa

from pipelines.corpus.features import Features, features_metadata, read_features
from pipelines.corpus.id_types import IdKind, id_kind
from pipelines.corpus.kept_types import UnsupportedType, written_type
from pipelines.corpus.places import field_at, find_place
from pipelines.corpus.text_types import can_be_text
from pipelines.documents import BROKEN, DOC_ID, KEPT, ROW, SOURCE, TEXT
from pipelines.errors import InputError
from pipelines.job.spec import InputSpec

_ID_KIND = b"phifleet.id_kind"


@dataclass(frozen=True, slots=True)
class Layout:
    """The types that ids and kept columns have in every file of the corpus.

    Attributes:
        id_kind: what the ids are, and how they are written.
        kept: a field for every column of `input.keep_columns`, under its own name.
        features: the features of kept columns, as Hugging Face's `datasets` stores them.
        id_source: the type of the ids in the file, for messages; of a single file only.
        in_path: the values of kept columns that are Hive partitions of the file's path; of a single
            file only, where the type in `kept` is null: all paths together decide it.
    """

    id_kind: IdKind
    kept: pa.Schema
    features: Features = field(default_factory=dict)
    id_source: str = ""
    in_path: Mapping[str, str | None] = field(default_factory=dict)
    lines: bool = False

    @property
    def schema(self) -> pa.Schema:
        """The schema of the tables that `rows.read_rows` yields."""
        fields = [
            pa.field(SOURCE, pa.string()),
            pa.field(ROW, pa.int64()),
            pa.field(DOC_ID, self.id_kind.type),
            pa.field(TEXT, pa.large_binary()),
            pa.field(BROKEN, pa.string()),
            *(field.with_name(KEPT + field.name) for field in self.kept),
        ]
        return pa.schema(fields, features_metadata(self.features))

    def to_text(self) -> str:
        """Return the layout as base64 text, for a plan's record; `from_text` reads it."""
        schema = self.schema
        metadata = {**(schema.metadata or {}), _ID_KIND: self.id_kind.name.encode()}
        return base64.b64encode(schema.with_metadata(metadata).serialize().to_pybytes()).decode()

    @classmethod
    def from_text(cls, text: str) -> Layout:
        """Return the layout that `to_text` wrote, also one of a version without kinds of ids."""
        schema = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(text)))
        kept = [
            field.with_name(field.name.removeprefix(KEPT))
            for field in schema
            if field.name.startswith(KEPT)
        ]
        without_kind = "INTEGER" if schema.field(DOC_ID).type == pa.int64() else "TEXT"
        kind = (schema.metadata or {}).get(_ID_KIND, without_kind.encode()).decode()
        features = read_features(schema, [field.name for field in kept])
        return cls(IdKind[kind], pa.schema(kept), features)


def columns_of(spec: InputSpec) -> tuple[str, ...]:
    """Return the names of the columns that the job reads: the id, the text, and those to keep."""
    return (spec.id_column, spec.text_column, *spec.keep_columns)


def layout_of(
    schema: pa.Schema,
    path: str,
    spec: InputSpec,
    in_path: Mapping[str, str | None],
    *,
    lines: bool = False,
) -> Layout:
    """Return the layout of the file at `path`, whose columns are those of `schema`.

    `lines` is true for JSON lines. A column of `input.keep_columns` may also be one of `in_path`,
    the partitions that the file's path has. Raises InputError naming file and column if a column is
    missing, occurs more than once, or has a type that an id or a text cannot have, or that cannot
    be kept exactly.
    """
    _check_columns(schema, path, spec, in_path)
    _check_text(schema, path, spec.text_column)
    in_file = [name for name in spec.keep_columns if find_place(schema, name)]
    types = {name: _kept_type(schema, path, name) for name in in_file}
    kept = [pa.field(name, types.get(name, pa.null())) for name in spec.keep_columns]
    id_type = _type_of(schema, spec.id_column)
    # a feature describes the values with the type that the file has
    same = [name for name in in_file if _type_of(schema, name) == types[name]]
    return Layout(
        _id_kind(id_type, path, spec.id_column),
        pa.schema(kept),
        read_features(schema, same),
        str(id_type),
        {name: in_path[name] for name in spec.keep_columns if name not in types},
        lines,
    )


def _type_of(schema: pa.Schema, column: str) -> pa.DataType:
    place = find_place(schema, column)
    assert place is not None
    return field_at(schema, place).type


def _check_columns(
    schema: pa.Schema, path: str, spec: InputSpec, partitions: Collection[str]
) -> None:
    """Raise InputError if a column is neither in the file nor a partition to keep, or occurs more
    than once."""
    required = (spec.id_column, spec.text_column)
    for column in columns_of(spec):
        place = find_place(schema, column)
        if place is None and (column in required or column not in partitions):
            raise InputError(
                f"{path}: no column {column!r}, which {_key(column, spec)} names; it has "
                f"{', '.join(schema.names) or 'none'}. Correct {_key(column, spec)} or the file"
            )
        if place is not None and schema.names.count(place[0]) > 1:
            raise InputError(
                f"{path}: column {place[0]!r} occurs more than once; rename all but one of them"
            )


def _key(column: str, spec: InputSpec) -> str:
    """Return the key of the job file that names a column."""
    keys = {spec.text_column: "input.text_column", spec.id_column: "input.id_column"}
    return keys.get(column, "input.keep_columns")


def _check_text(schema: pa.Schema, path: str, column: str) -> None:
    kind = _type_of(schema, column)
    if not can_be_text(kind):
        raise InputError(
            f"{path}: column {column!r} is {kind}; text must be a column of strings, of bytes in "
            "UTF-8, or of lists of either, the pages: convert it, or set input.text_column to "
            f"another column{_inner_columns(kind, column)}"
        )


def _inner_columns(kind: pa.DataType, column: str) -> str:
    """Return words that name a field of a struct that could be the text, "" if there is none."""
    schema = pa.schema([(column, kind)])
    struct = getattr(kind, "value_type", kind)
    names = [field.name for field in struct] if pa.types.is_struct(struct) else []
    paths = [f"{column}.{name}" for name in names]
    fitting = [path for path in paths if can_be_text(_type_of(schema, path))]
    return f" or to a field of it, such as {fitting[0]}" if fitting else ""


def _id_kind(kind: pa.DataType, path: str, column: str) -> IdKind:
    found = id_kind(kind)
    if found is None:
        raise InputError(
            f"{path}: column {column!r} is {kind}; ids must be strings, integers, decimals without "
            "a fraction, UUIDs or bytes: convert it, or set input.id_column to another column"
        )
    return found


def _kept_type(schema: pa.Schema, path: str, column: str) -> pa.DataType:
    place = find_place(schema, column)
    assert place is not None
    try:
        return written_type(field_at(schema, place))
    except UnsupportedType as error:
        raise InputError(f"{path}: column {column!r} has {error}") from error
