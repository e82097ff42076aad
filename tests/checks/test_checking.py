"""The three actions of checks on the answers of every kind of task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from checked_tasks import checked, checks_of, task_of

from pipelines.checks.checking import AnswerChecks
from pipelines.documents import (
    CHECK_FAILED,
    Answer,
    AnswerValue,
    CheckResult,
    Evidence,
    EvidenceStatus,
    Fields,
    Label,
    LabelSet,
    Problem,
    Reply,
    Summary,
    Written,
)

MAIL = "bob@example.com"
SHOWN, FOUND, NEAR = EvidenceStatus.SHOWN, EvidenceStatus.FOUND, EvidenceStatus.NEAR
ABSENT, NOT_APPLICABLE = EvidenceStatus.ABSENT, EvidenceStatus.NOT_APPLICABLE


def pii(action: str | None, **keys: Any) -> dict[str, Any]:
    return {"kind": "pii", "action": action, **keys}


def blocked(action: str | None, *phrases: str, **keys: Any) -> dict[str, Any]:
    return {"kind": "blocklist", "action": action, "phrases": list(phrases), **keys}


def unshown(action: str | None, **keys: Any) -> dict[str, Any]:
    return {"kind": "unshown", "action": action, **keys}


def facts(evidence: Sequence[Evidence] = (), **values: Any) -> Fields:
    nothing = dict.fromkeys(("company", "listed", "card", "auditor")) | {"risks": [], "people": []}
    return Fields({**nothing, **values}, tuple(evidence))


def values_of(answer: Answer) -> dict[str, Any]:
    """Return the fields of an extraction that have a value."""
    assert isinstance(answer.value, Fields)
    return {name: value for name, value in answer.value.values.items() if value not in (None, [])}


WITH_MAIL: list[tuple[str, AnswerValue, str]] = [
    ("summary", Summary(f"Write to {MAIL}."), "" ),
    ("who", Reply(MAIL, (Evidence("", SHOWN, f"mail: {MAIL}", 3, 24),)), ""),
    ("letter", Written(f"Dear {MAIL},"), ""),
    ("facts", facts(risks=["fire", MAIL]), "risks[1]"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value", "path"), WITH_MAIL)
async def test_a_flagged_answer_stays_and_says_what_was_found(
    name: str, value: AnswerValue, path: str
) -> None:
    answer = await checked(value, name, pii("flag"))
    assert (answer.value, answer.problem, answer.status) == (value, None, "answered")
    assert answer.checks[0] == CheckResult("pii", "email", path, "value", "flag")


@pytest.mark.parametrize(("name", "value", "path"), WITH_MAIL)
async def test_an_answer_of_one_text_is_taken_out_whole_and_counts_as_answered(
    name: str, value: AnswerValue, path: str
) -> None:
    answer = await checked(value, name, pii(None))
    assert MAIL not in repr(answer)
    assert (answer.problem, answer.status) == (None, "answered")
    assert (answer.value is None) == (name != "facts")
    assert answer.checks[0] == CheckResult("pii", "email", path, "value", "null")


@pytest.mark.parametrize(("name", "value", "path"), WITH_MAIL)
async def test_a_dead_letter_names_the_check_and_not_what_was_found(
    name: str, value: AnswerValue, path: str
) -> None:
    answer = await checked(value, name, pii("dead_letter", name="mails"))
    assert MAIL not in repr(answer)
    assert answer.value is None
    assert answer.status == CHECK_FAILED
    assert answer.problem is not None
    place = f" at {path}" if path else ""
    assert answer.problem.message.startswith(f"check 'mails': found email in a value{place};")


async def test_a_label_can_be_flagged_taken_out_or_made_a_dead_letter() -> None:
    label = Label("fraud", 0.9)
    assert (await checked(label, "topic", blocked("flag", "Fraud"))).value == label
    assert (await checked(label, "topic", blocked("null", "Fraud"))).value is None
    assert (await checked(label, "topic", blocked("dead_letter", "Fraud"))).status == CHECK_FAILED
    assert (await checked(Label("other"), "topic", blocked("dead_letter", "Fraud"))).checks == ()


async def test_one_of_several_labels_is_taken_out_and_flags_follow_the_labels_that_stay() -> None:
    labels = LabelSet((Label("fraud", 0.9), Label("tax", 0.8), Label("other", 0.7)))
    answer = await checked(
        labels, "topics", blocked("null", "tax"), blocked("flag", "other", name="others")
    )
    assert answer.value == LabelSet((Label("fraud", 0.9), Label("other", 0.7)))
    assert [(found.path, found.action) for found in answer.checks] == [
        ("labels[1]", "null"), ("labels[1]", "flag"),
    ]  # fmt: skip


async def test_values_of_a_form_are_taken_out_with_their_evidence_and_lists_are_renumbered() -> (
    None
):
    rows = [
        Evidence("company", SHOWN, "Acme", 0, 4),
        Evidence("people[0].name", SHOWN, "Ann", 5, 8),
        Evidence("people[0].mail", SHOWN, MAIL, 9, 24),
        Evidence("people[1].mail", SHOWN, "eve@example.com", 25, 40),
        Evidence("people[2].name", SHOWN, "Cy", 41, 43),
        Evidence("risks[1]", SHOWN, "fire", 44, 48),
    ]
    value = facts(
        rows,
        company="Acme",
        card=4111111111111111,
        risks=[f"ask {MAIL}", "fire"],
        people=[
            {"name": "Ann", "mail": MAIL, "head": None},
            {"name": None, "mail": "eve@example.com", "head": None},
            {"name": "Cy", "mail": None, "head": True},
        ],
        auditor={"name": None, "mail": "cy@example.com"},
    )
    answer = await checked(value, "facts", pii(None), blocked("flag", "fire", "Cy"))
    assert values_of(answer) == {
        "company": "Acme",
        "risks": ["fire"],
        "people": [
            {"name": "Ann", "mail": None, "head": None},
            {"name": "Cy", "mail": None, "head": True},
        ],
    }
    assert isinstance(answer.value, Fields)
    assert answer.value.values["auditor"] is None
    assert [(row.path, row.text) for row in answer.value.evidence] == [
        ("company", "Acme"), ("people[0].name", "Ann"), ("people[1].name", "Cy"),
        ("risks[0]", "fire"),
    ]  # fmt: skip
    found = {(item.check, item.path, item.within) for item in answer.checks}
    assert {
        ("pii", "card", "value"), ("pii", "risks[0]", "value"), ("pii", "people[0].mail", "value"),
        ("pii", "people[1].mail", "value"), ("pii", "auditor.mail", "value"),
        ("blocklist", "risks[0]", "value"), ("blocklist", "people[1].name", "value"),
    } <= found  # fmt: skip


async def test_a_quote_that_shows_what_a_check_takes_out_loses_its_words_but_not_its_place() -> (
    None
):
    rows = [
        Evidence("company", SHOWN, f"Acme, {MAIL}", 10, 31, quote="Acme, bob", page=2),
        Evidence("listed", NOT_APPLICABLE),
    ]
    answer = await checked(facts(rows, company="Acme", listed=True), "facts", pii(None))
    assert isinstance(answer.value, Fields)
    assert values_of(answer)["company"] == "Acme"
    assert answer.value.evidence == (
        Evidence("company", SHOWN, None, 10, 31, None, page=2),
        Evidence("listed", NOT_APPLICABLE),
    )
    assert answer.checks == (CheckResult("pii", "email", "company", "quote", "null"),)


async def test_the_quote_of_a_reply_that_stays_loses_its_words() -> None:
    reply = Reply("Bob", (Evidence("", SHOWN, f"Bob, {MAIL}", 0, 20),))
    answer = await checked(reply, "who", pii(None))
    assert answer.value == Reply("Bob", (Evidence("", SHOWN, None, 0, 20),))


async def test_a_value_taken_out_is_not_shown_by_the_quote_of_another_value() -> None:
    """A model finds the value alone, but not the longer quote that contains it."""
    rows = [
        Evidence("company", SHOWN, "vile words", 0, 10),
        Evidence("auditor.name", SHOWN, "Ann, of VILE  words fame,", 20, 40, quote="Ann"),
        Evidence("risks[0]", SHOWN, "vile things", 50, 61),
    ]
    value = facts(rows, company="Vile words", risks=["vile things"], auditor={"name": "Ann"})
    answer = await checked(
        value, "facts", {"kind": "blocklist", "action": None, "expressions": ["(?i)^vile words$"]}
    )
    assert isinstance(answer.value, Fields)
    assert [(row.path, row.text, row.quote) for row in answer.value.evidence] == [
        ("auditor.name", None, None), ("risks[0]", "vile things", None),
    ]  # fmt: skip


MAPPED = {
    "schema": {
        "type": "object",
        "properties": {
            "rates": {
                "type": "object",
                "additionalProperties": {
                    "type": "object",
                    "properties": {"rate": {"type": "string"}},
                    "required": ["rate"],
                },
            }
        },
        "required": ["rates"],
    }
}


@pytest.mark.parametrize("action", ["null", "dead_letter"])
async def test_the_name_of_a_maps_entry_is_checked_and_no_path_shows_it(action: str) -> None:
    rows = [
        Evidence(f'rates["{MAIL}"].rate', SHOWN, "five", 0, 4),
        Evidence("rates.EU.rate", SHOWN, "six", 5, 8),
    ]
    value = Fields({"rates": {MAIL: {"rate": "five"}, "EU": {"rate": "six"}}}, tuple(rows))
    answer = await checked(
        value, "facts", pii(action), blocked("flag", "five", "six"), extract=MAPPED
    )
    assert MAIL not in repr(answer)
    assert CheckResult("pii", "email", "rates", "name", action) in answer.checks
    if action == "null":
        assert values_of(answer) == {"rates": {"EU": {"rate": "six"}}}
        assert CheckResult("blocklist", "phrases[0]", "rates", "value", "flag") in answer.checks


async def test_a_flagged_name_keeps_its_path() -> None:
    value = Fields({"rates": {MAIL: {"rate": "five"}}})
    answer = await checked(value, "facts", pii("flag"), extract=MAPPED)
    assert answer.value == value
    assert answer.checks == (CheckResult("pii", "email", f'rates["{MAIL}"]', "name", "flag"),)


async def test_a_fixed_tuple_is_taken_out_as_one_value() -> None:
    pair = {"type": "array", "prefixItems": [{"type": "string"}, {"type": "string"}],
            "items": False, "minItems": 2, "maxItems": 2}  # fmt: skip
    schema = {"type": "object", "properties": {"a": pair, "b": pair}, "required": ["a", "b"]}
    rows = [Evidence("a[0]", SHOWN, "Ann", 0, 3), Evidence("b[1]", SHOWN, "x", 4, 5)]
    value = Fields({"a": ["Ann", MAIL], "b": ["y", "x"]}, tuple(rows))
    answer = await checked(value, "facts", pii(None), extract={"schema": schema})
    assert isinstance(answer.value, Fields)
    assert answer.value.values == {"a": None, "b": ["y", "x"]}
    assert [row.path for row in answer.value.evidence] == ["b[1]"]


STRICT = {
    "schema": {
        "type": "object",
        "properties": {"name": {"type": "string"}, "mail": {"type": "string"}},
        "required": ["mail"],
    },
    "strict": True,
}


async def test_a_strict_form_without_a_required_value_is_a_dead_letter() -> None:
    value = Fields({"name": MAIL, "mail": "none"})
    answer = await checked(value, "facts", pii(None), extract=STRICT)
    assert answer.value is not None
    assert values_of(answer) == {"mail": "none"}
    answer = await checked(
        Fields({"name": "Bob", "mail": MAIL}), "facts", pii(None), extract=STRICT
    )
    assert answer.status == CHECK_FAILED
    assert "the task is strict" in str(answer.problem)
    assert MAIL not in repr(answer)


async def test_values_that_are_not_shown_are_found_by_their_best_evidence() -> None:
    rows = [
        Evidence("company", NEAR), Evidence("company", SHOWN, "Acme", 0, 4),
        Evidence("listed", NOT_APPLICABLE), Evidence("risks[0]", ABSENT, quote="fire"),
        Evidence("risks[1]", FOUND, "flood", 9, 14), Evidence("auditor.name", NEAR, "Ann", 20, 23),
    ]  # fmt: skip
    value = facts(
        rows, company="Acme", listed=True, risks=["fire", "flood"], auditor={"name": "Ann"}
    )
    answer = await checked(value, "facts", unshown(None))
    assert values_of(answer) == {"company": "Acme", "listed": True}
    assert [(found.rule, found.path) for found in answer.checks] == [
        ("absent", "risks[0]"), ("found", "risks[1]"), ("near", "auditor.name"),
    ]  # fmt: skip
    answer = await checked(value, "facts", unshown("null", statuses=["absent", "not_applicable"]))
    assert values_of(answer) == {
        "company": "Acme", "risks": ["flood"], "auditor": {"name": "Ann"},
    }  # fmt: skip


async def test_a_reply_that_is_not_shown_is_found_and_one_without_evidence_is_not() -> None:
    absent = Reply("Bob", (Evidence("", ABSENT, quote="Bob"),))
    assert (await checked(absent, "who", unshown(None))).value is None
    assert (await checked(Reply("Not stated"), "who", unshown(None))).checks == ()
    unsupported = Reply(None, (Evidence("", NEAR, "Rob", 0, 3),))
    assert (await checked(unsupported, "who", unshown(None))).value == unsupported
    assert (await checked(Summary("Bob"), "summary", unshown("dead_letter"))).checks == ()


async def test_a_dead_letter_decides_whatever_the_order_of_the_checks() -> None:
    for order in (1, -1):
        checks = [pii("null"), blocked("dead_letter", "write"), blocked("flag", "to", name="to")]
        answer = await checked(Summary(f"Write to {MAIL}"), "summary", *checks[::order])
        assert answer.status == CHECK_FAILED
        assert answer.checks == (
            CheckResult("blocklist", "phrases[0]", "", "value", "dead_letter"),
        )


async def test_checks_apply_to_the_tasks_that_they_name() -> None:
    check = pii("null", tasks=["who"])
    assert (await checked(Reply(MAIL), "who", check)).value is None
    assert (await checked(Summary(MAIL), "summary", check)).value == Summary(MAIL)


async def test_an_answer_that_failed_or_has_no_value_stays_as_it_is() -> None:
    failed = Answer("who", None, Problem("rejected", "why"))
    assert await checks_of(pii("dead_letter")).checked(failed, task_of("who")) is failed
    assert (await checked(Reply(None), "who", pii("dead_letter"))).checks == ()


async def test_a_long_answer_is_checked_too() -> None:
    text = "harmless words " * 2000 + MAIL
    assert (await checked(Written(text), "letter", pii("null"))).value is None


class _Broken:
    def rules(self, texts: Sequence[str]) -> Sequence[str | None]:
        raise ZeroDivisionError(texts[0])


async def test_an_answer_that_cannot_be_checked_is_a_dead_letter_that_does_not_show_it() -> None:
    (check,) = checks_of(pii("flag")).checks
    broken = AnswerChecks((replace(check, texts=_Broken()),))
    answer = await broken.checked(Answer("who", Reply("secret")), task_of("who"))
    assert answer.status == CHECK_FAILED
    assert answer.value is None
    assert "ZeroDivisionError" in str(answer.problem)
    assert "secret" not in repr(answer)
