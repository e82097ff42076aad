"""The counts of one document, computed by hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pytest

from pipelines.reporting.fields import EvaluatedTask
from pipelines.reporting.gold_values import gold_answer
from pipelines.reporting.scoring import score_task
from pipelines.tasks.arrow import arrow_type
from pipelines.tasks.schema import from_shorthand, object_of

TOPIC = EvaluatedTask("topic", "classify", pa.struct([("label", pa.string())]), ("Risk", "other"))
TAGS = EvaluatedTask("tags", "classify", pa.struct([("labels", pa.list_(pa.string()))]))
WHO = EvaluatedTask("who", "ask", pa.struct([("text", pa.string())]))
SUMMARY = EvaluatedTask("summary", "summarize", pa.struct([("text", pa.string())]))
FACTS = EvaluatedTask(
    "facts",
    "extract",
    arrow_type(
        from_shorthand(
            {
                "company": "string",
                "revenue": "number",
                "signed": "date",
                "final": "boolean",
                "risks": ["string"],
                "address": {"city": "string", "floor": "integer"},
                "parties": [{"name": "string", "role": "string"}],
            }
        )
    ),
)
RATES = EvaluatedTask(
    "rates",
    "extract",
    arrow_type(
        object_of(
            {
                "by": {
                    "type": "object",
                    "properties": {},
                    "additionalProperties": {"type": "number"},
                }
            }
        )
    ),
)
Triple = tuple[int, int, int]
"""Matched, answered and expected values."""


def counts(task: EvaluatedTask, gold: Any, answer: Mapping[str, Any]) -> dict[str, Triple]:
    """Return the counts of the judged fields by path."""
    score = score_task(task, gold_answer(task, gold), answer)
    return {
        path: (each.matched, each.answered, each.expected) for path, each in score.counts.items()
    }


@pytest.mark.parametrize(
    ("gold", "label", "expected"),
    [
        ("Risk", "Risk", (1, 1, 1)),
        ("risk ", "Risk", (1, 1, 1)),
        ("other", "Risk", (0, 1, 1)),
        # no label is right, and `other` says so
        (None, "other", (0, 0, 0)),
        (None, "Risk", (0, 1, 0)),
        ("unheard of", "other", (0, 1, 1)),
    ],
)
def test_a_label_is_right_or_wrong(gold: str | None, label: str, expected: Triple) -> None:
    assert counts(TOPIC, gold, {"label": label}) == {"topic": expected}


def test_several_labels_are_compared_as_a_set() -> None:
    score = score_task(TAGS, ["a", "b", "c"], {"labels": ["b", "x", "y"]})
    of_field = score.counts["tags"]
    assert (of_field.matched, of_field.answered, of_field.expected) == (1, 3, 3)
    assert sorted(score.labels) == [("a", "x"), ("a", "y"), ("b", "b"), ("c", "x"), ("c", "y")]


@pytest.mark.parametrize(
    ("gold", "labels", "confused"),
    [(["a"], [], [("a", None)]), ([], ["a"], [(None, "a")]), ([], [], []), (None, [], [])],
)
def test_missed_and_extra_labels_without_a_counterpart_are_confused_with_none(
    gold: Any, labels: list[str], confused: list[Any]
) -> None:
    assert score_task(TAGS, gold, {"labels": labels}).labels == confused


@pytest.mark.parametrize(
    ("gold", "text", "expected"),
    [
        ("Acme Corp", "ACME Corporation", (1, 1, 1)),
        ("Acme Corp", "Not stated", (0, 0, 1)),
        (None, "Not stated", (0, 0, 0)),
        (None, "Bob", (0, 1, 0)),
        ("Not stated", None, (0, 0, 0)),
        (["Ann", "Bob"], "bob", (1, 1, 1)),
        (["Ann", "Bob"], "Carl", (0, 1, 1)),
        (42, "42", (1, 1, 1)),
    ],
)
def test_a_reply_is_right_in_any_spelling(gold: Any, text: str | None, expected: Triple) -> None:
    assert counts(WHO, gold, {"text": text}) == {"who": expected}


def test_texts_have_a_similarity() -> None:
    score = score_task(SUMMARY, ["a b c d", "x"], {"text": "a c d e"})
    assert score.counts["summary"].similarity == pytest.approx(0.75)
    assert score_task(SUMMARY, "a", {"text": None}).counts["summary"].similarity == 0


def test_only_fields_of_the_gold_are_judged_and_null_is_a_right_answer() -> None:
    answer = {"company": "Acme", "revenue": 5.0, "signed": None, "risks": ["x"]}
    assert counts(FACTS, {"company": "ACME", "signed": None}, answer) == {
        "facts.company": (1, 1, 1),
        "facts.signed": (0, 0, 0),
    }


def test_null_for_a_whole_form_judges_all_its_fields() -> None:
    found = counts(FACTS, None, {"company": "Acme"})
    assert found.pop("facts.company") == (0, 1, 0)
    assert set(found.values()) == {(0, 0, 0)} and len(found) == 9


def test_dates_numbers_and_booleans_are_compared_by_their_values() -> None:
    gold = {"signed": "1 March 2024", "revenue": 5, "final": False}
    answer = {"signed": "2024-03-01", "revenue": 5.0, "final": True}
    assert counts(FACTS, gold, answer) == {
        "facts.signed": (1, 1, 1),
        "facts.revenue": (1, 1, 1),
        "facts.final": (0, 1, 1),
    }


def test_the_items_of_a_list_are_compared_in_any_order() -> None:
    gold, answer = ["fire", "flood", "flood"], ["Flood", "theft", None, "N/A", "fire."]
    found = score_task(FACTS, {"risks": gold}, {"risks": answer})
    of_field = found.counts["facts.risks[]"]
    assert (of_field.matched, of_field.answered, of_field.expected) == (2, 3, 3)
    # places are those of the answer's own list, which evidence has
    assert {verdict.place: verdict.right for verdict in found.verdicts} == {
        "risks[0]": True,
        "risks[1]": False,
        "risks[4]": True,
    }


def test_objects_of_a_list_are_assigned_by_their_values() -> None:
    gold = [{"name": "Ann", "role": "buyer"}, {"name": "Bob", "role": "seller"}]
    answer = [
        {"name": "Bob", "role": "buyer"},
        {"name": "Ann", "role": "buyer"},
        {"name": "Eve", "role": None},
    ]
    found = score_task(FACTS, {"parties": gold}, {"parties": answer})
    triples = {p: (c.matched, c.answered, c.expected) for p, c in found.counts.items()}
    assert triples == {
        "facts.parties[]": (1, 3, 2),
        "facts.parties[].name": (2, 3, 2),
        "facts.parties[].role": (1, 2, 2),
    }
    assert {v.place: v.right for v in found.verdicts} == {
        "parties[1].name": True,
        "parties[1].role": True,
        "parties[0].name": True,
        "parties[0].role": False,
        "parties[2].name": False,
    }


def test_fields_that_no_object_of_the_gold_has_are_not_judged() -> None:
    answer = {"parties": [{"name": "Ann", "role": "x"}, {"name": "Eve", "role": "y"}]}
    assert counts(FACTS, {"parties": [{"name": "Ann"}]}, answer) == {
        "facts.parties[]": (1, 2, 1),
        "facts.parties[].name": (1, 2, 1),
    }


def test_an_empty_list_of_objects_is_judged() -> None:
    assert counts(FACTS, {"parties": []}, {"parties": []}) == {
        "facts.parties[]": (0, 0, 0),
        "facts.parties[].name": (0, 0, 0),
        "facts.parties[].role": (0, 0, 0),
    }
    assert counts(FACTS, {"parties": []}, {"parties": [{"name": "Ann", "role": None}]}) == {
        "facts.parties[]": (0, 1, 0),
        "facts.parties[].name": (0, 1, 0),
        "facts.parties[].role": (0, 0, 0),
    }


def test_nested_objects_are_compared_field_by_field() -> None:
    gold = {"address": {"city": "Bern", "floor": None}}
    assert counts(FACTS, gold, {"address": {"city": "Basel", "floor": 2}}) == {
        "facts.address.city": (0, 1, 1),
        "facts.address.floor": (0, 1, 0),
    }
    assert counts(FACTS, gold, {"address": None}) == {
        "facts.address.city": (0, 0, 1),
        "facts.address.floor": (0, 0, 0),
    }


def test_the_values_of_a_map_are_compared_by_their_names() -> None:
    gold, answer = {"by": {"US": 1, "U.K.": 2, "EU": 3}}, {"by": {"us": 1.0, "EU": 4.0, "CH": 5.0}}
    assert counts(RATES, gold, answer) == {"rates.by{}": (1, 3, 3)}


def test_an_answer_without_a_value_misses_all_values_of_the_gold() -> None:
    gold = {"company": "Acme", "parties": [{"name": "Ann", "role": "buyer"}], "final": None}
    assert counts(FACTS, gold, {}) == {
        "facts.company": (0, 0, 1),
        "facts.final": (0, 0, 0),
        "facts.parties[]": (0, 0, 1),
        "facts.parties[].name": (0, 0, 1),
        "facts.parties[].role": (0, 0, 1),
    }
