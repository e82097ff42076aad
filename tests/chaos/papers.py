"""The input of fault injection runs: a corpus of short papers, and a job.

The corpus is a Parquet file, or a Delta table that moves on while runs read it.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from deltalake import DeltaTable, write_deltalake

from chaos.program import MARK

_WORDS = ("ship", "harbour", "storm", "letter", "river", "stone", "garden", "winter", "the")
_FILES_OF_TABLE = 5


def write_corpus(directory: Path, documents: int) -> dict[str, int]:
    """Write a Parquet file of `documents` papers of the first edition into a new directory, and
    return the edition of each paper by its id."""
    directory.mkdir()
    editions = {f"paper-{number}": 1 for number in range(documents)}
    pq.write_table(_papers(editions), directory / "papers.parquet", row_group_size=100)
    return editions


@dataclass(frozen=True)
class DeltaCorpus:
    """A Delta table of papers, to which a new version can be added.

    `editions` are the newest edition of each paper, by its id.
    """

    directory: Path
    editions: dict[str, int]

    @classmethod
    def write(cls, directory: Path, documents: int) -> DeltaCorpus:
        """Write `documents` papers of the first edition to a new table of several files."""
        editions = {f"paper-{number}": 1 for number in range(documents)}
        for first in range(_FILES_OF_TABLE):
            share = dict(list(editions.items())[first::_FILES_OF_TABLE])
            write_deltalake(str(directory), _papers(share), mode="append")
        return cls(directory, editions)

    def move_on(self) -> None:
        """Delete a seventh of the papers, change another seventh and add one, in three commits."""
        ids = list(self.editions)
        removed, changed = ids[::7], {doc: self.editions[doc] + 1 for doc in ids[1::7]}
        added = {f"paper-{len(ids) + number}": 1 for number in range(len(removed))}
        DeltaTable(str(self.directory)).delete(_any_of(removed))
        self._replace(changed)
        write_deltalake(str(self.directory), _papers(added), mode="append")
        for doc in removed:
            del self.editions[doc]
        self.editions.update(changed | added)

    def _replace(self, changed: Mapping[str, int]) -> None:
        """Give papers the text of their new edition, in one commit."""
        merge = DeltaTable(str(self.directory)).merge(
            _papers(changed), "old.doc = new.doc", source_alias="new", target_alias="old"
        )
        merge.when_matched_update_all().execute()


def _papers(editions: Mapping[str, int]) -> pa.Table:
    """Return papers of 20 to 400 random words, the same for the same paper and edition.

    Each text begins with MARK and the paper's number, which is also in its id.
    """
    rows = []
    for doc, edition in editions.items():
        number = int(doc.removeprefix("paper-"))
        dice = random.Random(f"{number} {edition}")  # noqa: S311
        words = " ".join(dice.choices(_WORDS, k=dice.randint(20, 400)))
        rows.append({"doc": doc, "text": f"{MARK.format(number)} {words}", "edition": edition})
    return pa.Table.from_pylist(rows)


def _any_of(ids: Iterable[str]) -> str:
    quoted = ", ".join(f"'{doc}'" for doc in ids)
    return f"doc in ({quoted})"


def write_job(path: Path, corpus: Path, output: str, *, follow: bool = False) -> Path:
    """Write a job file with a summary and a classification of each paper, and return its path."""
    job = {
        "name": "chaos",
        "input": {
            "path": str(corpus),
            "id_column": "doc",
            "keep_columns": ["edition"],
            "follow": follow,
        },
        "output": {"path": output},
        "model": {"name": "tiny-random"},
        "tasks": [
            {"name": "summary", "kind": "summarize", "max_words": 4},
            {"name": "topic", "kind": "classify", "labels": ["sea", "land"]},
        ],
    }
    path.write_text(yaml.safe_dump(job))
    return path
