"""Storage that refuses: a run ends with exit code 4 and the reason, and goes on after the mend."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from chaos.checker import check
from fakes_storage import S3Server
from fsspec.implementations.local import LocalFileSystem
from quick import QuickRun

pytestmark = pytest.mark.usefixtures("tiny_model")

DOCUMENTS = 300
TRIED = {"AWS_MAX_ATTEMPTS": "2"}
needs_mounts = pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts filesystems")


@contextmanager
def mounted(where: Path, *options: str) -> Iterator[None]:
    where.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", *options, "tmpfs", where], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", where], check=True)


@pytest.mark.slow
@needs_mounts
def test_a_full_disk_ends_the_run_and_space_lets_it_go_on(tmp_path: Path) -> None:
    output = tmp_path / "disk"
    run = QuickRun(tmp_path, str(output / "out"), DOCUMENTS)
    with mounted(output, "-o", "size=180k"):
        code, told, errors = run()
        assert (code, told["status"]) == (4, "failed")
        assert "No space left on device" in errors and str(output) in errors
        done = len(list((output / "out/_run/commits").glob("[0-9]*.json")))
        subprocess.run(["mount", "-o", "remount,size=64m", output], check=True)
        code, told, errors = run()
        assert (code, told["status"]) == (0, "done"), errors
        found = check(LocalFileSystem(), str(output / "out"), run.papers, run.diary)
        assert found.sound
        assert done > 0


@needs_mounts
def test_an_output_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    output = tmp_path / "disk"
    with mounted(output, "-o", "ro"):
        code, told, errors = QuickRun(tmp_path, str(output / "out"), DOCUMENTS)()
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
