"""Corpora of JSON lines: types are inferred, and rows are read as those of Parquet."""

from __future__ import annotations

from pathlib import Path

import pytest
from corpora import column, read, refused, write_lines


def test_jsonl_below_partitions_works(tmp_path: Path) -> None:
    (tmp_path / "year=2024").mkdir()
    write_lines(tmp_path / "year=2024" / "a.jsonl", [{"id": "a", "text": "t"}])
    assert column(read(tmp_path, "year"), "kept.year") == [2024]


@pytest.mark.parametrize("year", [2024, "FY24"])
def test_a_key_of_a_line_takes_precedence_over_its_path(tmp_path: Path, year: int | str) -> None:
    (tmp_path / "year=1999").mkdir()
    rows = [{"id": "a", "text": "t", "year": year}, {"id": "b", "text": "u"}]
    write_lines(tmp_path / "year=1999" / "a.jsonl", rows)
    assert column(read(tmp_path, "year"), "kept.year") == [year, None]


def test_a_corpus_of_one_jsonl_file_without_lines_has_no_rows(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("\n \n")
    names = ["source", "row", "doc_id", "text", "broken", "kept.title"]
    assert read(tmp_path, "title").column_names == names


def test_jsonl_rows_may_have_more_keys_or_fewer(tmp_path: Path) -> None:
    rows = [{"id": "a", "text": "t", "extra": [1]}, {"id": "b"}, {"text": "u", "id": "c", "z": {}}]
    table = read(write_lines(tmp_path / "a.jsonl", rows))
    assert column(table, "doc_id") == ["a", "b", "c"]
    assert column(table, "text") == [b"t", None, b"u"]
    assert column(table, "row") == [0, 1, 2]


def test_jsonl_types_are_found_behind_many_nulls(tmp_path: Path) -> None:
    filler = "x" * 1000
    rows: list[dict[str, object]] = [
        {"id": n, "text": filler, "meta": None, "tags": []} for n in range(10_000)
    ]
    rows.append({"id": 10_000, "text": "last", "meta": {"by": "Ann"}, "tags": ["new"]})
    table = read(write_lines(tmp_path / "a.jsonl", rows), "meta", "tags")
    assert column(table, "row") == list(range(10_001))
    assert table.slice(10_000).to_pylist()[0]["kept.meta"] == {"by": "Ann"}
    assert table.slice(10_000).to_pylist()[0]["kept.tags"] == ["new"]


def test_jsonl_types_widen_at_any_line(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"id": n, "text": "x" * 1000, "meta": {"a": 1}, "score": 1} for n in range(10_000)
    ]
    rows.append({"id": 10_000, "text": "last", "meta": {"a": 1, "b": 2}, "score": 9.5})
    table = read(write_lines(tmp_path / "a.jsonl", rows), "meta", "score")
    last = table.slice(10_000).to_pylist()[0]
    assert (last["kept.meta"], last["kept.score"]) == ({"a": 1, "b": 2}, 9.5)
    assert column(table, "kept.score")[0] == 1.0


def test_jsonl_strings_that_look_like_dates_stay_strings(tmp_path: Path) -> None:
    row = {
        "id": "2024-01-01",
        "text": "2024-01-02",
        "day": "2024-01-03",
        "of": [{"d": "2024-01-04"}],
    }
    values = read(write_lines(tmp_path / "a.jsonl", [row]), "day", "of").to_pylist()[0]
    assert (values["doc_id"], values["text"]) == ("2024-01-01", b"2024-01-02")
    assert (values["kept.day"], values["kept.of"]) == ("2024-01-03", [{"d": "2024-01-04"}])


def test_jsonl_files_agree_on_wider_types(tmp_path: Path) -> None:
    write_lines(tmp_path / "a.jsonl", [{"id": "a", "text": "t", "n": 1, "m": {"x": 1}}])
    write_lines(tmp_path / "b.jsonl", [{"id": "b", "text": "t", "n": 1.5, "m": {"y": "z"}}])
    write_lines(tmp_path / "c.jsonl", [{"id": "c", "text": "t", "n": None, "m": None}])
    table = read(tmp_path, "n", "m")
    assert column(table, "kept.n") == [1.0, 1.5, None]
    assert column(table, "kept.m") == [{"x": 1, "y": None}, {"x": None, "y": "z"}, None]
    bad = write_lines(tmp_path / "d.jsonl", [{"id": "d", "text": "t", "n": "many", "m": None}])
    assert refused(tmp_path, "n").startswith(f"{bad}: column 'n' is string, but double in ")


def test_a_line_of_json_may_be_very_long(tmp_path: Path) -> None:
    long = "y" * (20 * 2**20)
    rows = [{"id": "a", "text": "t"}, {"id": "b", "text": long}, {"id": "c", "text": "u"}]
    table = read(write_lines(tmp_path / "a.jsonl", rows))
    assert column(table, "text") == [b"t", long.encode(), b"u"]


def test_a_number_that_would_be_rounded_is_refused(tmp_path: Path) -> None:
    integers = [2**53 + 1, 2**63 - 1]
    rows = [{"id": n, "text": "t", "n": value} for n, value in enumerate(integers)]
    path = write_lines(tmp_path / "a.jsonl", rows)
    assert column(read(path, "n"), "kept.n") == integers
    write_lines(path, [*rows, {"id": 9, "text": "t", "n": 1e300}])
    expected = f"{path}: line 1: column 'n': 9007199254740993 would be rounded to 9007199254740992,"
    assert refused(path, "n").startswith(expected)
    write_lines(path, [{"id": 0, "text": "t", "n": 2**64 - 1}])
    assert "18446744073709551615 would be rounded to" in refused(path, "n")
    exact = [float(2**60), 1e300, 2**70]
    write_lines(path, [{"id": n, "text": "t", "n": value} for n, value in enumerate(exact)])
    assert column(read(path, "n"), "kept.n") == exact
