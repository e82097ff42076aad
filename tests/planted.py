"""A corpus of texts with planted facts, of any lengths, and what is right about each of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.job.spec import LongDocuments
from pipelines.models.resolve import TRAINED_LENGTHS
from pipelines.tasks.kinds import NOT_STATED
from pipelines.text.chunking import ChunkSize, cut
from pipelines.text.tokens import ChatTokenizer
from pipelines.tiny import rules
from pipelines.tiny.author import Author

# Stated once, stated where a chunk ends, stated twice in other words, stated nowhere.
ONCE, ON_A_BORDER, TWICE, NOWHERE = KEYS = ("owner", "release", "section", "version")
TASKS: list[dict[str, Any]] = [
    {"name": key, "kind": "ask", "question": f"What is the {key}?"} for key in KEYS
]
_SIZE = ChunkSize(TRAINED_LENGTHS.chunk_tokens, LongDocuments().overlap_tokens)


def plant_corpus(path: Path, tokens: ChatTokenizer, lengths: Sequence[int]) -> None:
    """One document of each of these lengths in tokens, as columns doc, text and length."""
    rows = [
        {"doc": f"planted-{number}", "text": _text(number, length, tokens), "length": length}
        for number, length in enumerate(lengths)
    ]
    pq.write_table(pa.Table.from_pylist(rows), path)


def _text(number: int, length: int, tokens: ChatTokenizer) -> str:
    author = Author(f"planted {number}")
    text = author.text(length, 4).text
    for key in (ONCE, TWICE, TWICE):
        text = _insert(text, author.random.randrange(1, len(text)), key, author)
    chunks = list(cut(text, _SIZE, tokens))
    return _insert(text, author.random.choice(chunks).end - 12, ON_A_BORDER, author)


def _insert(text: str, at: int, key: str, author: Author) -> str:
    """The text with a fact on a line of its own, wherever that is."""
    return f"{text[:at]}\n{rules.line(key, author.value('string'))}\n{text[at:]}"


def answers_right(rows: Sequence[Mapping[str, Any]], texts: Mapping[str, str]) -> dict[str, float]:
    """The share of documents that are answered rightly, by task. `rows` are those of OUTPUT."""
    right: Counter[str] = Counter()
    for row in rows:
        text = texts[row["doc"]]
        for key in KEYS:
            stated = rules.stated(text, key)
            right[key] += row[key]["text"] == (stated[0] if stated else NOT_STATED)
    return {name: right[name] / len(rows) for name in KEYS}
