"""The texts of throughput.py's workloads: real ones that need no download.

They are the Python reference, the sources of Python's standard library, and the descriptions of the
installed packages, cut, repeated and numbered so that no two documents start with the same text.
"""

from __future__ import annotations

import sysconfig
from collections.abc import Sequence
from importlib.metadata import distributions
from pathlib import Path
from pydoc_data import topics

from pipelines.tiny import rules
from pipelines.tiny.author import Author

_CHUNKS, _CHUNK_CHARACTERS = 2760, 2000
_REPETITIONS = 6
_LONG_DOCUMENTS, _LONG_CHARACTERS = 24, 40_000
_FORMS, _FORM_CHARACTERS = 500, 3300
_SOURCES, _SOURCE_CHARACTERS = 2500, 2500
_PACKAGES, _LEAST_CHARACTERS = 1200, 400
FACTS = {
    "version": "number",
    "release": "date",
    "section": "integer",
    "editor": "string",
    "owner": "string",
    "reviewer": "string",
    "sponsor": "string",
    "approved": "boolean",
    "release code": "code",
    "licence": "string",
}
"""The keys of the facts that are inserted into the texts of `forms`, and the kinds of their values,
as `Author.value` names them."""
_OMITTED_SHARE = 0.2


def texts_of(workload: str) -> list[str]:
    """Return all texts of a workload; the same for each call with the same installation."""
    match workload:
        case "chunks":
            return _pieces(_reference(), _CHUNKS, _CHUNK_CHARACTERS)
        case "long":
            return _numbered(_pieces(_reference(), _LONG_DOCUMENTS, _LONG_CHARACTERS))
        case "forms":
            pieces = _pieces(_reference(), _FORMS, _FORM_CHARACTERS)
            return [_with_facts(piece, number) for number, piece in enumerate(pieces)]
        case "sources":
            return _pieces(source_text(), _SOURCES, _SOURCE_CHARACTERS)
        case "packages":
            texts = _descriptions()
            return _numbered((texts * -(-_PACKAGES // len(texts)))[:_PACKAGES])
    return _numbered([text for _, text in sorted(topics.topics.items())] * _REPETITIONS)


def _reference() -> str:
    return "\n\n".join(text for _, text in sorted(topics.topics.items()))


def source_text() -> str:
    """Return the sources of the standard library, without its tests and installed packages."""
    root = Path(sysconfig.get_path("stdlib"))
    left_out = {"site-packages", "dist-packages", "test", "tests"}
    paths = sorted(
        path for path in root.rglob("*.py") if not left_out & {*path.relative_to(root).parts}
    )
    return "\n\n".join(path.read_text("utf-8", errors="replace") for path in paths)


def _descriptions() -> list[str]:
    """Return the descriptions of the installed packages, most of them a README, in the order of
    the packages' names."""
    described = {
        found.metadata["Name"]: str(found.metadata.json.get("description", ""))
        for found in distributions()
    }
    return [text for _, text in sorted(described.items()) if len(text) >= _LEAST_CHARACTERS]


def _with_facts(text: str, number: int) -> str:
    """Return a text with a line for each fact at a random place; one in five facts is left out."""
    author = Author(f"forms {number}")
    opening, *lines = [f"Entry {number}", *text.strip().splitlines()]
    for key, kind in FACTS.items():
        if author.random.random() >= _OMITTED_SHARE:
            place = author.random.randint(0, len(lines))
            lines.insert(place, rules.line(key, author.value(kind)))
    return "\n".join([opening, *lines])


def _numbered(texts: Sequence[str]) -> list[str]:
    return [f"{number:05d}\n\n{text}" for number, text in enumerate(texts)]


def _pieces(whole: str, count: int, characters: int) -> list[str]:
    """Return `count` pieces of a text. If it has to be repeated, each repetition is shifted, so
    that no two pieces start with the same text."""
    pieces_per_round = len(whole) // characters - 1
    rounds = -(-count // pieces_per_round)
    shift = characters // rounds
    starts = [
        number * shift + piece * characters
        for number in range(rounds)
        for piece in range(pieces_per_round)
    ]
    return [whole[start : start + characters] for start in starts[:count]]
