"""Numbers in lines of JSON are kept to the digit, or the file is refused with the number."""

from __future__ import annotations

import json
import math
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest
from corpora import column, read, refused
from hypothesis import example, given
from hypothesis import strategies as st

from pipelines.corpus.digits import find_rounded, is_kept

_SCHEMA = pa.schema([("n", pa.float64())])


def _write(path: Path, *values: str) -> Path:
    path.write_text(
        "".join(f'{{"id": {n}, "text": "t", "n": {value}}}\n' for n, value in enumerate(values))
    )
    return path


KEPT = (
    "0.1 1.10 1e5 -0.0 0 5e-324 1.7976931348623157e308 9007199254740992 0.30000000000000004 "
    "0.10000000000000001 1152921504606846976 100000000000000000000 1e22 0.0e-999 "
    "0.1000000000000000055511151231257827021181583404541015625"
)
CHANGED = (
    "9007199254740993 1.0000000000000000001 0.1234567890123456789 1e-400 1.5e-324 "
    "18446744073709551615 12345678901234567.5 3.14159265358979323846 -9007199254740993"
)


@pytest.mark.parametrize("number", KEPT.split())
def test_numbers_that_a_float_prints_are_kept(number: str) -> None:
    assert is_kept(number)


@pytest.mark.parametrize("number", CHANGED.split())
def test_numbers_that_a_float_changes_are_found_at_any_depth(number: str) -> None:
    assert not is_kept(number)
    nested = pa.schema([("n", pa.list_(pa.struct([("x", pa.list_(pa.float64()))])))])
    line = f'{{"n": [{{"x": [1.5, {number}]}}]}}'.encode()
    found = find_rounded(b'{"n": [{"x": [1.5]}]}\n\n' + line, nested)
    assert found is not None and found[0] == 2
    assert f"column 'n': {number} would be rounded to" in found[1]
    assert find_rounded(line, pa.schema([])) is None


@given(st.floats(allow_nan=False, allow_infinity=False))
@example(5e-324)
@example(2.2250738585072014e-308)
def test_every_float_as_python_prints_it_is_kept(number: float) -> None:
    for text in (repr(number), f"{number:.17g}", f"{number:.16e}"):
        assert is_kept(text)
        assert find_rounded(b'{"n": %b}\n' % text.encode(), _SCHEMA) is None


@given(st.decimals(allow_nan=False, allow_infinity=False))
def test_a_decimal_is_kept_if_and_only_if_its_float_prints_as_it(number: Decimal) -> None:
    text = str(number).replace("E", "e")
    as_float = float(number)
    printed = (
        [Decimal(f"{as_float:.{digits}e}") for digits in range(17)]
        if (math.isfinite(as_float))
        else []
    )
    expected = number in printed or (math.isfinite(as_float) and Decimal(as_float) == number)
    assert is_kept(text) == expected
    found = find_rounded(b'{"n": %b}\n' % text.encode(), _SCHEMA)
    assert (found is None) == expected


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1))
def test_integers_of_64_bits_are_kept(
    tmp_path_factory: pytest.TempPathFactory, numbers: list[int]
) -> None:
    path = _write(tmp_path_factory.mktemp("n") / "a.jsonl", *map(str, numbers))
    assert column(read(path, "n"), "kept.n") == numbers


def test_a_number_within_lists_and_objects_is_refused_with_file_line_and_value(
    tmp_path: Path,
) -> None:
    path = _write(tmp_path / "a.jsonl", "[1]", "[9007199254740993, 1.5]")
    assert refused(path, "n").startswith(
        f"{path}: line 2: column 'n': 9007199254740993 would be rounded to 9007199254740992, "
    )
    path = _write(tmp_path / "a.jsonl", '{"a": [9007199254740993]}', '{"a": [], "b": {"c": 1}}')
    values = column(read(path, "n"), "kept.n")
    assert values[0] == {"a": [9007199254740993], "b": None}
    path = _write(tmp_path / "a.jsonl", '{"a": [1.0000000000000000001]}')
    assert "1.0000000000000000001 would be rounded to 1.0, " in refused(path, "n")


def test_integers_of_one_file_and_fractions_of_another_are_checked(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.jsonl", "9007199254740993")
    (tmp_path / "b.jsonl").write_text(json.dumps({"id": 9, "text": "t", "n": 0.5}))
    assert refused(tmp_path, "n").startswith(f"{path}: line 1: column 'n': 9007199254740993 would")


def test_digits_within_strings_are_no_numbers(tmp_path: Path) -> None:
    text = '{"id": 1, "text": "9007199254740993 1e-400", "n": 1.5, "z": 9007199254740993}'
    (tmp_path / "a.jsonl").write_text(text)
    assert column(read(tmp_path, "n"), "kept.n") == [1.5]


def test_a_number_in_a_line_beside_a_broken_one_is_refused(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.jsonl", "1.5", "[", "9007199254740993")
    assert "line 3: column 'n': 9007199254740993" in refused(path, "n")


def test_nan_and_infinity_as_python_writes_them_are_kept(tmp_path: Path) -> None:
    values = column(read(_write(tmp_path / "a.jsonl", "NaN", "-Infinity", "1"), "n"), "kept.n")
    assert str(values) == "[nan, -inf, 1.0]"
