"""Tests of the size of a JSON value."""

from serve.engines.json_size import JsonSize, size_fault


def test_the_size_counts_the_levels_and_values_of_mappings_and_lists() -> None:
    assert [JsonSize.of(value) for value in (5, {}, {"a": [1, 2]})] == [
        JsonSize(0, 1),
        JsonSize(1, 1),
        JsonSize(2, 4),
    ]


def test_depth_is_counted_below_the_level_of_the_schema() -> None:
    nested = {"a": {"b": {"c": 1}}}
    assert size_fault(nested, 3) is None
    assert size_fault(nested, 2, level=1) is None
    assert str(size_fault(nested, 2)).startswith("nested deeper than 2 levels")
    assert str(size_fault(nested, 1, level=1)).startswith("nested deeper than 1 levels")
