"""Storage that refuses: a run ends with exit code 4 and the reason, and goes on after the mend."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from chaos.checker import check
from chaos.storm import PROGRAM, write_corpus, write_job
from fakes_storage import S3Server
from fsspec.implementations.local import LocalFileSystem

pytestmark = pytest.mark.usefixtures("tiny_model")

DOCUMENTS = 300
needs_mounts = pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts filesystems")


class Run:
    """A job with quick engines, which can be run again and again."""

    def __init__(self, directory: Path, output: str, **environment: str) -> None:
        self.papers = write_corpus(directory / "corpus.parquet", DOCUMENTS)
        self.job = write_job(directory / "job.yaml", directory / "corpus.parquet", output)
        self.diary = directory / "diary"
        self.diary.mkdir()
        more = {"CHAOS_ENGINE": "quick", "CHAOS_DIARY": str(self.diary), "AWS_MAX_ATTEMPTS": "2"}
        self.environment: Mapping[str, str] = os.environ | more | environment

    def __call__(self) -> tuple[int, dict[str, Any], str]:
        """Exit code, the JSON on standard output, and what standard error says."""
        done = subprocess.run(
            [sys.executable, PROGRAM, "run", self.job, "--json", "--unit-seconds", "1"],
            env=self.environment, capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        return done.returncode, json.loads(done.stdout), done.stderr


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
    run = Run(tmp_path, str(output / "out"))
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
        code, told, errors = Run(tmp_path, str(output / "out"))()
    assert (code, told["status"]) == (4, "failed")
    assert "Read-only file system" in errors and str(output) in errors


def test_a_bucket_that_is_not_there_is_named(tmp_path: Path, s3: S3Server) -> None:
    code, told, errors = Run(tmp_path, "s3://no-such-bucket/out")()
    assert (code, told["status"]) == (4, "failed")
    assert "no-such-bucket" in errors and "does not exist" in errors


def test_keys_that_are_refused_end_the_run_before_it_starts(tmp_path: Path) -> None:
    with S3Server(checks_keys=True) as server:
        run = Run(tmp_path, "s3://bucket/out", **server.environment)
        code, told, errors = run()
    assert (code, told["status"]) == (4, "failed")
    assert "s3://bucket/out" in errors or "bucket/out" in errors
