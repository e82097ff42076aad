"""The columns and types of a file of JSON lines.

Knows JSON's types as Arrow infers them; knows nothing of reading rows.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from pipelines.corpus.blocks import Block, blocks_of
from pipelines.corpus.compression import read_chunks
from pipelines.corpus.jsonl import ANY_INTEGER, merge_schemas, numbered_lines, type_error
from pipelines.corpus.objects import Members, encode, objects_of
from pipelines.corpus.parsing import broken_reason, parse, parse_lines
from pipelines.errors import UnreadableFile
from pipelines.job.spec import InputSpec

# After so many broken lines and not a single object, the file is not one of JSON lines.
_MANY_LINES = 1000
_REMEDY = (
    "write one object on each line: jq -c '.[]' FILE does so for an array, and jq -c . FILE for "
    "objects over several lines"
)


def find_schema(handle: Any, spec: InputSpec) -> pa.Schema | None:
    """Return the columns and types of a file of JSON lines, or None if it has no line.

    Reads until the id and the text have had a value that is not null, or the whole file if there
    are columns to keep: any later line may add a key to an object, or a fraction to whole numbers.
    Strings that look like dates are strings. Columns that the job does not read may have any types.
    `handle` is a binary file at its start. Raises UnreadableFile if the file is not one of JSON
    lines, if compressed data is damaged, or if values of a column have incompatible types.
    """
    found = _Found(spec)
    for block in blocks_of(read_chunks(handle)):
        found.add(block)
        if found.complete and not spec.keep_columns:
            break
    return found.result()


@dataclass
class _Found:
    """The columns and types of the lines that have been added. `schema` is None until one is an
    object; `broken` is the number of broken lines, and `first_reason` says why the first one is."""

    spec: InputSpec
    schema: pa.Schema | None = None
    broken: int = 0
    first_reason: str = ""

    @property
    def complete(self) -> bool:
        """Return whether the types of the id and the text are known."""
        names = {each.name for each in self.schema or () if not _holds_null(each.type)}
        needed = (self.spec.id_column, self.spec.text_column)
        return all(name in names or name.partition(".")[0] in names for name in needed)

    def result(self) -> pa.Schema | None:
        """Return the schema. Raises UnreadableFile if there were only broken lines."""
        if self.schema is None and self.broken:
            raise self._not_lines()
        return self.schema

    def add(self, block: Block) -> None:
        """Add the lines of a block. Raises UnreadableFile."""
        try:
            if block.cut:
                raise pa.ArrowInvalid("a line too long")
            self._merge(self._read_columns(parse_lines(block.data), block.data), block.first_line)
        except (pa.ArrowInvalid, UnicodeDecodeError):
            # raised for a key that is not UTF-8, too
            self._add_one_by_one(block)

    def _add_one_by_one(self, block: Block) -> None:
        lines: list[tuple[int, bytes]] = []
        for number, raw in numbered_lines(block):
            try:
                objects = objects_of(raw)
            except ValueError as error:
                self._count_broken(number, raw, str(error))
            else:
                lines += [(number, self._source(number, members)) for members in objects]
        if lines:
            self._infer(lines)

    def _count_broken(self, number: int, raw: bytes, reason: str) -> None:
        first = self.schema is None and not self.broken
        self.first_reason = self.first_reason or f"line {number + 1}: {reason}"
        self.broken += 1
        many = self.schema is None and self.broken >= _MANY_LINES
        if many or (first and _begins_large_value(raw)):
            raise self._not_lines()

    def _not_lines(self) -> UnreadableFile:
        return UnreadableFile(
            f"not JSON lines, as none of its first {self.broken} lines is an object "
            f"({self.first_reason}); {_REMEDY}"
        )

    def _source(self, number: int, members: Members) -> bytes:
        """Return an object as a line of JSON, with null for values of columns that are not read."""
        written = {}
        for key, value in members:
            try:
                key.encode()
            except UnicodeEncodeError as error:
                shown = key.encode("utf-8", "surrogateescape" if _is_escaped(key) else "replace")
                raise _not_utf8(number, shown) from error
            written[key] = value if self._is_read(key) else "null"
        return encode(
            "{" + ",".join(f"{json.dumps(key)}:{value}" for key, value in written.items()) + "}\n"
        )

    def _infer(self, lines: Sequence[tuple[int, bytes]]) -> None:
        """Add objects, given with the numbers of their lines."""
        data = b"".join(line for _, line in lines)
        try:
            schema = self._read_columns(parse(data), data)
        except (pa.ArrowInvalid, UnicodeDecodeError) as error:
            number, line = lines[0]
            if len(lines) > 1:
                self._infer(lines[: len(lines) // 2])
                self._infer(lines[len(lines) // 2 :])
            elif isinstance(error, UnicodeDecodeError):
                raise _not_utf8(number, error.object) from error
            elif reason := broken_reason(line):
                self._count_broken(number, line, reason)
            else:
                raise type_error(number, error) from error
        else:
            self._merge(schema, lines[0][0])

    def _is_read(self, name: str) -> bool:
        columns = (self.spec.id_column, self.spec.text_column, *self.spec.keep_columns)
        return any(column == name or column.startswith(f"{name}.") for column in columns)

    def _read_columns(self, table: pa.Table, data: bytes) -> pa.Schema:
        """Return the schema of a table that was parsed from `data`: the type null for columns that
        the job does not read, and ANY_INTEGER for integer ids beyond 64
        bits, which Arrow takes for floats."""
        fields = []
        for each in table.schema:
            kind = _as_written(each.type) if self._is_read(each.name) else pa.null()
            if each.name == self.spec.id_column and pa.types.is_floating(kind):
                kind = ANY_INTEGER if _are_integers(data, each.name) else kind
            fields.append(pa.field(each.name, kind))
        return pa.schema(fields)

    def _merge(self, schema: pa.Schema, number: int) -> None:
        """Add the schema of some lines, of which `number` is the first."""
        if self.schema is None:
            self.schema = schema
            return
        try:
            self.schema = merge_schemas(_agree_on_ids([self.schema, schema], self.spec.id_column))
        except pa.ArrowException as error:
            raise self._conflict(schema, number) from error

    def _conflict(self, schema: pa.Schema, number: int) -> UnreadableFile:
        assert self.schema is not None
        for each in schema:
            if each.name in self.schema.names:
                ours = self.schema.field(each.name)
                try:
                    merge_schemas([pa.schema([ours]), pa.schema([each])])
                except pa.ArrowException:
                    return UnreadableFile(
                        f"line {number + 1} or a later one: column {each.name!r} is {each.type}, "
                        f"but {ours.type} in lines before; write values of one type"
                    )
        raise AssertionError("no column differs")


def _not_utf8(number: int, key: bytes) -> UnreadableFile:
    """Return the error for a key in the line with this number, from 0, that is not UTF-8."""
    return UnreadableFile(
        f"line {number + 1}: the key {key!r} is not UTF-8; convert the file, such as with iconv "
        "-f LATIN1 -t UTF-8"
    )


def _begins_large_value(line: bytes) -> bool:
    """Return whether a line is the beginning of an array or object over several lines."""
    start = line.strip()
    if start.startswith(b"["):
        try:
            json.loads(start)
        except (ValueError, RecursionError):
            return True
    return start == b"{"


def _is_escaped(key: str) -> bool:
    """Return whether all lone surrogates of a key stand for bytes that are not UTF-8."""
    return all("\udc80" <= each <= "\udcff" for each in key if "\ud800" <= each <= "\udfff")


def _are_integers(data: bytes, column: str) -> bool:
    try:
        parse(data, pa.schema([(column, ANY_INTEGER)]))
    except pa.ArrowInvalid:
        return False
    return True


def _agree_on_ids(schemas: list[pa.Schema], column: str) -> list[pa.Schema]:
    """Return the schemas with one type of ids if both have integers or strings: an integer among
    strings is the string of its digits."""
    if not all(column in schema.names for schema in schemas):
        return schemas
    kinds = [schema.field(column).type for schema in schemas]
    if any(pa.types.is_null(kind) or pa.types.is_floating(kind) for kind in kinds):
        return schemas
    wider = [kind for kind in kinds if pa.types.is_string(kind) or kind == ANY_INTEGER]
    if not wider or kinds[0] == kinds[1]:
        return schemas
    common = pa.string() if pa.string() in wider else ANY_INTEGER
    narrow = (pa.string(), pa.int64(), ANY_INTEGER)
    return [
        schema.set(schema.get_field_index(column), pa.field(column, common))
        if kind in narrow
        else schema
        for schema, kind in zip(schemas, kinds, strict=True)
    ]


def _as_written(kind: pa.DataType) -> pa.DataType:
    """Return the type with strings for timestamps: Arrow infers a timestamp from a string that
    looks like a date, but the string must stay as it is."""
    if pa.types.is_timestamp(kind):
        return pa.string()
    if pa.types.is_list(kind):
        return pa.list_(_as_written(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([(field.name, _as_written(field.type)) for field in kind])
    return kind


def _holds_null(kind: pa.DataType) -> bool:
    """Return whether a type, or a type within it, is still unknown because all values were null."""
    inner = [kind.field(index).type for index in range(kind.num_fields)]
    return pa.types.is_null(kind) or any(_holds_null(each) for each in inner)
