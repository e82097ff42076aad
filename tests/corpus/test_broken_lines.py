"""Broken lines of JSON: each is a row of its own that says what is wrong, and no other is lost."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from corpora import column, read, refused

from pipelines.corpus.ids import hash_ids
from pipelines.corpus.jsonl import made_id

CASES = Path(__file__).parents[3] / "shared/cases/rows.jsonl"
A, B = b'{"id": "a", "text": "one"}', b'{"id": "b", "text": "two"}'


def _write(path: Path, *lines: bytes, end: bytes = b"\n") -> Path:
    path.write_bytes(end.join(lines))
    return path


def _fate(path: Path, *keep: str) -> list[tuple[object, object, object, object]]:
    """Return line number, id, text and reason of each row."""
    table = read(path, *keep)
    names = ("row", "doc_id", "text", "broken")
    return list(zip(*(column(table, name) for name in names), strict=True))


BROKEN_LINES: dict[str, tuple[bytes, str]] = {
    "half a line": (b'{"id": "x", "te', "Unterminated string"),
    "half a value": (b'{"id": "x", "text":', "Expecting value"),
    "half an object": (b'{"id": "x", "text": "t"', "a comma or } is missing at character 24"),
    "a word": (b"nonsense", "an object is missing at character 1, where it has 'n'"),
    "an array": (b"[1]", "an object is missing"),
    "a number": (b"7", "an object is missing"),
    "null": (b"null", "an object is missing"),
    "null behind an object": (b'{"id": "x", "text": "t"} null', "an object is missing"),
    "NUL bytes": (bytes(20), r"an object is missing at character 1, where it has '\x00'"),
    "a trailing comma": (A.replace(b'"a"', b'"x"') + b",", "an object is missing"),
    "single quotes": (b"{'id': 'x'}", "a key in double quotes is missing"),
    "a comment": (b'{"id": "x"} // no', "an object is missing"),
    "nested too deeply": (b'{"id": ' + b"[" * 100_000, "nested too deeply"),
    "another white space": (b"\x0b", "an object is missing"),
    "a separator that is missing": (b'{"id": "x" "text": "t"}', "a comma or } is missing"),
}


@pytest.mark.parametrize("kind", BROKEN_LINES)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_broken_line_is_a_row_with_its_reason_and_a_made_id(
    tmp_path: Path, kind: str, place: int
) -> None:
    line, reason = BROKEN_LINES[kind]
    lines = [A, B]
    lines.insert(place, line)
    path = _write(tmp_path / "a.jsonl", *lines)
    rows = _fate(path)
    assert [row[1] for row in rows if row[3] is None] == ["a", "b"]
    number, doc_id, text, broken = rows[place]
    assert (number, doc_id, text) == (place, f"{path}:{place + 1}", None)
    assert str(broken).startswith(f"line {place + 1} cannot be read as JSON: ")
    assert reason in str(broken)
    assert [row[0] for row in rows] == [0, 1, 2]


WITH_IDS: dict[str, tuple[bytes, str]] = {
    "a lone surrogate": (rb'{"id": "x", "text": "smile \ud83d end"}', "surrogate pair"),
    "a lone low surrogate": (rb'{"id": "x", "text": "\udc00"}', "surrogate pair"),
    "a number out of range": (b'{"id": "x", "text": "t", "n": 1e400}', "Number too big"),
    "a key twice": (b'{"id": "x", "text": "t", "n": {"a": 1, "a": 2}}', "specified twice"),
    "a control character": (b'{"id": "x", "text": "a\x01b"}', "Invalid control character"),
    "not UTF-8": (b'{"id": "x", "text": "t", "n": {"a": "\xff"}}', "not valid UTF-8"),
}


@pytest.mark.parametrize("kind", WITH_IDS)
def test_a_broken_line_that_is_an_object_keeps_its_id(tmp_path: Path, kind: str) -> None:
    line, reason = WITH_IDS[kind]
    first = b'{"id": "a", "text": "one", "n": {"a": "s"}}'
    if b'"n": 1e400' in line:
        first = b'{"id": "a", "text": "one", "n": 1.5}'
    rows = _fate(_write(tmp_path / "a.jsonl", first, line, B), "n")
    assert [row[:3] for row in rows] == [(0, "a", b"one"), (1, "x", None), (2, "b", b"two")]
    assert reason in str(rows[1][3])


def test_a_repeated_key_that_is_read_makes_a_broken_line(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.jsonl", A, b'{"id": "x", "text": "t", "text": "u"}')
    assert "the key 'text' occurs more than once" in str(_fate(path)[1][3])


UNREAD = [
    rb'"\ud83d"',
    b"1e400",
    b"NaN",
    b"-Infinity",
    b"9" * 400,
    b'"\xff"',
    b'{"a": 1, "a": 2}',
    b'[1, "a", {}]',
]


@pytest.mark.parametrize("value", UNREAD)
def test_what_is_wrong_in_a_column_that_is_not_read_does_not_matter(
    tmp_path: Path, value: bytes
) -> None:
    other = b'{"id": "x", "text": "t", "z": %b, "z": 7}' % value
    path = _write(tmp_path / "a.jsonl", b'{"z": "s", "id": "a", "text": "one"}', other, B)
    expected = [(0, "a", b"one", None), (1, "x", b"t", None), (2, "b", b"two", None)]
    assert _fate(path) == expected
    assert _fate(path, "text") == expected


def test_a_broken_line_beside_integer_ids_has_a_negative_id(tmp_path: Path) -> None:
    lines = [b'{"id": 1, "text": "t"}', b"nonsense", rb'{"id": 3, "text": "\ud83d"}', b"half"]
    path = _write(tmp_path / "a.jsonl", *lines)
    ids: list[Any] = [row[1] for row in _fate(path)]
    assert (ids[0], ids[2]) == (1, 3)
    assert ids[1] < 0 and ids[3] < 0 and ids[1] != ids[3]
    assert ids[1] == made_id(str(path), 1, pa.int64())
    assert len(set(hash_ids(read(path).column("doc_id")).tolist())) == 4


def test_an_id_that_is_broken_itself_is_replaced(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.jsonl", A, rb'{"id": "\ud83d", "text": "t"}')
    assert _fate(path)[1][1] == f"{path}:2"


def test_a_line_without_an_id_keeps_none(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.jsonl", A, b"", b'{"text": "t"}', b"{}")
    assert [row[:2] for row in _fate(path)] == [(0, "a"), (2, None), (3, None)]


def test_blank_lines_count_in_the_numbers_of_lines(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.jsonl", b"\xef\xbb\xbf", b" \t", A, b"", b"", B, b"", end=b"\r\n")
    assert _fate(path) == [(2, "a", b"one", None), (5, "b", b"two", None)]


def test_a_mark_of_the_byte_order_at_the_start_is_no_fault(tmp_path: Path) -> None:
    mark = b"\xef\xbb\xbf"
    path = _write(tmp_path / "a.jsonl", mark + A, B)
    assert _fate(path) == [(0, "a", b"one", None), (1, "b", b"two", None)]
    path = _write(tmp_path / "a.jsonl", A, mark + B)
    assert [row[1] for row in _fate(path)] == ["a", f"{path}:2"]


def test_two_objects_on_a_line_are_two_documents(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.jsonl", A + B, b'{"id": "c", "text": "three"}')
    assert [row[:2] for row in _fate(path)] == [(0, "a"), (0, "b"), (1, "c")]


def test_a_text_that_is_not_utf8_stays_bytes_beside_a_broken_line(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.jsonl", b'{"id": "a", "text": "caf\xe9"}', b"nonsense")
    assert _fate(path)[0][2] == b"caf\xe9"


def test_many_broken_lines_among_thousands_are_each_found(tmp_path: Path) -> None:
    good = [b'{"id": "%d", "text": "text %d", "n": %d}' % (n, n, n) for n in range(5000)]
    lines = [
        line if n % 97 else rb'{"id": "%d", "text": "\ud83d"}' % n for n, line in enumerate(good)
    ]
    rows = _fate(_write(tmp_path / "a.jsonl", *lines), "n")
    assert [row[1] for row in rows] == [str(n) for n in range(5000)]
    assert [row[0] for row in rows] == list(range(5000))
    assert [n for n, row in enumerate(rows) if row[3]] == list(range(0, 5000, 97))


REFUSED: dict[str, tuple[bytes, str]] = {
    "an array": (b"[%b,%b]" % (A, B), "jq -c '.[]'"),
    "an array over several lines": (b"[\n%b,\n%b\n]\n" % (A, B), "jq -c '.[]'"),
    "a long array": (b"[" + b",".join([A] * 400_000) + b"]", "jq -c '.[]'"),
    "objects over several lines": (
        json.dumps({"id": 1, "text": "t"}, indent=1).encode(),
        "jq -c .",
    ),
    "broken lines only": (b"a\nb\n", "none of its first 2 lines is an object"),
    "lines that end with commas": (A + b",\n" + B + b",\n", "none of its first 2 lines"),
    "many broken lines": (b"id,text\n" * 5000 + A, "none of its first 1000 lines"),
    "UTF-16": (b"\xff\xfe" + A.decode().encode("utf-16-le"), "iconv -f UTF-16"),
    "a key in Latin-1": (b'{"id": "a", "text": "t", "gr\xf6\xdfe": 1}', r"the key b'gr\xf6\xdfe'"),
    "another type": (A + b'\n{"id": "b", "text": 7}', "line 2: Column(/text) changed from string"),
    "Parquet": (b"PAR1" + bytes(20), "rename it to end in .parquet"),
}


@pytest.mark.parametrize("kind", REFUSED)
@pytest.mark.parametrize("compressed", [False, True])
def test_a_file_of_another_form_is_refused_with_the_remedy(
    tmp_path: Path, kind: str, compressed: bool
) -> None:
    data, reason = REFUSED[kind]
    path = tmp_path / ("a.json.gz" if compressed else "a.json")
    path.write_bytes(gzip.compress(data) if compressed and kind != "Parquet" else data)
    message = refused(tmp_path)
    assert message.startswith(f"{path}: ")
    assert reason in message


def test_a_key_within_a_kept_object_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    lines = [
        b'{"id": "a", "text": "t", "n": {"x": 1}}',
        b'{"id": "b", "text": "t", "n": {"\xf6": 1}}',
    ]
    path = _write(tmp_path / "a.jsonl", *lines)
    assert r"line 2: the key b'\xf6' is not UTF-8; convert" in refused(path, "n")
    assert len(_fate(path)) == 2


def test_an_array_as_a_line_is_a_broken_line_only(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.json", b'[{"id": "x"}]', A, B)
    assert [row[1] for row in _fate(path)] == [f"{path}:1", "a", "b"]


def test_lines_as_writers_leave_them_are_read_or_rows_of_their_own(tmp_path: Path) -> None:
    if not CASES.exists():
        pytest.skip("../shared is absent")
    cases = [json.loads(line) for line in CASES.read_text().splitlines()]
    path = tmp_path / "a.jsonl"
    first = '{"id": "first", "text": "t"}'
    path.write_text("\n".join([first, *(case["line"] for case in cases)]))
    rows = _fate(path)
    assert [row[1] for row in rows if row[3] is None] == ["first", "c", "d"]
    assert [row[1] for row in rows if row[3] is not None] == ["a", "b", f"{path}:6"]
    refusal = refused(path, "k")
    assert refusal.startswith(f"{path}: line 5: column 'k': 9007199254740993 would be rounded")
