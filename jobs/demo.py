"""`phifleet demo`: the main job on the 79 texts of the Python reference, with the model `tiny`."""

from __future__ import annotations

import pydoc_data.topics
import socket
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from pipelines.spec import Job, load_job

_ROWS_SHOWN = 5
_WIDTH = 28
METRICS_PORT = 9400


def demo_job(directory: Path) -> Job:
    """Write the demo's corpus below `directory` and return its job."""
    corpus = directory / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    write_corpus(corpus / "topics.parquet")
    with as_file(files("jobs") / "demo.yaml") as path:
        return load_job(
            path,
            [
                f"input.path={corpus}",
                f"output.path={directory / 'output'}",
                f"metrics.port={_free_port(METRICS_PORT)}",
            ],
        )


def write_corpus(path: Path) -> None:
    """The texts of `pydoc_data.topics`, one row each: topic, text, characters. Written once."""
    if path.exists():
        return
    texts = sorted(pydoc_data.topics.topics.items())
    table = pa.table(
        {
            "topic": [topic for topic, _ in texts],
            "text": [text for _, text in texts],
            "characters": [len(text) for _, text in texts],
        }
    )
    pq.write_table(table, path, compression="zstd")


def _free_port(wanted: int) -> int:
    """The wanted port of this machine, or the next that nothing listens on."""
    for port in range(wanted, wanted + 100):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port
    return wanted


def show_answers(output: str, console: Console) -> None:
    """Print the first rows of OUTPUT, and how to read the rest."""
    rows = pq.read_table(output)
    table = Table("topic", "summary", "chapter", "keyword", title=f"{rows.num_rows} rows")
    for row in rows.slice(0, _ROWS_SHOWN).to_pylist():
        table.add_row(
            row["topic"],
            _cell(row["summary"], "text"),
            _cell(row["chapter"], "label"),
            _cell(row["keyword"], "text"),
        )
    console.print(table)
    console.print(f"All of it: pyarrow.parquet.read_table({output!r})", soft_wrap=True)


def _cell(answer: dict[str, Any], field: str) -> str:
    text = " ".join(str(answer[field] or answer["status"]).split())
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 1]}…"
