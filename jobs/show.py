"""`phifleet show`: the prompts that the model gets for one document, token by token.

Reads the corpus until it finds the document; starts no engine and no Ray.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipelines.answering.parts import split_into_parts
from pipelines.answering.passages import Passage, split_into_passages
from pipelines.corpus.changes import check_span
from pipelines.corpus.not_read import NotRead
from pipelines.corpus.rows import Corpus, open_corpus, read_rows
from pipelines.corpus.sources import list_input
from pipelines.corpus.texts import documents_of
from pipelines.documents import TOO_LONG, Document
from pipelines.errors import InputError, UnreadableFile
from pipelines.run.prepared import PreparedJob
from pipelines.storage import Storage
from pipelines.tasks.kinds import Task, question_for
from pipelines.text.lengths import MAP_REDUCE
from pipelines.text.tokens import ChatTokenizer


def find_document(corpus: Corpus, doc_id: str, not_read: NotRead) -> Document:
    """Return the first document in `corpus` with the id `doc_id`; an integer id is given in decimal
    digits. Reads the corpus up to that document.

    Raises InputError if no document has the id, with the files that are `not_read`; UnreadableFile,
    StorageError.
    """
    for fragment in corpus.fragments:
        for rows in read_rows(corpus.spec, corpus.layout, fragment):
            ids = [str(value) for value in rows.column("doc_id").to_pylist()]
            if doc_id in ids:
                check_span(corpus.spec, [fragment])
                return documents_of(rows.slice(ids.index(doc_id), 1))[0]
    skipped = f" ({not_read.describe()})" if not_read.count else ""
    raise InputError(
        f"--id {doc_id}: no document in {corpus.spec.path} has this id in column "
        f"{corpus.spec.id_column!r}; check the id and input.id_column{skipped}"
    )


def preview_document(prepared: PreparedJob, doc_id: str) -> dict[str, Any]:
    """Return, as JSON values, how the document with the id `doc_id` would be read.

    The keys are `id`, `tokens` (the number in the whole text), `strategy` (`single`, `map_reduce`,
    `truncate`, `parts` if all tasks read parts, or `too_long` for a text that the job rejects),
    `pool` (`short` or `long`), `chunks` (with character offsets `start` and `end`, and the number
    of `tokens`; one chunk for a single pass, none for a text that is too long, or if all tasks read
    parts) and `prompts`, one for each task and chunk, with `task`, `chunk` (from 0),
    `document_span` (start and end of the document's own text in `token_ids`), `token_ids` and
    `text`, the prompt as token ids and as text. If tasks read parts, there is a key `parts`, like
    `chunks`, and `chunk` is the number of the part in the prompts of these tasks. `files_not_read`
    has, by reason, how many files below `input.path` are not read, with the first names.

    Raises InputError if the document does not exist or cannot be read, UnreadableFile,
    StorageError.
    """
    document, not_read = _readable_document(prepared, doc_id)
    text, tasks = document.text or "", prepared.tasks
    (count,) = tasks.tokenizer.count_all([text])
    split = split_into_passages(text, tasks)
    read_whole = [task for task in tasks.all if not task.in_parts]
    in_parts = [task for task in tasks.all if task.in_parts]
    in_chunks = split is not None and split.strategy == MAP_REDUCE
    cut_up = split_into_parts(text, tasks, split.strategy) if split and in_parts else None
    passages = list(split.passages) if split and read_whole else []
    parts = list(cut_up.passages) if cut_up else []
    shown = split if read_whole else cut_up
    return {
        "id": document.doc_id,
        "tokens": count,
        "strategy": shown.strategy if shown else TOO_LONG,
        "pool": prepared.pool_of(count),
        "chunks": _spans(passages),
        **({"parts": _spans(parts)} if in_parts else {}),
        "files_not_read": not_read.to_json(),
        "prompts": [
            *_prompts(tasks.tokenizer, read_whole, passages, in_chunks=in_chunks),
            *_prompts(tasks.tokenizer, in_parts, parts, in_chunks=True),
        ],
    }


def _readable_document(prepared: PreparedJob, doc_id: str) -> tuple[Document, NotRead]:
    """Return a document that has a text, and the files of the corpus that are not read. Raises as
    `preview_document` states."""
    spec = prepared.spec.input
    listing = list_input(spec, exclude=Storage(prepared.spec.output.path).root)
    try:
        document = find_document(open_corpus(spec, listing.files), doc_id, listing.not_read)
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
    return document, listing.not_read


def _spans(passages: Sequence[Passage]) -> list[dict[str, int]]:
    chunks = [passage.chunk for passage in passages]
    return [
        {"start": chunk.start, "end": chunk.end, "tokens": len(chunk.token_ids)} for chunk in chunks
    ]


def _prompts(
    tokenizer: ChatTokenizer,
    tasks: Sequence[Task],
    passages: Sequence[Passage],
    *,
    in_chunks: bool,
) -> Iterator[dict[str, Any]]:
    """Yield the prompts of tasks about the passages that they read, passage by passage.

    `document_span` is the range of the prompt's token ids that are the document's own text.
    """
    for passage in passages:
        for task in tasks:
            question = question_for(task, chunk=in_chunks)
            ids = tokenizer.build_prompt(passage.prefix.token_ids, question.token_ids)
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
    counts = Counter(prompt["task"] for prompt in preview["prompts"])
    lines = [
        f"document {preview['id']}: {preview['tokens']:,} tokens, strategy {preview['strategy']}, "
        f"pool {preview['pool']}"
    ]
    for prompt in preview["prompts"]:
        count = counts[prompt["task"]]
        chunk = f", chunk {prompt['chunk'] + 1} of {count}" if count > 1 else ""
        length = len(prompt["token_ids"])
        lines.append(
            f"\n--- prompt of {prompt['task']}{chunk}: {length:,} tokens\n{prompt['text']}"
        )
    return "\n".join(lines)
