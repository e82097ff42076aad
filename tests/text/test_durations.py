from __future__ import annotations

import pytest

from pipelines.text.durations import duration_of, find_durations


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("two (2) years", "24 months"),
        ("a 2-year", "two years"),
        ("second anniversary", "2 years"),
        ("zwei Jahre", "24 Monate"),
        ("deux ans", "2 years"),
        ("dos años", "2 years"),
        ("due anni", "2 years"),
        ("thirty (30) days", "30 days"),
        ("两年", "24个月"),
        ("two weeks", "14 days"),
        ("twenty-four (24) months", "P2Y"),
        ("a year", "12 months"),
    ],
)
def test_durations_are_equal_in_any_format(one: str, other: str) -> None:
    (found,) = find_durations(one)
    assert found[2] == duration_of(other)


@pytest.mark.parametrize(
    ("one", "other"), [("one month", "30 days"), ("two years", "12 months"), ("2 days", "2 weeks")]
)
def test_different_durations_stay_different(one: str, other: str) -> None:
    assert duration_of(one) is not None
    assert duration_of(one) != duration_of(other)


@pytest.mark.parametrize(
    "text", ["two (3) years", "in the year", "2024年", "years", "5 minutes ago x"]
)
def test_other_texts_are_no_durations(text: str) -> None:
    assert list(find_durations(text)) == []


@pytest.mark.parametrize(
    "text", ["two years from now", "P", "", "Pine", "PT", "P1Y2D", f"P{'9' * 5000}Y"]
)
def test_a_value_is_a_duration_only_as_a_whole(text: str) -> None:
    assert duration_of(text) is None
