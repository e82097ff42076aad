"""Environments of fault injection runs: a small disk, or an S3 server behind a faulty proxy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fakes_storage import S3Server

from chaos.disk import SmallDisk
from chaos.proxy import FaultyProxy
from chaos.storm import Environment

# Enough for the outputs of a long fault injection run.
_DISK_SIZE = "256m"


@contextmanager
def small_disk(directory: Path, documents: int, engine: str) -> Iterator[Environment]:
    """Yield an environment whose output is on a disk that can be filled. Raises MountRefused."""
    with SmallDisk(directory / "disk", "-o", f"size={_DISK_SIZE}") as disk:
        yield Environment(directory, str(disk.where / "out"), documents, engine, disk=disk)


@contextmanager
def faulty_s3(
    server: S3Server, directory: Path, documents: int, engine: str, *, share: float, seed: int
) -> Iterator[Environment]:
    """Yield an environment whose output is in a new bucket of `server`.

    The runs' requests pass through a proxy that fails a `share` of them, from 0 to 1.
    """
    with FaultyProxy(server.endpoint, share, seed) as proxy:
        variables = {**server.environment, "AWS_ENDPOINT_URL": proxy.endpoint}
        yield Environment(
            directory,
            server.new_bucket(),
            documents,
            engine,
            variables,
            request_faults=proxy.faults,
        )
