"""Measures how long the search for a quote takes, in texts of 100 kB and 1 MB.

Quotes are those that stand in the text, that are similar to a passage, and that are absent. Prints
a table with the mean and the worst of each kind. `python benchmarks/quotes.py` takes a minute.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable, Sequence
from functools import partial
from pydoc_data import topics
from statistics import mean

from rich.console import Console
from rich.table import Table

from pipelines.text.quotes import QuoteFinder

SIZES = (100_000, 1_000_000)
_REPEATS = 3
_NOISE = 0.1


def _text(size: int) -> str:
    """Return Python's documentation, with new numbers each time it is repeated, and pages."""
    words = "\n\n".join(topics.topics.values())
    repeated = (f"Volume {number}\n\n{words}\n\n" for number in range(size // len(words) + 1))
    text = "".join(repeated)[:size]
    pages = [text[start : start + 3000] for start in range(0, size, 3000)]
    bordered = (f"{page}\n\nReference of Python, page {i}\n\n" for i, page in enumerate(pages))
    return "".join(bordered)[:size]


def _passage(words: Sequence[str], rng: random.Random, size: int | None = None) -> list[str]:
    size = size or rng.randrange(6, 50)
    start = rng.randrange(len(words) - size)
    return list(words[start : start + size])


def _changed(words: Sequence[str], rng: random.Random) -> list[str]:
    passage = _passage(words, rng)
    passage[len(passage) // 2] = "Zebra"
    return passage


def _scanned(words: Sequence[str], rng: random.Random) -> list[str]:
    letters = " ".join(_passage(words, rng))
    return ["".join(rng.choice("abcxyz") if rng.random() < _NOISE else x for x in letters)]


KINDS: dict[str, Callable[[Sequence[str], random.Random], list[str]]] = {
    "stands in the text": _passage,
    "of 300 words": lambda words, rng: _passage(words, rng, 300),
    "one word changed": _changed,
    "one letter in ten changed": _scanned,
    "absent": lambda words, rng: rng.sample(list(words), 20),
    "a number": lambda words, rng: [str(rng.randrange(1, 10_000))],
    "a word": lambda words, rng: [rng.choice(words)],
}


def _milliseconds(action: Callable[[], object]) -> float:
    """Return the shortest of several runs, which other programs disturbed least."""
    durations = []
    for _ in range(_REPEATS):
        started_at = time.perf_counter()
        action()
        durations.append(time.perf_counter() - started_at)
    return min(durations) * 1000


def _fold(text: str) -> QuoteFinder:
    """Return a finder that has found a quote, for which it folded the text."""
    finder = QuoteFinder(text)
    finder.find(text[: text.index(" ", 100)])
    return finder


def _fold_both(text: str) -> QuoteFinder:
    """Return a finder that looked for a quote also without the page headers and footers."""
    finder = QuoteFinder(text)
    finder.find("words that are nowhere in the text")
    return finder


def _measure(table: Table, size: int, count: int) -> None:
    text = _text(size)
    words = text.split()
    rng = random.Random(size)  # noqa: S311 - the same quotes each time
    label = f"{size // 1000} kB"
    for name, fold in (("folding", _fold), ("page headers found, folded again", _fold_both)):
        table.add_row(label, f"once: {name}", f"{_milliseconds(partial(fold, text)):.1f}")
    finder = _fold_both(text)
    for kind, make in KINDS.items():
        quotes = [" ".join(make(words, rng)) for _ in range(count)]
        times = [_milliseconds(partial(finder.find, quote)) for quote in quotes]
        verified = sum(any(found.verified for found in finder.find(quote)) for quote in quotes)
        share = f"{verified / count:.0%}"
        table.add_row(label, kind, f"{mean(times):.2f}", f"{max(times):.2f}", share)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quotes", type=int, default=200, help="quotes of each kind")
    count = parser.parse_args().quotes
    table = Table("text", "quote", "mean ms", "worst ms", "verified")
    for size in SIZES:
        _measure(table, size, count)
    Console().print(table)


if __name__ == "__main__":
    main()
