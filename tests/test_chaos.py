"""The checker of storms, and a short storm over the real engine."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from chaos.checker import check
from chaos.storm import Ground, Storm
from fsspec.implementations.local import LocalFileSystem

from pipelines.models import Model


@pytest.mark.slow
def test_a_run_that_is_struck_again_and_again_answers_every_document_once(
    tiny_model: Model, tmp_path: Path
) -> None:
    ground = Ground(tmp_path, str(tmp_path / "out"), {}, documents=150, engine="real")
    report = Storm(ground, seed=5).rage(blows=3)
    print(report.table())
    assert report.sound
    assert sum(report.blows.values()) >= 3
    assert report.total("documents") >= 150


def test_the_checker_sees_what_is_lost_doubled_strange_and_redone(tmp_path: Path) -> None:
    (tmp_path / "out/_errors").mkdir(parents=True)
    (tmp_path / "out/_run/commits").mkdir(parents=True)
    (tmp_path / "diary").mkdir()
    for unit, docs in enumerate((["paper-0", "paper-1"], ["paper-1", "paper-9"])):
        rows = [{"doc": doc} for doc in docs]
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / f"out/part-{unit:06d}.parquet")
        record = f'{{"unit": {unit}, "committed_at": "2026-01-01T00:00:0{unit}+00:00"}}'
        (tmp_path / f"out/_run/commits/{unit:06d}.json").write_text(record)
    letters = [
        {"doc_id": "paper-2", "task": None, "reason": "empty"},
        {"doc_id": "paper-0", "task": "topic", "reason": "rejected"},
    ]
    pq.write_table(pa.Table.from_pylist(letters), tmp_path / "out/_errors/part-000000.parquet")
    at = 1_767_225_600  # the first commit
    (tmp_path / "diary/a").write_text(f"{at - 1} 0\n{at + 2} 0\n{at - 1} 2\n{at + 5} 2\n")
    found = check(
        LocalFileSystem(),
        str(tmp_path / "out"),
        [f"paper-{number}" for number in range(4)],
        tmp_path / "diary",
    )
    assert (found.lost, found.doubled, found.strange, found.redone) == (1, 1, 1, 1)
    assert found.dead_letters == {"empty": 1, "rejected": 1}
    assert not found.sound
