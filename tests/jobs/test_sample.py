"""`phifleet run --sample N`: what it prints, and that it leaves no files behind."""

from __future__ import annotations

import json
import os
import signal
import tempfile
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fakes import FakeEngine
from here import ONE_MACHINE, InProcessRun
from rich.console import Console

from jobs.control import stop_on_signals
from jobs.hosts import Host
from jobs.sample import Sample, run_sample
from jobs.sample_view import print_sample, sample_view
from pipelines.errors import EngineError
from pipelines.job.spec import Job, load_job_data
from pipelines.models.resolve import Model
from pipelines.run.cluster import Cluster
from pipelines.run.sampling import SampleRun
from pipelines.run.screen import Screen
from pipelines.tasks.kinds import Sampling
from pipelines.text.tokens import ChatTokenizer

TEXT = "Acme was founded on 2001-02-03 in Paris."
FORM = {"company": "Acme", "founded": "2001-02-03", "places": ["Paris"]}


def answer(prompt: str, sampling: Sampling) -> tuple[str, float | None]:
    if sampling.schema:
        return json.dumps({**FORM, "quotes": dict.fromkeys(FORM)}), None
    return (sampling.choices[0], -0.1) if sampling.choices else ("Four short words here.", None)


@dataclass
class SampleHere(InProcessRun, SampleRun):
    """The run of a sample that answers its units in this process."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.on_this_machine = False
        tokenizer = self.prepared.tasks.tokenizer
        self.make_engine = lambda: FakeEngine(tokenizer, answers=answer)


@dataclass
class StoppedSample(SampleHere):
    """The run of a sample that gets SIGINT when its units start."""

    def _run(self, *_: Any) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        signal.pause()


@dataclass
class FailedSample(SampleHere):
    """The run of a sample whose engine does not start."""

    def _run(self, *_: Any) -> None:
        raise EngineError("no engine")


class NoRay:
    def join_cluster(self) -> Cluster:
        return ONE_MACHINE

    def leave_cluster(self) -> None: ...

    def metrics_addresses(self) -> list[str]:
        return []


@pytest.fixture
def job(tmp_path: Path, tiny_model: Model, tiny_tokenizer: ChatTokenizer) -> Job:
    rows = {"id": [*range(9), 9], "text": [*[TEXT] * 9, None]}
    pq.write_table(pa.table(rows), tmp_path / "a.parquet")
    return load_job_data(
        {
            "input": {"path": str(tmp_path / "a.parquet")},
            "output": {"path": str(tmp_path / "out")},
            "model": {"name": "tiny-random"},
            "limits": {"max_cost_usd": 5, "max_dead_letter_fraction": 0},
            "metrics": {"port": 9400},
            "tasks": [
                {"name": "summary", "kind": "summarize", "max_words": 4},
                {"name": "topic", "kind": "classify", "labels": ["risk", "other"]},
                {
                    "name": "facts",
                    "kind": "extract",
                    "fields": {"company": "string", "founded": "date", "places": ["string"]},
                },
            ],
        }
    )


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory for temporary files."""
    directory = tmp_path / "tmp"
    directory.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(directory))
    return directory


@pytest.fixture
def run(job: Job, temporary: Path) -> Callable[..., Sample | None]:
    def run(kind: type[SampleRun] = SampleHere, **options: Any) -> Sample | None:
        screen = Screen(Console(file=StringIO()), StringIO())
        host = Host(
            NoRay(), lambda log: nullcontext(screen), stop_on_signals, lambda printer: nullcontext()
        )
        return run_sample(job, host, documents=10, kind=kind, **options)

    return run


def test_a_sample_leaves_neither_an_output_nor_temporary_files(
    run: Callable[..., Sample | None], tmp_path: Path, temporary: Path
) -> None:
    sample = run()
    assert sample is not None
    assert (sample.manifest["answered"], sample.manifest["dead_letters"]) == (9, 1)
    assert [row["id"] for row in sample.rows] == [*range(9)]
    assert [letter["reason"] for letter in sample.dead_letters] == ["empty"]
    assert not (tmp_path / "out").exists()
    assert list(temporary.iterdir()) == []


def test_a_named_directory_keeps_each_sample_in_one_of_its_own(
    run: Callable[..., Sample | None], tmp_path: Path
) -> None:
    for _ in range(2):
        assert run(directory=str(tmp_path / "samples")) is not None
    kept = [path.name for path in (tmp_path / "samples").glob("*/manifest.json")]
    assert kept == ["manifest.json"] * 2


def test_a_signal_stops_a_sample_and_nothing_is_kept(
    run: Callable[..., Sample | None], temporary: Path
) -> None:
    assert run(StoppedSample) is None
    assert list(temporary.iterdir()) == []


def test_a_sample_that_fails_keeps_its_log_only(
    run: Callable[..., Sample | None], temporary: Path
) -> None:
    with pytest.raises(EngineError):
        run(FailedSample)
    (home,) = temporary.iterdir()
    assert not (home / "output").exists()


def lines(sample: Sample, job: Job, width: int) -> list[str]:
    console = Console(file=StringIO(), width=width)
    console.print(sample_view(sample, job.spec))
    assert isinstance(console.file, StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def test_the_table_has_values_with_their_evidence_and_what_they_cost(
    run: Callable[..., Sample | None], job: Job
) -> None:
    sample = run()
    assert sample is not None
    shown = [line.split() for line in lines(sample, job, 160)]
    assert ["task", "answer", "evidence", "status"] in shown
    assert any(line[0] == "summary" and "words" in line for line in shown if line)
    company = next(line for line in shown if line[:1] == ["facts.company"])
    assert company[1:3] == ["Acme", "Acme"] and company[-1] == "0"
    text = "\n".join(lines(sample, job, 160))
    assert "dead letter: 9: the text is null" in text
    assert "sample: 9 of 10 documents answered" in text
    assert f"{sample.manifest['prompt_tokens']:,} in prompts" in text
    assert max(map(len, lines(sample, job, 80))) <= 80


def test_the_json_is_one_object(
    run: Callable[..., Sample | None], job: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    sample = run()
    assert sample is not None
    print_sample(sample, job.spec, as_json=True)
    result = json.loads(capsys.readouterr().out)
    assert (result["status"], result["documents"], len(result["rows"])) == ("sample", 10, 9)
    assert result["rows"][0]["facts"]["founded"] == "2001-02-03"
    assert result["engine_seconds"] >= 0
