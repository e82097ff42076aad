"""Messages are grouped by what they have in common, in bounded memory."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.reporting import messages
from pipelines.reporting.messages import MessageGroups, are_like, message_patterns

LENGTH = "the answer was cut off at 1,024 tokens of 'facts'"


def pattern_of(message: str | None) -> str:
    column = pa.chunked_array([pa.array([message], pa.string())])
    pattern: str = message_patterns(column)[0].as_py()
    return pattern


@pytest.mark.parametrize(
    ("message", "pattern"),
    [
        (LENGTH, "the answer was cut off at # tokens of '...'"),
        ("byte 17, 0xff, is not valid UTF-8", "byte #, #, is not valid UTF-8"),
        ("/data/in/a-3.parquet: cannot read", "PATH: cannot read"),
        ("the model's text isn't JSON", "the model's text isn't JSON"),
        (None, ""),
    ],
)
def test_numbers_values_and_paths_are_left_out(message: str | None, pattern: str) -> None:
    assert pattern_of(message) == pattern


@given(st.integers(0, 10**12), st.integers(0, 10**12))
def test_messages_with_other_numbers_have_the_same_pattern(one: int, other: int) -> None:
    texts = [f"needs {number} of {number:,} tokens" for number in (one, other)]
    assert pattern_of(texts[0]) == pattern_of(texts[1])


def table(*letters: tuple[str, str | None, str]) -> pa.Table:
    columns = [pa.array(list(column), pa.string()) for column in zip(*letters, strict=True)]
    rows = pa.table(dict(zip(("reason", "task", "message"), columns, strict=True)))
    return rows.append_column("pattern", message_patterns(rows["message"]))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("CUT OFF", [True, False]),
        ("cut off at 7 tokens of 'topic'", [True, False]),
        ("1,024", [True, False]),
        ("7", [False, True]),
        ("no such words", [False, False]),
    ],
)
def test_a_text_finds_messages_that_contain_it_or_have_other_numbers(
    text: str, found: list[bool]
) -> None:
    letters = table(("invalid_answer", "facts", LENGTH), ("rejected", None, "7 of 9"))
    assert are_like(letters, text).to_pylist() == found


def test_groups_are_counted_over_files_and_have_their_first_letter_as_example() -> None:
    groups = MessageGroups()
    groups.add(table(("a", None, "at 1"), ("b", "t", "x"), ("a", None, "at 2")))
    groups.add(table(("a", "t", "at 3"), ("a", None, "at 4")))
    largest, *others = groups.most_frequent(10)
    assert (largest.reason, largest.task, largest.pattern, largest.count) == ("a", None, "at #", 3)
    assert largest.example["message"] == "at 1"
    assert sorted((group.reason, group.task, group.count) for group in others) == [
        ("a", "t", 1), ("b", "t", 1),
    ]  # fmt: skip
    assert groups.most_frequent(1) == [largest]


def test_messages_beyond_the_limit_of_groups_are_counted_without_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(messages, "MAX_GROUPS", 2)
    groups = MessageGroups()
    groups.add(table(("a", None, "x"), ("a", None, "y"), ("a", None, "z"), ("a", None, "x")))
    assert [(group.pattern, group.count) for group in groups.most_frequent(9)] == [
        ("x", 2), ("y", 1),
    ]  # fmt: skip
    assert groups.ungrouped == {"a": 1}
