"""Measures how long the evidence of a long list takes in texts of 100 kB to 10 MB.

Run as `python benchmarks/evidence.py`. The list has 1,081 entries of a name, a number and a date,
half of them invented; each text mentions the others among prose and tables.
"""

from __future__ import annotations

import random
import time

from pipelines.tasks.evidence import evidence_of_fields
from pipelines.text.search import DocumentSearch

_ITEMS = 1081
_SIZES = (100_000, 1_000_000, 10_000_000)
_MONTHS = "January February March April May June July August September October".split()  # noqa: SIM905
_SYLLABLES = "ka lo mi ren tas ver dol pin sar que".split()  # noqa: SIM905


def main() -> None:
    rng = random.Random(1)  # noqa: S311 - no secret
    entries = [_entry(rng) for _ in range(_ITEMS)]
    schema = {"properties": {"entries": {"items": {"properties": {"due": {"format": "date"}}}}}}
    print(
        f"{'characters':>12} {'first':>8} {'again':>8}   "
        f"CPU seconds for {_ITEMS} entries of 3 values"
    )
    for size in _SIZES:
        text = _text(rng, entries[::2], size)
        search = DocumentSearch(text)
        seconds = []
        for _ in range(2):
            start = time.process_time()
            evidence_of_fields({"entries": entries}, schema, {}, search, 0, len(text))
            seconds.append(time.process_time() - start)
        print(f"{len(text):>12} {seconds[0]:>8.2f} {seconds[1]:>8.2f}")


def _entry(rng: random.Random) -> dict[str, object]:
    name = " ".join("".join(rng.choices(_SYLLABLES, k=3)).title() for _ in range(2))
    day = f"20{rng.randrange(10, 30)}-{rng.randrange(1, 11):02}-{rng.randrange(1, 29):02}"
    return {"name": name, "amount": rng.randrange(1000, 10**7), "due": day}


def _text(rng: random.Random, entries: list[dict[str, object]], size: int) -> str:
    lines: list[str] = []
    length = 0
    while length < size:
        entry = rng.choice(entries)
        year, month, day = str(entry["due"]).split("-")
        written = f"{int(day)} {_MONTHS[int(month) - 1]} {year}"
        filler = " ".join(rng.choices(_SYLLABLES, k=20))
        lines.append(
            f"The amount of ${entry['amount']:,} is due to {entry['name']} on {written}, {filler}."
        )
        length += len(lines[-1]) + 1
    return "\n".join(lines)


if __name__ == "__main__":
    main()
