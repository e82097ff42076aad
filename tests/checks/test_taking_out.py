"""Values taken out of forms: all others stay, under the paths that are said."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pipelines.checks.taking_out import without
from pipelines.documents import Evidence, EvidenceStatus, Fields
from pipelines.tasks.evidence import Leaf, leaves
from pipelines.tasks.schema import from_shorthand

ITEM = {"name": "string", "tags": ["string"], "at": {"city": "string"}}
SCHEMA = from_shorthand({"title": "string", "n": "integer", "list": ["string"], "items": [ITEM]})
SCHEMA["properties"]["rates"] = {
    "type": "object",
    "additionalProperties": from_shorthand({"low": "string", "high": "string"}),
}
TEXT = st.none() | st.sampled_from(["a", "b", "c"])
WORDS = st.lists(st.sampled_from(["x", "y", "z"]), max_size=3)
ITEMS = st.fixed_dictionaries(
    {"name": TEXT, "tags": WORDS, "at": st.none() | st.fixed_dictionaries({"city": TEXT})}
)
FORMS = st.fixed_dictionaries(
    {
        "title": TEXT,
        "n": st.none() | st.integers(0, 9),
        "list": WORDS,
        "items": st.lists(ITEMS, max_size=3),
        "rates": st.dictionaries(
            st.sampled_from(["EU", "U.S.", 'a "b"']),
            st.fixed_dictionaries({"low": TEXT, "high": TEXT}),
            max_size=2,
        ),
    }
)


def leaves_of(values: Any) -> dict[str, Leaf]:
    return {leaf.path: leaf for leaf in leaves(values, SCHEMA, "")}


@given(FORMS, st.data())
def test_what_is_not_taken_out_stays_and_is_found_at_its_new_path(
    values: dict[str, Any], data: st.DataObject
) -> None:
    before = leaves_of(values)
    gone = data.draw(st.sets(st.sampled_from(sorted(before)))) if before else set()
    rows = tuple(Evidence(path, EvidenceStatus.SHOWN, path) for path in before)
    remainder = without(Fields(values, rows), SCHEMA, gone)
    assert isinstance(remainder.value, Fields)
    after = leaves_of(remainder.value.values)
    kept = {path: leaf for path, leaf in before.items() if path not in gone}
    assert Counter(leaf.value for leaf in after.values()) == Counter(
        leaf.value for leaf in kept.values()
    )
    if not gone:
        assert remainder.value.values == values
        return
    for path, leaf in kept.items():
        assert after[remainder.paths[path]].value == leaf.value
    # evidence of an answer is in the order of its values, and follows them
    assert [(row.path, row.text) for row in remainder.value.evidence] == [
        (remainder.paths[path], path) for path in kept
    ]
    assert values.keys() == remainder.value.values.keys()


@given(FORMS)
def test_a_form_without_any_value_left_is_empty(values: dict[str, Any]) -> None:
    remainder = without(Fields(values), SCHEMA, set(leaves_of(values)))
    assert isinstance(remainder.value, Fields)
    assert leaves_of(remainder.value.values) == {}
