"""Measures the time to count the tokens of one text and to cut it into chunks.

    tokenizing.py --tokenizer DIRECTORY [--against CHECKOUT] [--megabytes 1 10] [--repeats 5]

`DIRECTORY` has a model's tokenizer.json and tokenizer_config.json. With `--against`, the same is
measured with the code of another checkout of this project, in turns, and the ids are compared.
Reported are the medians of CPU seconds, which other programs on the machine affect less, and of
seconds elapsed; with `--against`, those of both checkouts and their ratios.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import random
import time
from collections.abc import Callable
from pathlib import Path
from pydoc_data import topics
from typing import Any

from checkouts import measure_alternately, median_of

CHUNK_TOKENS, OVERLAP_TOKENS = 3000, 200
_CJK = "本公司及其附属公司在报告期内的经营情况如下所述，管理层认为所披露的信息真实准确完整。"  # noqa: RUF001  # Chinese


def _prose(random_: random.Random, size_bytes: int) -> str:
    texts = list(topics.topics.values())
    parts: list[str] = []
    while sum(map(len, parts)) < size_bytes:
        parts += random_.sample(texts, len(texts))
    return "\n\n".join(parts)


def _table(random_: random.Random, size_bytes: int) -> str:
    rows = (
        f"| {row:>8} | {random_.choice(('rent', 'heating', 'repairs'))} | "
        f"{random_.uniform(1, 99_999):>12,.2f} | {'yes' if row % 3 else 'no ':<6} |\n"
        for row in range(size_bytes // 40)
    )
    return "".join(rows)


def _cjk(random_: random.Random, size_bytes: int) -> str:
    sentences = (f"{_CJK[random_.randrange(20) :]}" for _ in range(size_bytes // 60))
    return "".join(f"{text}\n  " if n % 9 == 0 else text for n, text in enumerate(sentences))


def _base64(random_: random.Random, size_bytes: int) -> str:
    return base64.b64encode(random_.randbytes(size_bytes)).decode()


TEXTS: dict[str, Callable[[random.Random, int], str]] = {
    "prose": _prose,
    "table": _table,
    "cjk": _cjk,
    "no blanks": lambda random_, size: "".join(_prose(random_, 2 * size).split()),
    "only blanks": lambda random_, size: " " * size,
    "base64": _base64,
}


class _Times:
    """The CPU time and the time on the clock, in seconds, when it is created."""

    def __init__(self) -> None:
        self.cpu = time.process_time()
        self.elapsed = time.perf_counter()


def measure(kind: str, size_bytes: int, tokenizer_directory: Path) -> dict[str, Any]:
    """Count and cut one text. Returns the seconds of both, and digests of the chunks."""
    from pipelines.text.chunking import ChunkSize, cut
    from pipelines.text.tokens import load_tokenizer

    text = TEXTS[kind](random.Random(1), size_bytes).encode()[:size_bytes].decode(errors="ignore")  # noqa: S311  # not for security
    tokenizer = load_tokenizer(tokenizer_directory)
    tokenizer.count_all([text[:1000]])
    list(cut(text[:1000], ChunkSize(CHUNK_TOKENS, OVERLAP_TOKENS), tokenizer))
    started = _Times()
    (count,) = tokenizer.count_all([text])
    counted = _Times()
    chunks = list(cut(text, ChunkSize(CHUNK_TOKENS, OVERLAP_TOKENS), tokenizer))
    finished = _Times()
    places = hashlib.sha256(repr([(chunk.start, chunk.end) for chunk in chunks]).encode())
    digest = hashlib.sha256(repr([chunk.token_ids for chunk in chunks]).encode())
    return {
        "count_cpu_seconds": counted.cpu - started.cpu,
        "count_elapsed_seconds": counted.elapsed - started.elapsed,
        "cut_cpu_seconds": finished.cpu - counted.cpu,
        "cut_elapsed_seconds": finished.elapsed - counted.elapsed,
        "tokens": count,
        "chunks": len(chunks),
        "places": places.hexdigest()[:12],
        "ids": digest.hexdigest()[:12],
        "alone": all(
            list(chunk.token_ids) == tokenizer.encode(text[chunk.start : chunk.end])
            for chunk in chunks
        ),
    }


def _compare(kind: str, megabytes: int, options: argparse.Namespace) -> None:
    arguments = ["--measure", kind, "--megabytes", str(megabytes)]
    arguments += ["--tokenizer", str(options.tokenizer)]
    runs = measure_alternately(__file__, arguments, options.against, options.repeats)
    line: dict[str, Any] = {"text": kind, "megabytes": megabytes}
    for name in (name for name in runs[0][0] if name.endswith("_seconds")):
        medians = median_of(runs, name)
        line[name] = [round(median, 3) for median in medians]
        if options.against:
            line[name.replace("seconds", "ratio")] = round(medians[0] / medians[1], 3)
    for name in ("tokens", "chunks", "places", "ids", "alone"):
        values = [side[0][name] for side in runs]
        line[name] = values[0] if len(set(values)) == 1 else values
    print(json.dumps(line), flush=True)


def main() -> None:
    """Measure each kind of text, or one in this process."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--against", type=Path)
    parser.add_argument("--megabytes", type=int, nargs="+", default=[1, 10])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--texts", nargs="+", choices=TEXTS, default=list(TEXTS))
    parser.add_argument("--measure", choices=TEXTS, help="measure one kind, in this process")
    options = parser.parse_args()
    if options.measure:
        size_bytes = options.megabytes[0] * 1_000_000
        print(json.dumps(measure(options.measure, size_bytes, options.tokenizer)))
        return
    for megabytes in options.megabytes:
        for kind in options.texts:
            _compare(kind, megabytes, options)


if __name__ == "__main__":
    main()
