"""Right answers in real files: formats, ids of every type, and what is refused."""

from __future__ import annotations

import bz2
import gzip
import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.corpus.id_types import IdKind
from pipelines.errors import InputError
from pipelines.reporting.fields import EvaluatedTask
from pipelines.reporting.gold import Gold
from pipelines.reporting.gold_files import GoldForm, list_gold, read_rows
from pipelines.tasks.arrow import arrow_type
from pipelines.tasks.schema import from_shorthand

TASKS = {
    "topic": EvaluatedTask("topic", "classify", pa.struct([("label", pa.string())]), ("a", "b")),
    "tags": EvaluatedTask("tags", "classify", pa.struct([("labels", pa.list_(pa.string()))])),
    "who": EvaluatedTask("who", "ask", pa.struct([("text", pa.string())])),
    "facts": EvaluatedTask(
        "facts",
        "extract",
        arrow_type(
            from_shorthand(
                {
                    "company": "string",
                    "n": "integer",
                    "x": "number",
                    "on": "date",
                    "risks": ["string"],
                    "at": {"city": "string"},
                }
            )
        ),
    ),
}
ROW = {"doc": "d1", "topic": "a", "facts": {"company": "Acme", "risks": []}}


def form(kind: IdKind = IdKind.TEXT) -> GoldForm:
    return GoldForm("doc", kind, TASKS, frozenset({"length"}))


def read(path: Path | str, kind: IdKind = IdKind.TEXT) -> dict[str, Any]:
    """Return the right answers at a path by document."""
    of = form(kind)
    with Gold(of.row(row) for row in read_rows(str(path), list_gold(str(path)), of)) as gold:
        rows = [gold.row(number) for number in range(len(gold))]
    return {row.doc_id: row.answers for row in rows}


