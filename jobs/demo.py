"""`phifleet demo`: writes a small corpus, gives its job, and compares the answers with the facts.

The corpus is the 79 texts of the Python reference. Lines such as `owner: Useful Tab` are inserted
into them; the column `planted` has the values, and the job keeps it, so that each row of OUTPUT has
the expected values as well as the answers.
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
from pipelines.ledger.names import ANSWERS
from pipelines.run.ports import free_port
from pipelines.storage import Storage
from pipelines.tasks.replies import NOT_STATED
from pipelines.tiny import rules
from pipelines.tiny.author import Author

_METRICS_PORTS = range(9400, 9500)
PLANTED: Mapping[str, tuple[str, str]] = {
    "kind": (rules.TOPIC, "label"),
    "owner": ("owner", "string"),
    "code": ("release code", "code"),
    "version": ("version", "number"),
    "release": ("release", "date"),
    "section": ("section", "integer"),
}
"""The facts that are inserted, by field of the column `planted`: the key that begins the line in
the text, and the kind of its value (`label`, or a kind of `Author.value`)."""
GOLD = "gold.jsonl"
"""The file of the right answers, which `phifleet evaluate` reads."""
_LABELS = ("statement", "expression", "library")
_OMITTED_SHARE = 0.1
_SHOWN_DOCUMENTS, _CELL_CHARACTERS = 3, 44


@dataclass(frozen=True, slots=True)
class CheckedAnswer:
    """The expected and the given answer about one fact in one document.

    `name` is a key of `PLANTED`. `planted` is None if the fact is not in the text, and `answer` is
    None if the model reports that or gives no answer. `evidence` is the first row of
    the answer's evidence, or None: its `status`, and the `text` of the document from `start` to
    `end`, all None without a passage.
    """

    document: str
    name: str
    planted: str | None
    answer: str | None
    evidence: Mapping[str, Any] | None

    @property
    def correct(self) -> bool:
        """True if the answer equals the fact, or if both are None: the fact is not in the text and
        the answer reports that."""
        return self.answer == self.planted


def demo_job(directory: Path) -> Job:
    """Write the corpus to `directory`/corpus and the right answers to `directory`/gold.jsonl,
    unless they exist, and return the job of the demo, whose OUTPUT is `directory`/output. Runs
    nothing.

    Raises StorageError, and ClusterError if no port for metrics is free.
    """
    corpus = directory / "corpus"
    write_corpus(corpus / "topics.parquet")
    write_gold(corpus / "topics.parquet", directory / GOLD)
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
    """Return a `--set` argument for a path that may contain characters of YAML or `${NAME}`."""
    return f"{key}={json.dumps(str(path)).replace('${', '$${')}"


def write_corpus(path: Path) -> None:
    """Write the demo's corpus to a Parquet file, unless the file exists.

    Each row is a text of `pydoc_data.topics` with facts inserted: `topic`, `text`, `planted`. The
    content is the same each time. Raises StorageError.
    """
    if path.exists():
        return
    rows = [_row(topic, text) for topic, text in sorted(pydoc_data.topics.topics.items())]
    with Storage(str(path.parent)).new_file(path.name) as file:
        pq.write_table(pa.Table.from_pylist(rows), file, compression="zstd")


def write_gold(corpus: Path, path: Path) -> None:
    """Write the right answers about the corpus as lines of JSON, unless the file exists.

    Each line has the `topic` and the planted value for each task of `demo.yaml`, or for a field of
    its task `record`; null for a fact that is not in the text. Raises StorageError.
    """
    if path.exists():
        return
    rows = pq.read_table(corpus, columns=["topic", "planted"]).to_pylist()
    lines = "".join(json.dumps(_gold(row["topic"], row["planted"])) + "\n" for row in rows)
    Storage(str(path.parent)).write(path.name, lines.encode())


def _gold(topic: str, planted: Mapping[str, str | None]) -> dict[str, Any]:
    version, section = planted["version"], planted["section"]
    record = {
        "version": None if version is None else float(version),
        "release": planted["release"],
        "section": None if section is None else int(section),
    }
    answers = {name: planted[name] for name in ("kind", "owner", "code")}
    return {"topic": topic, **answers, "record": record}


def _row(topic: str, text: str) -> dict[str, Any]:
    author = Author(f"demo {topic}")
    opening, *lines = text.strip().splitlines()
    for key, kind in PLANTED.values():
        if author.random.random() < _OMITTED_SHARE:
            continue
        value = author.random.choice(_LABELS) if kind == "label" else author.value(kind)
        place = author.random.randint(0, len(lines))
        while 0 < place < len(lines) and lines[place - 1].endswith("-"):
            # behind a hyphen, the fact would be read as the rest of a divided word
            place += 1
        lines.insert(place, rules.line(key, value))
    planted = "\n".join([opening, *lines])
    return {
        "topic": topic,
        "text": planted,
        "planted": {
            name: next(iter(rules.stated(planted, key)), None) for name, (key, _) in PLANTED.items()
        },
    }


def show_answers(output: str, console: Console) -> None:
    """Print the answers about the first three documents in OUTPUT, and how many of all are correct.

    `output` is the local directory of a finished demo run. The column `at` is the character offset
    of the evidence.
    """
    directory = f"{output}/{ANSWERS}"
    rows = pq.read_table(directory).to_pylist()
    answers = [answer for row in rows for answer in checked_answers(row)]
    shown = rows[:_SHOWN_DOCUMENTS]
    table = Table(title=f"answers about {len(shown)} of {len(rows)} documents")
    for name in ("document", "question", "answer", "evidence", "at"):
        # fold long words on a narrow terminal instead of cutting them
        table.add_column(name, overflow="fold")
    for row in shown:
        table.add_row(row["topic"], "summary", _cell(row["summary"]["text"]), "", "")
        for answer in checked_answers(row):
            row_of = answer.evidence or {"text": "", "start": None}
            offset = "" if row_of["start"] is None else f"{row_of['start']:,}"
            table.add_row("", answer.name, _cell(answer.answer), _cell(row_of["text"]), offset)
        table.add_section()
    console.print(table)
    console.print("\n".join(score_lines(answers)))
    console.print(f"To read all answers: pyarrow.parquet.read_table({directory!r})", soft_wrap=True)
    gold = Path(output).parent / GOLD
    if gold.exists():
        console.print(f"To compare all: phifleet evaluate {output} --gold {gold}", soft_wrap=True)


def checked_answers(row: Mapping[str, Any]) -> Iterator[CheckedAnswer]:
    """Yield the answer about each fact of `PLANTED` in a row of OUTPUT.

    A fact is asked for by the task of its name, or else by a field of the task `record`.
    """
    for name, planted in row["planted"].items():
        column = row["record" if name not in row else name]
        value = column["label" if name == "kind" else "text" if name in row else name]
        absent = value in (None, NOT_STATED) or (name == "kind" and value == rules.OTHER)
        rows = [row for row in column["_evidence"] or () if row["path"] in ("", name)]
        yield CheckedAnswer(
            document=row["topic"],
            name=name,
            planted=planted,
            answer=None if absent else str(value),
            evidence=rows[0] if rows else None,
        )


def score_lines(answers: Sequence[CheckedAnswer]) -> list[str]:
    """Return two lines for people: the numbers of correct answers about facts that are in the texts
    and about absent ones, and the number of answers that the texts show."""
    present = [answer.correct for answer in answers if answer.planted is not None]
    absent = [answer.correct for answer in answers if answer.planted is None]
    supported = [
        answer.evidence["status"] in ("shown", "found") for answer in answers if answer.evidence
    ]
    return [
        f"inserted facts answered correctly: {_count_true(present)}; "
        f"absent facts reported as absent: {_count_true(absent)}",
        f"answers shown by the text: {_count_true(supported)}",
    ]


def _count_true(values: Sequence[bool]) -> str:
    return f"{sum(values)} of {len(values)}"


def _cell(text: str | None) -> str:
    line = " ".join((text or "-").split())
    return line if len(line) <= _CELL_CHARACTERS else f"{line[: _CELL_CHARACTERS - 1]}…"
