"""Fixtures that several test files share: the built-in model, made once in a cache of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.models import Model, resolve
from pipelines.tiny.phi3 import PAIRED_VOCABULARY, make_tokenizer, write_tokenizer
from pipelines.tokens import Tokens, load_tokens


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
def tiny_tokens(tiny_model: Model) -> Tokens:
    return load_tokens(tiny_model.path)


@pytest.fixture(scope="session")
def paired_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the tokenizer that the training of `tiny` begins with."""
    directory = tmp_path_factory.mktemp("paired")
    write_tokenizer(make_tokenizer(PAIRED_VOCABULARY, paired=True), directory)
    return directory


@pytest.fixture(scope="session")
def paired_tokens(paired_path: Path) -> Tokens:
    return load_tokens(paired_path)
