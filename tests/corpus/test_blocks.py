"""Blocks of lines: every byte once, whole lines only, and bounded memory."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.corpus.blocks import blocks_of
from pipelines.errors import UnreadableFile


@given(st.lists(st.sampled_from([b"\n", b"ab", b"c\nd", b"\r\n", b"e\n\nf"]), max_size=12))
def test_blocks_are_whole_lines_and_cover_the_file(chunks: list[bytes]) -> None:
    found = list(blocks_of(chunks))
    whole = b"".join(chunks)
    assert b"".join(block.data for block in found) == whole
    assert all(block.data.endswith(b"\n") for block in found[:-1])
    line = 0
    for block in found:
        assert block.first_line == line
        line += block.data.count(b"\n")


def test_a_line_too_long_for_memory_is_cut_and_the_next_are_read() -> None:
    chunks = [b"a\nbbbbbb", b"bbbbbb", b"bbb", b"bb\nc\nd", b"d"]
    found = list(blocks_of(chunks, max_line_bytes=10))
    assert [(block.first_line, block.cut) for block in found] == [
        (0, False),
        (1, True),
        (2, False),
        (3, False),
    ]
    assert [block.data for block in found] == [b"a\n", b"bbbbbb", b"c\n", b"dd"]


def test_a_mark_of_the_byte_order_is_left_out() -> None:
    assert [block.data for block in blocks_of([b"\xef\xbb\xbf{}\n", b"{}"])] == [b"{}\n", b"{}"]
    assert list(blocks_of([b"\xef\xbb\xbf"])) == []


def test_utf16_is_refused_with_the_remedy() -> None:
    with pytest.raises(UnreadableFile, match=r"is UTF-16.*iconv"):
        list(blocks_of(['\ufeff{"id": 1}\n'.encode("utf-16-le")]))
