"""Runs over JSON lines: compressed files, broken lines, and damage. Engines are fakes."""

from __future__ import annotations

import bz2
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from here import InProcessRun, in_process_run

from pipelines.corpus.undivided import LARGE_BYTES
from pipelines.errors import InputError
from pipelines.ledger.verify import verify
from pipelines.storage import Storage

pytestmark = pytest.mark.usefixtures("tiny_model")


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    (tmp_path / "corpus").mkdir()
    return tmp_path / "corpus"


def _line(doc: object) -> bytes:
    return json.dumps({"doc": doc, "text": f"Text about {doc}.", "n": 1}).encode() + b"\n"


def _run(corpus: Path, **options: Any) -> InProcessRun:
    return in_process_run(corpus.parent, corpus, corpus.parent / "out", **options)


def _rows(corpus: Path, kind: str) -> list[dict[str, Any]]:
    """Return the rows of all files of OUTPUT: `answers`, or `dead_letters`."""
    letters = kind == "dead_letters"
    tables = [pq.read_table(path) for path in sorted((corpus.parent / "out").rglob("part-*"))]
    return [
        row
        for table in tables
        if ("reason" in table.column_names) == letters
        for row in table.to_pylist()
    ]


def _zstd(data: bytes) -> bytes:
    compressed: bytes = pa.Codec("zstd").compress(data, asbytes=True)
    return compressed


def test_compressed_files_and_plain_ones_are_one_corpus(corpus: Path) -> None:
    (corpus / "a.jsonl").write_bytes(_line("plain"))
    (corpus / "b.jsonl.gz").write_bytes(gzip.compress(_line("g1")) + gzip.compress(_line("g2")))
    (corpus / "c.ndjson.ZST").write_bytes(_zstd(_line("z1")) + _zstd(_line("z2")))
    (corpus / "d.JSON.bz2").write_bytes(bz2.compress(_line("b1")) + bz2.compress(_line("b2")))
    (corpus / "e.json.gz").touch()
    manifest = _run(corpus, input={"keep_columns": ["n"]})()
    assert (manifest["documents"], manifest["answered"]) == (7, 7)
    answers = {row["doc"]: row["n"] for row in _rows(corpus, "answers")}
    assert answers == dict.fromkeys(["plain", "g1", "g2", "z1", "z2", "b1", "b2"], 1)


@pytest.mark.parametrize("ids", [("a", "b", "c"), (1, 2, 3)])
def test_broken_lines_are_dead_letters_and_every_line_is_accounted_for(
    corpus: Path, ids: tuple[object, ...]
) -> None:
    surrogate = json.dumps({"doc": ids[1], "text": "smile \ud83d"}).encode() + b"\n"
    path = corpus / "a.jsonl.gz"
    half = _line(ids[2])[:20]
    path.write_bytes(gzip.compress(_line(ids[0]) + surrogate + b"\n" + half + b"\n" + half))
    (corpus / "b.jsonl").write_bytes(_line(ids[2]))
    manifest = _run(corpus)()
    assert manifest["documents"] == 5
    assert (manifest["answered"], manifest["dead_letters"]) == (2, 3)
    assert sorted(row["doc"] for row in _rows(corpus, "answers")) == [ids[0], ids[2]]
    letters = sorted(_rows(corpus, "dead_letters"), key=lambda row: row["row"])
    assert [letter["row"] for letter in letters] == [1, 3, 4]
    assert {letter["reason"] for letter in letters} == {"not_json"}
    assert {letter["source"] for letter in letters} == {str(path)}
    assert letters[0]["doc_id"] == ids[1]
    assert "line 4 cannot be read as JSON: " in letters[1]["message"]
    made = [letter["doc_id"] for letter in letters[1:]]
    if ids[0] == "a":
        assert made == [f"{path}:4", f"{path}:5"]
    else:
        assert made[0] < 0 and made[1] < 0 and made[0] != made[1]
    verdict = verify(Storage(str(corpus.parent / "out")))
    assert (verdict.complete, verdict.problems) == (True, ())


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, _zstd])
def test_a_truncated_compressed_file_is_refused_or_skipped_never_shorter(
    corpus: Path, compress: Callable[[bytes], bytes]
) -> None:
    ending = {gzip.compress: "gz", bz2.compress: "bz2"}.get(compress, "zst")
    (corpus / "a.jsonl").write_bytes(_line("sound"))
    path = corpus / f"b.jsonl.{ending}"
    lines = b"".join(_line(f"id {number}") for number in range(1000))
    path.write_bytes(compress(lines)[:-9])
    run = _run(corpus)
    with pytest.raises(InputError) as error:
        run()
    assert run.engines == []
    assert error.value.message.startswith(f"{path}: ")
    assert "the compressed data is damaged or ends early" in error.value.message
    assert "--skip-bad-files" in error.value.message
    manifest = _run(corpus, skip_bad_files=True)()
    assert (manifest["documents"], len(manifest["skipped_files"])) == (1, 1)
    assert manifest["skipped_files"][0].startswith(f"{path}: ")


def test_a_line_without_an_id_is_refused_beside_a_broken_one(corpus: Path) -> None:
    path = corpus / "a.jsonl"
    path.write_bytes(_line("a") + b"nonsense\n" + b'{"text": "t"}\n')
    with pytest.raises(InputError) as error:
        _run(corpus)()
    assert f"{path} row 2: null" in error.value.message
    assert "row 1" not in error.value.message


def test_a_document_with_the_id_of_a_broken_line_is_refused(corpus: Path) -> None:
    path = corpus / "a.jsonl"
    path.write_bytes(_line(f"{path}:2") + b"nonsense\n")
    with pytest.raises(InputError, match="duplicate values"):
        _run(corpus)()


def test_integers_beyond_64_bits_are_ids_as_they_are_written(corpus: Path) -> None:
    ids = [7, 2**63, 2**64 - 1, 10**30 + 1]
    (corpus / "a.jsonl").write_bytes(b"".join(map(_line, ids)))
    assert _run(corpus)()["answered"] == 4
    assert sorted(row["doc"] for row in _rows(corpus, "answers")) == sorted(map(str, ids))


def test_a_run_knows_its_large_compressed_files(corpus: Path) -> None:
    (corpus / "a.jsonl").write_bytes(_line("a"))
    with (corpus / "b.jsonl.gz").open("wb") as file:
        # sparse; only its size is looked at
        file.truncate(LARGE_BYTES + 1)
    run = _run(corpus)
    run.check()
    assert [Path(file.path).name for file in run.state.undivided_files] == ["b.jsonl.gz"]