def lines(*rows: Mapping[str, Any]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def write(path: Path, *rows: Mapping[str, Any]) -> Path:
    path.write_bytes(lines(*rows))
    return path


def refused(path: Path, kind: IdKind = IdKind.TEXT) -> str:
    with pytest.raises(InputError) as error:
        read(path, kind)
    assert error.value.message.startswith("--gold: ")
    return error.value.message


def zstd(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return bytes(sink.getvalue().to_pybytes())


@pytest.mark.parametrize(
    ("ending", "compress"),
    [("", bytes), (".gz", gzip.compress), (".bz2", bz2.compress), (".zst", zstd)],
)
def test_lines_of_json_are_read_compressed_or_not(
    tmp_path: Path, ending: str, compress: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / f"gold.jsonl{ending}"
    path.write_bytes(compress(lines(ROW, {"doc": "d2", "who": None})))
    assert read(path) == {
        "d1": {"topic": "a", "facts": {"company": "Acme", "risks": []}},
        "d2": {"who": None},
    }


def test_parquet_has_the_same_answers_and_null_is_none(tmp_path: Path) -> None:
    table = pa.table(
        {
            "doc": ["d1", "d2"],
            "topic": ["a", None],
            "length": [1, 2],
            "_note": ["x", "y"],
            "facts": [
                {"company": "Acme", "on": date(2024, 3, 1), "x": Decimal("1.5"), "n": 3},
                None,
            ],
            "tags": [["a"], []],
        }
    )
    pq.write_table(table, tmp_path / "gold.parquet")
    assert read(tmp_path / "gold.parquet") == {
        "d1": {
            "topic": "a",
            "facts": {"company": "Acme", "on": "2024-03-01", "x": 1.5, "n": 3},
            "tags": ["a"],
        },
        "d2": {"topic": None, "facts": None, "tags": []},
    }


def test_a_directory_of_both_formats_is_read(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", ROW)
    pq.write_table(pa.table({"id": ["d2"], "who": ["Ann"]}), tmp_path / "b.parquet")
    assert set(read(tmp_path)) == {"d1", "d2"}


def test_fields_may_be_columns_of_their_own(tmp_path: Path) -> None:
    table = pa.table({"doc": ["d"], "facts.company": ["Acme"], "facts.at.city": ["Bern"]})
    pq.write_table(table, tmp_path / "gold.parquet")
    assert read(tmp_path / "gold.parquet") == {
        "d": {"facts": {"company": "Acme", "at": {"city": "Bern"}}}
    }


def test_values_may_have_the_form_of_output(tmp_path: Path) -> None:
    row = {
        "doc": "d",
        "topic": {"label": "a", "confidence": 0.5, "_evidence": [], "_answer": {}},
        "tags": {"labels": ["b"]},
        "who": {"text": "Ann"},
        "facts": {"company": "Acme", "_evidence": []},
    }
    assert read(write(tmp_path / "gold.jsonl", row)) == {
        "d": {"topic": "a", "tags": ["b"], "who": "Ann", "facts": {"company": "Acme"}}
    }


UUID = uuid.UUID(int=10)


@pytest.mark.parametrize(
    ("ids", "kind", "written"),
    [
        (["a", "é"], IdKind.TEXT, ["a", "é"]),
        ([1, -7], IdKind.INTEGER, ["1", "-7"]),
        (["1", " 2"], IdKind.INTEGER, ["1", "2"]),
        ([2**64 - 1, 10**30], IdKind.DIGITS, [str(2**64 - 1), str(10**30)]),
        ([str(UUID).upper()], IdKind.UUID, [str(UUID)]),
        (["00FF", "ab"], IdKind.HEX, ["00ff", "ab"]),
        ([12], IdKind.TEXT, ["12"]),
    ],
)
def test_ids_in_json_are_written_as_those_of_output(
    tmp_path: Path, ids: Sequence[Any], kind: IdKind, written: Sequence[str]
) -> None:
    path = write(tmp_path / "gold.jsonl", *({"doc": doc_id, "who": "x"} for doc_id in ids))
    assert list(read(path, kind)) == written


@pytest.mark.parametrize(
    ("ids", "kind", "written"),
    [
        (pa.array(["a", "b"]).dictionary_encode(), IdKind.TEXT, ["a", "b"]),
        (pa.array([b"a", "é".encode()]), IdKind.TEXT, ["a", "é"]),
        (pa.array([5], pa.uint8()), IdKind.INTEGER, ["5"]),
        (pa.array([2**64 - 1], pa.uint64()), IdKind.DIGITS, [str(2**64 - 1)]),
        (pa.array([Decimal("7.00")], pa.decimal128(12, 2)), IdKind.DIGITS, ["7"]),
        (pa.array([Decimal("7")], pa.decimal128(12, 0)), IdKind.INTEGER, ["7"]),
        (pa.array([UUID.bytes], pa.uuid()), IdKind.UUID, [str(UUID)]),
        (pa.array([UUID.bytes], pa.binary(16)), IdKind.UUID, [str(UUID)]),
        (pa.array([b"\x00\xff"], pa.binary(2)), IdKind.HEX, ["00ff"]),
    ],
)
def test_ids_in_parquet_are_written_as_those_of_output(
    tmp_path: Path, ids: pa.Array, kind: IdKind, written: Sequence[str]
) -> None:
    pq.write_table(pa.table({"doc": ids, "who": ["x"] * len(ids)}), tmp_path / "gold.parquet")
    assert list(read(tmp_path / "gold.parquet", kind)) == written


def test_decimals_are_numbers_where_they_are_values(tmp_path: Path) -> None:
    values = pa.array([Decimal("7.00"), Decimal("7.50")], pa.decimal128(12, 2))
    pq.write_table(pa.table({"doc": ["a", "b"], "facts.x": values}), tmp_path / "gold.parquet")
    assert [row["facts"]["x"] for row in read(tmp_path / "gold.parquet").values()] == [7.0, 7.5]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"who": "x"}, "line 1: no id; add the document's id under the key doc"),
        ({"doc": None, "who": "x"}, "line 1: doc: got null, must be a string or a whole number"),
        ({"doc": 1.5, "who": "x"}, "line 1: doc: got 1.5, must be a string or a whole number"),
        ({"doc": "d", "whom": "x"}, "whom: OUTPUT has no such task; its tasks are topic, tags,"),
        ({"doc": "d", "facts": {"firm": "x"}}, "facts.firm: no such field; the known fields are"),
        ({"doc": "d", "facts.firm": "x"}, "firm: no such field; the known fields are company"),
        ({"doc": "d", "facts": {"n": "3"}}, "facts.n: got '3', must be a whole number"),
        ({"doc": "d", "facts": {"n": 3.5}}, "facts.n: got 3.5, must be a whole number"),
        ({"doc": "d", "facts": {"x": True}}, "facts.x: got true, must be a number"),
        ({"doc": "d", "facts": {"on": "soon"}}, "facts.on: got 'soon', must be a date such as"),
        ({"doc": "d", "facts": {"risks": "x"}}, "facts.risks: got 'x', must be a list"),
        ({"doc": "d", "facts": {"risks": [{}]}}, "facts.risks[0]: got {}, must be a text"),
        ({"doc": "d", "facts": "x"}, "facts: got 'x', must be an object with fields such as"),
        ({"doc": "d", "topic": ["a"]}, "topic: got ['a'], must be a label"),
        ({"doc": "d", "tags": "a"}, "tags: got 'a', must be a list of labels"),
        ({"doc": "d", "who": [1]}, "who: got [1], must be a text, or a list of texts"),
        ({"doc": "d", "who": {"label": "a"}}, "who: {'label': 'a'} has no key text"),
    ],
)
def test_a_wrong_row_is_refused_with_its_place(
    tmp_path: Path, row: Mapping[str, Any], message: str
) -> None:
    told = refused(write(tmp_path / "gold.jsonl", row))
    assert f"{tmp_path}/gold.jsonl line 1" in told and message in told


