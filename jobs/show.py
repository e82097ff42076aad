"""`phifleet show`: what the model would see of one document, token by token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipelines.corpus import Corpus, list_files, open_corpus, read_rows
from pipelines.documents import Document, documents_of
from pipelines.errors import InputError
from pipelines.prepared import PreparedJob
from pipelines.tasks import INSTRUCTION, Task


def find_document(corpus: Corpus, doc_id: str) -> Document:
    """The document with this id, an integer id written in digits. Raises InputError."""
    for piece in corpus.pieces:
        for rows in read_rows(corpus.spec, corpus.layout, piece):
            ids = [str(value) for value in rows.column("doc_id").to_pylist()]
            if doc_id in ids:
                return documents_of(rows.slice(ids.index(doc_id), 1))[0]
    raise InputError(f"--id {doc_id}: no document of {corpus.spec.path} has this id")


def show(prepared: PreparedJob, doc_id: str) -> dict[str, Any]:
    """What `phifleet show` prints: id, tokens, strategy, pool, chunks and every prompt's ids."""
    spec = prepared.spec.input
    document = find_document(open_corpus(spec, list_files(spec.path)), doc_id)
    if document.text is None:
        assert document.problem is not None
        raise InputError(f"--id {doc_id}: the model sees nothing of it: {document.problem.message}")
    ids = prepared.tokens.encode(document.text)
    return {
        "id": document.doc_id,
        "tokens": len(ids),
        "strategy": "single",
        "pool": prepared.pool_of(len(ids)),
        "chunks": [{"start": 0, "end": len(document.text), "tokens": len(ids)}],
        "prompts": [_prompt(prepared, task, ids) for task in prepared.tasks],
    }


def _prompt(prepared: PreparedJob, task: Task, document: Sequence[int]) -> dict[str, Any]:
    tokens = prepared.tokens
    instruction = tokens.encode(INSTRUCTION)
    ids = tokens.frame(instruction, document, task.question_ids)
    start = len(tokens.before) + len(instruction)
    return {
        "task": task.spec.name,
        "chunk": 0,
        "document_span": [start, start + len(document)],
        "token_ids": ids,
        "text": tokens.decode(ids),
    }
