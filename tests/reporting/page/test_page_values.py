"""Values of answers become trees of texts with the state of their evidence."""

from __future__ import annotations

from datetime import date
from typing import Any

from pipelines.reporting.page.document_facts import Value
from pipelines.reporting.page.values import Places, answer_facts

DONE = {"status": "answered", "strategy": "single", "chunks": 1, "prompt_tokens": 9,
        "output_tokens": 2, "finish_reason": "stop"}  # fmt: skip


def row(path: str, status: str, start: int | None = None, words: str = "words") -> dict[str, Any]:
    end = None if start is None else start + 5
    text = None if start is None else words
    return {"path": path, "status": status, "text": text, "start": start, "end": end,
            "page": None, "quote": None if text else words}  # fmt: skip


def value_of(kind: str, evidence: list[dict[str, Any]], **cell: Any) -> Value:
    cell = {**cell, "_evidence": evidence, "_answer": DONE}
    return answer_facts("task", kind, cell, Places()).value


def field(value: Value, name: str) -> Value:
    return dict(value.fields)[name]


def test_each_value_has_the_state_and_the_place_of_its_own_evidence() -> None:
    value = value_of(
        "extract",
        [
            row("company", "shown", 10),
            row("year", "near", 30),
            row("seat.city", "absent"),
            row('parties[1]["U.S."]', "found", 50),
            row("listed", "not_applicable"),
        ],
        company="Acme",
        year=date(2020, 1, 31),
        seat={"city": "Rome"},
        parties=[{"U.S.": "a"}, {"U.S.": "b"}],
        listed=True,
    )
    (company,) = field(value, "company").quotes
    assert (company.state, company.place) == ("shown", 1)
    assert field(value, "year").text == "2020-01-31"
    assert field(value, "year").quotes[0].state == "quoted"
    (city,) = field(field(value, "seat"), "city").quotes
    assert (city.state, city.place, city.words) == ("missing", None, "words")
    first, second = field(value, "parties").items
    assert field(first, "U.S.").quotes == ()
    assert field(second, "U.S.").quotes[0].state == "shown"
    assert field(value, "listed").text == "yes" and field(value, "listed").quotes[0].state == ""


def test_equal_spans_are_one_place() -> None:
    places = Places()
    cell = {"text": "x", "_evidence": [row("", "shown", 3), row("", "found", 9)], "_answer": DONE}
    answer_facts("a", "ask", cell, places)
    answer_facts("b", "ask", cell, places)
    assert places.spans == [(3, 8), (9, 14)]


def test_labels_have_their_confidence_and_missing_values_no_text() -> None:
    label = value_of("classify", [], label="risk", confidence=0.934)
    assert (label.text, label.fields[0][0]) == ("risk", "93% sure")
    several = value_of("classify", [], labels=["a", "b"], confidence=[0.5, None])
    assert [item.text for item in several.items] == ["a", "b"]
    form = value_of("extract", [], company=None, tags=[], seat={})
    assert [each.text for _, each in form.fields] == [None, None, None]


def test_a_task_without_an_answer_has_no_value_but_its_status() -> None:
    failed = {"text": None, "_evidence": None, "_answer": {**DONE, "status": "invalid_answer"}}
    facts = answer_facts("task", "ask", failed, Places())
    assert (facts.status, facts.value.kind) == ("invalid_answer", "none")
    assert answer_facts("task", "ask", None, Places()).status == "no answer"


def test_long_values_and_long_lists_are_cut() -> None:
    value = value_of("extract", [], text="x" * 100_000, items=[str(n) for n in range(10_000)])
    assert len(field(value, "text").text or "") < 5_000
    assert len(field(value, "items").items) == 100
