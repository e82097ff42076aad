"""Random lines, read as Python's json reads them, or as broken lines where it cannot."""

from __future__ import annotations

import bz2
import gzip
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from corpora import job
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.corpus.files import list_files
from pipelines.corpus.rows import open_corpus, read_rows

_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
_INTEGER = st.integers(-(2**63), 2**63 - 1)
_FLOAT = st.floats(allow_nan=False, allow_infinity=False)
_META = st.fixed_dictionaries(
    {}, optional={"by": _TEXT, "size": _INTEGER, "tags": st.lists(_TEXT, max_size=3)}
)
_UNREAD = st.recursive(
    st.none() | st.booleans() | _INTEGER | st.floats() | _TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3),
    max_leaves=6,
)
_ROWS = st.lists(
    st.fixed_dictionaries(
        {"text": st.none() | _TEXT, "zz": _UNREAD},
        optional={
            "n": st.none() | _INTEGER,
            "x": st.none() | _FLOAT,
            "ok": st.booleans(),
            "meta": st.none() | _META,
            "vector": st.lists(_FLOAT, max_size=3),
        },
    ),
    min_size=1,
    max_size=12,
)
_KEPT = ("n", "x", "ok", "meta", "vector")
_BROKEN = (
    b'{"id": "x", "te',
    b"nonsense",
    b"[1, 2]",
    b"null",
    b"}",
    b'{"id": "\\x"}',
    b"\0\0",
    b"{]",
)
_ENDINGS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".zst": lambda data: pa.Codec("zstd").compress(data, asbytes=True),
}


def _read(path: Path, *keep: str) -> list[dict[str, Any]]:
    spec = job(path, *keep)
    corpus = open_corpus(spec, list_files(spec.path))
    return [
        row
        for fragment in corpus.fragments
        for table in read_rows(spec, corpus.layout, fragment)
        for row in table.to_pylist()
    ]


def _completed(value: Any, expected: Any) -> Any:
    """Return what is expected of a value, with null for the keys that Arrow adds to objects."""
    if isinstance(value, dict) and isinstance(expected, dict):
        assert expected.keys() <= value.keys()
        return {key: _completed(each, expected.get(key)) for key, each in value.items()}
    return expected


@settings(deadline=None, max_examples=100)
@given(
    rows=_ROWS,
    choices=st.randoms(use_true_random=False),
    ending=st.sampled_from(sorted(_ENDINGS)),
    spoiled=st.lists(st.tuples(st.integers(0, 12), st.sampled_from(_BROKEN)), max_size=3),
)
def test_random_rows_are_read_as_python_reads_them(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[dict[str, Any]],
    choices: random.Random,
    ending: str,
    spoiled: list[tuple[int, bytes]],
) -> None:
    for number, row in enumerate(rows):
        row["id"] = f"id {number}"
    # of each kept column one line has a value, so that the file has the column
    rows[0] |= {"n": 1, "x": 1.5, "ok": True, "meta": {"size": 3, "by": "Ann", "tags": ["x"]}}
    rows[0]["vector"] = [0.5]
    lines = []
    for row in rows:
        keys = list(row)
        choices.shuffle(keys)
        text = json.dumps(
            {key: row[key] for key in keys},
            ensure_ascii=choices.random() < 0.5,
            separators=choices.choice([(",", ":"), (", ", ": "), ("\t,", " :  ")]),
        )
        lines.append(choices.choice(["", " "]).encode() + text.encode())
    for place, line in spoiled:
        lines.insert(place, line)
    data = choices.choice([b"\n", b"\r\n", b"\n\n"]).join(lines)
    path = tmp_path_factory.mktemp("lines") / f"a.jsonl{ending}"
    path.write_bytes(_ENDINGS[ending](data + choices.choice([b"", b"\n"])))

    found = _read(path, *_KEPT)
    assert len(found) == len(lines)
    physical = data.split(b"\n")
    good = iter(rows)
    for row in found:
        line = physical[row["row"]].strip()
        if row["broken"] is not None:
            assert line in _BROKEN
            assert row["doc_id"] == f"{path}:{row['row'] + 1}"
            continue
        expected = next(good)
        assert line == physical[row["row"]].strip() and json.loads(line)["id"] == row["doc_id"]
        text = expected["text"]
        assert row["text"] == (None if text is None else text.encode())
        for name in _KEPT:
            value = row[f"kept.{name}"]
            wanted = _completed(value, expected.get(name))
            assert value == wanted and str(value) == str(wanted)
    assert next(good, None) is None


@settings(deadline=None, max_examples=60)
@given(
    cut=st.integers(0, 10_000),
    flip=st.integers(0, 10_000),
    # not above: a key that is not UTF-8 is refused
    byte=st.integers(0, 127),
)
def test_a_spoiled_byte_loses_no_other_line(
    tmp_path_factory: pytest.TempPathFactory, cut: int, flip: int, byte: int
) -> None:
    lines = [json.dumps({"id": f"id {n}", "text": f"text {n}", "z": [n]}) for n in range(60)]
    data = bytearray("\n".join(lines).encode())
    flip %= len(data)
    data[flip] = byte
    data = data[: len(data) - cut % 40]
    path = tmp_path_factory.mktemp("lines") / "a.jsonl"
    path.write_bytes(data)
    found = {row["row"]: row for row in _read(path)}
    now = bytes(data).split(b"\n")
    for number, line in enumerate(now):
        if now.count(line) and line == lines[min(number, 59)].encode():
            assert found[number]["doc_id"] == f"id {number}"
            assert found[number]["text"] == f"text {number}".encode()
    # every line that is not blank is a row
    assert sorted(found) == [number for number, line in enumerate(now) if line.strip(b" \t\r")]
