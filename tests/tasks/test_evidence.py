from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from pipelines.documents import Evidence, EvidenceStatus
from pipelines.tasks.evidence import evidence_of_fields, only_verified
from pipelines.tasks.replied import evidence_of_reply
from pipelines.text.search import DocumentSearch

CASES = Path(__file__).parents[3] / "shared/cases/values.jsonl"
SHOWN, FOUND, NEAR = EvidenceStatus.SHOWN, EvidenceStatus.FOUND, EvidenceStatus.NEAR
ABSENT, NOT_APPLICABLE = EvidenceStatus.ABSENT, EvidenceStatus.NOT_APPLICABLE
STRING = {"type": "string"}


def evidence(
    value: Any, text: str, quote: str = "", schema: dict[str, Any] | None = None
) -> tuple[Evidence, ...]:
    form = {"type": "object", "properties": {"v": schema or {}}}
    search = DocumentSearch(text)
    return evidence_of_fields({"v": value}, form, {"v": quote}, search, 0, len(text))


def status(value: Any, text: str, quote: str = "", **schema: Any) -> EvidenceStatus:
    return evidence(value, text, quote, schema)[0].status


def reply(answer: str | None, text: str, *quotes: str) -> list[EvidenceStatus]:
    rows = evidence_of_reply(answer, quotes, DocumentSearch(text), 0, len(text))
    assert {row.path for row in rows} <= {""}
    return [row.status for row in rows]


@pytest.mark.skipif(not CASES.exists(), reason="../shared/cases is not beside the project")
def test_a_quote_shows_the_values_in_it() -> None:
    for line in CASES.read_text("utf-8").splitlines():
        case = json.loads(line)
        kind = {"date": {"type": "string", "format": "date"}}.get(
            case["type"], {"type": case["type"]}
        )
        row = evidence(case["value"], case["text"], case["quote"], kind)[0]
        assert (row.status is SHOWN) is case["shown"], case["kind"]


def test_every_value_has_evidence_with_its_path() -> None:
    text = "Present: Ann Lee (chair), Bo Kim. Total 12,345.67 due on 1 March 2024."
    values = {
        "people": [{"name": "Ann Lee", "role": "chair"}, {"name": "Cy Roe", "role": None}],
        "total": 12345.67,
        "due": "2024-03-01",
        "paid": False,
        "currency": "USD",
        "note": "  ",
    }
    schema = {
        "type": "object",
        "properties": {
            "people": {"type": "array", "items": {"type": "object", "properties": {}}},
            "due": {"type": "string", "format": "date"},
            "currency": {"enum": ["USD", "EUR"]},
        },
    }
    quotes = {"people": "Present: Ann Lee (chair)"}
    rows = evidence_of_fields(values, schema, quotes, DocumentSearch(text), 0, len(text))
    assert [(row.path, row.status, row.text) for row in rows] == [
        ("people[0].name", SHOWN, "Present: Ann Lee (chair)"),
        ("people[0].name", FOUND, "Ann Lee"),
        ("people[0].role", SHOWN, "Present: Ann Lee (chair)"),
        ("people[0].role", FOUND, "chair"),
        ("people[1].name", ABSENT, None),
        ("total", FOUND, "12,345.67"),
        ("due", FOUND, "1 March 2024"),
        ("paid", NOT_APPLICABLE, None),
        ("currency", NOT_APPLICABLE, None),
    ]
    assert all(text[row.start : row.end] == row.text for row in rows if row.text)


