"""Fixtures shared by several test files: the built-in model, in a cache of its own, and storage."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar

import fsspec
import pytest
from chaos.disk import MountRefused, SmallDisk
from fakes_storage import AzureServer, BucketServer, GoogleServer, NotInstalled, S3Server
from leftovers import look_for_engines
from needs import PHI3, needs_phi3

from pipelines.models.phi3 import PAIRED_VOCABULARY, make_tokenizer, write_tokenizer
from pipelines.models.resolve import Model, resolve
from pipelines.storage import Storage
from pipelines.text.tokens import ChatTokenizer, load_tokenizer

pytest_plugins = ["properties", "skips"]

T = TypeVar("T", bound=BucketServer)


def pytest_configure(config: pytest.Config) -> None:
    look_for_engines(config)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    """The built-in model with random weights, built once into a temporary cache."""
    before = os.environ.get("PHIFLEET_CACHE")
    os.environ["PHIFLEET_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    yield resolve("tiny-random")
    if before is None:
        del os.environ["PHIFLEET_CACHE"]
    else:
        os.environ["PHIFLEET_CACHE"] = before


@pytest.fixture(scope="session")
def tiny_tokenizer(tiny_model: Model) -> ChatTokenizer:
    """The tokenizer of `tiny_model`."""
    return load_tokenizer(tiny_model.path)


@pytest.fixture(
    scope="module",
    params=[
        "tiny",
        pytest.param("july-2024", marks=needs_phi3),
        pytest.param("april-2024", marks=needs_phi3),
    ],
)
def tokenizer(request: pytest.FixtureRequest) -> ChatTokenizer:
    """The tokenizer of the built-in model, and those of both revisions of Phi-3."""
    if request.param == "tiny":
        tiny: ChatTokenizer = request.getfixturevalue("tiny_tokenizer")
        return tiny
    return load_tokenizer(PHI3 / "tokenizer" / request.param)


@contextmanager
def _running(server: T) -> Iterator[T]:
    """Run a server during the block, with the environment variables that select it.

    Skips the test if the server is not installed.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(server)
        except NotInstalled as error:
            pytest.skip(f"the server is not installed: {error}")
        environment = stack.enter_context(pytest.MonkeyPatch.context())
        for name, value in server.environment.items():
            environment.setenv(name, value)
        # fsspec caches filesystems, which would use an earlier server
        fsspec.get_filesystem_class(server.protocol).clear_instance_cache()
        yield server


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    """A running S3 server."""
    with _running(S3Server()) as server:
        yield server


@pytest.fixture(scope="session")
def gs() -> Iterator[GoogleServer]:
    """A running server of Google Cloud Storage."""
    pytest.importorskip("gcsfs")
    with _running(GoogleServer()) as server:
        yield server


@pytest.fixture(scope="session")
def abfs() -> Iterator[AzureServer]:
    """A running server of Azure Blob Storage."""
    pytest.importorskip("adlfs")
    with _running(AzureServer()) as server:
        yield server


@pytest.fixture(params=["local", "s3", "gs", "abfs"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    """An empty directory, or an empty prefix of a new bucket, for each kind of storage."""
    if request.param == "local":
        return Storage(str(tmp_path / "out"))
    server: BucketServer = request.getfixturevalue(request.param)
    return Storage(f"{server.new_bucket()}/out/run")


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Callable[..., SmallDisk]]:
    """A function that mounts a small disk until the test ends, or skips the test if it must not."""
    with ExitStack() as stack:

        def mount(*options: str) -> SmallDisk:
            try:
                return stack.enter_context(SmallDisk(tmp_path / "disk", *options))
            except MountRefused as error:
                pytest.skip(str(error))

        yield mount


@pytest.fixture(scope="session")
def paired_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the tokenizer that the training of `tiny` starts with."""
    directory = tmp_path_factory.mktemp("paired")
    write_tokenizer(make_tokenizer(PAIRED_VOCABULARY, paired=True), directory)
    return directory


@pytest.fixture(scope="session")
def paired_tokenizer(paired_path: Path) -> ChatTokenizer:
    """The tokenizer in `paired_path`."""
    return load_tokenizer(paired_path)
