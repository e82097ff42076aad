"""The layout that all files of a corpus have in common, or why they have none.

Knows layouts of single files; knows nothing of opening or reading files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from pipelines.corpus import jsonl
from pipelines.corpus.features import Features, common_features
from pipelines.corpus.id_types import IdKind, common_kind
from pipelines.corpus.kept_types import has_empty_struct, wider_type, without_nulls
from pipelines.corpus.layout import Layout
from pipelines.corpus.partitions import infer_type, typed_value
from pipelines.errors import InputError
from pipelines.job.spec import InputSpec

_EARLIER = "the files that this run has read before"


def common_layout(
    layouts: Sequence[Layout | None],
    paths: Sequence[str],
    spec: InputSpec,
    earlier: Layout | None = None,
) -> Layout:
    """Return the layout that the files at `paths` share; None stands for a file without rows.

    `layouts` and `paths` have an entry for each file. Types of ids agree if they are of one kind.
    Types of a kept column agree if all convert exactly to one of them, or all files have JSON lines
    and one type can be widened to the other, such as integers to floats. A kept column without any
    value has strings.

    `earlier` is the layout of the files that the run has already indexed, if there are any: all
    parts of OUTPUT form one table, so that the new files must be readable with its types, and it
    is the result. Raises InputError naming the first file and column that differ.
    """
    present = [
        (layout, path) for layout, path in zip(layouts, paths, strict=True) if layout is not None
    ]
    if not present:
        kept = pa.schema([(name, pa.string()) for name in spec.keep_columns])
        return earlier or Layout(IdKind.TEXT, kept)
    kind = _common_id_kind(present, spec.id_column, earlier)
    kept = [_common_field(name, present, earlier) for name in spec.keep_columns]
    return Layout(kind, pa.schema(kept), _common_features(present, earlier))


def _common_id_kind(
    present: Sequence[tuple[Layout, str]], column: str, earlier: Layout | None
) -> IdKind:
    first, first_path = (earlier, _EARLIER) if earlier else present[0]
    common = first.id_kind
    for layout, path in present:
        both = common_kind(common, layout.id_kind)
        if both is None:
            known = first.id_source or first.id_kind.value
            raise _differs(column, path, layout.id_source, first_path, known)
        # ids of all parts have one type: an integer that is too large for it is refused when read
        common = first.id_kind if earlier else both
    return common


def _common_features(present: Sequence[tuple[Layout, str]], earlier: Layout | None) -> Features:
    common = earlier.features if earlier else {}
    for layout, path in present:
        common, column = common_features(common, layout.features)
        if column is not None:
            raise InputError(
                f"{path}: column {column!r} has other names of labels (Hugging Face's features) "
                "than files before it, so that the same number would mean two labels; write the "
                "names as strings, or run a job for each with its own output.path"
            )
    return common


@dataclass(frozen=True, slots=True)
class _Typed:
    """The type of a kept column, the path of a file that has it, for messages, and whether it is a
    file of JSON lines."""

    type: pa.DataType
    path: str
    json: bool


def _common_field(
    name: str, present: Sequence[tuple[Layout, str]], earlier: Layout | None
) -> pa.Field:
    columns = [
        _Typed(layout.kept.field(name).type, path, layout.lines)
        for layout, path in present
        if name not in layout.in_path
    ]
    in_paths = [(layout.in_path[name], path) for layout, path in present if name in layout.in_path]
    if earlier:
        common = _Typed(earlier.kept.field(name).type, _EARLIER, json=True)
        _check_later(name, common, columns)
    else:
        common = _common_type(name, columns)
        if pa.types.is_null(common.type):
            kind = infer_type(value for value, _ in in_paths)
            common = _Typed(kind, common.path, common.json)
    for value, path in in_paths:
        if typed_value(value, common.type) is None:
            raise _not_of_type(name, value, path, common)
    return pa.field(name, common.type if earlier else _checked(name, common))


def _common_type(name: str, columns: Sequence[_Typed]) -> _Typed:
    """Return the type that these columns have in common, null without any; raises InputError."""
    if not columns:
        return _Typed(pa.null(), "", json=False)
    common = columns[0]
    # JSON omits keys and decimal points freely
    json = all(column.json for column in columns)
    for column in columns[1:]:
        both = _wider(common.type, column.type, json=json)
        if both is None:
            raise _differs(name, column.path, column.type, columns[0].path, common.type)
        common = _Typed(both, common.path, json)
    return common


def _check_later(name: str, earlier: _Typed, columns: Sequence[_Typed]) -> None:
    """Raise InputError if a column cannot be read with the type of files read earlier."""
    for column in columns:
        if _wider(earlier.type, column.type, json=column.json) != earlier.type:
            raise _differs(name, column.path, column.type, _EARLIER, earlier.type)


def _wider(one: pa.DataType, other: pa.DataType, *, json: bool) -> pa.DataType | None:
    """Return the type to which values of both types convert, or None. In `json`, numbers and
    objects widen."""
    both = wider_type(one, other)
    if both is not None or not json:
        return both
    try:
        schemas = [pa.schema([("", kind)]) for kind in (one, other)]
        return jsonl.merge_schemas(schemas).field(0).type
    except pa.ArrowException:
        return None


def _checked(name: str, column: _Typed) -> pa.DataType:
    """Return the type that is written; raises InputError if Parquet cannot store it."""
    if has_empty_struct(column.type):
        raise InputError(
            f"{column.path}: column {name!r} is {column.type}, and Parquet cannot store an object "
            "that never has a key; remove the column from input.keep_columns"
        )
    return without_nulls(column.type)


def _differs(
    column: str, path: str, kind: object, first_path: str, first_kind: object
) -> InputError:
    return InputError(
        f"{path}: column {column!r} is {kind}, but {first_kind} in {first_path}; convert the "
        "column in one of them, or run a job for each with its own output.path"
    )


def _not_of_type(name: str, value: str | None, path: str, column: _Typed) -> InputError:
    return InputError(
        f"{path}: the partition {name!r} has the value {value!r} in the path, but the column is "
        f"{column.type} in {column.path}; rename the directory, or run a job with its own "
        "output.path"
    )