@pytest.mark.parametrize(
    ("value", "text", "expected"),
    [
        ("Ann Lee", "by Ann Lee", FOUND),
        ("Delaware", "laws of Delaware", NEAR),
        ("Ann Lee", "by Ann Leeds", ABSENT),
        (12, "12 months", NEAR),
        (12, "13 months", ABSENT),
        (12345, "12,345 shares", FOUND),
        (12345, "-12,345 degrees", ABSENT),
        ("two years", "24 months", NEAR),
        ("March 1, 2024", "on 2024-03-01", FOUND),
        ("$72.5 million", "72,500,000 dollars", FOUND),
        ("72.5%", "72.5 dollars", ABSENT),
        ("2024-03-01T09:30:00Z", "1 March 2024, 09:30", FOUND),
        ("2024-03-01T09:30:00Z", "1 March 2024, 10:30", ABSENT),
        ("12/7/2024", "on 12/7/2024", FOUND),
        ("田中太郎", "代表は田中太郎です", FOUND),
        (1234, "1.234", NEAR),
    ],
)
def test_a_value_without_a_quote_is_looked_for(
    value: Any, text: str, expected: EvidenceStatus
) -> None:
    form = {"format": "date-time"} if "T09" in str(value) else {}
    assert status(value, text, **form) is expected


@pytest.mark.parametrize(
    ("value", "quote", "expected"),
    [
        (True, "he agreed to pay", SHOWN),
        (True, "he refused to pay", ABSENT),
        (True, "", NOT_APPLICABLE),
        (30, "within thirty days", SHOWN),
        (31, "within thirty days", ABSENT),
        ("30 days", "within thirty days", SHOWN),
        ("one month", "within thirty days", ABSENT),
        ("agreed", "he agreed to pay", SHOWN),
        ("paid", "he agreed to pay", ABSENT),
    ],
)
def test_what_proves_nothing_needs_a_quote(
    value: Any, quote: str, expected: EvidenceStatus
) -> None:
    assert status(value, "Then he agreed to pay within thirty days.", quote) is expected


def test_a_label_needs_no_place_in_the_text() -> None:
    form = {"enum": ["annual", "monthly", None]}
    assert status("annual", "each year", "each year", **form) is NOT_APPLICABLE
    assert status("annual", "the annual fee", "the annual fee", **form) is SHOWN


def test_a_computed_number_is_not_called_absent() -> None:
    text = "Revenue was 72,513 thousand against 61,250 thousand."
    quote = "Revenue was 72,513 thousand against 61,250 thousand"
    assert status(133763, text, quote) is NOT_APPLICABLE
    assert status(0.184, text, quote) is NOT_APPLICABLE
    assert status(0.185, text, quote) is ABSENT
    assert status(133763, text) is ABSENT


def test_a_quote_with_other_words_is_kept_beside_the_documents() -> None:
    (row,) = evidence("Ann Lee", "by Ann  Lee, chair", "by Ann Lee, chair")
    assert (row.text, row.quote) == ("by Ann  Lee, chair", "by Ann Lee, chair")
    (row,) = evidence("Ann Lee", "by Ann Lee, chair", "by Ann Lee, chair")
    assert row.quote is None


def test_all_places_of_a_value_are_given_up_to_a_bound() -> None:
    assert len(evidence("Ann Lee", "Ann Lee, " * 3)) == 3
    assert len(evidence(12345, "12,345 and " * 30)) == 8


def test_only_the_part_that_the_model_was_shown_is_searched() -> None:
    search = DocumentSearch("by Ann Lee. " + "x " * 50 + "by Bo Kim.")
    rows = evidence_of_fields({"a": "Ann Lee", "b": "Bo Kim"}, {}, {}, search, 20, 200)
    assert [(row.path, row.status) for row in rows] == [("a", ABSENT), ("b", FOUND)]


def test_only_supported_values_are_kept_item_by_item() -> None:
    values = {
        "people": ["Cy Roe", "Ann Lee", "Bo Kim"],
        "rows": [{"name": "Cy Roe", "age": 7}, {"name": "Ann Lee", "age": 7}],
        "paid": True,
        "empty": None,
    }
    text = "Present: Ann Lee, Bo Kim."
    rows = evidence_of_fields(values, {}, {}, DocumentSearch(text), 0, len(text))
    kept, kept_rows = only_verified(values, {}, rows)
    assert kept == {
        "people": ["Ann Lee", "Bo Kim"],
        "rows": [{"name": "Ann Lee", "age": None}],
        "paid": True,
        "empty": None,
    }
    assert [(row.path, row.status) for row in kept_rows] == [
        ("people[0]", FOUND),
        ("people[1]", FOUND),
        ("rows[0].name", FOUND),
        ("rows[0].age", ABSENT),
        ("paid", NOT_APPLICABLE),
    ]


