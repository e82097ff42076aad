"""Tests of merging objects: those of one thing complete each other, two things are never mixed."""

from __future__ import annotations

from typing import Any

from pipelines.documents import Evidence, EvidenceStatus, Fields
from pipelines.tasks.merging import Merged, merge
from pipelines.tasks.schema import from_shorthand
from pipelines.tasks.statements import ChunkFields

SCHEMA = from_shorthand(
    {"auditor": {"name": "string", "city": "string", "seat": {"zip": "string"}, "tags": ["string"]}}
)


def auditor(**values: Any) -> dict[str, Any]:
    return {"name": None, "city": None, "seat": None, "tags": [], **values}


def merged(*objects: dict[str, Any], evidence: tuple[Evidence, ...] = ()) -> Merged:
    """Merge the auditors of chunks; the last chunk has the evidence."""
    chunks = [
        ChunkFields(
            at, at + 1, Fields({"auditor": stated}, evidence if at + 1 == len(objects) else ())
        )
        for at, stated in enumerate(objects)
    ]
    return merge(chunks, SCHEMA)


def candidates(result: Merged) -> list[Any]:
    (conflict,) = result.conflicts
    assert conflict.path == ("auditor",)
    return [candidate.value for candidate in conflict.candidates]


def test_objects_of_two_things_are_a_conflict_of_both_as_they_were() -> None:
    first, second = auditor(name="KPMX"), auditor(name="Ey Partners", city="Oslo")
    result = merged(first, second)
    assert candidates(result) == [first, second]
    assert result.values == {"auditor": None}


def test_an_object_is_completed_from_all_chunks() -> None:
    result = merged(
        auditor(name="KPMX", tags=["a"]), auditor(city="Oslo"), auditor(seat={"zip": "0150"}),
        auditor(name="kpmx", tags=["b"]),
    )  # fmt: skip
    assert result.conflicts == ()
    assert result.values["auditor"] == {
        "name": "KPMX", "city": "Oslo", "seat": {"zip": "0150"}, "tags": ["a", "b"]
    }  # fmt: skip


def test_a_contradiction_in_a_nested_object_makes_two_things() -> None:
    first = auditor(name="KPMX", seat={"zip": "0150"})
    second = auditor(name="KPMX", seat={"zip": "5003"})
    assert candidates(merged(first, second)) == [first, second]


def test_a_part_completes_the_thing_with_which_it_shares_a_value() -> None:
    first, second = auditor(name="KPMX"), auditor(name="Ey", city="Oslo")
    part = auditor(name="Ey", seat={"zip": "0150"})
    whole = auditor(name="Ey", city="Oslo", seat={"zip": "0150"})
    assert candidates(merged(first, second, part)) == [first, whole]


def test_a_part_that_could_be_of_two_things_completes_neither() -> None:
    first, second = auditor(name="KPMX"), auditor(name="Ey")
    assert candidates(merged(first, auditor(city="Oslo"), second)) == [first, second]


def test_an_object_with_evidence_wins_over_one_without() -> None:
    rows = (
        Evidence("auditor.name", EvidenceStatus.SHOWN, "Ey", 1, 3),
        Evidence("auditor.city", EvidenceStatus.FOUND, "Oslo", 4, 8),
    )
    result = merged(auditor(name="KPMX"), auditor(name="Ey", city="Oslo"), evidence=rows)
    assert result.values["auditor"] == auditor(name="Ey", city="Oslo")
    assert result.evidence == rows
