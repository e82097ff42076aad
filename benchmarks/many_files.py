"""Measures the time to list, open and index a corpus of many small files on a local disk.

    many_files.py [--files 10000] [--directory DIR] [--formats parquet jsonl]

The files, of three short documents each, are made once in `DIRECTORY`, 100 to a subdirectory.
Listing, opening (the schema of every file) and indexing run in one process, without Ray: a run
indexes on all CPUs of its cluster. `cpu_seconds` are those of this process, which other programs on
the machine affect less. Memory is the growth of the process's peak while it lists and
opens, for each file.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

_DOCUMENTS = 3
_TEXT = "The quick brown fox jumps over the lazy dog, and nobody asks why it does. " * 4


def _write(path: Path, number: int) -> None:
    ids = [f"{path.suffix}-{number}-{row}" for row in range(_DOCUMENTS)]
    if path.suffix == ".parquet":
        pq.write_table(pa.table({"id": ids, "text": [_TEXT] * _DOCUMENTS}), path)
    else:
        lines = (json.dumps({"id": doc_id, "text": _TEXT}) for doc_id in ids)
        path.write_text("".join(f"{line}\n" for line in lines))


def _make(directory: Path, ending: str, files: int) -> Path:
    """Return a directory with this many files; those that are there already are kept."""
    top = directory / f"{ending}-{files}"
    for number in range(files):
        path = top / f"{number // 100:04}" / f"part-{number:07}.{ending}"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            _write(path, number)
    return top


def _peak_bytes() -> int:
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _measure(top: Path, output: Path) -> dict[str, float]:
    """Return seconds of each step, and bytes of memory for each file. Call it in a fresh process:
    its peak of memory never falls."""
    from pipelines.corpus.files import list_corpus
    from pipelines.corpus.index import IndexConfig, cut_spans, index_span
    from pipelines.corpus.rows import open_corpus
    from pipelines.job.spec import InputSpec
    from pipelines.models.cost import CPU, CostModel
    from pipelines.models.resolve import resolve
    from pipelines.storage import Storage
    from pipelines.text.chunking import ChunkSize
    from pipelines.text.lengths import PromptShape, ReadingPlan
    from pipelines.text.tokens import load_tokenizer

    model = resolve("tiny-random")
    tokenizer = load_tokenizer(model.path)
    shape = PromptShape(10, (5,), (20,))
    reading = ReadingPlan("single", 1000, ChunkSize(64), shape, shape, 1000, 200, 200, 200)
    spec = InputSpec(path=str(top), id_column="id")
    before = _peak_bytes()
    cpu = time.process_time()
    times = [time.perf_counter()]
    listing = list_corpus(spec.path, exclude=str(output))
    times.append(time.perf_counter())
    corpus = open_corpus(spec, listing.files)
    times.append(time.perf_counter())
    grown = _peak_bytes() - before
    config = IndexConfig(
        spec, corpus.layout, tokenizer, reading, CostModel(model, CPU, reading), 30.0,
        Storage(str(output)), "index",
    )  # fmt: skip
    spans = cut_spans(corpus.fragments, 4)
    rows = sum(index_span(number, span, config).rows for number, span in enumerate(spans))
    times.append(time.perf_counter())
    assert rows == _DOCUMENTS * len(listing.files)
    return {
        "files": len(listing.files),
        "list_seconds": round(times[1] - times[0], 2),
        "open_seconds": round(times[2] - times[1], 2),
        "index_seconds": round(times[3] - times[2], 2),
        "total_seconds": round(times[3] - times[0], 2),
        "cpu_seconds": round(time.process_time() - cpu, 2),
        "bytes_per_file": round(grown / len(listing.files)),
    }


def main() -> None:
    """Measure each format in a process of its own, and print a line of JSON for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--directory", type=Path, default=Path(tempfile.gettempdir(), "many-files"))
    parser.add_argument("--formats", nargs="+", default=["parquet", "jsonl"])
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        with tempfile.TemporaryDirectory() as output:
            print(json.dumps(_measure(options.measure, Path(output))))
        return
    for ending in options.formats:
        top = _make(options.directory, ending, options.files)
        command = [sys.executable, __file__, "--measure", str(top)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        print(ending, done.stdout.strip())


if __name__ == "__main__":
    main()
