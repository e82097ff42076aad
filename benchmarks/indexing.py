"""Measures how fast a corpus of uncompressed Parquet is read and indexed.

    indexing.py [--against CHECKOUT] [--megabytes 64] [--text-bytes 200 4000] [--repeats 5]

The corpus is made on the spot: documents of English text of about `--text-bytes` each, with an id
and five kept columns. Measured are `read`, the rows as a worker gets them, and `index`, which also
counts tokens and writes the index. With `--against`, the same is measured with the code of another
checkout of this project, in turns. Reported are the medians of CPU seconds, which other programs on
the machine affect less, and of seconds elapsed; with `--against`, those of both checkouts, and the
speed of this one in relation to the other (1.0: the same, 0.5: half as fast).
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from pydoc_data import topics
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from checkouts import measure_alternately, median_of

KEPT = ("title", "score", "count", "at", "tags")
READS = 5
"""Times that the rows are read for one measurement: once takes too little time to compare."""
_START = datetime(2020, 1, 1)


def write_corpus(path: Path, size_bytes: int, text_bytes: int) -> None:
    """Write a Parquet file without compression of about `size_bytes`."""
    random_ = random.Random(1)  # noqa: S311  # not for security
    prose = " ".join(topics.topics.values())
    count = size_bytes // text_bytes
    starts = [random_.randrange(len(prose) - text_bytes) for _ in range(count)]
    table = pa.table(
        {
            "id": [f"document-{number:09d}" for number in range(count)],
            "text": [prose[start : start + text_bytes] for start in starts],
            "title": [prose[start : start + 30] for start in starts],
            "score": [random_.random() for _ in starts],
            "count": starts,
            "at": pa.array([_START + timedelta(seconds=at) for at in starts], pa.timestamp("us")),
            "tags": [["a", "b"] if start % 2 else [] for start in starts],
        }
    )
    pq.write_table(table, path, compression="none", row_group_size=max(1, count // 4))


class _Times:
    """The CPU time and the time on the clock, in seconds, when it is created."""

    def __init__(self) -> None:
        self.cpu = time.process_time()
        self.elapsed = time.perf_counter()


def measure(path: Path) -> dict[str, Any]:
    """Read and index the corpus once each; returns the seconds of both."""
    from pipelines.corpus.files import list_files
    from pipelines.corpus.index import index_span
    from pipelines.corpus.rows import open_corpus, read_rows

    corpus = open_corpus(_spec(path), list_files(str(path)))

    def read() -> int:
        rows = 0
        for fragment in corpus.fragments * READS:
            tables = read_rows(corpus.spec, corpus.layout, fragment)
            rows += sum(table.num_rows for table in tables)
        return rows // READS

    with tempfile.TemporaryDirectory() as directory:
        config = _config(corpus, directory)
        read()
        return {
            **_timed("read", read),
            **_timed("index", lambda: index_span(0, corpus.fragments, config).rows),
        }


def _timed(name: str, function: Callable[[], int]) -> dict[str, Any]:
    started = _Times()
    rows = function()
    ended = _Times()
    return {
        f"{name}_cpu_seconds": ended.cpu - started.cpu,
        f"{name}_elapsed_seconds": ended.elapsed - started.elapsed,
        f"{name}_rows": rows,
    }


def _spec(path: Path) -> Any:
    from pipelines.job.spec import InputSpec

    return InputSpec(path=str(path), keep_columns=KEPT)


def _config(corpus: Any, directory: str) -> Any:
    from pipelines.corpus.index import IndexConfig
    from pipelines.models.cost import CPU, CostModel
    from pipelines.models.resolve import resolve
    from pipelines.storage import Storage
    from pipelines.text.chunking import ChunkSize
    from pipelines.text.lengths import PromptShape, ReadingPlan
    from pipelines.text.tokens import load_tokenizer

    shape = PromptShape(10, (5,), (20,))
    reading = ReadingPlan("single", 9000, ChunkSize(64), shape, shape, 9000, 200, 200, 200)
    model = resolve("tiny-random")
    return IndexConfig(
        input=corpus.spec,
        layout=corpus.layout,
        tokenizer=load_tokenizer(model.path),
        reading=reading,
        cost=CostModel(model, CPU, reading),
        unit_seconds=60.0,
        storage=Storage(directory),
        directory="index",
    )


def _compare(path: Path, text_bytes: int, options: argparse.Namespace) -> None:
    runs = measure_alternately(__file__, ["--measure", str(path)], options.against, options.repeats)
    line: dict[str, Any] = {"megabytes": options.megabytes, "text_bytes": text_bytes}
    for name in (name for name in runs[0][0] if name.endswith("_seconds")):
        medians = median_of(runs, name)
        line[name] = [round(median, 3) for median in medians]
        if options.against:
            line[name.replace("seconds", "speed")] = round(medians[1] / medians[0], 3)
    line["rows"] = runs[0][0]["read_rows"]
    print(json.dumps(line), flush=True)


def main() -> None:
    """Measure corpora of each size of text, or one in this process."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--against", type=Path)
    parser.add_argument("--megabytes", type=int, default=64)
    parser.add_argument("--text-bytes", type=int, nargs="+", default=[200, 4000])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--measure", type=Path, help="measure one corpus, in this process")
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure)))
        return
    with tempfile.TemporaryDirectory() as directory:
        for text_bytes in options.text_bytes:
            path = Path(directory, "corpus.parquet")
            write_corpus(path, options.megabytes * 1_000_000, text_bytes)
            _compare(path, text_bytes, options)


if __name__ == "__main__":
    main()
