"""Hive partitions: their types, inferred from all paths, and later files."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pyarrow as pa
import pytest
from corpora import column, job, read, refused, write, write_lines

from pipelines.corpus.files import list_files
from pipelines.corpus.layout import Layout
from pipelines.corpus.partitions import HIVE_NULL, infer_type, typed_value
from pipelines.corpus.rows import open_corpus
from pipelines.errors import InputError


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["2021", "-7", "0"], pa.int64()),
        (["2021", None], pa.int64()),
        (["2021", "07"], pa.string()),
        (["-0"], pa.string()),
        (["1" * 30], pa.string()),
        (["1.5"], pa.string()),
        (["2024-01-31", "0001-01-01"], pa.date32()),
        (["2024-02-30"], pa.string()),
        (["2024-01-31", "2024"], pa.string()),
        (["x"], pa.string()),
        ([None], pa.null()),
        ([], pa.null()),
    ],
)
def test_types_are_inferred_from_all_values(values: list[str | None], kind: pa.DataType) -> None:
    assert infer_type(values) == kind


def test_a_value_of_another_type_has_no_typed_value() -> None:
    assert typed_value("300", pa.int8()) is None
    assert typed_value("x", pa.int64()) is None
    assert typed_value("1.5", pa.float64()) is None
    assert typed_value("7", pa.int8()) == pa.scalar(7, pa.int8())
    assert typed_value(None, pa.date32()) == pa.scalar(None, pa.date32())


def corpus(path: Path, *values: str) -> Path:
    for value in values:
        write(path / f"p={value}" / "a.parquet", pa.table({"id": [value], "text": ["t"]}))
    return path


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        (("2021", "7"), pa.int64(), [2021, 7]),
        (("2024-01-31", HIVE_NULL), pa.date32(), [date(2024, 1, 31), None]),
        (("2021", "x"), pa.string(), ["2021", "x"]),
        ((HIVE_NULL,), pa.string(), [None]),
    ],
)
def test_kept_partitions_have_their_types(
    tmp_path: Path, values: tuple[str, ...], kind: pa.DataType, expected: list[object]
) -> None:
    rows = read(corpus(tmp_path, *values), "p")
    assert rows.schema.field("kept.p").type == kind
    found = dict(zip(column(rows, "doc_id"), column(rows, "kept.p"), strict=True))
    assert found == dict(zip(values, expected, strict=True))


def test_a_partition_has_the_type_of_the_column_in_other_files(tmp_path: Path) -> None:
    corpus(tmp_path, "7")
    table = pa.table({"id": ["b"], "text": ["t"], "p": pa.array([8], pa.int16())})
    other = write(tmp_path / "b.parquet", table)
    rows = read(tmp_path, "p")
    assert sorted(map(str, column(rows, "kept.p"))) == ["7", "8"]
    assert rows.schema.field("kept.p").type == pa.int16()
    corpus(tmp_path, "x")
    assert refused(tmp_path, "p").startswith(
        f"{tmp_path}/p=x/a.parquet: the partition 'p' has the value 'x' in the path, but the "
        f"column is int16 in {other}; rename the directory, "
    )


def later(path: Path, kind: pa.DataType) -> pa.DataType:
    """Return the type of the partition in files after those where it has the type `kind`."""
    spec = job(path, "p")
    files = list_files(spec.path)
    first = open_corpus(spec, files).layout
    earlier = Layout(first.id_kind, pa.schema([("p", kind)]))
    return open_corpus(spec, files, earlier).layout.kept.field("p").type


def test_later_files_keep_the_type_of_the_first_ones(tmp_path: Path) -> None:
    corpus(tmp_path, "7")
    assert later(tmp_path, pa.string()) == pa.string()
    assert later(tmp_path, pa.int64()) == pa.int64()
    with pytest.raises(InputError, match="has the value '7' in the path, but the column is date"):
        later(tmp_path, pa.date32())


def test_json_lines_below_partitions_have_their_types(tmp_path: Path) -> None:
    (tmp_path / "p=7").mkdir()
    write_lines(tmp_path / "p=7" / "a.jsonl", [{"id": "a", "text": "t"}])
    assert column(read(tmp_path, "p"), "kept.p") == [7]
