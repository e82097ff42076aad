"""The endpoint's errors are what their table, the docs and the OpenAPI document say, and pickle."""

from __future__ import annotations

import ast
import pickle
from pathlib import Path

import pytest

from serve import errors
from serve.errors import ApiError, EngineRejected, Overloaded, QuotaExceeded
from serve.routes.described import ERRORS
from serve.wire import error_json

ROOT = Path(__file__).parent.parent.parent
CLASSES = {cls.__name__: cls for cls in ApiError.__subclasses__()}
FIXED = {name: cls for name, cls in CLASSES.items() if cls is not EngineRejected}


def rows(text: str) -> list[list[str]]:
    """The cells of a Markdown table's rows, without its first two lines."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in lines[2:]]


def table() -> dict[str, list[str]]:
    return {name: cells for name, *cells in rows(errors.__doc__ or "")}


def constructed_in(name: str) -> set[str]:
    """The packages of `serve` whose modules construct the class."""
    packages = set()
    for path in (ROOT / "serve").rglob("*.py"):
        nodes = ast.walk(ast.parse(path.read_text()))
        calls = [node.func for node in nodes if isinstance(node, ast.Call)]
        if any(isinstance(func, ast.Name) and func.id == name for func in calls):
            packages.add(path.relative_to(ROOT / "serve").parts[0])
    return packages


def test_every_error_is_in_the_table_with_its_status_type_and_code() -> None:
    assert {name: cells[:3] for name, cells in table().items()} == {
        **{name: [str(cls.status), cls.kind, cls.code] for name, cls in FIXED.items()},
        EngineRejected.__name__: ["-", "-", "-"],
    }


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_an_error_is_raised_where_the_table_says(name: str) -> None:
    assert constructed_in(name) == set(table()[name][3].split(", "))


def test_the_docs_list_every_status_with_its_type_and_codes() -> None:
    page = (ROOT / "docs" / "serving.md").read_text()
    section = page.partition("### Error codes\n")[2].partition("\n#")[0]
    documented = {
        (status, kind, code.strip(" `"))
        for status, kind, codes in rows(section)
        for code in codes.split(",")
    }
    assert documented == {(str(cls.status), cls.kind, cls.code) for cls in FIXED.values()}


def test_the_openapi_document_describes_every_status() -> None:
    assert set(ERRORS) == {cls.status for cls in FIXED.values()}


@pytest.mark.parametrize(
    "error",
    [
        *(cls("message", 3, "key") for cls in FIXED.values() if "__init__" not in vars(cls)),
        *(cls() for cls in (errors.InternalError, errors.ReplicasDied)),
        QuotaExceeded("alice", 3),
        Overloaded(3),
        EngineRejected(418, error_json("message", "type", "code")),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_is_the_same_after_pickling(error: ApiError) -> None:
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301  # written here
    assert type(copy) is type(error)
    assert str(copy) == str(error) == error.body["error"]["message"]
    for name in ("status", "body", "headers", "retry_after"):
        assert getattr(copy, name) == getattr(error, name)


def test_an_error_with_a_wait_has_the_header_for_it() -> None:
    assert Overloaded(17).headers == {"retry-after": "17"}
    assert errors.BodyBufferFull("m", 5).headers == {"retry-after": "5", "connection": "close"}
    assert errors.BodyTooLarge("m").headers == {"connection": "close"}
