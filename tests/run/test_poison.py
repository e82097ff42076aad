"""Tests of documents that crash or hang the engine: they become dead letters, all others are
answered.

The engine is vLLM, and its processes are killed or stopped: see `poisoned.py`.
"""

from __future__ import annotations

import random
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from poisoned import HANGS, KILLS, KILLS_WORKER
from runs import LIMIT_SECONDS, corpus_of, job_file, phifleet

from pipelines.models.resolve import Model

SCRIPT = Path(__file__).parents[1] / "poisoned.py"
FEW = {5: KILLS, 17: HANGS}
MANY = {**dict.fromkeys((11, 12, 40, 77, 90), KILLS), **dict.fromkeys((30, 61), HANGS)}
WORKERS = {54: KILLS_WORKER}
REASONS = {KILLS: "engine_crash", HANGS: "timeout", KILLS_WORKER: "engine_crash"}


@dataclass
class PoisonedRun:
    """A finished run over texts with poison. `killers` is the poison by document id."""

    directory: Path
    documents: int
    killers: dict[str, str]
    run: subprocess.CompletedProcess[str]

    def dead_letters(self) -> list[dict[str, Any]]:
        return list(pq.read_table(self.directory / "out/dead_letters").to_pylist())


@pytest.fixture(
    scope="module",
    params=[FEW, *(pytest.param(poison, marks=pytest.mark.slow) for poison in (MANY, WORKERS))],
    ids=["few", "many", "workers"],
)
def poisoned(
    request: pytest.FixtureRequest, tiny_model: Model, tmp_path_factory: pytest.TempPathFactory
) -> PoisonedRun:
    """Run a job over texts, with poison at some positions."""
    poison: dict[int, str] = request.param
    directory = tmp_path_factory.mktemp("poisoned")
    (directory / "corpus").mkdir()
    path = directory / "corpus/a.parquet"
    corpus_of(path, range(2), longest=4_000)
    rows = pq.read_table(path).to_pylist()[: max(poison) + 10]
    for position, word in poison.items():
        text = rows[position]["text"]
        middle = random.Random(position).randrange(len(text))  # noqa: S311
        rows[position]["text"] = f"{text[:middle]} It {word} whoever reads it. {text[middle:]}"
    pq.write_table(pa.Table.from_pylist(rows), path)
    job = job_file(directory, limits={"max_dead_letter_fraction": 0.5})
    run = subprocess.run(
        [sys.executable, SCRIPT, "run", job, "--json", "--unit-seconds", "2"],
        capture_output=True, text=True, timeout=LIMIT_SECONDS,
    )  # fmt: skip
    killers = {rows[position]["doc"]: word for position, word in poison.items()}
    return PoisonedRun(directory, len(rows), killers, run)


def test_each_poisoned_document_is_a_dead_letter_with_its_reason(poisoned: PoisonedRun) -> None:
    assert poisoned.run.returncode == 0, poisoned.run.stderr
    reasons = {letter["doc_id"]: letter["reason"] for letter in poisoned.dead_letters()}
    assert reasons == {doc: REASONS[word] for doc, word in poisoned.killers.items()}


def test_all_other_documents_are_answered_once(poisoned: PoisonedRun) -> None:
    ids = pq.read_table(poisoned.directory / "out/answers").column("doc").to_pylist()
    assert len(ids) == len(set(ids)) == poisoned.documents - len(poisoned.killers)
    assert phifleet("verify", poisoned.directory / "out").returncode == 0


def test_the_number_of_engine_restarts_is_bounded(poisoned: PoisonedRun) -> None:
    restarts = int(re.findall(r"engine restarts: (\d+)", poisoned.run.stderr)[-1])
    assert len(poisoned.killers) <= restarts <= 4 * len(poisoned.killers)
