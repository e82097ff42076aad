"""Where storms rage: a disk of their own that can be filled, or an S3 server behind a proxy that
fails now and then."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fakes_storage import S3Server

from chaos.disk import SmallDisk
from chaos.proxy import FaultyProxy
from chaos.storm import Ground

# Room for the OUTPUTs of a long storm.
_DISK_SIZE = "256m"


@contextmanager
def small_disk(directory: Path, documents: int, engine: str) -> Iterator[Ground]:
    """Raises MountRefused."""
    with SmallDisk(directory / "disk", "-o", f"size={_DISK_SIZE}") as disk:
        yield Ground(directory, str(disk.where / "out"), documents, engine, disk=disk)


@contextmanager
def faulty_s3(
    server: S3Server, directory: Path, documents: int, engine: str, *, share: float, seed: int
) -> Iterator[Ground]:
    """Runs go through the proxy; whoever looks at what they wrote goes to the server itself."""
    with FaultyProxy(server.endpoint, share, seed) as proxy:
        environment = {**server.environment, "AWS_ENDPOINT_URL": proxy.endpoint}
        bucket = server.new_bucket()
        yield Ground(directory, bucket, documents, engine, environment, faults=proxy.faults)
