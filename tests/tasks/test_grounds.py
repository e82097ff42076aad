from __future__ import annotations

import pytest

from pipelines.documents import EvidenceStatus
from pipelines.tasks.evidence import evidence_of_fields
from pipelines.tasks.grounds import Grounds
from pipelines.text.names import WordIndex
from pipelines.text.search import DocumentSearch


@pytest.mark.parametrize(
    ("other", "value", "text"),
    [
        ("$5,123,000", "€5,123,000", "Fee: $5,123,000 in total."),
        ("C++ code", "C# code", "We write C++ code."),
    ],
)
def test_a_value_is_not_at_the_place_of_a_similar_one(other: str, value: str, text: str) -> None:
    values = {"other": other, "value": value}
    rows = evidence_of_fields(values, {}, {}, DocumentSearch(text), 0, len(text))
    assert [row.status for row in rows] == [EvidenceStatus.FOUND, EvidenceStatus.ABSENT]


def test_a_chunk_is_indexed_once_however_many_others_are_searched(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    indexed: list[str] = []
    build = WordIndex.__init__

    def count(self: WordIndex, text: str) -> None:
        indexed.append(text)
        build(self, text)

    monkeypatch.setattr(WordIndex, "__init__", count)
    text = "Ann Lee met Bo Kim. " * 20
    search = DocumentSearch(text)
    chunks = [Grounds(search, start, start + 20) for start in range(0, len(text), 20)]
    for value in ("Ann Lee", "Bo Kim"):
        for chunk in chunks:
            assert chunk.evidence(value, value, {}, None)[0].status is EvidenceStatus.FOUND
    assert len(indexed) == len(chunks)