def test_labels_and_booleans_do_not_keep_an_invented_object() -> None:
    label = {"enum": ["owner", "tenant"]}
    person = {"type": "object", "properties": {"name": STRING, "active": {}, "role": label}}
    schema = {
        "type": "object",
        "properties": {
            "people": {"type": "array", "items": person},
            "by_office": {"type": "object", "additionalProperties": person},
            "chair": person,
            "clerk": person,
            "flags": {"type": "array", "items": person},
            "role": label,
        },
    }
    invented = {"name": "Cy Roe", "active": True, "role": "owner"}
    known = {"name": "Ann Lee", "active": True, "role": "owner"}
    unnamed = {"name": None, "active": True, "role": "owner"}
    values = {
        "people": [invented, known],
        "by_office": {"Rome": invented, "Oslo": known},
        "chair": invented,
        "clerk": known,
        "flags": [unnamed],
        "role": "tenant",
        "paid": True,
    }
    text = "Present: Ann Lee, and Bo Kim."
    rows = evidence_of_fields(values, schema, {}, DocumentSearch(text), 0, len(text))
    kept, kept_rows = only_verified(values, schema, rows)
    assert kept == {
        "people": [known],
        "by_office": {"Oslo": known},
        "chair": None,
        "clerk": known,
        "flags": [unnamed],
        "role": "tenant",
        "paid": True,
    }
    assert not any(row.path.startswith("chair") for row in kept_rows)
    assert {row.path for row in kept_rows} >= {"people[0].name", "people[0].active", "role", "paid"}


def test_the_boolean_of_a_quoted_list_does_not_keep_an_invented_item() -> None:
    text = "Ann Lee is active."
    values = {"people": [{"name": "Cy Roe", "active": True}, {"name": "Ann Lee", "active": True}]}
    rows = evidence_of_fields(values, {}, {"people": text}, DocumentSearch(text), 0, len(text))
    assert only_verified(values, {}, rows)[0] == {"people": [{"name": "Ann Lee", "active": True}]}


def test_a_computed_number_keeps_its_item() -> None:
    text = "Revenue was 72,513 thousand against 61,250 thousand"
    values = {"rows": [{"name": "Cy Roe", "sum": 133763}]}
    rows = evidence_of_fields(values, {}, {"rows": text}, DocumentSearch(text), 0, len(text))
    assert only_verified(values, {}, rows)[0] == {"rows": [{"name": None, "sum": 133763}]}


TEXT = (
    "Net loss was $72,500 thousand against $61,250 thousand. Acme Corp. is wholly owned by Beta "
    "Inc. and yes, it is due."
)


@pytest.mark.parametrize(
    ("answer", "quotes", "expected"),
    [
        ("$72.5 million", ["Net loss was $72,500 thousand"], [SHOWN]),
        ("The loss was $72.5 million.", ["Net loss was $72,500 thousand"], [SHOWN]),
        ("The loss was $73.6 million.", ["Net loss was $72,500 thousand"], [NEAR]),
        (
            "It grew by 18.4%",
            ["loss was $72,500 thousand against $61,250 thousand"],
            [NOT_APPLICABLE],
        ),
        ("Yes", ["it is due"], [SHOWN]),
        ("Beta Inc.", ["is wholly owned by Beta Inc."], [SHOWN]),
        ("It is owned by Gamma Inc", ["is wholly owned by Beta Inc."], [NEAR]),
        ("Gamma Holdings", ["is wholly owned by Beta Inc."], [NEAR]),
        ("Acme Corp", [], [FOUND]),
        ("Yes", ["it was never due to anyone"], [ABSENT]),
        ("Beta Inc.", ["is wholly owned by Beta Inc.", "and no more words"], [SHOWN, ABSENT]),
        (None, [], []),
    ],
)
def test_a_reply_is_shown_if_its_quotes_contain_its_facts(
    answer: str | None, quotes: list[str], expected: list[EvidenceStatus]
) -> None:
    assert reply(answer, TEXT, *quotes) == expected