def test_a_wrong_value_in_parquet_is_refused_with_its_row(tmp_path: Path) -> None:
    table = pa.table({"doc": ["a", "b"], "facts": [{"n": 1.0}, {"n": 1.5}]})
    pq.write_table(table, tmp_path / "gold.parquet")
    assert "gold.parquet row 2: facts.n: got 1.5" in refused(tmp_path / "gold.parquet")


def test_ids_of_another_kind_than_output_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "gold.jsonl", {"doc": "filing-7", "who": "x"})
    assert "got 'filing-7', must be a whole number, as the ids of OUTPUT are" in refused(
        path, IdKind.INTEGER
    )
    assert "must be a UUID" in refused(path, IdKind.UUID)
    assert "must be bytes in hexadecimal digits" in refused(path, IdKind.HEX)


def test_ids_of_a_type_that_cannot_be_ids_are_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"doc": [1.5], "who": ["x"]}), tmp_path / "gold.parquet")
    assert "column doc: is double; ids must be strings" in refused(tmp_path / "gold.parquet")


def test_duplicate_ids_are_refused_with_their_places(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", {"doc": 1, "who": "x"}, {"doc": 2, "who": "x"})
    write(tmp_path / "b.jsonl", {"doc": "1", "who": "y"})
    told = refused(tmp_path, IdKind.INTEGER)
    assert f"'1': {tmp_path}/a.jsonl line 1, {tmp_path}/b.jsonl line 1" in told


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"doc": "a", "who": \n', "line 1: cannot be read as JSON"),
        (b'{"doc": "a"}\n["a"]\n', "line 2: got ['a'], must be an object"),
        (b'{"doc": "a", "doc": "b"}\n', "the key 'doc' occurs more than once"),
    ],
)
def test_a_broken_line_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "gold.jsonl").write_bytes(content)
    assert message in refused(tmp_path / "gold.jsonl")


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "gold.parquet").write_bytes(b"PAR1 no more")
    assert "gold.parquet: cannot be read" in refused(tmp_path / "gold.parquet")
    (tmp_path / "gold.parquet").unlink()
    (tmp_path / "gold.jsonl.gz").write_bytes(gzip.compress(lines(ROW))[:-9])
    assert "damaged or ends early" in refused(tmp_path / "gold.jsonl.gz")


def test_a_path_without_files_is_refused(tmp_path: Path) -> None:
    assert "no file of Parquet or JSON lines" in refused(tmp_path)


def test_times_are_compared_in_utc(tmp_path: Path) -> None:
    schema = {"type": ["string", "null"], "format": "date-time"}
    task = EvaluatedTask("t", "extract", pa.struct([("at", arrow_type(schema))]))
    of = GoldForm("doc", IdKind.TEXT, {"t": task})
    write(tmp_path / "a.jsonl", {"doc": "a", "t": {"at": "2024-03-01T10:00:00+02:00"}})
    table = pa.table({"doc": ["b"], "t": [{"at": datetime(2024, 3, 1, 8, tzinfo=UTC)}]})
    pq.write_table(table, tmp_path / "b.parquet")
    rows = [of.row(row) for row in read_rows(str(tmp_path), list_gold(str(tmp_path)), of)]
    assert {row.answers["t"]["at"] for row in rows} == {"2024-03-01T08:00:00+00:00"}
