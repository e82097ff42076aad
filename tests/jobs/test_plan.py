"""Tests of `phifleet plan`: what it prints, its errors, and that a run uses its index."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from chaos.storm import PROGRAM
from quick import QuickRun
from reporting_jobs import TASKS, job_over, write_texts
from runs import phifleet

from jobs.plan import Planned, PlanOptions, planned_job
from jobs.plan_screen import format_bytes, format_wall, plan_view
from pipelines.errors import SpecError
from pipelines.reporting.planning.forecast_json import to_json
from pipelines.run.cluster import Cluster
from pipelines.run.screen import Terminal

pytestmark = pytest.mark.usefixtures("tiny_model")
KEYS = {
    "run", "status", "model", "revision", "fingerprint", "sample", "documents", "dead_letters",
    "dead_letter_reasons", "duplicates", "input_files", "input_bytes", "text_bytes",
    "files_without_rows", "files_not_read", "skipped_files", "tokens", "documents_by_strategy",
    "units", "requests", "prompt_tokens", "combining_prompt_tokens", "computed_prompt_tokens",
    "output_tokens", "decode_steps", "tasks", "output_bytes", "prices", "devices", "savings",
    "calibration", "warnings",
}  # fmt: skip


class NoCluster:
    """A cluster without Ray, for corpora that are indexed in this process."""

    def __init__(self, accelerator: str | None = None) -> None:
        self._cluster = Cluster(
            cpus=2, gpus=float(accelerator is not None), accelerator=accelerator
        )
        self.left = False

    def join_cluster(self) -> Cluster:
        return self._cluster

    def leave_cluster(self) -> None:
        self.left = True

    def metrics_addresses(self) -> list[str]:
        return []


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    texts: dict[str, str | None] = {f"d{n}": "a ship in a storm. " * (n + 1) for n in range(30)}
    write_texts(tmp_path, {**texts, "none": None})
    (tmp_path / "in" / "notes.txt").write_text("not a document")
    return tmp_path


def planned(directory: Path, cluster: NoCluster | None = None, **options: Any) -> Planned:
    return planned_job(job_over(directory), PlanOptions(**options), cluster or NoCluster())


def drawn(planned: Planned, encoding: str = "utf-8") -> list[str]:
    """Return the lines that the command prints into a pipe."""
    raw = io.BytesIO()
    pipe = io.TextIOWrapper(raw, encoding=encoding)
    console = Terminal(pipe)
    console.print(plan_view(planned.forecast, planned.calibration, console))
    pipe.flush()
    return raw.getvalue().decode(encoding).splitlines()


def test_json_has_the_documented_keys_and_no_others(documents: Path) -> None:
    values = json.loads(json.dumps(to_json(planned(documents).forecast, None)))
    assert set(values) == KEYS
    assert (values["documents"], values["dead_letters"]) == (31, 1)
    assert values["dead_letter_reasons"]["empty"]["count"] == 1
    assert values["files_not_read"]["other_ending"]["count"] == 1
    assert sum(bar["documents"] for bar in values["tokens"]["histogram"]) == 30
    assert set(values["tasks"]) == {task["name"] for task in TASKS}
    assert all(task["basis"] == "assumed" for task in values["tasks"].values())
    (here, *gpus) = values["devices"]
    assert here["device"] == "CPU" and [gpu["fits"] for gpu in gpus] == [True] * 6


def test_what_is_printed_fits_80_columns_without_colour_in_a_pipe(
    documents: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    lines = drawn(planned(documents))
    assert max(map(len, lines)) <= 80
    text = "\n".join(lines)
    assert "\x1b" not in text and "█" in text
    for part in ("31 in 1 files", "1 empty, such as", "no text occurs twice", "H100", "warning:"):
        assert part in text


def test_bars_are_drawn_with_what_the_encoding_has(documents: Path) -> None:
    text = "\n".join(drawn(planned(documents), encoding="ascii"))
    assert "####" in text


def test_the_cluster_is_left_also_after_an_error(tmp_path: Path) -> None:
    cluster = NoCluster()
    (tmp_path / "in").mkdir()
    with pytest.raises(Exception, match=r"input\.path"):
        planned(tmp_path, cluster)
    assert cluster.left


def test_the_own_price_is_the_one_that_counts(documents: Path) -> None:
    forecast = planned(documents, prices=["h100=100"]).forecast
    h100 = next(cost for cost in forecast.devices if cost.device == "H100")
    row = h100.replicas[0]
    assert row.cost_usd == pytest.approx(100 * row.gpu_hours)


def test_the_gpu_of_the_cluster_is_the_first_row_and_not_listed_twice(documents: Path) -> None:
    devices = planned(documents, NoCluster("H100")).forecast.devices
    assert [cost.device for cost in devices] == ["H100", "H200", "A100-80", "L40S", "L4", "A10G"]


@pytest.mark.parametrize("share", [0.0, -1.0, 1.5])
def test_a_share_that_is_none_is_refused(documents: Path, share: float) -> None:
    with pytest.raises(SpecError, match="must be a share of the documents"):
        planned(documents, sample=share)


def test_sizes_and_times_are_readable() -> None:
    assert [format_bytes(size) for size in (12, 1234, 5.2e9)] == ["12 B", "1.2 kB", "5.2 GB"]
    assert [format_wall(seconds) for seconds in (61, 40 * 86_400)] == ["0:01:01", "40 days"]


def test_the_command_line_states_an_unknown_device_and_teaches(documents: Path) -> None:
    job = documents / "job.yaml"
    job.write_text(json.dumps(job_over(documents).source))
    refused = phifleet("plan", job, "--price", "b9000=1")
    assert refused.returncode == 2 and "H200, H100, A100-80" in refused.stderr
    helped = phifleet("plan", "--help")
    assert helped.returncode == 0
    for part in ("--sample", "--calibrate", "--price h100=2.5", "exit codes:"):
        assert part in helped.stdout


def test_a_run_after_a_plan_does_not_index_again_and_has_the_planned_prompts(
    tmp_path: Path,
) -> None:
    run = QuickRun(tmp_path, str(tmp_path / "out"), 60, CHAOS_SECONDS="0.001")
    job = str(tmp_path / "job.yaml")
    command: list[str] = [sys.executable, str(PROGRAM), "plan", job, "--json"]
    done = subprocess.run(
        [*command, "--unit-seconds", "1"], capture_output=True, text=True, timeout=300, check=True
    )
    stated = json.loads(done.stdout)
    (index,) = (tmp_path / "out/_run/index").iterdir()
    code, manifest, _ = run()
    assert code == 0
    assert manifest["prompt_tokens"] == stated["prompt_tokens"]
    assert manifest["documents"] == stated["documents"] == 60
    assert [path.name for path in (tmp_path / "out/_run/index").iterdir()] == [index.name]
