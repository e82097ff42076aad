"""A small disk for one test: a tmpfs, which can be filled to the last byte."""

from __future__ import annotations

import errno
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

_BLOCK = bytes(2**20)


class MountRefused(Exception):
    """A filesystem cannot be mounted, for lack of permission or of `mount`."""


class SmallDisk:
    """A tmpfs mounted at `where` for the time of a `with` block.

    `options` are passed to `mount`. Entering the block raises MountRefused.
    """

    def __init__(self, where: Path, *options: str) -> None:
        self.where = where
        self._options = options

    def __enter__(self) -> Self:
        self.where.mkdir()
        command = ["mount", "-t", "tmpfs", *self._options, "tmpfs", str(self.where)]
        try:
            mount = subprocess.run(command, capture_output=True, text=True)
        except FileNotFoundError as error:
            raise MountRefused(f"cannot mount a tmpfs at {self.where}: {error}") from error
        if mount.returncode != 0:
            raise MountRefused(f"cannot mount a tmpfs at {self.where}: {mount.stderr.strip()}")
        return self

    def __exit__(self, *raised: object) -> None:
        # other processes may still have files open in it for a moment
        subprocess.run(["umount", "--lazy", self.where], check=True)

    def resize(self, size: str) -> None:
        """Change the capacity to `size`, such as `16m`."""
        subprocess.run(["mount", "-o", f"remount,size={size}", self.where], check=True)

    @contextmanager
    def full(self) -> Iterator[None]:
        """Occupy all free space during the block."""
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
    """End the block, without an error, at the first write that finds no free space."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
