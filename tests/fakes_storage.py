"""A real S3 server of its own process, on loopback."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping

import fsspec

from pipelines.ports import free_port


class S3Server:
    """moto's server on a free port; buckets are made with `new_bucket`.

    `checks_keys`: it asks who calls, and knows nobody.
    """

    def __init__(self, *, checks_keys: bool = False) -> None:
        self._settings = {"INITIAL_NO_AUTH_ACTION_COUNT": "0"} if checks_keys else {}
        self.endpoint = f"http://127.0.0.1:{free_port()}"
        self._numbers = itertools.count()

    @property
    def environment(self) -> Mapping[str, str]:
        return {
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "not-secret",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": self.endpoint,
        }

    def __enter__(self) -> S3Server:
        host, port = self.endpoint.removeprefix("http://").split(":")
        command = [sys.executable, "-m", "moto.server", "-H", host, "-p", port]
        self._process = subprocess.Popen(
            command,
            env=os.environ | self._settings,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for _ in range(200):
            try:
                urllib.request.urlopen(self.endpoint, timeout=1).close()  # noqa: S310 - our own
                return self
            except urllib.error.HTTPError:
                return self
            except OSError:
                time.sleep(0.1)
        raise TimeoutError(self.endpoint)

    def __exit__(self, *raised: object) -> None:
        self._process.terminate()
        self._process.wait(10)

    def new_bucket(self) -> str:
        """The URL of a fresh bucket."""
        name = f"bucket-{next(self._numbers)}"
        fsspec.filesystem("s3").mkdir(name)
        return f"s3://{name}"
