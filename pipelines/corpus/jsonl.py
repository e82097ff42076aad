"""Files of JSON lines, compressed or not, as Arrow tables of a few MB each.

Arrow reads a block of lines at once. Where it cannot, because of one line, the lines are read one
by one, and a broken one becomes a row without a text, which says why. Knows JSON's types as Arrow
infers them; knows nothing of units or the ledger.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from pipelines.corpus.blocks import MAX_LINE_BYTES, Block, blocks_of
from pipelines.corpus.compression import read_chunks
from pipelines.corpus.digits import find_rounded, holds_float
from pipelines.corpus.line_pieces import Piece, read_piece
from pipelines.corpus.objects import Members, encode, objects_of
from pipelines.corpus.parsing import NotUtf8, broken_reason, describe, parse, parse_lines
from pipelines.errors import InputError, UnreadableFile
from pipelines.job.spec import InputSpec

ANY_INTEGER = pa.decimal256(76, 0)
"""The type of integer ids in lines of JSON that do not all fit 64 bits."""
_INTEGER = re.compile(r"-?[0-9]+")


@dataclass(frozen=True, slots=True)
class Lines:
    """Rows of a file of JSON lines.

    `table` has a row for each object, and one for each line that is broken. `numbers` has the
    number of each row's line in the file, from 0, and `broken` says why the line is broken; it is
    null for all others. A row of a broken line has an id, and is null in all other columns.
    """

    table: pa.Table
    numbers: pa.Array
    broken: pa.Array


@dataclass(frozen=True, slots=True)
class _Line:
    """One object of a line, or a broken line, as JSON with the needed columns only."""

    number: int
    source: bytes
    doc_id: str | None = None
    broken: str | None = None


@dataclass(frozen=True, slots=True)
class LinesReader:
    """Reads a file's lines with the columns and types of `schema`.

    `path` is the file's, of which ids are made for broken lines, and `spec` names the columns.
    """

    path: str
    schema: pa.Schema
    spec: InputSpec

    def read(self, handle: Any, piece: Piece | None = None) -> Iterator[Lines]:
        """Yield the rows of a file or a piece of it; a value is null if its line lacks the column.
        `handle` is a binary file at its start.

        Raises UnreadableFile for compressed data that is damaged, or a value of another type; and
        InputError for a number that its column's type, a 64-bit float, would round.
        """
        chunks = read_piece(handle, piece) if piece else read_chunks(handle)
        for block in blocks_of(chunks, piece.first_line if piece else 0):
            table = None if block.cut else self._parse(block.data)
            if table is None:
                yield self._one_by_one(block)
            else:
                count = table.num_rows
                numbers = pa.array(range(block.first_line, block.first_line + count), pa.int64())
                self._check_numbers(block.data, numbers)
                yield Lines(table, numbers, pa.nulls(count, pa.string()))

    def _parse(self, data: bytes) -> pa.Table | None:
        """Return the rows of whole lines, or None if they must be read one by one."""
        try:
            return parse_lines(data, self.schema, self._kept)
        except pa.ArrowInvalid:
            return None

    def _check_numbers(self, data: bytes, numbers: pa.Array) -> None:
        """Raise InputError if a number in the lines, whose numbers are `numbers`, is rounded."""
        floats = [field for field in self.schema if holds_float(field.type)]
        rounded = find_rounded(data, pa.schema(floats)) if floats else None
        if rounded:
            raise InputError(f"line {numbers[rounded[0]].as_py() + 1}: {rounded[1]}")

    def _one_by_one(self, block: Block) -> Lines:
        """Return the rows of a block that Arrow cannot read at once."""
        tables: list[pa.Table] = []
        lines: list[_Line] = []
        for table, read in self._tables(list(self._lines(block))):
            tables.append(table)
            lines += read
        table = pa.concat_tables([self.schema.empty_table(), *tables])
        numbers = pa.array([line.number for line in lines], pa.int64())
        self._check_numbers(b"".join(line.source for line in lines), numbers)
        return Lines(table, numbers, pa.array([line.broken for line in lines], pa.string()))

    def _lines(self, block: Block) -> Iterator[_Line]:
        """Yield the objects and broken lines of a block."""
        for number, raw in numbered_lines(block):
            try:
                if block.cut:
                    raise ValueError(f"it is longer than {MAX_LINE_BYTES} bytes")
                yield from [self._line(number, members) for members in objects_of(raw)]
            except ValueError as error:
                yield self._broken(_Line(number, raw, self._find_id(raw)), str(error))

    def _find_id(self, line: bytes) -> str | None:
        """Return the id in JSON of a line with one object that is broken only by control characters
        in strings, or None for any other."""
        try:
            (members,) = objects_of(line, strict=False)
        except ValueError:
            return None
        return dict(members).get(self.spec.id_column)

    def _line(self, number: int, members: Members) -> _Line:
        columns: dict[str, str] = {}
        for key, value in members:
            if key in columns:
                raise ValueError(f"the key {key!r} occurs more than once")
            if key in self.schema.names:
                columns[key] = value
        doc_id = columns.get(self.spec.id_column)
        is_text = pa.types.is_string(self._id_type)
        if doc_id is not None and is_text and _INTEGER.fullmatch(doc_id):
            columns[self.spec.id_column] = f'"{doc_id}"'
        return _Line(number, _source(columns), doc_id)

    def _broken(self, line: _Line, reason: str) -> _Line:
        """Return a line with an id only: its own if the line has a valid one, else a made one."""
        source = _own_id(line.doc_id, self._id_type)
        source = source or json.dumps(made_id(self.path, line.number, self._id_type))
        for name in reversed(self._id_place[1:]):
            source = f"{{{json.dumps(name)}:{source}}}"
        message = f"line {line.number + 1} cannot be read as JSON: {reason}; correct or remove it"
        return replace(line, source=_source({self._id_place[0]: source}), broken=message)

    @property
    def _id_place(self) -> list[str]:
        """Return the keys that lead to the id: one, or those of objects around it as well."""
        column = self.spec.id_column
        return [column] if column in self.schema.names else column.split(".")

    @property
    def _id_type(self) -> pa.DataType:
        top, *names = self._id_place
        kind = self.schema.field(top).type
        for name in names:
            kind = kind.field(name).type
        return kind

    @property
    def _kept(self) -> list[str]:
        """Return the columns whose strings must be UTF-8. Ids and texts are checked later."""
        others = (self.spec.id_column, self.spec.text_column)
        return [name for name in self.schema.names if name not in others]

    def _tables(self, lines: Sequence[_Line]) -> Iterator[tuple[pa.Table, Sequence[_Line]]]:
        """Yield the tables of lines, and the lines, of which some may have been found broken."""
        if not lines:
            return
        data = b"".join(line.source for line in lines)
        try:
            yield parse(data, self.schema, self._kept), lines
        except pa.ArrowInvalid as error:
            if len(lines) > 1:
                middle = len(lines) // 2
                yield from self._tables(lines[:middle])
                yield from self._tables(lines[middle:])
                return
            reason = str(error) if isinstance(error, NotUtf8) else broken_reason(lines[0].source)
            if reason:
                broken = self._broken(lines[0], reason)
                yield parse(broken.source, self.schema), [broken]
            else:
                raise type_error(lines[0].number, error) from error


def numbered_lines(block: Block) -> Iterator[tuple[int, bytes]]:
    """Yield the lines of a block that are not blank, each with its number in the file."""
    for number, line in enumerate(block.data.split(b"\n"), block.first_line):
        if line.strip(b" \t\r"):
            yield number, line


def type_error(number: int, error: pa.ArrowInvalid) -> UnreadableFile:
    """Return the error for a line, by its number from 0, with a value of another type than in the
    lines before, given Arrow's error about this line alone."""
    message = f"line {number + 1}: {describe(error)}; write values of one type in each column"
    return UnreadableFile(message)


