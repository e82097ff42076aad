"""The expected answers that the rules compute, by example."""

from __future__ import annotations

import json

from pipelines.job.task_specs import CANNOT_TELL
from pipelines.tiny import rules

TEXT = """The opening line. And more.

auditor: Kleve Brothers
filing date: 2021-03-04
risk: flood; fire
revenue: 12.5
risk: theft
auditor: Another One
audited: yes
"""


def test_the_first_line_of_a_key_is_the_answer_to_a_question() -> None:
    assert rules.reply(TEXT, "auditor") == "Kleve Brothers\nQuote: auditor: Kleve Brothers"
    assert rules.reply(TEXT, "date") == "Not stated"


def test_the_first_note_that_quotes_a_line_of_the_key_is_the_answer() -> None:
    notes = [("Ann", "audit: Ann"), ("Bo", "auditor: Bo"), ("Cy", "auditor: Cy")]
    assert rules.combined_reply("auditor", notes) == "Bo\nQuote: auditor: Bo"
    assert rules.combined_reply("date", notes) == "Ann\nQuote: audit: Ann"


def test_a_form_has_typed_values_lists_and_quotes() -> None:
    fields = {
        "filing_date": "date",
        "risk": ["string"],
        "revenue": "number",
        "audited": "boolean",
        "city": "string",
        "city_list": ["string"],
    }
    answer = rules.form(TEXT, fields)
    assert answer.startswith('{"filing_date":"2021-03-04","risk":["flood","fire"],"revenue":12.5')
    assert json.loads(answer) == {
        "filing_date": "2021-03-04",
        "risk": ["flood", "fire"],
        "revenue": 12.5,
        "audited": True,
        "city": None,
        "city_list": [],
        "quotes": {
            "filing_date": "filing date: 2021-03-04",
            "risk": "risk: flood; fire",
            "revenue": "revenue: 12.5",
            "audited": "audited: yes",
            "city": None,
            "city_list": None,
        },
    }


def test_a_form_of_which_nothing_is_stated_is_null() -> None:
    for field in ({"city": "string"}, {"city_list": ["string"]}):
        assert rules.form(TEXT, field) == "null"
    both = json.loads(rules.form(TEXT, {"city": "string", "city_list": ["string"]}, "none"))
    assert both == {"city": None, "city_list": []}


def test_quotes_are_whole_lines_or_their_first_and_last_words_or_left_out() -> None:
    text = "chief auditor: Kleve Brothers and Sons"
    anchors = "chief auditor: ... and Sons"
    assert rules.reply(text, "chief auditor", "anchors").endswith(f"\nQuote: {anchors}")
    assert rules.reply(text, "chief auditor", "values") == "Kleve Brothers and Sons"
    fields = {"chief_auditor": "string"}
    quotes = json.loads(rules.form(text, fields, "anchors"))["quotes"]
    assert quotes == {"chief_auditor": anchors}
    assert json.loads(rules.form(text, fields, "none")) == {
        "chief_auditor": "Kleve Brothers and Sons"
    }
    assert rules.reply("a: b c d", "a", "anchors") == "b c d\nQuote: a: b c d"


def test_the_label_is_the_stated_one_or_else_the_theme() -> None:
    labels = ("music", "weather")
    assert rules.label("topic: tax law\nrain, storm, cloud", ("tax law", "weather")) == "tax law"
    assert rules.label("A storm, more rain and fog over the piano.", labels) == "weather"
    assert rules.label("A storm and rain.", (*labels, CANNOT_TELL)) == CANNOT_TELL
    assert rules.label("A storm and rain.", (*labels, rules.OTHER)) == rules.OTHER
    assert rules.label("Nothing.", labels) == "music"


def test_a_summary_is_the_opening_sentence() -> None:
    assert rules.summary("\n  A title\n\nMore.") == "A title"
    assert rules.summary(TEXT) == "The opening line."
    assert rules.summary("") == ""


def test_combined_summaries_have_the_format_of_notes() -> None:
    summaries = ["The first one, of many.", "Second."]
    combined = rules.combined_summary(summaries)
    assert combined == "- The first one, of many.\n\n- Second.\n\n"
    assert rules.notes(combined) == summaries
