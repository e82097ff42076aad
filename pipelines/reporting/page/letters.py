"""The dead letters of a report: the counts of the ledger, with examples from some of the files.

Knows the columns of dead letters; knows nothing of HTML.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.corpus.sampling import spread
from pipelines.ledger.names import DEAD_LETTERS
from pipelines.ledger.reasons import REASONS, UNKNOWN
from pipelines.ledger.records import readable
from pipelines.reporting.page.facts import LetterExample, ReasonFacts
from pipelines.storage import Storage

MAX_FILES = 32
"""The files of dead letters that are read for examples, at most."""
_PARALLEL = 8
_EXAMPLES, _MAX_CHARACTERS = 3, 300


@dataclass(frozen=True, slots=True)
class LetterSample:
    """The dead letters by reason, the most frequent first, and the files: all, and those read."""

    reasons: Sequence[ReasonFacts]
    files: int
    read: int


def sample_letters(storage: Storage, counts: Mapping[str, int]) -> LetterSample:
    """Return the dead letters with these counts by reason, with examples.

    Raises OutputError if a file is damaged, StorageError.
    """
    names = sorted(storage.names(DEAD_LETTERS))
    chosen = spread(names, MAX_FILES)
    examples: defaultdict[str, list[LetterExample]] = defaultdict(list)
    for letter, reason in _letters(storage, chosen):
        if len(examples[reason]) < _EXAMPLES:
            examples[reason].append(letter)
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    reasons = [_facts(reason, count, examples[reason]) for reason, count in ordered if count]
    return LetterSample(reasons, len(names), len(chosen))


def _facts(reason: str, count: int, examples: Sequence[LetterExample]) -> ReasonFacts:
    text = REASONS.get(reason, UNKNOWN)
    return ReasonFacts(reason, count, text.meaning, text.remedy, text.retry.value, tuple(examples))


def _letters(storage: Storage, names: Sequence[str]) -> Iterator[tuple[LetterExample, str]]:
    with ThreadPoolExecutor(_PARALLEL) as pool:
        read = list(pool.map(lambda name: storage.read_if_exists(f"{DEAD_LETTERS}/{name}"), names))
    for name, data in zip(names, read, strict=True):
        if data is None:
            # a run that asks again has removed it
            continue
        with readable(storage.path(f"{DEAD_LETTERS}/{name}")):
            table = pq.read_table(
                pa.BufferReader(data), columns=["doc_id", "task", "reason", "message"]
            )
        for row in table.to_pylist():
            message = (row["message"] or "")[:_MAX_CHARACTERS]
            yield LetterExample(str(row["doc_id"]), row["task"], message), row["reason"]