def merge_schemas(schemas: Collection[pa.Schema]) -> pa.Schema:
    """Return a schema under which lines of all these schemas can be read.

    Whole numbers and fractions become floats, and an object has the keys of all: JSON omits keys
    and decimal points freely. Raises ArrowException if a column's types are incompatible.
    """
    return pa.unify_schemas(list(schemas), promote_options="permissive")


def _source(columns: dict[str, str]) -> bytes:
    """Return an object as a line of JSON, given its values in JSON."""
    members = (f"{json.dumps(key)}:{value}" for key, value in columns.items())
    return encode("{" + ",".join(members) + "}\n")


def _own_id(doc_id: str | None, kind: pa.DataType) -> str | None:
    """Return the id of a broken line in JSON, or None if it has none that is valid."""
    if doc_id is None:
        return None
    try:
        value = json.loads(doc_id)
    except ValueError:
        return None
    is_integer = isinstance(value, int) and not isinstance(value, bool)
    if not pa.types.is_string(kind):
        fits = is_integer and (-(2**63) <= value < 2**63 or pa.types.is_decimal(kind))
        return str(value) if fits else None
    try:
        text = str(value) if is_integer else value
        return json.dumps(text) if isinstance(text, str) and text.encode() else None
    except UnicodeEncodeError:
        return None


def made_id(path: str, number: int, kind: pa.DataType) -> str | int:
    """Return an id for the line with this number, from 0, of a file: PATH:LINE, with the line's
    number from 1; or, where ids are integers, a negative one, a hash of that text.

    The same line has the same id in every run. A document with this id would be refused as a
    duplicate.
    """
    place = f"{path}:{number + 1}"
    if pa.types.is_string(kind):
        return place
    digest = hashlib.blake2b(place.encode("utf-8", "surrogateescape"), digest_size=8).digest()
    return -1 - (int.from_bytes(digest) >> 1)
