"""Measures how fast compressed lines of JSON are indexed, and in how much memory.

    json_lines.py [--gigabytes 2] [--compression gzip zstd bz2] [--directory DIRECTORY]

Makes a file of documents of real prose (Python's own manual), of so many gigabytes of lines, in
each compression, with a broken line in every thousandth place. Measured are, each in a process of
its own: the decompression alone; the search for the columns' types, which reads the whole file if
columns are kept; the reading of all rows; and the whole index, in which tokens are counted as well.
Reported are seconds elapsed and CPU seconds, which other programs on the machine affect less, the
megabytes of lines per CPU second, and the peak memory in MiB.
"""

from __future__ import annotations

import argparse
import bz2
import gzip
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from pydoc_data import topics
from typing import Any

import pyarrow as pa

_ENDINGS = {"gzip": ".gz", "zstd": ".zst", "bz2": ".bz2", "none": ""}
_DOCUMENT_BYTES = 20_000
_BROKEN_EVERY = 1000


def make_lines(size_bytes: int) -> Iterator[bytes]:
    """Yield lines of together `size_bytes`."""
    random_ = random.Random(7)  # noqa: S311  # nothing secret
    texts = list(topics.topics.values())
    made = number = 0
    while made < size_bytes:
        text = ""
        while len(text) < _DOCUMENT_BYTES:
            text += random_.choice(texts)
        row: dict[str, Any] = {"id": f"document {number}", "text": text, "title": text[:60]}
        row |= {"score": random_.random(), "of": {"year": 2000 + number % 25, "tags": ["a", "b"]}}
        line = json.dumps(row).encode()
        if number % _BROKEN_EVERY == _BROKEN_EVERY - 1:
            line = line[: len(line) // 2]
        yield line + b"\n"
        made += len(line) + 1
        number += 1


def make_file(path: Path, compression: str, size_bytes: int) -> None:
    """Write such lines to a compressed file."""
    with _open(path, compression) as file:
        for line in make_lines(size_bytes):
            file.write(line)


def _open(path: Path, compression: str) -> Any:
    if compression == "gzip":
        return gzip.GzipFile(path, "wb", compresslevel=6)
    if compression == "bz2":
        return bz2.BZ2File(path, "wb")
    return pa.output_stream(path, compression="zstd" if compression == "zstd" else None)


def decompress(path: Path) -> int:
    """Decompress a file, and return the number of bytes."""
    from pipelines.corpus.compression import read_chunks

    with path.open("rb") as file:
        return sum(map(len, read_chunks(file)))


def _spec(path: Path) -> Any:
    from pipelines.job.spec import InputSpec

    return InputSpec(path=str(path), keep_columns=("title", "score", "of"))


def _corpus(path: Path) -> Any:
    from pipelines.corpus.files import list_files
    from pipelines.corpus.rows import open_corpus

    return open_corpus(_spec(path), list_files(str(path)))


def find_types(path: Path) -> int:
    """Find the types of a file's columns, and return the number of kept ones."""
    return len(_corpus(path).layout.kept)


def read(path: Path) -> int:
    """Find the types and read all rows; return their number."""
    from pipelines.corpus.rows import read_rows

    corpus = _corpus(path)
    (fragment,) = corpus.fragments
    return sum(table.num_rows for table in read_rows(corpus.spec, corpus.layout, fragment))


def index(path: Path) -> int:
    """Index the file as a run does, and return the number of its documents."""
    from pipelines.corpus.index import IndexConfig, index_span
    from pipelines.job.spec import Job, parse_job
    from pipelines.models.cost import CPU
    from pipelines.run.prepared import prepare_job
    from pipelines.storage import Storage

    with tempfile.TemporaryDirectory(dir=path.parent) as output:
        job: dict[str, object] = {
            "name": "measured",
            "input": _spec(path).model_dump(),
            "output": {"path": output},
            "model": {"name": "tiny-random"},
            "tasks": [{"name": "summary", "kind": "summarize"}],
        }
        prepared = prepare_job(Job(parse_job(job), job))
        corpus = _corpus(path)
        config = IndexConfig(
            input=corpus.spec,
            layout=corpus.layout,
            tokenizer=prepared.tasks.tokenizer,
            reading=prepared.tasks.reading,
            cost=prepared.cost(CPU),
            unit_seconds=30.0,
            storage=Storage(output),
            directory="index",
        )
        return index_span(0, corpus.fragments, config).rows


_STEPS: dict[str, Callable[[Path], int]] = {
    "decompress": decompress,
    "types": find_types,
    "read": read,
    "index": index,
}


def measure(step: str, path: Path) -> dict[str, float]:
    """Return the result of a step, its seconds, its CPU seconds, and the peak memory in MiB."""
    started = time.perf_counter()
    result = _STEPS[step](path)
    return {
        "result": result,
        "seconds": time.perf_counter() - started,
        "cpu_seconds": time.process_time(),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--gigabytes", type=float, default=2.0)
    parser.add_argument("--compression", nargs="+", choices=_ENDINGS, default=["gzip", "zstd"])
    parser.add_argument("--directory", type=Path)
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure[0], Path(options.measure[1]))))
        return
    print(f"{'':6} {'':10} {'result':>12} {'seconds':>9} {'CPU s':>9} {'MB/CPU s':>9} {'MiB':>7}")
    for compression in options.compression:
        with tempfile.TemporaryDirectory(dir=options.directory) as directory:
            path = Path(directory) / f"made.jsonl{_ENDINGS[compression]}"
            make_file(path, compression, int(options.gigabytes * 1e9))
            for step in _STEPS:
                command = [sys.executable, __file__, "--measure", step, str(path)]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                row = json.loads(done.stdout.splitlines()[-1])
                speed = options.gigabytes * 1000 / row["cpu_seconds"]
                print(
                    f"{compression:6} {step:10} {row['result']:>12,} {row['seconds']:>9.1f} "
                    f"{row['cpu_seconds']:>9.1f} {speed:>9.1f} {row['peak_mib']:>7.0f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
