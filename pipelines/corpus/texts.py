"""Reads the documents of rows: decodes their texts, and says why one cannot be read."""

from __future__ import annotations

import pyarrow as pa

from pipelines.documents import (
    BROKEN,
    DOC_ID,
    EMPTY,
    MAX_TEXT_BYTES,
    NOT_JSON,
    NOT_TEXT,
    ROW,
    SOURCE,
    TEXT,
    TOO_LARGE,
    Document,
    Problem,
)

_FILL = "add a text, or remove the row"


def decode_text(raw: bytes | None) -> str | Problem:
    """Return the text of one row, or the Problem that says why it cannot be read; raises nothing.

    `raw` is the stored value: the bytes of the text in UTF-8, or None for null. A value that is
    null, blank, larger than MAX_TEXT_BYTES or not valid UTF-8 is a Problem.
    """
    if raw is None:
        return Problem(EMPTY, f"the text is null: {_FILL}")
    if len(raw) > MAX_TEXT_BYTES:
        return Problem(
            TOO_LARGE,
            f"the text has {len(raw)} bytes, at most {MAX_TEXT_BYTES} are allowed: split it into "
            "several documents",
        )
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        byte = f"byte {error.start}, {raw[error.start]:#04x}, is not valid UTF-8"
        return Problem(NOT_TEXT, f"{byte}: store the text as UTF-8")
    if not text or text.isspace():
        state = "only white space" if text else "empty"
        return Problem(EMPTY, f"the text is {state}: {_FILL}")
    return text


def documents_of(rows: pa.Table) -> list[Document]:
    """Return one document for each row of `rows`, in order.

    `rows` is the table of a unit's rows. It has the columns `source`, `row`, `doc_id`, `text`
    as binary and `broken`; others are ignored. A row of a broken line, or one whose text cannot be
    read, becomes a Document with a problem (see `decode_text`).
    """
    columns = [rows[name].to_pylist() for name in (DOC_ID, TEXT, SOURCE, ROW)]
    # an index of an earlier version, of a run that is resumed, has no column `broken`
    broken = rows[BROKEN].to_pylist() if BROKEN in rows.column_names else [None] * rows.num_rows
    return [_document(*values) for values in zip(*columns, broken, strict=True)]


def _document(
    doc_id: str | int, raw: bytes | None, source: str, row: int, broken: str | None
) -> Document:
    text = decode_text(raw) if broken is None else Problem(NOT_JSON, broken)
    if isinstance(text, Problem):
        return Document(doc_id, None, text, source, row)
    return Document(doc_id, text, None, source, row)
