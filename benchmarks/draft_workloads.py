"""Workloads of benchmarks/drafting.py: texts into which facts are inserted, and tasks about them.

The facts are those that `tiny` can read: lines `key: value`.
"""

from __future__ import annotations

import argparse
import pydoc_data.topics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.demo import PLANTED
from pipelines.job.task_specs import AskTask, ExtractTask, SummarizeTask, TaskSpec
from pipelines.tiny import rules
from pipelines.tiny.author import Author

_LIST, _OMITTED_SHARE, _MODULE_BYTES = "list", 0.1, 10_000
Facts = Mapping[str, str]
"""The kinds of the inserted facts by their keys: a kind of `Author.value`, or a list."""


@dataclass(frozen=True, slots=True)
class Workload:
    """Texts with inserted facts, and the tasks about each of them.

    `texts` makes them anew for each salt, with other facts. `strategy` is the one of
    `long_documents`.
    """

    name: str
    texts: Callable[[str], Iterator[str]]
    tasks: tuple[TaskSpec, ...]
    strategy: str = "auto"


def _topics(salt: str, facts: Facts, characters: int = 40_000) -> Iterator[str]:
    for topic, text in sorted(pydoc_data.topics.topics.items()):
        yield _planted(text.strip()[:characters], facts, f"{salt} {topic}")


def _sources(salt: str, facts: Facts) -> Iterator[str]:
    """Yield the beginnings of modules of the standard library."""
    modules = sorted(Path(argparse.__file__).parent.glob("[a-z]*.py"))
    for path in [path for path in modules if path.stat().st_size > _MODULE_BYTES][:70]:
        yield _planted(path.read_text()[:4000], facts, f"{salt} {path.name}")


def _written(salt: str, facts: Facts) -> Iterator[str]:
    """Yield texts of the generator that `tiny` is trained with."""
    for number in range(80):
        text = Author(f"{salt} {number}").text(700, 3).text
        yield _planted(text, facts, f"{salt} {number}")


def _parts(salt: str, facts: Facts) -> Iterator[str]:
    """Yield two documents that are read in chunks."""
    texts = list(_topics(salt, facts, 9_000))
    yield "\n\n".join(texts[:20])
    yield "\n\n".join(texts[20:40])


def _planted(text: str, facts: Facts, seed: str) -> str:
    author = Author(seed)
    opening, *lines = text.splitlines()
    for key, kind in facts.items():
        if author.random.random() < _OMITTED_SHARE:
            continue
        place = author.random.randint(0, len(lines))
        lines.insert(place, rules.line(key, _value(author, kind)))
    return "\n".join([opening, *lines])


def _value(author: Author, kind: str) -> str:
    if kind == _LIST:
        return rules.listed([author.value("string") for _ in range(author.random.randint(1, 3))])
    return author.value(kind)


def _asks(keys: Sequence[str]) -> tuple[TaskSpec, ...]:
    return tuple(
        AskTask(name=key.replace(" ", "_"), question=f"What is the {key}?") for key in keys
    )


def _form(**fields: Any) -> ExtractTask:
    return ExtractTask(name="form", fields=fields)


_DEMO: Facts = {key: kind for key, kind in PLANTED.values() if kind != "label"}
_REPORT: Facts = {"title": "string", "tags": _LIST, "public": "boolean", "pages": "integer"}
_ORDER: Facts = {"buyer": "string", "order": "code", "amount": "number", "due": "date"}
_PEOPLE: Facts = {"author": "string", "editor": "string", "license": "code"}
_BUILD: Facts = {"target": "string", "build": "code", "size": "integer", "built": "date"}

DEMO = Workload(
    "demo: 2 asks, a form",
    lambda salt: _topics(salt, _DEMO),
    (
        *_asks(["owner", "release code"]),
        _form(version="number", release="date", section="integer"),
    ),
)
"""The `ask` and `extract` tasks of `phifleet demo`."""
ALONE = Workload(
    "4 asks, a form",
    lambda salt: _topics(salt, {**_DEMO, **_PEOPLE}, 12_000),
    (
        *_asks(["owner", "release code", "author", "editor"]),
        _form(version="number", release="date", section="integer"),
    ),
)
"""The tasks of one document at the endpoint."""
OTHERS = (
    Workload(
        "reference: a form with a list",
        lambda salt: _topics(salt, _REPORT, 5_000),
        (_form(title="string", tags=["string"], public="boolean", pages="integer"),),
    ),
    Workload(
        "written texts: a form of 4 fields",
        lambda salt: _written(salt, _ORDER),
        (_form(buyer="string", order="string", amount="number", due="date"),),
    ),
    Workload(
        "source code: 3 asks",
        lambda salt: _sources(salt, _PEOPLE),
        _asks(list(_PEOPLE)),
    ),
    Workload(
        "chunks: 2 asks, a form",
        lambda salt: _parts(salt, _BUILD),
        (*_asks(["target", "build"]), _form(size="integer", built="date")),
        "map_reduce",
    ),
    Workload(
        "reference: a summary, an ask",
        lambda salt: _topics(salt, _PEOPLE, 6_000),
        (SummarizeTask(name="summary", max_words=40), *_asks(["editor"])),
    ),
)
"""Five more workloads, each with texts, forms or tasks of its own."""
