"""A corpus of texts of given lengths with planted facts, and a check of the answers about them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.job.spec import LongDocuments
from pipelines.models.resolve import TRAINED_LENGTHS
from pipelines.tasks.replies import NOT_STATED
from pipelines.text.chunking import ChunkSize, cut
from pipelines.text.tokens import ChatTokenizer
from pipelines.tiny import rules
from pipelines.tiny.author import Author

# Keys of facts: stated once, stated where a chunk ends, stated twice with different values, and not
# stated.
ONCE, ON_A_BORDER, TWICE, NOWHERE = KEYS = ("owner", "release", "section", "version")
TASKS: list[dict[str, Any]] = [
    {"name": key, "kind": "ask", "question": f"What is the {key}?"} for key in KEYS
]
_SIZE = ChunkSize(TRAINED_LENGTHS.chunk_tokens, LongDocuments().overlap_tokens)


def plant_corpus(path: Path, tokenizer: ChatTokenizer, lengths: Sequence[int]) -> None:
    """Write one document of each length in tokens, with the columns doc, text and length."""
    rows = [
        {"doc": f"planted-{number}", "text": _text(number, length, tokenizer), "length": length}
        for number, length in enumerate(lengths)
    ]
    pq.write_table(pa.Table.from_pylist(rows), path)


def _text(number: int, length: int, tokenizer: ChatTokenizer) -> str:
    author = Author(f"planted {number}")
    text = author.text(length, 4).text
    for key in (ONCE, TWICE, TWICE):
        text = _insert(text, author.random.randrange(1, len(text)), key, author)
    chunks = list(cut(text, _SIZE, tokenizer))
    return _insert(text, author.random.choice(chunks).end - 12, ON_A_BORDER, author)


def _insert(text: str, at: int, key: str, author: Author) -> str:
    """Return the text with a fact inserted at a position, on a separate line."""
    return f"{text[:at]}\n{rules.line(key, author.value('string'))}\n{text[at:]}"


def answers_right(rows: Sequence[Mapping[str, Any]], texts: Mapping[str, str]) -> dict[str, float]:
    """Return the share of documents with a correct answer, by task, from 0 to 1.

    `rows` are the rows of OUTPUT; `texts` are the documents by id.
    """
    correct: Counter[str] = Counter()
    for row in rows:
        text = texts[row["doc"]]
        for key in KEYS:
            stated = rules.stated(text, key)
            correct[key] += row[key]["text"] == (stated[0] if stated else NOT_STATED)
    return {name: correct[name] / len(rows) for name in KEYS}
