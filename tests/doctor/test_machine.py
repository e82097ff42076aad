"""Checks of GPUs, shared memory and disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.doctor.checks import Status
from pipelines.doctor.machine import (
    Gpu,
    check_gpus,
    check_ray_disk,
    check_shared_memory,
    describe_gpus,
    list_gpus,
    parse_gpus,
    ray_directory,
)
from pipelines.doctor.packages import CPU_BUILD, GPU_BUILD

H200 = Gpu("NVIDIA H200", 143_771)
REPORT = "NVIDIA H200, 143771\nNVIDIA H200, 143771\nNVIDIA L4, 23034\nNo devices were found\n"


def test_the_drivers_report_is_read_and_equal_gpus_are_counted() -> None:
    gpus = parse_gpus(REPORT)
    assert gpus == [H200, H200, Gpu("NVIDIA L4", 23_034)]
    assert describe_gpus(gpus) == "2 x NVIDIA H200 with 140 GiB, 1 x NVIDIA L4 with 22 GiB"


def test_without_a_driver_there_are_no_gpus() -> None:
    assert list_gpus("no-such-program") == []


def test_gpus_are_listed_by_the_drivers_program(tmp_path: Path) -> None:
    program = tmp_path / "smi"
    program.write_text("#!/bin/sh\necho 'NVIDIA H200, 143771'\n")
    program.chmod(0o755)
    assert list_gpus(str(program)) == [H200]
    program.write_text("#!/bin/sh\necho 'the driver failed' >&2\nexit 9\n")
    assert list_gpus(str(program)) == []


@pytest.mark.parametrize(
    ("gpus", "build", "needed", "elsewhere", "status", "words"),
    [
        ([], CPU_BUILD, 0, False, Status.OK, "none; engines run on CPUs"),
        ([H200], GPU_BUILD, 0, False, Status.OK, "1 x NVIDIA H200 with 140 GiB"),
        ([H200], CPU_BUILD, 0, False, Status.WARNING, "CPU build of vLLM does not use"),
        ([], GPU_BUILD, 0, False, Status.FAILED, "the installed build of vLLM needs them"),
        ([], CPU_BUILD, 1, False, Status.FAILED, "an engine of this job needs 1"),
        ([H200], GPU_BUILD, 2, False, Status.FAILED, "an engine of this job needs 2"),
        ([], GPU_BUILD, 2, True, Status.OK, "engines run on the cluster's nodes"),
        ([H200], GPU_BUILD, 0.5, False, Status.OK, "1 x NVIDIA H200"),
    ],
)
def test_gpus_are_judged_by_the_build_of_vllm_and_the_job(
    gpus: list[Gpu], build: str, needed: float, elsewhere: bool, status: Status, words: str
) -> None:
    check = check_gpus(gpus, build, needed, elsewhere)
    assert (check.status, words in check.detail) == (status, True), check
    assert bool(check.remedy) == (status is not Status.OK)


def test_missing_shared_memory_is_a_warning_with_the_option_that_adds_it(tmp_path: Path) -> None:
    check = check_shared_memory(tmp_path / "none")
    assert (check.status, "--shm-size" in check.remedy) == (Status.WARNING, True)


def test_rays_directory_follows_its_environment_variables(tmp_path: Path) -> None:
    assert ray_directory({}) == Path("/tmp/ray")  # noqa: S108
    assert ray_directory({"TMPDIR": "/a"}) == Path("/a/ray")
    assert ray_directory({"TMPDIR": "/a", "RAY_TMPDIR": "/b"}) == Path("/b/ray")


def test_the_disk_of_a_directory_that_does_not_exist_yet_is_measured(tmp_path: Path) -> None:
    check = check_ray_disk({"RAY_TMPDIR": str(tmp_path / "new/deep")})
    assert f"for {tmp_path}/new/deep/ray" in check.detail
    assert not (tmp_path / "new").exists()
