"""Storage that refuses: a run ends with exit code 4 and the reason, and goes on after the mend."""

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
TRIED = {"AWS_MAX_ATTEMPTS": "2"}


@pytest.mark.slow
def test_a_full_disk_ends_the_run_and_space_lets_it_go_on(
    tmp_path: Path, mount: Callable[..., SmallDisk]
) -> None:
    disk = mount("-o", "size=180k")
    output = disk.where / "out"
    run = QuickRun(tmp_path, str(output), DOCUMENTS)
    code, told, errors = run()
    assert (code, told["status"]) == (4, "failed")
    assert "No space left on device" in errors and str(output) in errors
    assert list((output / "_run/commits").glob("[0-9]*.json")) != []
    disk.resize("64m")
    code, told, errors = run()
    assert (code, told["status"]) == (0, "done"), errors
    assert check(LocalFileSystem(), str(output), run.papers, run.diary).sound


def test_an_output_that_cannot_be_written_is_named(
    tmp_path: Path, mount: Callable[..., SmallDisk]
) -> None:
    output = mount("-o", "ro").where / "out"
    code, told, errors = QuickRun(tmp_path, str(output), DOCUMENTS)()
    assert (code, told["status"]) == (4, "failed")
    assert "Read-only file system" in errors and str(output) in errors


def test_a_bucket_that_is_not_there_is_named(tmp_path: Path, s3: S3Server) -> None:
    code, told, errors = QuickRun(tmp_path, "s3://no-such-bucket/out", DOCUMENTS, **TRIED)()
    assert (code, told["status"]) == (4, "failed")
    assert "no-such-bucket" in errors and "does not exist" in errors


def test_keys_that_are_refused_end_the_run_before_it_starts(tmp_path: Path) -> None:
    with S3Server(checks_keys=True) as server:
        run = QuickRun(tmp_path, "s3://bucket/out", DOCUMENTS, **TRIED, **server.environment)
        code, told, errors = run()
    assert (code, told["status"]) == (4, "failed")
    assert "bucket/out: cannot list: The AWS Access Key Id" in errors
