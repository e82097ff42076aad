#!/usr/bin/env bash
# pyarrow 26.0.1, Linux, CPython 3.11.
#
# A bzip2 file may consist of several streams, one behind the other, and `bzip2 -d` writes the content
# of all. Compressed parts of a data set can thus be joined by writing one behind the other; a part
# without rows is an empty stream.
#
# Expected: CompressedInputStream reads all streams, as it does for gzip and zstd.
# Seen: it reads several bzip2 streams, also when the first or the last is empty. With an empty one in
# between it raises ArrowException "Unknown error: bz2 decompress failed: wrong sequence of calls to
# bz2 library (internal error)" instead, so that pyarrow.json and pyarrow.csv cannot read the file.
# Python's bz2 module reads it.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
python3 -m venv "$directory/venv"
"$directory/venv/bin/pip" install --quiet pyarrow==26.0.1
cat > "$directory/streams.py" <<'PYTHON'
import bz2
import gzip

import pyarrow as pa


def read(data, codec):
    try:
        return pa.CompressedInputStream(pa.BufferReader(data), codec).read()
    except pa.ArrowException as error:
        return str(error)


zstd = pa.Codec("zstd")
packs = {
    "gzip": gzip.compress,
    "zstd": lambda data: zstd.compress(data, asbytes=True),
    "bz2": bz2.compress,
}
for codec, pack in packs.items():
    first, empty, last = (pack(data) for data in (b'{"a": 1}\n', b"", b'{"a": 2}\n'))
    plain = b'{"a": 1}\n{"a": 2}\n'
    around = read(empty + first + last + empty, codec)
    between = read(first + empty + last, codec)
    print(f"{codec}: empty around {around!r}, empty between {between!r}")
    assert around == plain, "the behaviour has changed"
    if codec == "bz2":
        assert bz2.decompress(first + empty + last) == plain
        assert "wrong sequence of calls" in between, "the behaviour has changed"
    else:
        assert between == plain, "the behaviour has changed"
PYTHON
"$directory/venv/bin/python" "$directory/streams.py"
