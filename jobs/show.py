"""`phifleet show`: the prompts that the model gets for one document, token by token.

Reads the corpus until it finds the document; starts no engine and no Ray.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pipelines.answering.passages import Passage, split_into_passages
from pipelines.corpus.files import list_files
from pipelines.corpus.rows import Corpus, open_corpus, read_rows
from pipelines.corpus.texts import documents_of
from pipelines.documents import TOO_LONG, Document
from pipelines.errors import InputError, UnreadableFile
from pipelines.run.prepared import PreparedJob
from pipelines.storage import Storage
from pipelines.tasks.kinds import question_for
from pipelines.text.lengths import MAP_REDUCE


def find_document(corpus: Corpus, doc_id: str) -> Document:
    """Return the first document in `corpus` with the id `doc_id`; an integer id is given in decimal
    digits. Reads the corpus up to that document.

    Raises InputError if no document has the id, UnreadableFile, StorageError.
    """
    for fragment in corpus.fragments:
        for rows in read_rows(corpus.spec, corpus.layout, fragment):
            ids = [str(value) for value in rows.column("doc_id").to_pylist()]
            if doc_id in ids:
                return documents_of(rows.slice(ids.index(doc_id), 1))[0]
    raise InputError(
        f"--id {doc_id}: no document in {corpus.spec.path} has this id in column "
        f"{corpus.spec.id_column!r}; check the id and input.id_column"
    )


def preview_document(prepared: PreparedJob, doc_id: str) -> dict[str, Any]:
    """Return, as JSON values, how the document with the id `doc_id` would be read.

    The keys are `id`, `tokens` (the number in the whole text), `strategy` (`single`, `map_reduce`,
    `truncate`, or `too_long` for a text that the job rejects), `pool` (`short` or `long`), `chunks`
    (with character offsets `start` and `end`, and the number of `tokens`; one chunk for a single
    pass, none for a text that is too long) and `prompts`, one for each task and chunk, with `task`,
    `chunk` (from 0), `document_span` (start and end of the document's own text in `token_ids`),
    `token_ids` and `text`, the prompt as token ids and as text.

    Raises InputError if the document does not exist or cannot be read, UnreadableFile,
    StorageError.
    """
    spec = prepared.spec.input
    files = list_files(spec.path, exclude=Storage(prepared.spec.output.path).root)
    try:
        document = find_document(open_corpus(spec, files), doc_id)
    except UnreadableFile as error:
        raise UnreadableFile(
            f"{error.message.rstrip('. ')}; replace the file with an intact copy"
        ) from error
    if document.text is None:
        assert document.problem is not None
        raise InputError(
            f"--id {doc_id}: nothing to show, because a run would record this document as a dead "
            f"letter: {document.problem.message}. Correct the document, or choose another one"
        )
    text, tasks = document.text, prepared.tasks
    (count,) = tasks.tokenizer.count_all([text])
    split = split_into_passages(text, tasks)
    passages = list(split.passages) if split else []
    in_chunks = split is not None and split.strategy == MAP_REDUCE
    return {
        "id": document.doc_id,
        "tokens": count,
        "strategy": split.strategy if split else TOO_LONG,
        "pool": prepared.pool_of(count),
        "chunks": [
            {"start": chunk.start, "end": chunk.end, "tokens": len(chunk.token_ids)}
            for chunk in (passage.chunk for passage in passages)
        ],
        "prompts": [
            prompt
            for passage in passages
            for prompt in _prompts(prepared, passage, in_chunks=in_chunks)
        ],
    }


def _prompts(
    prepared: PreparedJob, passage: Passage, *, in_chunks: bool
) -> Iterator[dict[str, Any]]:
    """Yield every task's prompt about a passage.

    `document_span` is the range of the prompt's token ids that are the document's own text.
    """
    tokenizer = prepared.tasks.tokenizer
    for task in prepared.tasks.all:
        ids = tokenizer.build_prompt(
            passage.prefix.token_ids, question_for(task, chunk=in_chunks).token_ids
        )
        start = len(tokenizer.prefix_ids) + passage.prefix.passage_start
        yield {
            "task": task.spec.name,
            "chunk": passage.number,
            "document_span": [start, start + len(passage.chunk.token_ids)],
            "token_ids": ids,
            "text": tokenizer.decode(ids),
        }


def preview_text(preview: Mapping[str, Any]) -> str:
    """Return the result of `preview_document` as text for people: a line about the document, then
    every prompt."""
    count = len(preview["chunks"])
    lines = [
        f"document {preview['id']}: {preview['tokens']:,} tokens, strategy {preview['strategy']}, "
        f"pool {preview['pool']}"
    ]
    for prompt in preview["prompts"]:
        chunk = f", chunk {prompt['chunk'] + 1} of {count}" if count > 1 else ""
        length = len(prompt["token_ids"])
        lines.append(
            f"\n--- prompt of {prompt['task']}{chunk}: {length:,} tokens\n{prompt['text']}"
        )
    return "\n".join(lines)
