"""Indexing on Ray's CPUs: spans, damaged files and duplicate ids; a small corpus in this process.

Knows the index; nothing of the ledger, of plans or of engines.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import ray

from pipelines.corpus.files import SourceFile
from pipelines.corpus.fragments import Fragment
from pipelines.corpus.ids import RowsFile, find_duplicates
from pipelines.corpus.index import IndexConfig, SpanIndex, index_span
from pipelines.corpus.rows import unreadable_reason
from pipelines.errors import PhifleetError
from pipelines.job.spec import InputSpec
from pipelines.storage import Storage

# Ids that one task on Ray compares at a time, to bound its memory.
_IDS_PER_SHARE = 20_000_000
SMALL_CORPUS_BYTES = 4 * 2**20
"""A corpus of at most this many bytes is read in this process: that takes less time than the start
of a process on Ray."""
_FEW_IDS = 100_000
T = TypeVar("T")
Result = TypeVar("Result")


def index_spans(spans: Sequence[Sequence[Fragment]], config: IndexConfig) -> Iterator[SpanIndex]:
    """Index spans and yield their results as they are finished, in any order.

    Each span is a task on Ray with one CPU. Spans of at most SMALL_CORPUS_BYTES together are
    indexed in this process, in order. Raises InputError, StorageError, RayError.
    """
    return map_spans(index_span, spans, config)


def map_spans(
    function: Callable[[int, Sequence[Fragment], T], Result],
    spans: Sequence[Sequence[Fragment]],
    config: T,
) -> Iterator[Result]:
    """Yield the results of a function of each span's number, the span and `config`; where and how
    as in `index_spans`."""
    size_bytes = sum(fragment.size_bytes for span in spans for fragment in span)
    if size_bytes <= SMALL_CORPUS_BYTES:
        yield from (function(number, span, config) for number, span in enumerate(spans))
        return
    shared_config = ray.put(config)

    def apply(row: dict[str, Any]) -> dict[str, Any]:
        config = ray.get(shared_config)
        return {"result": _result_or_error(function, row["number"], row["fragments"], config)}

    rows = [{"number": number, "fragments": list(span)} for number, span in enumerate(spans)]
    dataset = ray.data.from_items(rows, override_num_blocks=max(1, len(rows)))
    for row in dataset.map(apply, num_cpus=1).iter_rows():
        yield _value(row["result"])


def _result_or_error(function: Callable[..., T], *arguments: Any) -> T | PhifleetError:
    """Return the function's result, or its PhifleetError: Ray would wrap a raised error in its own
    class."""
    try:
        return function(*arguments)
    except PhifleetError as error:
        return error


def _value(result: T | PhifleetError) -> T:
    if isinstance(result, PhifleetError):
        raise result
    return result


def _wait_for(task: Any) -> Any:
    """Return the result of a task on Ray, or raise its error. Signal handlers run during the wait,
    which they do not in `ray.get`."""
    return _value(task.future().result())


def unreadable_files(spec: InputSpec, files: Sequence[SourceFile]) -> dict[str, str]:
    """Read each file to its end, and return a message for each damaged one, by its path.

    Files of more than SMALL_CORPUS_BYTES together are read in tasks on Ray's CPUs. Raises
    InputError if a file's columns are not as the job requires, and StorageError.
    """
    if sum(file.size_bytes for file in files) <= SMALL_CORPUS_BYTES:
        reasons = [unreadable_reason(spec, file) for file in files]
    else:
        check = ray.remote(num_cpus=1)(_result_or_error)
        tasks = [check.remote(unreadable_reason, spec, file) for file in files]
        reasons = [_wait_for(task) for task in tasks]
    return {file.path: why for file, why in zip(files, reasons, strict=True) if why}


def duplicate_ids(storage: Storage, rows_files: Sequence[RowsFile], rows: int) -> list[str]:
    """Return a text for each id that occurs more than once in the index, with the id and some of
    its rows: at most ten texts from each share of the ids.

    Raises StorageError. More than 100,000 ids are compared on Ray, in shares of about 20 million,
    one after the other.

    Args:
        storage: OUTPUT.
        rows_files: the index's files with the ids.
        rows: number of ids in them.
    """
    if rows <= _FEW_IDS:
        return find_duplicates(storage, rows_files, share=0, shares=1)
    shares = 1 + rows // _IDS_PER_SHARE

    find = ray.remote(num_cpus=1)(_result_or_error)
    duplicates: list[str] = []
    for share in range(shares):
        duplicates += _wait_for(find.remote(find_duplicates, storage, rows_files, share, shares))
    return duplicates
