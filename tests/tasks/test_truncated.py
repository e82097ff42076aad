"""Tests that an answer cut off anywhere keeps its complete values, and only true ones."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.documents import EvidenceStatus, Fields, Usage
from pipelines.errors import InvalidAnswer
from pipelines.job.task_specs import ExtractTask
from pipelines.tasks.extraction import parse_fields, schema_of
from pipelines.tasks.kinds import Completion
from pipelines.tasks.parsing import parse_answer
from pipelines.tasks.questions import tokenize_tasks
from pipelines.tasks.truncated import complete_values
from pipelines.text.search import DocumentSearch
from pipelines.text.tokens import ChatTokenizer

ANSWER: dict[str, Any] = {
    "name": 'A "b" \\ c\n\u00e9 \U0001f600',
    "n": -12.5e3,
    "ok": True,
    "no": None,
    "list": ["x", "y, z", "]"],
    "items": [{"a": 1, "b": [1, 2]}, {"a": 22, "b": []}],
    "place": {"town": "Ulm", "zip": 890, "more": {"x": "y"}},
    "end": 7,
    "quotes": {"name": "by \"A\" in Ulm", "n": None, "list": "x and y"},
}  # fmt: skip
VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner,
                                                                max_size=3),
    max_leaves=12,
)  # fmt: skip


def is_part(part: Any, whole: Any, *, item: bool = False) -> bool:
    """Return whether `part` is `whole`, or its beginning if it is no item of a list."""
    if part == whole and type(part) is type(whole):
        return True
    if item:
        return False
    if isinstance(part, Mapping) and isinstance(whole, Mapping):
        return all(name in whole and is_part(part[name], whole[name]) for name in part)
    return isinstance(part, list) and isinstance(whole, list) and part == whole[: len(part)]


def test_a_whole_object_is_returned_whole() -> None:
    assert complete_values(json.dumps(ANSWER)) == ANSWER
    assert complete_values(" " + json.dumps(ANSWER, indent=1) + "\n") == ANSWER


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("", {}),
        ("{", {}),
        ('{"a', {}),
        ('{"a": ', {}),
        ('{"a": 12', {}),
        ('{"a": 12,', {"a": 12}),
        ('{"a": 12 ', {"a": 12}),
        ('{"a": tru', {}),
        ('{"a": true', {}),
        ('{"a": "x\\', {}),
        ('{"a": "x\\u00', {}),
        ('{"a": "x\\"', {}),
        ('{"a": "x"', {"a": "x"}),
        ('{"a": [1, 2', {"a": [1]}),
        ('{"a": [1, 2,', {"a": [1, 2]}),
        ('{"a": [', {"a": []}),
        ('{"a": [{"b": 1}, {"b": 2', {"a": [{"b": 1}]}),
        ('{"a": [[1, 2], [3,', {"a": [[1, 2]]}),
        ('{"a": {"b": 1, "c": 2', {"a": {"b": 1}}),
        ('{"a": 1, "quotes": {"a": "one", "b": "tw', {"a": 1, "quotes": {"a": "one"}}),
    ],
)
def test_only_what_is_complete_is_kept(text: str, values: dict[str, Any]) -> None:
    assert complete_values(text) == values


@pytest.mark.parametrize("text", ["x", "[1", "Sure! {", '{"a" 1', '{"a": 1 "b"', "{1", '{"a": ]'])
def test_a_text_that_begins_no_object_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"character|not a JSON object"):
        complete_values(text)


def test_nesting_without_end_is_refused() -> None:
    with pytest.raises(ValueError, match="nested too deeply"):
        complete_values('{"a": ' + "[" * 100_000)


@given(st.dictionaries(st.text(max_size=4), VALUE, max_size=5), st.booleans())
def test_every_beginning_gives_a_part_of_the_values(values: dict[str, Any], ascii_: bool) -> None:
    answer = json.dumps(values, ensure_ascii=ascii_)
    for end in range(len(answer)):
        assert is_part(complete_values(answer[:end]), values)
    assert complete_values(answer) == values


def test_what_is_kept_grows_with_what_is_there() -> None:
    answer = json.dumps(ANSWER)
    sizes = [len(json.dumps(complete_values(answer[:end]))) for end in range(len(answer) + 1)]
    assert sizes == sorted(sizes)


def test_a_long_list_is_read_in_linear_time() -> None:
    answer = json.dumps({"a": [{"b": "word " * 20, "n": n} for n in range(20_000)]})
    values = complete_values(answer[:-30])
    assert len(values["a"]) == 19_999


FORM = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "n": {"type": "number", "minimum": -20_000},
        "ok": {"type": "boolean"},
        "no": {"type": ["string", "null"]},
        "list": {"type": "array", "items": {"type": "string"}, "minItems": 3},
        "items": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "a": {"type": "integer"},
                    "b": {"type": "array", "items": {"type": "integer"}},
                },
                "required": ["a", "b"],
            },
        },
        "place": {
            "type": "object",
            "properties": {
                "town": {"type": "string"},
                "zip": {"type": "integer"},
                "more": {
                    "type": "object",
                    "properties": {"x": {"type": "string"}},
                    "required": ["x"],
                },
            },
            "required": ["town", "zip", "more"],
        },
        "end": {"type": "integer"},
    },
    "required": ["name", "n", "ok", "list", "items", "place", "end"],
}


def task() -> ExtractTask:
    return ExtractTask.model_validate({"name": "facts", "kind": "extract", "schema": FORM})


def _stated(value: Any) -> Any:
    """Return a value without nulls, which stand for what is missing of a cut-off answer."""
    if isinstance(value, dict):
        return {name: _stated(item) for name, item in value.items() if item is not None}
    return value


def test_an_answer_cut_off_at_any_character_is_never_wrong() -> None:
    answer, schema = json.dumps(ANSWER), schema_of(task())
    text = 'by "A" in Ulm, x and y'
    for end in range(len(answer)):
        fields = parse_fields(
            answer[:end],
            schema,
            DocumentSearch(text),
            (0, len(text)),
            only_verified=False,
            cut_off=True,
        )
        assert list(fields.values) == list(FORM["properties"])
        assert is_part(_stated(fields.values), {**ANSWER, "items": ANSWER["items"]})
    assert fields.values == {name: ANSWER[name] for name in FORM["properties"]}
    shown = [row.path for row in fields.evidence if row.status is EvidenceStatus.SHOWN]
    assert {path.partition("[")[0] for path in shown} == {"list"}


def test_the_missing_rest_of_a_cut_answer_is_empty(tiny_tokenizer: ChatTokenizer) -> None:
    (prepared,) = tokenize_tasks([task()], tiny_tokenizer)
    answer = json.dumps(ANSWER)
    cut = answer[: answer.index('"y, z"') + 3]
    value = parse_answer(prepared, Completion(cut, Usage(), "length"), DocumentSearch(""), (0, 0))
    assert isinstance(value, Fields)
    assert value.values == {
        "name": ANSWER["name"], "n": -12500.0, "ok": True, "no": None, "list": ["x"], "items": [],
        "place": None, "end": None,
    }  # fmt: skip
    with pytest.raises(InvalidAnswer, match="not JSON"):
        parse_answer(prepared, Completion(cut, Usage(), "stop"), DocumentSearch(""), (0, 0))


def test_a_value_that_breaks_its_schema_is_left_out_of_a_cut_answer() -> None:
    cut = '{"name": 3, "n": -30000, "ok": true, "no'
    fields = parse_fields(
        cut, schema_of(task()), DocumentSearch(""), (0, 0), only_verified=False, cut_off=True
    )
    assert (fields.values["name"], fields.values["n"], fields.values["ok"]) == (None, None, True)


def test_a_text_that_is_no_json_is_invalid_also_if_cut_off() -> None:
    with pytest.raises(InvalidAnswer, match="not JSON"):
        parse_fields(
            "Sure", schema_of(task()), DocumentSearch(""), (0, 0), only_verified=False, cut_off=True
        )
