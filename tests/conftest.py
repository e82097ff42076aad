"""Fixtures that several test files share: the built-in model, made once in a cache of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from pipelines.models import Model, resolve
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
