"""The examples of docs/python.md run, with the built-in model."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import phifleet

ROOT = Path(__file__).parents[2]
DOCS = (ROOT / "docs/python.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", DOCS, re.S)


def test_every_function_of_the_table_exists() -> None:
    names = re.findall(r"^\| `(\w+)\(", DOCS, re.M)
    assert len(names) > 4
    assert set(names) <= set(phifleet.__all__)


def test_every_error_that_is_named_is_exported() -> None:
    names = set(re.findall(r"`(\w+Error|Fenced)`", DOCS))
    assert len(names) > 7
    assert names <= set(phifleet.__all__)


@pytest.mark.slow
def test_the_first_and_the_last_example_run_one_after_the_other(tmp_path: Path) -> None:
    (tmp_path / "corpus").mkdir()
    rows = {
        "doc_id": ["a", "b"],
        "text": ["A report.\nowner: Useful Tab\nThe end.", "A text without that line."],
    }
    pq.write_table(pa.table(rows), tmp_path / "corpus/a.parquet")
    program = "\n".join([EXAMPLES[0], EXAMPLES[-1], "    print(type(facts).__name__)"])
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr
    first, *lines = done.stdout.splitlines()
    assert first == "2 of 2"
    assert any(line.startswith("a Useful Tab ") for line in lines)
