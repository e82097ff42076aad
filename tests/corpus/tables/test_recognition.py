"""Tables are recognised wherever `input.path` points, so that no deleted row is read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from corpora import write

from pipelines.corpus.sources import list_input
from pipelines.errors import InputError
from pipelines.job.spec import InputSpec


def mark(path: Path, kind: str) -> Path:
    """Make a directory of one data file look like a table of a format."""
    write(path / "data/x=1/part.parquet")
    files = {
        "Delta": [f"_delta_log/{0:020d}.json"],
        "Iceberg": ["metadata/v1.metadata.json"],
        "Hudi": [".hoodie/hoodie.properties"],
        "Paimon": ["snapshot/snapshot-1", "schema/schema-0", "manifest/manifest-1"],
    }[kind]
    for name in files:
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(json.dumps({}))
    return path


def refusal(path: Path | str) -> str:
    with pytest.raises(InputError) as error:
        list_input(InputSpec(path=str(path)))
    return error.value.message


@pytest.mark.parametrize("kind", ["Delta", "Iceberg", "Hudi", "Paimon"])
@pytest.mark.parametrize(
    "wrong",
    [
        "", "db", "db/*", "db/t/data", "db/t/data/x=1", "db/t/data/x=1/part.parquet", "d*/*/data",
        "db/t/data/*/*.parquet", "*/t/data/x=1/*.parquet", "db/t/*.parquet", "**/*.parquet",
    ],
)  # fmt: skip
def test_files_in_and_above_a_table_are_refused_with_the_table(
    kind: str, wrong: str, tmp_path: Path
) -> None:
    write(tmp_path / "other/a.parquet")
    table = mark(tmp_path / "db/t", kind)
    message = refusal(tmp_path / wrong)
    assert kind in message and str(table) in message
    assert ("export" in message) == (kind in ("Hudi", "Paimon"))


@pytest.mark.parametrize("kind", ["Hudi", "Paimon"])
def test_a_table_that_cannot_be_read_is_refused_with_how_to_export(
    kind: str, tmp_path: Path
) -> None:
    message = refusal(mark(tmp_path / "t", kind))
    assert kind in message and f"format('{kind.lower()}')" in message


def test_a_table_with_two_formats_metadata_is_refused(tmp_path: Path) -> None:
    message = refusal(mark(mark(tmp_path / "t", "Delta"), "Iceberg"))
    assert "Delta and of Iceberg" in message


def test_directories_that_only_resemble_a_table_are_read(tmp_path: Path) -> None:
    for name in ("metadata/notes.json", "schema/a.txt", "snapshot/b.txt"):
        (tmp_path / "c" / name).parent.mkdir(parents=True)
        (tmp_path / "c" / name).write_text("")
    path = write(tmp_path / "c/data/a.parquet")
    assert [file.path for file in list_input(InputSpec(path=str(tmp_path))).files] == [str(path)]


def test_a_version_of_plain_files_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet")
    with pytest.raises(InputError, match=r"input\.version"):
        list_input(InputSpec(path=str(tmp_path), version=3))


def test_a_table_behind_a_link_is_refused_too(tmp_path: Path) -> None:
    mark(tmp_path / "db/t", "Delta")
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked/t").symlink_to(tmp_path / "db/t")
    (tmp_path / "linked/loop").symlink_to(tmp_path / "linked")
    assert "Delta table" in refusal(tmp_path / "linked")


def test_a_table_is_found_through_a_link_and_below_what_a_glob_matches(tmp_path: Path) -> None:
    table = mark(tmp_path / "elsewhere/t", "Delta")
    write(tmp_path / "c/a/b.parquet")
    (tmp_path / "c/a/link").symlink_to(table)
    for path in (tmp_path / "c", tmp_path / "c/*", tmp_path / "c/a/*"):
        assert "Delta" in refusal(path)


def test_tables_that_a_listing_leaves_out_are_no_reason_to_refuse_it(tmp_path: Path) -> None:
    path = write(tmp_path / "c/a.parquet")
    output = mark(tmp_path / "c/out/answers", "Delta").parent
    mark(tmp_path / "c/other/answers", "Delta")
    (tmp_path / "c/other/_run").mkdir()
    (tmp_path / "c/other/_run/job.json").write_text("{}")
    mark(tmp_path / "c/_old/t", "Iceberg")
    for pattern in (tmp_path / "c", tmp_path / "c/*"):
        files = list_input(InputSpec(path=str(pattern)), exclude=str(output)).files
        assert [file.path for file in files] == [str(path)]
