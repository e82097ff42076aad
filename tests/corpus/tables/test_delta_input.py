"""Delta tables: their rows at one version are read, and no others."""

from __future__ import annotations

import datetime
import decimal
import json
import struct
import sys
import uuid
import zlib
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from corpora import column, read, refused
from fakes_storage import S3Server
from needs import CASES, needs_cases
from pyroaring import BitMap64

from pipelines.corpus.rows import open_corpus, read_rows
from pipelines.corpus.sources import list_input
from pipelines.corpus.tables.delta_log import decode_z85
from pipelines.job.spec import InputSpec

deltalake = pytest.importorskip("deltalake")
DIGITS = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"


def write_table(path: Path, ids: list[str], mode: str = "append", **options: Any) -> Path:
    """Write rows to a Delta table; the text of a row is "text of ID"."""
    rows = pa.table({"id": ids, "text": [f"text of {each}" for each in ids]})
    deltalake.write_deltalake(str(path), rows, mode=mode, **options)
    return path


FOUR = pa.array(["a", "b", "c", "d"])


def table_by_hand(
    path: Path,
    features: list[str],
    *,
    columns: dict[str, str] | None = None,
    deleted: list[int] | None = None,
    name: str = "f.parquet",
    mode: str = "none",
    id_values: pa.Array = FOUR,
) -> Path:
    """Write a Delta table with the reader's features of its protocol, as the protocol's text says.

    `columns` are the table's names of the file's columns `id` and `text`, which column mapping
    renamed, `deleted` the rows that a deletion vector marks, and `id_values` strings or decimals.
    """
    file = path / name
    file.parent.mkdir(parents=True)
    (path / "_delta_log").mkdir()
    ids = [
        pa.field("id", id_values.type, metadata={"PARQUET:field_id": "1"}),
        pa.field("text", pa.string(), metadata={"PARQUET:field_id": "2"}),
    ]
    rows = [id_values, ["one", "two", "three", "four"]]
    pq.write_table(pa.table(rows, schema=pa.schema(ids)), file, row_group_size=2)
    fields = []
    id_kind = "string" if id_values.type == pa.string() else "decimal(3,1)"
    for number, (physical, kind) in enumerate((("id", id_kind), ("text", "string")), 1):
        mapping = {
            "delta.columnMapping.id": number,
            "delta.columnMapping.physicalName": physical if mode == "name" else f"col-{number}",
        }
        fields.append(
            {
                "name": (columns or {}).get(physical, physical),
                "type": kind,
                "nullable": True,
                "metadata": mapping if columns else {},
            }
        )
    add: dict[str, Any] = {
        "path": name.replace("%", "%25").replace(" ", "%20"),
        "partitionValues": {},
        "size": file.stat().st_size,
        "modificationTime": 1,
        "dataChange": True,
        "stats": json.dumps({"numRecords": 4}),
    }
    if deleted is not None:
        add["deletionVector"] = write_vector(path, deleted)
    configuration = {"delta.columnMapping.mode": mode} if columns else {}
    actions = [
        {
            "protocol": {
                "minReaderVersion": 3,
                "minWriterVersion": 7,
                "readerFeatures": features,
                "writerFeatures": features,
            }
        },
        {
            "metaData": {
                "id": "table",
                "format": {"provider": "parquet", "options": {}},
                "schemaString": json.dumps({"type": "struct", "fields": fields}),
                "partitionColumns": [],
                "configuration": configuration,
                "createdTime": 1,
            }
        },
        {"add": add},
    ]
    log = path / "_delta_log" / f"{0:020d}.json"
    log.write_text("\n".join(json.dumps(action) for action in actions))
    return path


def write_vector(path: Path, rows: list[int]) -> dict[str, Any]:
    """Write a file of one deletion vector, and return the descriptor that the log has of it."""
    identity = uuid.uuid4()
    data = struct.pack("<I", 1681511377) + BitMap64(rows).serialize()
    (path / f"deletion_vector_{identity}.bin").write_bytes(
        b"\x01" + struct.pack(">I", len(data)) + data + struct.pack(">I", zlib.crc32(data))
    )
    return {
        "storageType": "u",
        "pathOrInlineDv": z85(identity.bytes),
        "offset": 1,
        "sizeInBytes": len(data),
        "cardinality": len(rows),
    }


