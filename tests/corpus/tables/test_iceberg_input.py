"""Iceberg tables: their rows at one snapshot are read, and no others."""

from __future__ import annotations

import datetime
import shutil
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from corpora import column, read, refused
from fakes_storage import S3Server

from pipelines.corpus.rows import open_corpus, read_rows
from pipelines.corpus.sources import list_input
from pipelines.errors import InputError
from pipelines.job.spec import InputSpec
from pipelines.stores.protocols import open_store

pytest.importorskip("pyiceberg")
from pyiceberg.catalog.memory import InMemoryCatalog
from pyiceberg.manifest import (
    DataFile,
    DataFileContent,
    FileFormat,
    ManifestContent,
    ManifestEntry,
    ManifestEntryStatus,
    ManifestWriterV2,
    write_manifest_list,
)  # fmt: skip
from pyiceberg.table.snapshots import Operation, Snapshot, Summary
from pyiceberg.typedef import Record

ROWS = {"id": ["a", "b", "c"], "text": ["one", "two", "three"], "n": [1, 2, 3]}


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Any]:
    catalog = InMemoryCatalog("tested", warehouse=f"file://{tmp_path}/warehouse")
    catalog.create_namespace("db")
    yield catalog
    catalog.close()


def create(catalog: Any, rows: dict[str, Any] | pa.Table = ROWS, **options: Any) -> Any:
    """Create a table `db.t` with rows."""
    data = pa.table(rows)
    table = catalog.create_table("db.t", data.schema, **options)
    table.append(data)
    return table


def root(table: Any) -> Path:
    return Path(table.location().removeprefix("file://"))


def ids(path: Path | str, version: int | None = None) -> list[object]:
    """Return the ids of a table's rows, sorted."""
    spec = InputSpec(path=str(path), version=version)
    corpus = open_corpus(spec, list_input(spec).files)
    tables = [t for each in corpus.fragments for t in read_rows(spec, corpus.layout, each)]
    return sorted(doc_id for table in tables for doc_id in table.column("doc_id").to_pylist())


def test_each_snapshot_has_its_own_rows(catalog: Any) -> None:
    table = create(catalog)
    first = table.current_snapshot().snapshot_id
    table.append(pa.table({"id": ["d"], "text": ["four"], "n": [4]}))
    table.delete("id = 'b'")
    assert ids(root(table)) == ["a", "c", "d"]
    assert ids(root(table), first) == ["a", "b", "c"]
    table.overwrite(pa.table({"id": ["z"], "text": ["new"], "n": [9]}))
    assert ids(root(table)) == ["z"]
    listed = list_input(InputSpec(path=str(root(table))))
    assert (listed.table, listed.version) == ("Iceberg", table.current_snapshot().snapshot_id)
    with pytest.raises(InputError, match=r"input\.version.*no snapshot 5"):
        ids(root(table), 5)


def test_a_metadata_file_is_the_table_at_its_version(catalog: Any) -> None:
    table = create(catalog)
    earlier = table.metadata_location.removeprefix("file://")
    table.delete("id = 'b'")
    assert ids(earlier) == ["a", "b", "c"]


def test_two_newest_metadata_files_are_refused(catalog: Any) -> None:
    table = create(catalog)
    newest = Path(table.metadata_location.removeprefix("file://"))
    shutil.copy(newest, newest.with_name(f"{newest.name[:5]}-{uuid.uuid4()}.metadata.json"))
    assert "two writers" in refused(root(table))
    assert ids(newest) == ["a", "b", "c"]


def test_renamed_added_and_widened_columns_are_found_by_their_ids(catalog: Any) -> None:
    rows = pa.table({**ROWS, "n": pa.array([1, 2, 3], pa.int32())})
    table = create(catalog, rows)
    for old, new in (("text", "body"), ("id", "text"), ("body", "id")):
        with table.update_schema() as update:
            update.rename_column(old, new)
    with table.update_schema() as update:
        update.update_column("n", pa_long())
        update.add_column("later", pa_long())
    kept = read(root(table), "n", "later")
    assert column(kept, "doc_id") == ["one", "two", "three"]
    assert column(kept, "text") == [b"a", b"b", b"c"]
    assert column(kept, "kept.n") == [1, 2, 3]
    assert kept.schema.field("kept.n").type == pa.int64()
    assert column(kept, "kept.later") == [None] * 3


def pa_long() -> Any:
    from pyiceberg.types import LongType

    return LongType()


def test_renamed_fields_within_columns_are_found_by_their_ids(catalog: Any) -> None:
    values: list[Any] = [{"x": 1, "l": [{"y": 5}, None]}, None, {"x": None, "l": []}]
    table = create(catalog, {**ROWS, "s": values})
    with table.update_schema() as update:
        update.rename_column(("s", "x"), "z")
        update.rename_column(("s", "l", "element", "y"), "w")
    kept = read(root(table), "s")
    expected: list[Any] = [{"z": 1, "l": [{"w": 5}, None]}, None, {"z": None, "l": []}]
    assert column(kept, "kept.s") == expected


def test_partitions_may_change_and_keep_their_types(catalog: Any) -> None:
    day = [datetime.date(2020, 1, 2), None, datetime.date(1960, 5, 6)]
    table = create(catalog, {**ROWS, "day": day})
    with table.update_spec() as update:
        update.add_identity("day")
    table.append(pa.table({"id": ["d"], "text": ["x"], "n": [4], "day": day[:1]}))
    with table.update_spec() as update:
        update.add_identity("n")
    table.append(pa.table({"id": ["e"], "text": ["x"], "n": [5], "day": day[2:]}))
    kept = read(root(table), "day", "n").sort_by("doc_id")
    assert column(kept, "doc_id") == ["a", "b", "c", "d", "e"]
    assert column(kept, "kept.day") == [*day, day[0], day[2]]
    assert column(kept, "kept.n") == [1, 2, 3, 4, 5]