def test_a_number_with_a_changed_digit_or_sign_is_never_shown() -> None:
    rng = random.Random(26)  # noqa: S311 - no secret
    for _ in range(2000):
        value = rng.choice([rng.randrange(10, 10**6), round(rng.uniform(0.1, 10**4), 2)])
        printed = rng.choice([f"{value:,}", str(value), f"${value:,}", f"({value:,}.00)"])
        if "(" in printed and isinstance(value, float):
            continue
        text = f"The amount of the order was {printed} and the goods were sent."
        quote = f"amount of the order was {printed}"
        right = -value if "(" in printed else value
        assert status(right, text, quote) is SHOWN, (value, text)
        for wrong in (-right, _changed(right, rng)):
            assert status(wrong, text, quote) in (ABSENT, NEAR, NOT_APPLICABLE), (wrong, text)


def _changed(value: float, rng: random.Random) -> float:
    digits = list(str(value))
    places = [index for index, character in enumerate(digits) if character.isdigit()]
    at = rng.choice(places[1:] if len(places) > 1 else places)
    digits[at] = str((int(digits[at]) + rng.randrange(1, 10)) % 10)
    changed = json.loads("".join(digits))
    assert isinstance(changed, int | float)
    return changed


def test_planted_values_are_found_and_no_others() -> None:
    rng = random.Random(7)  # noqa: S311 - no secret
    numbers = rng.sample(range(10**5 + 1, 10**6), 800)
    planted, others = numbers[:400], numbers[400:]
    text = "\n".join(f"Item {number:,} of the list." for number in planted)
    rows = evidence([*planted, *others], text)
    found = {row.path for row in rows if row.status is FOUND}
    expected = {
        f"v[{index}]"
        for index, number in enumerate(numbers)
        if str(number).strip("0")[2:] and index < 400
    }
    assert found == expected
    assert {row.status for row in rows} == {FOUND, ABSENT}


def _places_of_items(own: tuple[int, int], items: int, text: str) -> list[list[int | None]]:
    values = {"risks": ["the Fire risk"] * items}
    quotes = {"risks": "The risk is the Fire risk."}
    rows = evidence_of_fields(values, {}, quotes, DocumentSearch(text), 0, len(text), own)
    return [
        [row.start for row in rows if row.path == f"risks[{index}]" and row.status is FOUND]
        for index in range(items)
    ]


def test_equal_items_have_places_of_their_own_in_the_chunk_before_the_words_around_it() -> None:
    statement = "The risk is the Fire risk. "
    text, size, value = statement * 4, len(statement), len("The risk is ")
    first, second, third, fourth = ([at * size + value] for at in range(4))
    assert _places_of_items((size, 4 * size), 3, text) == [second, third, fourth]
    assert _places_of_items((size, 3 * size), 2, text) == [second, third]
    # the border divides the first statement behind its value
    assert _places_of_items((size - 2, 3 * size), 3, text) == [first, second, third]
    # which two of three places are meant is not known
    assert _places_of_items((0, 3 * size), 2, text) == [first + second, second + third]


def test_a_quote_is_that_of_the_chunk_and_not_an_equal_one_before_it() -> None:
    statement = "The risk is the Fire risk. "
    text, size = statement * 3, len(statement)
    rows = evidence_of_fields(
        {"risk": "the Fire risk"}, {}, {"risk": statement}, DocumentSearch(text), 0, len(text),
        (size, 2 * size),
    )  # fmt: skip
    assert [(row.status, row.start) for row in rows] == [(SHOWN, size)]