def z85(data: bytes) -> str:
    """Return bytes as Z85 digits."""
    text = ""
    for start in range(0, len(data), 4):
        value = int.from_bytes(data[start : start + 4], "big")
        text += "".join(DIGITS[value // 85**power % 85] for power in (4, 3, 2, 1, 0))
    return text


def ids(path: Path | str, version: int | None = None) -> list[object]:
    """Return the ids of a table's rows, sorted."""
    spec = InputSpec(path=str(path), version=version)
    corpus = open_corpus(spec, list_input(spec).files)
    tables = [t for each in corpus.fragments for t in read_rows(spec, corpus.layout, each)]
    return sorted(doc_id for table in tables for doc_id in table.column("doc_id").to_pylist())


@needs_cases
@pytest.mark.parametrize(
    "name", ["delete_file", "delete_row", "overwrite_new", "partitioned", "update"]
)
def test_a_table_has_its_own_rows_and_no_others(name: str) -> None:
    expected = json.loads((CASES / "lakes/expected.json").read_text())[name]
    keep = [key for key in ("lang", "year") if key in expected[0]]
    rows = read(CASES / "lakes" / name, *keep)
    values = {
        "id": column(rows, "doc_id"),
        "text": [bytes(text).decode() for text in rows.column("text").to_pylist()],
        **{key: column(rows, f"kept.{key}") for key in keep},
    }
    actual = [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]
    assert sorted(actual, key=lambda row: str(row["id"])) == expected


def test_each_version_has_its_own_rows(tmp_path: Path) -> None:
    path = write_table(tmp_path / "t", ["a", "b"])
    write_table(path, ["c"])
    deltalake.DeltaTable(str(path)).delete("id = 'a'")
    assert ids(path) == ["b", "c"]
    assert ids(path, 1) == ["a", "b", "c"]
    assert ids(path, 0) == ["a", "b"]
    listed = list_input(InputSpec(path=str(path)))
    assert (listed.table, listed.version) == ("Delta", 2)
    missing = InputSpec(path=str(path), version=9)
    with pytest.raises(Exception, match="version 9 still exists"):
        list_input(missing)


def test_compaction_a_checkpoint_and_a_vacuum_change_no_row(tmp_path: Path) -> None:
    path = write_table(tmp_path / "t", ["a", "b"])
    for each in "cdefg":
        write_table(path, [each])
    table = deltalake.DeltaTable(str(path))
    table.delete("id = 'd'")
    table.optimize.compact()
    table.create_checkpoint()
    assert ids(path) == ["a", "b", "c", "e", "f", "g"]
    table.vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
    table.cleanup_metadata()
    assert ids(path) == ["a", "b", "c", "e", "f", "g"]
    with pytest.raises(Exception, match="VACUUM"):
        ids(path, 5)


def test_rows_of_a_deletion_vector_are_left_out_and_the_others_keep_their_numbers(
    tmp_path: Path,
) -> None:
    path = table_by_hand(tmp_path / "t", ["deletionVectors"], deleted=[0, 2])
    rows = read(path)
    assert column(rows, "doc_id") == ["b", "d"]
    assert column(rows, "row") == [1, 3]
    whole = list_input(InputSpec(path=str(table_by_hand(tmp_path / "u", ["deletionVectors"]))))
    assert whole.files[0].version != list_input(InputSpec(path=str(path))).files[0].version


def test_a_deleted_row_may_have_a_value_that_is_refused_in_others(tmp_path: Path) -> None:
    values = pa.array([Decimal("1.5"), Decimal(2), Decimal(3), Decimal("4.5")], pa.decimal128(3, 1))
    features = ["deletionVectors"]
    path = table_by_hand(tmp_path / "t", features, deleted=[0, 3], id_values=values)
    assert ids(path) == ["2", "3"]
    path = table_by_hand(tmp_path / "u", features, deleted=[0], id_values=values)
    assert "row 3: column 'id' has the value 4.5" in refused(path)


def test_a_deletion_vector_finds_a_file_whose_name_is_escaped(tmp_path: Path) -> None:
    name = "lang=a%20b/x y.parquet"
    path = table_by_hand(tmp_path / "t 1", ["deletionVectors"], deleted=[3], name=name)
    assert ids(path) == ["a", "b", "c"]


def test_a_deletion_vector_may_delete_all_rows(tmp_path: Path) -> None:
    path = table_by_hand(tmp_path / "t", ["deletionVectors"], deleted=[0, 1, 2, 3])
    assert ids(path) == []


@pytest.mark.parametrize("mode", ["name", "id"])
def test_renamed_columns_are_found_in_files(mode: str, tmp_path: Path) -> None:
    columns = {"id": "text", "text": "id"}
    path = table_by_hand(tmp_path / "t", ["columnMapping"], columns=columns, mode=mode)
    rows = read(path)
    assert column(rows, "doc_id") == ["one", "two", "three", "four"]
    assert column(rows, "text") == [b"a", b"b", b"c", b"d"]


@pytest.mark.parametrize("feature", ["martian", "variantType"])
def test_a_feature_that_is_not_applied_is_refused_by_name(feature: str, tmp_path: Path) -> None:
    assert feature in refused(table_by_hand(tmp_path / "t", [feature]))


def test_a_column_that_was_added_later_is_null_before(tmp_path: Path) -> None:
    path = write_table(tmp_path / "t", ["a"])
    rows = pa.table({"id": ["b"], "text": ["x"], "n": [5]})
    deltalake.write_deltalake(str(path), rows, mode="append", schema_mode="merge")
    read_rows = read(path, "n")
    values = zip(column(read_rows, "doc_id"), column(read_rows, "kept.n"), strict=True)
    assert dict(values) == {"a": None, "b": 5}
    assert "'m'" in refused(path, "m") and "input.keep_columns" in refused(path, "m")


def test_partitions_have_their_types(tmp_path: Path) -> None:
    when = datetime.datetime(2020, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)
    values = {
        "day": [datetime.date(1999, 12, 31), None],
        "at": [when, None],
        "price": pa.array([decimal.Decimal("1.50"), None], pa.decimal128(9, 2)),
        "yes": [True, None],
        "n": [7, None],
        "s": ["a/b c%", None],
    }
    rows = pa.table({"id": ["a", "b"], "text": ["x", "y"], **values})
    deltalake.write_deltalake(str(tmp_path / "t"), rows, partition_by=list(values))
    kept = read(tmp_path / "t", *values)
    kept = kept.sort_by("doc_id")
    assert column(kept, "kept.day") == [datetime.date(1999, 12, 31), None]
    assert column(kept, "kept.at") == [when, None]
    assert column(kept, "kept.price") == [decimal.Decimal("1.50"), None]
    assert column(kept, "kept.yes") == [True, None]
    assert column(kept, "kept.n") == [7, None]
    assert column(kept, "kept.s") == ["a/b c%", None]


def test_a_column_that_was_widened_is_read_in_its_new_type(tmp_path: Path) -> None:
    path = tmp_path / "t"
    rows = pa.table({"id": ["a"], "text": ["x"], "n": pa.array([5], pa.int32())})
    deltalake.write_deltalake(str(path), rows)
    log = path / "_delta_log" / f"{0:020d}.json"
    log.write_text(log.read_text().replace(r"\"integer\"", r"\"long\""))
    kept = read(path, "n").column("kept.n")
    assert (kept.type, kept.to_pylist()) == (pa.int64(), [5])


def test_an_empty_table_has_no_file(tmp_path: Path) -> None:
    path = write_table(tmp_path / "t", ["a"])
    deltalake.DeltaTable(str(path)).delete()
    listed = list_input(InputSpec(path=str(path)))
    assert (listed.files, listed.version) == ((), 1)


def test_a_table_in_a_bucket_is_read_with_the_settings_of_the_input(
    s3: S3Server, tmp_path: Path
) -> None:
    from pipelines.errors import InputError
    from pipelines.stores.protocols import open_store

    vectors = table_by_hand(tmp_path / "v", ["deletionVectors"], deleted=[1], name="x y.parquet")
    plain = write_table(tmp_path / "t", ["a", "b"])
    for each in "cd":
        write_table(plain, [each])
    deltalake.DeltaTable(str(plain)).create_checkpoint()
    write_table(plain, ["e"])
    bucket = s3.new_bucket()
    filesystem, root = open_store(bucket, InputError)
    for path in (vectors, plain):
        filesystem.put(str(path), f"{root}/tables/{path.name}", recursive=True)
    assert ids(f"{bucket}/tables/v") == ["a", "c", "d"]
    assert ids(f"{bucket}/tables/t/") == ["a", "b", "c", "d", "e"]
    assert ids(f"{bucket}/tables/t", 1) == ["a", "b", "c"]
    for wrong in ("tables", "tables/t/*.parquet", "tables/*/*.parquet", "tables/v/x y.parquet"):
        assert f"{root}/tables/" in refused(f"{bucket}/{wrong}")


def test_z85_digits_are_decoded() -> None:
    data = bytes(range(100, 116))
    assert decode_z85(z85(data)) == data


def test_without_the_package_the_refusal_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_table(tmp_path / "t", ["a"])
    monkeypatch.setitem(sys.modules, "deltalake", None)
    assert "pip install 'phifleet[delta]'" in refused(path)
