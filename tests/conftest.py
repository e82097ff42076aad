"""Fixtures that several test files share: the built-in model, made once in a cache of its own, and
storage of every kind."""

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
from leftovers import EnginesEnd

from pipelines.models.phi3 import PAIRED_VOCABULARY, make_tokenizer, write_tokenizer
from pipelines.models.resolve import Model, resolve
from pipelines.storage import Storage
from pipelines.text.tokens import ChatTokenizer, load_tokenizer

pytest_plugins = ["properties", "skips"]

T = TypeVar("T", bound=BucketServer)


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(EnginesEnd())


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    before = os.environ.get("PHIFLEET_CACHE")
    os.environ["PHIFLEET_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    yield resolve("tiny-random")
    if before is None:
        del os.environ["PHIFLEET_CACHE"]
    else:
        os.environ["PHIFLEET_CACHE"] = before


@pytest.fixture(scope="session")
def tiny_tokenizer(tiny_model: Model) -> ChatTokenizer:
    return load_tokenizer(tiny_model.path)


@contextmanager
def _named(server: T) -> Iterator[T]:
    """A server that runs for the time of the block, and that the environment names."""
    with ExitStack() as stack:
        try:
            stack.enter_context(server)
        except NotInstalled as missing:
            pytest.skip(f"the server is not installed: {missing}")
        environment = stack.enter_context(pytest.MonkeyPatch.context())
        for name, value in server.environment.items():
            environment.setenv(name, value)
        # filesystems are kept by fsspec, and know the server that was there before
        fsspec.get_filesystem_class(server.protocol).clear_instance_cache()
        yield server


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    with _named(S3Server()) as server:
        yield server


@pytest.fixture(scope="module")
def gs() -> Iterator[GoogleServer]:
    pytest.importorskip("gcsfs")
    with _named(GoogleServer()) as server:
        yield server


@pytest.fixture(scope="module")
def abfs() -> Iterator[AzureServer]:
    pytest.importorskip("adlfs")
    with _named(AzureServer()) as server:
        yield server


@pytest.fixture(params=["local", "s3", "gs", "abfs"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    """An empty directory, and an empty prefix of a bucket."""
    if request.param == "local":
        return Storage(str(tmp_path / "out"))
    server: BucketServer = request.getfixturevalue(request.param)
    return Storage(f"{server.new_bucket()}/out/run")


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Callable[..., SmallDisk]]:
    """Mounts a small disk for the test's time; where that is refused the test is skipped."""
    with ExitStack() as stack:

        def mount(*options: str) -> SmallDisk:
            try:
                return stack.enter_context(SmallDisk(tmp_path / "disk", *options))
            except MountRefused as refused:
                pytest.skip(str(refused))

        yield mount


@pytest.fixture(scope="session")
def paired_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the tokenizer that the training of `tiny` begins with."""
    directory = tmp_path_factory.mktemp("paired")
    write_tokenizer(make_tokenizer(PAIRED_VOCABULARY, paired=True), directory)
    return directory


@pytest.fixture(scope="session")
def paired_tokenizer(paired_path: Path) -> ChatTokenizer:
    return load_tokenizer(paired_path)
