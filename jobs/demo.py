"""`phifleet demo`: the main job on real text, whose answers are known.

Into the 79 texts of the Python reference facts are planted, lines such as `owner: Useful Tab`. The
corpus says which in its column `planted`, the job keeps that, and so OUTPUT shows what was right
beside what was answered.
"""

from __future__ import annotations

import json
import pydoc_data.topics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from pipelines.job.spec import Job, load_job
from pipelines.run.ports import free_port
from pipelines.storage import Storage
from pipelines.tasks.kinds import NOT_STATED
from pipelines.tiny import rules
from pipelines.tiny.author import Author

_METRICS_PORTS = range(9400, 9500)
# What is planted, by its name in the column `planted`: its key in the text, and the kind of value.
PLANTED: Mapping[str, tuple[str, str]] = {
    "kind": (rules.TOPIC, "label"),
    "owner": ("owner", "string"),
    "code": ("release code", "code"),
    "version": ("version", "number"),
    "release": ("release", "date"),
    "section": ("section", "integer"),
}
_KINDS = ("statement", "expression", "library")
_LEFT_OUT = 0.1
_DOCUMENTS_SHOWN, _WIDTH = 3, 44


@dataclass(frozen=True, slots=True)
class CheckedAnswer:
    """What one question about one document should give and gave; `planted` is None where the text
    does not say it. Start and end of the quote are character offsets, None where it has none."""

    document: str
    name: str
    planted: str | None
    answer: str | None
    quote: Mapping[str, Any] | None

    @property
    def right(self) -> bool:
        return self.answer == self.planted


def demo_job(directory: Path) -> Job:
    """Write the demo's corpus below `directory` and return its job. Raises StorageError,
    ClusterError."""
    corpus = directory / "corpus"
    write_corpus(corpus / "topics.parquet")
    with as_file(files("jobs") / "demo.yaml") as path:
        return load_job(
            path,
            [
                _set("input.path", corpus),
                _set("output.path", directory / "output"),
                f"metrics.port={free_port(_METRICS_PORTS)}",
            ],
        )


def _set(key: str, path: Path) -> str:
    """A path as it is, whatever YAML and `${NAME}` would make of it."""
    return f"{key}={json.dumps(str(path)).replace('${', '$${')}"


def write_corpus(path: Path) -> None:
    """The texts of `pydoc_data.topics` with facts planted in them, one row each: topic, text,
    planted. Written once, always the same. Raises StorageError."""
    if path.exists():
        return
    rows = [_row(topic, text) for topic, text in sorted(pydoc_data.topics.topics.items())]
    with Storage(str(path.parent)).new_file(path.name) as file:
        pq.write_table(pa.Table.from_pylist(rows), file, compression="zstd")


def _row(topic: str, text: str) -> dict[str, Any]:
    author = Author(f"demo {topic}")
    opening, *lines = text.strip().splitlines()
    for key, kind in PLANTED.values():
        if author.random.random() < _LEFT_OUT:
            continue
        value = author.random.choice(_KINDS) if kind == "label" else author.value(kind)
        lines.insert(author.random.randint(0, len(lines)), rules.line(key, value))
    planted = "\n".join([opening, *lines])
    return {
        "topic": topic,
        "text": planted,
        "planted": {
            name: next(iter(rules.stated(planted, key)), None) for name, (key, _) in PLANTED.items()
        },
    }


def show_answers(output: str, console: Console) -> None:
    """Print answers of the first documents, how many are right, and where the rest is."""
    rows = pq.read_table(output).to_pylist()
    answers = [answered for row in rows for answered in checked_answers(row)]
    table = Table(title=f"{len(rows)} documents")
    for name in ("document", "question", "answer", "quote", "at"):
        # a narrow terminal breaks words rather than losing their ends
        table.add_column(name, overflow="fold")
    for row in rows[:_DOCUMENTS_SHOWN]:
        table.add_row(row["topic"], "summary", _cell(row["summary"]["text"]), "", "")
        for each in checked_answers(row):
            quote = each.quote or {"text": "", "start": None}
            at = "" if quote["start"] is None else f"{quote['start']:,}"
            table.add_row("", each.name, _cell(each.answer), _cell(quote["text"]), at)
        table.add_section()
    console.print(table)
    console.print("\n".join(verdict(answers)))
    console.print(f"All of it: pyarrow.parquet.read_table({output!r})", soft_wrap=True)


def checked_answers(row: Mapping[str, Any]) -> Iterator[CheckedAnswer]:
    """What a row of OUTPUT answers about each fact that may be planted."""
    for name, planted in row["planted"].items():
        column = row["record" if name not in row else name]
        value = column["label" if name == "kind" else "text" if name in row else name]
        unsaid = value in (None, NOT_STATED) or (name == "kind" and value == rules.OTHER)
        quotes = [each for each in column.get("quotes") or () if each.get("field") in (None, name)]
        yield CheckedAnswer(
            document=row["topic"],
            name=name,
            planted=planted,
            answer=None if unsaid else str(value),
            quote=quotes[0] if quotes else None,
        )


def verdict(answers: Sequence[CheckedAnswer]) -> list[str]:
    """How many answers are right, and how many quotes are in the texts."""
    stated = [each for each in answers if each.planted is not None]
    unstated = [each for each in answers if each.planted is None]
    quotes = [each.quote for each in answers if each.quote]
    return [
        f"planted facts found: {_share([each.right for each in stated])}; "
        f"said to be absent where none is: {_share([each.right for each in unstated])}",
        f"quotes verified: {_share([each['verified'] for each in quotes])}",
    ]


def _share(right: Sequence[bool]) -> str:
    return f"{sum(right)} of {len(right)}"


def _cell(text: str | None) -> str:
    line = " ".join((text or "-").split())
    return line if len(line) <= _WIDTH else f"{line[: _WIDTH - 1]}…"
