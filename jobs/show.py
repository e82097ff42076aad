"""`phifleet show`: what the model would see of one document, token by token."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pipelines.answering.passages import Passage, split_into_passages
from pipelines.corpus.files import list_files
from pipelines.corpus.rows import Corpus, open_corpus, read_rows
from pipelines.documents import TOO_LONG, Document, documents_of
from pipelines.errors import InputError
from pipelines.run.prepared import PreparedJob
from pipelines.storage import Storage
from pipelines.tasks.kinds import question_for
from pipelines.text.lengths import MAP_REDUCE


def find_document(corpus: Corpus, doc_id: str) -> Document:
    """The document with this id, an integer id written in digits. Raises InputError."""
    for piece in corpus.fragments:
        for rows in read_rows(corpus.spec, corpus.layout, piece):
            ids = [str(value) for value in rows.column("doc_id").to_pylist()]
            if doc_id in ids:
                return documents_of(rows.slice(ids.index(doc_id), 1))[0]
    raise InputError(f"--id {doc_id}: no document of {corpus.spec.path} has this id")


def show(prepared: PreparedJob, doc_id: str) -> dict[str, Any]:
    """What `phifleet show` prints: id, tokens, strategy, pool, chunks and every prompt's ids."""
    spec = prepared.spec.input
    files = list_files(spec.path, exclude=Storage(prepared.spec.output.path).root)
    document = find_document(open_corpus(spec, files), doc_id)
    if document.text is None:
        assert document.problem is not None
        raise InputError(f"--id {doc_id}: the model sees nothing of it: {document.problem.message}")
    text, tasks = document.text, prepared.tasks
    (count,) = tasks.tokenizer.count_all([text])
    opened = split_into_passages(text, tasks)
    read = list(opened.passages) if opened else []
    part = opened is not None and opened.strategy == MAP_REDUCE
    return {
        "id": document.doc_id,
        "tokens": count,
        "strategy": opened.strategy if opened else TOO_LONG,
        "pool": prepared.pool_of(count),
        "chunks": [
            {"start": each.chunk.start, "end": each.chunk.end, "tokens": len(each.chunk.token_ids)}
            for each in read
        ],
        "prompts": [prompt for each in read for prompt in _prompts(prepared, each, part=part)],
    }


def _prompts(prepared: PreparedJob, passage: Passage, *, part: bool) -> Iterator[dict[str, Any]]:
    """Every task's prompt about one passage; `document_span` is where its own tokens stand."""
    tokens = prepared.tasks.tokenizer
    for task in prepared.tasks.all:
        ids = tokens.build_prompt(
            passage.prefix.token_ids, question_for(task, chunk=part).token_ids
        )
        start = len(tokens.prefix_ids) + passage.prefix.passage_start
        yield {
            "task": task.spec.name,
            "chunk": passage.number,
            "document_span": [start, start + len(passage.chunk.token_ids)],
            "token_ids": ids,
            "text": tokens.decode(ids),
        }
