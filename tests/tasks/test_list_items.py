"""Tests of merging lists: the same list, read whole or in chunks of any size."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from needs import CASES, needs_cases
from reader_of_chunks import Leaf, Planted, read_chunk, receipt, spans

from pipelines.documents import Evidence, EvidenceStatus, Fields
from pipelines.tasks.merging import Merged, merge
from pipelines.tasks.schema import from_shorthand
from pipelines.tasks.statements import ChunkFields

RECEIPT = from_shorthand({"items": [{"item": "string", "price": "number"}]})
NAMES = ("item", "price")
# Longer than any value, so that each stands whole in some chunk.
OVERLAP = 12


def found(path: str, *places: tuple[int, int]) -> tuple[Evidence, ...]:
    return tuple(Evidence(path, EvidenceStatus.FOUND, "", *place) for place in places)


def chunk(start: int, end: int, items: Sequence[Any], *evidence: Evidence) -> ChunkFields:
    return ChunkFields(start, end, Fields({"items": list(items)}, evidence))


def read(planted: Planted, size: int, overlap: int = OVERLAP, all_places: int = 0) -> Merged:
    """Merge what a perfect reader states about chunks of a size."""
    chunks = [
        read_chunk(planted, *span, NAMES, all_places=all_places)
        for span in spans(len(planted.text), size, overlap)
    ]
    return merge(chunks, RECEIPT)


def cases() -> dict[str, Any]:
    lines = (CASES / "lists.jsonl").read_text().splitlines()
    return {case["kind"]: case for case in map(json.loads, lines)}


def chunks_of_case(case: Mapping[str, Any]) -> tuple[list[ChunkFields], list[str]]:
    """Return the chunks of a case, whose items have a place of ten characters, and the names."""
    names = [name for name in case["chunks"][0]["items"][0] if name != "place"]
    chunks = []
    for stated in case["chunks"]:
        evidence = [
            row
            for index, item in enumerate(stated["items"])
            for name in names
            if item[name] is not None
            for row in found(
                f"items[{index}].{name}",
                (item["place"] + 5 * names.index(name), item["place"] + 5 * names.index(name) + 4),
            )
        ]
        items = [{name: item[name] for name in names} for item in stated["items"]]
        start, end = stated["at"]
        chunks.append(chunk(start, end, items, *evidence))
    return chunks, names


@needs_cases
@pytest.mark.parametrize("kind", ["no mixture of two objects", "fillers are no statements"])
def test_cases_of_objects(kind: str) -> None:
    case = cases()[kind]
    objects = [stated["object"] for stated in case["chunks"]]
    schema = from_shorthand({"form": dict.fromkeys(objects[0], "string")})
    merged = merge(
        [
            ChunkFields(stated["at"][0], stated["at"][1], Fields({"form": stated["object"]}))
            for stated in case["chunks"]
        ],
        schema,
    )
    if isinstance(case["merged"], dict):
        assert (merged.values["form"], merged.conflicts) == (case["merged"], ())
    else:
        (conflict,) = merged.conflicts
        assert [candidate.value for candidate in conflict.candidates] == objects


@needs_cases
@pytest.mark.parametrize(
    "kind", ["true repeats stay", "seen twice in the overlap", "one thing seen in part"]
)
def test_cases_of_lists(kind: str) -> None:
    case = cases()[kind]
    chunks, names = chunks_of_case(case)
    types = {"item": "string", "price": "number", "name": "string", "born": "integer"}
    schema = from_shorthand({"items": [{name: types[name] for name in names}]})
    merged = merge(chunks, schema).values["items"]
    assert [list(item.values()) for item in merged] == case["merged"]


@needs_cases
def test_the_receipt_of_the_cases_read_in_chunks_of_any_size_has_five_lines() -> None:
    text = (CASES / "texts" / "receipt.txt").read_text()
    planted = Planted(text)
    for line in re.finditer(r"^(\w+) (\d\.\d\d)$", text, re.MULTILINE):
        (name, price), (first, second) = line.groups(), (line.span(1), line.span(2))
        planted.objects.append(
            [Leaf("item", name, *first, name), Leaf("price", float(price), *second, price)]
        )
    for size in range(16, len(text) + 2, 3):
        for all_places in (0, 8):
            items = read(planted, size, all_places=all_places).values["items"]
            assert items == planted.values and sum(item["price"] for item in items) == 22.0, size


@pytest.mark.parametrize("all_places", [0, 8])
def test_a_receipt_read_in_chunks_of_any_size_has_five_lines(all_places: int) -> None:
    planted = Planted("Receipt\n\n")
    for name, price in [
        ("Coffee", 5.0),
        ("Tea", 3.0),
        ("Coffee", 5.0),
        ("Cake", 4.0),
        ("Coffee", 5.0),
    ]:
        planted.plant([("item", name, name), ("price", price, f"{price:.2f}")], " ")
        planted.write("\n")
    planted.write("Thank you for your visit, please come again soon to see us.\n" * 3)
    for size in range(16, len(planted.text) + 2):
        items = read(planted, size, all_places=all_places).values["items"]
        assert items == planted.values, size
        assert sum(item["price"] for item in items) == 22.0


@pytest.mark.parametrize("seed", range(12))
def test_lists_with_repeats_are_the_same_in_chunks_of_every_size(seed: int) -> None:
    dice = random.Random(seed)  # noqa: S311  # seeded on purpose
    planted = receipt(dice, dice.choice([1, 2, 3, 10, 30, 100, 400]))
    # of a long text, chunks as short as a line would be ten thousand
    size = max(14, len(planted.text) // 200)
    while size < 1.2 * len(planted.text):
        assert read(planted, size).values["items"] == planted.values, size
        size = int(size * 1.7) + 1


@pytest.mark.parametrize("seed", range(12))
def test_repeats_are_told_apart_if_the_evidence_of_each_names_several_places(seed: int) -> None:
    dice = random.Random(seed)  # noqa: S311  # seeded on purpose
    planted = receipt(dice, dice.choice([1, 2, 3, 10, 30, 100]))
    size = 150
    while size < 1.2 * len(planted.text):
        merged = read(planted, size, dice.choice([12, 40, 60]), all_places=1000).values["items"]
        assert merged == planted.values, size
        size = int(size * 1.7) + 1


def test_every_item_keeps_the_evidence_of_its_own_place_once() -> None:
    planted = receipt(random.Random(5), 60)  # noqa: S311  # seeded on purpose
    for size in (20, 50, 300, 5000):
        evidence = read(planted, size).evidence
        assert Counter(evidence).most_common(1)[0][1] == 1
        places = {(row.path, row.start, row.end) for row in evidence}
        assert places == {
            (f"items[{index}].{leaf.name}", leaf.start, leaf.end)
            for index, leaves in enumerate(planted.objects)
            for leaf in leaves
        }


def test_an_item_that_a_border_divides_without_overlap_is_one_item() -> None:
    first = chunk(0, 40, [{"item": "Coffee", "price": None}], *found("items[0].item", (33, 39)))
    second = chunk(
        40, 80, [{"item": None, "price": 5.0}, {"item": "Tea", "price": 3.0}],
        *found("items[0].price", (41, 45)), *found("items[1].item", (46, 49)),
        *found("items[1].price", (50, 54)),
    )  # fmt: skip
    merged = merge([first, second], RECEIPT)
    assert merged.values["items"] == [
        {"item": "Coffee", "price": 5.0}, {"item": "Tea", "price": 3.0}
    ]  # fmt: skip
    assert [row.path for row in merged.evidence] == [
        "items[0].item", "items[0].price", "items[1].item", "items[1].price",
    ]  # fmt: skip


def test_items_of_two_chunks_far_apart_are_never_one() -> None:
    first = chunk(0, 400, [{"item": "Coffee", "price": None}], *found("items[0].item", (33, 39)))
    second = chunk(400, 800, [{"item": None, "price": 5.0}], *found("items[0].price", (600, 604)))
    assert len(merge([first, second], RECEIPT).values["items"]) == 2


def test_a_text_cut_off_at_a_border_is_completed() -> None:
    schema = from_shorthand({"items": ["string"]})
    first = chunk(0, 20, ["Hansen"], *found("items[0]", (12, 18)))
    second = chunk(10, 60, ["Hansen & Co", "Bo"], *found("items[0]", (12, 23)),
                   *found("items[1]", (30, 32)))  # fmt: skip
    assert merge([first, second], schema).values["items"] == ["Hansen & Co", "Bo"]


def test_equal_items_without_a_place_are_one_across_chunks_and_follow_their_predecessor() -> None:
    schema = from_shorthand({"items": ["string"]})
    first = chunk(0, 100, ["b", "risk", "risk"], *found("items[0]", (50, 51)))
    second = chunk(90, 200, ["Risk", "other", "c"], *found("items[2]", (150, 151)))
    assert merge([first, second], schema).values["items"] == ["b", "risk", "risk", "other", "c"]


def test_an_item_without_a_place_is_an_equal_one_that_stands_in_its_chunk() -> None:
    schema = from_shorthand({"items": ["string"]})
    first = chunk(0, 100, ["x"])
    second = chunk(
        80, 200, ["x", "x"], *found("items[0]", (90, 91)), *found("items[1]", (150, 151))
    )
    assert merge([first, second], schema).values["items"] == ["x", "x"]


def test_items_out_of_order_keep_their_places() -> None:
    schema = from_shorthand({"items": ["string"]})
    first = chunk(0, 100, ["b", "a"], *found("items[0]", (95, 96)), *found("items[1]", (10, 11)))
    second = chunk(
        90, 200, ["d", "b"], *found("items[0]", (120, 121)), *found("items[1]", (95, 96))
    )
    assert merge([first, second], schema).values["items"] == ["a", "b", "d"]


def test_lists_in_objects_in_lists_are_merged_at_every_level() -> None:
    schema = from_shorthand({"items": [{"order": "integer", "lines": ["string"]}]})
    first = chunk(
        0, 60, [{"order": 1, "lines": ["tea"]}, {"order": 2, "lines": ["tea", "pie"]}],
        *found("items[0].order", (0, 1)), *found("items[0].lines[0]", (5, 8)),
        *found("items[1].order", (30, 31)), *found("items[1].lines[0]", (40, 43)),
        *found("items[1].lines[1]", (50, 53)),
    )  # fmt: skip
    second = chunk(
        45, 120, [{"order": None, "lines": ["pie", "tea"]}, {"order": 3, "lines": ["tea"]}],
        *found("items[0].lines[0]", (50, 53)), *found("items[0].lines[1]", (70, 73)),
        *found("items[1].order", (90, 91)), *found("items[1].lines[0]", (100, 103)),
    )  # fmt: skip
    merged = merge([first, second], schema)
    assert merged.values["items"] == [
        {"order": 1, "lines": ["tea"]},
        {"order": 2, "lines": ["tea", "pie", "tea"]},
        {"order": 3, "lines": ["tea"]},
    ]
    assert "items[1].lines[2]" in {row.path for row in merged.evidence}
    assert len(merged.evidence) == 8


def test_null_items_and_fillers_are_no_items() -> None:
    schema = from_shorthand({"items": ["string"]})
    first = chunk(0, 100, ["N/A", "b", None, " "], *found("items[1]", (50, 51)))
    second = chunk(50, 200, ["b", "-", "None."], *found("items[0]", (50, 51)))
    merged = merge([first, second], schema)
    assert merged.values["items"] == ["b"]
    assert [row.path for row in merged.evidence] == ["items[0]"]


def test_items_of_an_unknown_shape_are_whole_values() -> None:
    schema = {"type": "object", "properties": {"items": {"type": "array", "items": {}}}}
    first = chunk(0, 100, [{"a": 1}, 5, "x"])
    second = chunk(100, 200, [5.0, {"a": 1}, [1, 2]])
    assert merge([first, second], schema).values["items"] == [{"a": 1}, 5, "x", [1, 2]]


@pytest.mark.parametrize("text", ["same", "item {}"])
def test_a_thousand_items_in_each_chunk_are_merged(text: str) -> None:
    """The last four items of each of 20 chunks are the first of the next."""
    chunks = []
    for number in range(20):
        numbers = range(996 * number, 996 * number + 1000)
        evidence = [
            row
            for index, at in enumerate(numbers)
            for row in found(f"items[{index}]", (10 * at, 10 * at + 4))
        ]
        items = [text.format(at) for at in numbers]
        chunks.append(chunk(10 * numbers[0], 10 * numbers[-1] + 8, items, *evidence))
    merged = merge(chunks, from_shorthand({"items": ["string"]}))
    assert merged.values["items"] == [text.format(at) for at in range(996 * 20 + 4)]
    assert len(merged.evidence) == 996 * 20 + 4
