"""Tests of failing storage: the run ends with exit code 4 and the reason, and can be resumed after
the fault is fixed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from chaos.checker import check
from chaos.disk import SmallDisk
from fakes_storage import S3Server
from fsspec.implementations.local import LocalFileSystem
from quick import QuickRun

pytestmark = pytest.mark.usefixtures("tiny_model")

DOCUMENTS = 300
TWO_TRIES = {"AWS_MAX_ATTEMPTS": "2"}


@pytest.mark.slow
def test_a_full_disk_ends_the_run_and_it_resumes_when_there_is_space(
    tmp_path: Path, mount: Callable[..., SmallDisk]
) -> None:
    disk = mount("-o", "size=180k")
    output = disk.where / "out"
    run = QuickRun(tmp_path, str(output), DOCUMENTS)
    code, result, errors = run()
    assert (code, result["status"]) == (4, "failed")
    assert "No space left on device" in errors and str(output) in errors
    assert list((output / "_run/commits").glob("[0-9]*.json")) != []
    disk.resize("64m")
    code, result, errors = run()
    assert (code, result["status"]) == (0, "done"), errors
    assert check(LocalFileSystem(), str(output), run.editions, run.diary).sound


def test_a_read_only_output_is_named_in_the_error(
    tmp_path: Path, mount: Callable[..., SmallDisk]
) -> None:
    output = mount("-o", "ro").where / "out"
    code, result, errors = QuickRun(tmp_path, str(output), DOCUMENTS)()
    assert (code, result["status"]) == (4, "failed")
    assert "Read-only file system" in errors and str(output) in errors


def test_a_missing_bucket_is_named_in_the_error(tmp_path: Path, s3: S3Server) -> None:
    code, result, errors = QuickRun(tmp_path, "s3://no-such-bucket/out", DOCUMENTS, **TWO_TRIES)()
    assert (code, result["status"]) == (4, "failed")
    assert "no-such-bucket" in errors and "does not exist" in errors


def test_rejected_access_keys_end_the_run_before_it_starts(tmp_path: Path) -> None:
    with S3Server(checks_keys=True) as server:
        run = QuickRun(tmp_path, "s3://bucket/out", DOCUMENTS, **TWO_TRIES, **server.environment)
        code, result, errors = run()
    assert (code, result["status"]) == (4, "failed")
    assert "bucket/out: cannot list: The AWS Access Key Id" in errors
