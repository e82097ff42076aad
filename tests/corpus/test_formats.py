"""The formats of files, by their names and by their first bytes."""

from __future__ import annotations

import bz2
import gzip

import pyarrow as pa
import pytest

from pipelines.corpus.formats import ENDINGS, Format, format_of, sniff

_LINE = b'{"id": "a"}\n'


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.parquet", Format.PARQUET),
        ("dir.json/A.PARQUET", Format.PARQUET),
        ("a.snappy.parquet", Format.PARQUET),
        ("a.parq", Format.PARQUET),
        ("a.pq", Format.PARQUET),
        ("a.jsonl", Format.LINES),
        ("a.NDJSON", Format.LINES),
        ("a.json", Format.LINES),
        ("a.jsonl.gz", Format.LINES_GZIP),
        ("a.json.GZIP", Format.LINES_GZIP),
        ("a.ndjson.zst", Format.LINES_ZSTD),
        ("a.jsonl.zstd", Format.LINES_ZSTD),
        ("a.json.bz2", Format.LINES_BZ2),
        ("a.parquet.gz", None),
        ("a.csv.gz", None),
        ("a.gz", None),
        ("parquet", None),
        ("a.parquet.crc", None),
    ],
)
def test_the_format_follows_from_the_ending_of_the_name(name: str, expected: Format | None) -> None:
    assert format_of(name) is expected


def test_every_ending_has_a_format() -> None:
    assert all(format_of(f"a{ending}") for ending in ENDINGS)


def test_the_first_bytes_show_the_format() -> None:
    assert sniff(b"PAR1\x15\x04") is Format.PARQUET
    assert sniff(_LINE) is Format.LINES
    assert sniff(b"\xef\xbb\xbf\r\n " + _LINE) is Format.LINES
    assert sniff(b"[\n{}]") is Format.LINES
    assert sniff(gzip.compress(_LINE)) is Format.LINES_GZIP
    assert sniff(bz2.compress(_LINE)) is Format.LINES_BZ2
    assert sniff(bz2.compress(b"")) is Format.LINES_BZ2
    zstd = pa.Codec("zstd").compress(_LINE, asbytes=True)
    assert sniff(zstd) is Format.LINES_ZSTD
    assert sniff(b"\x5e\x2a\x4d\x18" + bytes(8) + zstd) is Format.LINES_ZSTD


def test_other_bytes_show_no_format() -> None:
    for first in (b"", b"id,text\n", b"\x89PNG\r\n", b"BZhang, 1\n", b"text"):
        assert sniff(first) is None


def test_lines_and_compression_are_told_apart() -> None:
    assert [kind.is_lines for kind in Format] == [False, True, True, True, True]
    assert [kind.is_compressed for kind in Format] == [False, False, True, True, True]
