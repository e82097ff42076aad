"""The measurement of rows: tokens, pool and cost of each, and the reason why one has no answer.

Knows texts and their lengths; knows nothing of files, spans or units.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.corpus.texts import decode_text
from pipelines.documents import TEXT, TOO_LONG, Problem
from pipelines.models.cost import CostModel
from pipelines.text.lengths import ReadingPlan
from pipelines.text.tokens import ChatTokenizer

# Characters per call of the tokenizer, which needs some hundred bytes per token.
_ENCODE_CHARACTERS = 2**20


@dataclass(frozen=True)
class MeasuredRows:
    """Rows of the corpus with what is known of each, as parallel arrays.

    `longest` is the length in tokens of the longest prompt about the row's document with its
    answer, `prompt_tokens` the length of all its prompts, `seconds` the expected engine time, and
    `long_pool` whether the document needs the long pool. These four are 0 or False if the document
    gets no answer, because it cannot be read or is too long. `size_bytes` is the row's size: that
    of its text, plus the mean size of the other columns.
    """

    table: pa.Table
    longest: npt.NDArray[np.int64]
    prompt_tokens: npt.NDArray[np.int64]
    seconds: npt.NDArray[np.float64]
    size_bytes: npt.NDArray[np.int64]
    long_pool: npt.NDArray[np.bool_]

    @classmethod
    def of(
        cls,
        table: pa.Table,
        tokens: npt.NDArray[np.int64],
        problems: Sequence[str | None],
        reading: ReadingPlan,
        cost: CostModel,
    ) -> MeasuredRows:
        """Return the measured rows of `table`, which has the columns of `Layout.schema`.

        `tokens` and `problems` are the results of `measure_texts` for its texts. `reading` gives
        the lengths of a document's prompts and whether it needs the long pool, and `cost` estimates
        its engine time. Lengths and time are 0 for a row with a problem.
        """
        readable = np.array([problem is None for problem in problems], dtype=bool)
        lengths = reading.lengths(tokens)
        longest = np.where(readable, lengths.longest, 0)
        text_bytes = pc.fill_null(pc.binary_length(table.column(TEXT)), 0)
        other_bytes = table.drop_columns([TEXT]).nbytes // max(1, table.num_rows)
        return cls(
            table=table,
            longest=longest,
            prompt_tokens=np.where(readable, lengths.prompt_tokens, 0),
            seconds=np.where(readable, cost.seconds(tokens), 0.0),
            size_bytes=np.asarray(text_bytes.to_numpy(), dtype=np.int64) + other_bytes,
            long_pool=reading.long_pool(longest),
        )

    def take(self, positions: npt.NDArray[np.int64]) -> MeasuredRows:
        """Return the rows at these positions, counted from 0, in the order of `positions`."""
        return MeasuredRows(
            self.table.take(positions),
            self.longest[positions],
            self.prompt_tokens[positions],
            self.seconds[positions],
            self.size_bytes[positions],
            self.long_pool[positions],
        )

    @classmethod
    def concat(cls, parts: Sequence[MeasuredRows]) -> MeasuredRows:
        """Return the rows of all parts, in their order; at least one part is needed."""
        return cls(
            pa.concat_tables([part.table for part in parts]),
            np.concatenate([part.longest for part in parts]),
            np.concatenate([part.prompt_tokens for part in parts]),
            np.concatenate([part.seconds for part in parts]),
            np.concatenate([part.size_bytes for part in parts]),
            np.concatenate([part.long_pool for part in parts]),
        )


def measure_texts(
    texts: pa.ChunkedArray, tokenizer: ChatTokenizer, reading: ReadingPlan
) -> tuple[npt.NDArray[np.int64], list[str | None]]:
    """Return two values for each text: its number of tokens, 0 if it cannot be read; and the reason
    why its document cannot be answered, or None if it can. `texts` is a column of bytes."""
    decoded = [decode_text(raw) for raw in texts.to_pylist()]
    readable = [text for text in decoded if isinstance(text, str)]
    lengths = _lengths(readable, tokenizer)
    tokens = np.array([next(lengths) if isinstance(t, str) else 0 for t in decoded], dtype=np.int64)
    too_long = reading.too_long(tokens)
    problems = [
        text.reason if isinstance(text, Problem) else TOO_LONG if over else None
        for text, over in zip(decoded, too_long.tolist(), strict=True)
    ]
    return tokens, problems


def _lengths(texts: Sequence[str], tokenizer: ChatTokenizer) -> Iterator[int]:
    """Yield the number of tokens of each text. Each call of the tokenizer gets about a million
    characters, to bound its memory."""
    ends = np.cumsum([len(text) for text in texts], dtype=np.int64) // _ENCODE_CHARACTERS
    cuts = [0, *(np.flatnonzero(np.diff(ends)) + 1).tolist(), len(texts)]
    for start, end in pairwise(cuts):
        yield from tokenizer.count_all(texts[start:end])
