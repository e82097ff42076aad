"""A small disk of its own for a test: a tmpfs, which can be filled to the last byte."""

from __future__ import annotations

import errno
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

_BLOCK = bytes(2**20)


class MountRefused(Exception):
    """This process may not mount a filesystem, or the machine cannot."""


class SmallDisk:
    """A tmpfs at `where`, gone at the end of the block. Raises MountRefused."""

    def __init__(self, where: Path, *options: str) -> None:
        self.where = where
        self._options = options

    def __enter__(self) -> Self:
        self.where.mkdir()
        command = ["mount", "-t", "tmpfs", *self._options, "tmpfs", str(self.where)]
        try:
            done = subprocess.run(command, capture_output=True, text=True)
        except FileNotFoundError as error:
            raise MountRefused(f"no filesystem can be mounted here: {error}") from error
        if done.returncode != 0:
            raise MountRefused(f"no filesystem can be mounted here: {done.stderr.strip()}")
        return self

    def __exit__(self, *raised: object) -> None:
        # others may still be in it for a moment
        subprocess.run(["umount", "--lazy", self.where], check=True)

    def resize(self, size: str) -> None:
        subprocess.run(["mount", "-o", f"remount,size={size}", self.where], check=True)

    @contextmanager
    def full(self) -> Iterator[None]:
        """Hold all that is free for the time of the block."""
        ballast = self.where / "ballast"
        try:
            with ballast.open("wb", buffering=0) as file, _ends_when_full():
                while True:
                    file.write(_BLOCK)
            yield
        finally:
            with suppress(FileNotFoundError):
                ballast.unlink()


@contextmanager
def _ends_when_full() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