def test_files_without_field_ids_are_read_by_the_tables_names(catalog: Any, tmp_path: Path) -> None:
    table = create(catalog)
    pq.write_table(pa.table({"id": ["d"], "text": ["four"], "n": [4]}), tmp_path / "x.parquet")
    table.add_files([f"file://{tmp_path}/x.parquet"])
    with table.update_schema() as update:
        update.rename_column("n", "number")
    kept = read(root(table), "number").sort_by("doc_id")
    assert column(kept, "kept.number") == [1, 2, 3, 4]


def test_a_copied_table_is_read_where_it_lies(catalog: Any, tmp_path: Path) -> None:
    table = create(catalog)
    shutil.copytree(root(table), tmp_path / "copy")
    shutil.rmtree(root(table))
    assert ids(tmp_path / "copy") == ["a", "b", "c"]


def test_an_empty_table_has_no_file(catalog: Any) -> None:
    table = catalog.create_table("db.t", pa.table(ROWS).schema)
    listed = list_input(InputSpec(path=str(root(table))))
    assert listed.files == ()


def test_rows_of_position_deletes_are_left_out_and_the_others_keep_their_numbers(
    catalog: Any, tmp_path: Path
) -> None:
    table = create(catalog, properties={"write.parquet.row-group-limit": "2"})
    metadata = with_deletes(table, DataFileContent.POSITION_DELETES, [0, 2])
    kept = read(metadata)
    assert column(kept, "doc_id") == ["b"]
    assert column(kept, "row") == [1]


def test_equality_deletes_are_refused_by_name(catalog: Any) -> None:
    table = create(catalog)
    metadata = with_deletes(table, DataFileContent.EQUALITY_DELETES, [0])
    assert "equality deletes" in refused(metadata)


def with_deletes(table: Any, content: Any, positions: list[int]) -> Path:
    """Add a snapshot with a file of deletes, as an engine that merges on read writes it; pyiceberg
    writes none. Returns the metadata file of the new version."""
    (task,) = table.scan().plan_files()
    path = f"{table.location()}/data/deletes.parquet"
    deletes = pa.table({"file_path": [task.file.file_path] * len(positions), "pos": positions})
    local = Path(path.removeprefix("file://"))
    pq.write_table(deletes, local)
    file = DataFile.from_args(
        content=content, file_path=path, file_format=FileFormat.PARQUET, partition=Record(),
        record_count=len(positions), file_size_in_bytes=local.stat().st_size, column_sizes={},
        value_counts={}, null_value_counts={}, nan_value_counts={}, lower_bounds={},
        upper_bounds={}, key_metadata=None, split_offsets=None, equality_ids=[1],
        sort_order_id=None,
    )  # fmt: skip
    file.spec_id = table.spec().spec_id
    snapshot = table.current_snapshot()
    number, sequence = snapshot.snapshot_id + 1, snapshot.sequence_number + 1
    manifest = table.io.new_output(f"{table.location()}/metadata/deletes-m0.avro")
    with DeletesWriter(table.spec(), table.schema(), manifest, number, "null") as writer:
        entry = ManifestEntry.from_args(
            status=ManifestEntryStatus.ADDED, snapshot_id=number, sequence_number=sequence,
            file_sequence_number=sequence, data_file=file,
        )  # fmt: skip
        writer.add_entry(entry)
    added = writer.to_manifest_file()
    output = table.io.new_output(f"{table.location()}/metadata/snap-deletes.avro")
    with write_manifest_list(2, output, number, snapshot.snapshot_id, sequence, "null") as listing:
        listing.add_manifests([added, *snapshot.manifests(table.io)])
    later = Snapshot(
        snapshot_id=number, parent_snapshot_id=snapshot.snapshot_id, sequence_number=sequence,
        manifest_list=output.location, summary=Summary(Operation.DELETE),
        schema_id=table.schema().schema_id, timestamp_ms=snapshot.timestamp_ms + 1,
    )  # fmt: skip
    metadata = table.metadata.model_copy(
        update={
            "snapshots": [*table.metadata.snapshots, later],
            "current_snapshot_id": number,
            "refs": {},
            "last_sequence_number": sequence,
        }
    )
    target = Path(table.location().removeprefix("file://")) / "metadata/v9.metadata.json"
    target.write_text(metadata.model_dump_json())
    return target.parent.parent


class DeletesWriter(ManifestWriterV2):
    """Writes a manifest of deletes."""

    def content(self) -> ManifestContent:
        return ManifestContent.DELETES


def test_a_table_in_a_bucket_is_read_with_the_settings_of_the_input(
    s3: S3Server, catalog: Any
) -> None:
    table = create(catalog)
    table.delete("id = 'b'")
    bucket = s3.new_bucket()
    filesystem, name = open_store(bucket, InputError)
    filesystem.put(str(root(table)), f"{name}/db/t", recursive=True)
    assert ids(f"{bucket}/db/t") == ["a", "c"]
    for wrong in ("db", "db/t/data", "db/*/data/*.parquet"):
        assert f"{name}/db/t" in refused(f"{bucket}/{wrong}")


def test_without_the_package_the_refusal_says_what_to_install(
    catalog: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = create(catalog)
    monkeypatch.setitem(sys.modules, "pyiceberg.table", None)
    assert "pip install 'phifleet[iceberg]'" in refused(root(table))
