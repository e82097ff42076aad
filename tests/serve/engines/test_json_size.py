"""Tests of the size of a JSON value."""

from serve.engines.json_size import JsonSize


def test_the_size_counts_the_levels_and_values_of_mappings_and_lists() -> None:
    assert [JsonSize.of(value) for value in (5, {}, {"a": [1, 2]})] == [
        JsonSize(0, 1),
        JsonSize(1, 1),
        JsonSize(2, 4),
    ]
