"""Documents that kill or hang the engine become dead letters, and all others are answered.

The engine is the real one, its processes really die: `poisoned.py`.
"""

from __future__ import annotations

import random
import re
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from poisoned import HANGS, KILLS, KILLS_WORKER
from runs import LIMIT_SECONDS, corpus_of, job_file, phifleet

from pipelines.models import Model

SCRIPT = Path(__file__).with_name("poisoned.py")
POISON = {**dict.fromkeys((11, 12, 40, 77, 90), KILLS), **dict.fromkeys((30, 61), HANGS)}


@dataclass
class Poisoned:
    directory: Path
    documents: int
    killers: dict[str, str]
    run: subprocess.CompletedProcess[str]

    def letters(self) -> list[dict[str, Any]]:
        return list(pq.read_table(self.directory / "out/_errors").to_pylist())


def poisoned_run(directory: Path, poison: dict[int, str], most: int) -> Poisoned:
    """A run over so many texts, those at some places poisoned."""
    (directory / "corpus").mkdir()
    path = directory / "corpus/a.parquet"
    corpus_of(path, range(2), longest=4_000)
    rows = pq.read_table(path).to_pylist()[:most]
    for place, word in poison.items():
        text = rows[place]["text"]
        middle = random.Random(place).randrange(len(text))  # noqa: S311
        rows[place]["text"] = f"{text[:middle]} It {word} whoever reads it. {text[middle:]}"
    pq.write_table(pa.Table.from_pylist(rows), path)
    job = job_file(directory, limits={"max_dead_letter_fraction": 0.5})
    run = subprocess.run(
        [sys.executable, SCRIPT, "run", job, "--json", "--unit-seconds", "2"],
        capture_output=True, text=True, timeout=LIMIT_SECONDS,
    )  # fmt: skip
    killers = {rows[place]["doc"]: word for place, word in poison.items()}
    return Poisoned(directory, len(rows), killers, run)


@pytest.fixture(scope="module")
def poisoned(tiny_model: Model, tmp_path_factory: pytest.TempPathFactory) -> Poisoned:
    return poisoned_run(tmp_path_factory.mktemp("poisoned"), POISON, 100)


def test_each_of_them_is_a_dead_letter_with_its_reason(poisoned: Poisoned) -> None:
    assert poisoned.run.returncode == 0, poisoned.run.stderr
    reasons = {KILLS: "engine_crash", HANGS: "timeout"}
    told = {letter["doc_id"]: letter["reason"] for letter in poisoned.letters()}
    assert told == {doc: reasons[word] for doc, word in poisoned.killers.items()}
    assert Counter(told.values()) == {"engine_crash": 5, "timeout": 2}


def test_everything_else_is_answered_once(poisoned: Poisoned) -> None:
    ids = pq.read_table(poisoned.directory / "out").column("doc").to_pylist()
    assert len(ids) == len(set(ids)) == poisoned.documents - len(POISON)
    assert phifleet("verify", poisoned.directory / "out").returncode == 0


def test_each_unit_costs_two_engines_and_each_document_one_more(poisoned: Poisoned) -> None:
    restarts = int(re.findall(r"engines that died: (\d+)", poisoned.run.stderr)[-1])
    assert len(POISON) < restarts <= 3 * len(POISON)


def test_one_that_takes_its_worker_with_it_is_left_out_too(
    tiny_model: Model, tmp_path: Path
) -> None:
    poisoned = poisoned_run(tmp_path, {3: KILLS_WORKER}, 20)
    assert poisoned.run.returncode == 0, poisoned.run.stderr
    (letter,) = poisoned.letters()
    assert letter["doc_id"] in poisoned.killers
    assert (letter["reason"], letter["attempts"]) == ("engine_crash", 5)
    assert pq.read_table(tmp_path / "out").num_rows == 19
