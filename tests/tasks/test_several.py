"""Tests of several labels: the grammar of their answers, confidence, parsing, and the union."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import chain, combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matcher import ebnf_accepts

from pipelines.documents import Label, LabelSet
from pipelines.errors import InvalidAnswer
from pipelines.job.task_specs import NO_LABEL
from pipelines.tasks.several import (
    labels_grammar,
    labels_tokens,
    line_logprobs,
    parse_labels,
    unite,
)
from pipelines.text.tokens import ChatTokenizer

LABELS = ("risk", "risk report", 'a "quoted" \\ label', "Ärger", "日本")
PIECES = ["risk", "\n", "other", "", " risk", "ri", "sk", NO_LABEL, " ", "\nother"]


def decode(ids: Sequence[int]) -> str:
    return "".join(PIECES[token] for token in ids)


def shares(ids: list[int], steps: list[dict[int, float]]) -> list[float]:
    """Return the probability of each line; `steps` are probabilities by token."""
    logged = [{token: math.log(p) for token, p in step.items()} for step in steps]
    return [math.exp(logprob) for logprob in line_logprobs(ids, logged, decode)]


def label_set(**shares: float | None) -> LabelSet:
    return LabelSet(tuple(Label(name, share) for name, share in shares.items()))


def test_the_grammar_accepts_every_set_of_labels_in_order_and_nothing_else() -> None:
    grammar = labels_grammar(LABELS)
    sizes = range(1, len(LABELS) + 1)
    for labels in chain.from_iterable(combinations(LABELS, size) for size in sizes):
        assert ebnf_accepts(grammar, "\n".join(labels))
        assert ebnf_accepts(grammar, " " + "\n".join(labels))
    assert ebnf_accepts(grammar, NO_LABEL)
    for wrong in (
        "", "risk\n", "risk\nrisk", "Ärger\nrisk", "risks", "risk\n\nÄrger", "risk, Ärger",
        f"risk\n{NO_LABEL}", "  risk",
    ):  # fmt: skip
        assert not ebnf_accepts(grammar, wrong)


def test_a_grammar_grows_with_the_number_of_labels_and_not_its_square() -> None:
    sizes = [len(labels_grammar([f"label {n:03}" for n in range(count)])) for count in (100, 200)]
    assert sizes[1] < 2.1 * sizes[0]


def test_the_limit_of_an_answer_holds_all_labels(tiny_tokenizer: ChatTokenizer) -> None:
    def count(text: str) -> int:
        return len(tiny_tokenizer.encode(text))

    assert labels_tokens(LABELS, count) > count("\n".join(LABELS))
    assert labels_tokens(("a", "b"), count) > count(NO_LABEL)


def test_a_label_has_the_probability_of_its_line_in_any_spelling() -> None:
    first = {0: 0.5, 5: 0.1, 4: 0.2, 2: 0.2}
    # "risk", then a line break with 0.7, then "other" as the only continuation
    assert shares([0, 1, 2], [first, {1: 0.7, 3: 0.3}, {2: 1.0}]) == pytest.approx([0.8, 0.7])
    assert shares([5, 6, 1, 2], [first, {6: 1.0}, {1: 0.7, 3: 0.3}, {2: 1.0}]) == pytest.approx(
        [0.8, 0.7]
    )
    # a token of a line break and the label after it
    assert shares([0, 9], [first, {9: 0.6, 1: 0.1, 3: 0.3}]) == pytest.approx([0.8, 0.7])


def test_the_end_of_an_answer_belongs_to_no_label() -> None:
    steps = [{0: 0.5, 2: 0.5}, {3: 0.4, 1: 0.6}]
    assert shares([0, 3], steps) == pytest.approx([0.5])


def test_a_blank_before_an_answer_is_one_of_its_spellings() -> None:
    assert shares([8, 0], [{8: 0.6, 0: 0.3, 2: 0.1}, {0: 0.9, 2: 0.1}]) == pytest.approx([0.81])


def test_an_answer_is_parsed_into_labels_with_confidences() -> None:
    logprobs = (math.log(0.9), math.log(0.6))
    parsed = parse_labels(" risk\n日本", logprobs, LABELS, cut_off=False)
    assert [label.label for label in parsed.labels] == ["risk", "日本"]
    assert [label.confidence for label in parsed.labels] == pytest.approx([0.9, 0.6])
    assert parse_labels("risk", None, LABELS, cut_off=False) == label_set(risk=None)


def test_no_label_is_the_empty_set() -> None:
    assert parse_labels(f" {NO_LABEL}", (0.0,), LABELS, cut_off=False) == LabelSet(())


def test_the_last_line_of_an_answer_that_was_cut_off_is_left_out() -> None:
    # "risk" may be the beginning of "risk report"
    assert parse_labels("risk", (0.0,), LABELS, cut_off=True) == LabelSet(())
    cut = parse_labels("risk\nrisk re", (-0.1, -0.1), LABELS, cut_off=True)
    assert [label.label for label in cut.labels] == ["risk"]


def test_a_line_that_is_no_label_is_invalid() -> None:
    with pytest.raises(InvalidAnswer, match="the line 'risks', which is not one of the labels"):
        parse_labels("risk\nrisks", None, LABELS, cut_off=False)


def test_the_union_has_each_label_of_any_chunk_with_the_probability_of_one_chunk() -> None:
    chunks = [label_set(b=0.6), label_set(a=0.9, b=0.5), LabelSet(())]
    united = unite(chunks, ("a", "b", "c"))
    assert [label.label for label in united.labels] == ["a", "b"]
    assert [label.confidence for label in united.labels] == pytest.approx([0.9, 1 - 0.4 * 0.5])


def test_a_label_of_one_doubtful_chunk_is_left_out_but_not_of_several() -> None:
    assert unite([label_set(a=0.4), LabelSet(())], ("a",)) == LabelSet(())
    (label,) = unite([label_set(a=0.4), label_set(a=0.4)], ("a",)).labels
    assert label.confidence == pytest.approx(0.64)


def test_a_label_of_unknown_confidence_is_in_the_union() -> None:
    assert unite([label_set(a=None)], ("a",)) == label_set(a=1.0)


@given(st.lists(st.lists(st.sampled_from(LABELS), unique=True), min_size=1))
def test_the_union_does_not_depend_on_the_order_of_chunks(named: list[list[str]]) -> None:
    chunks = [LabelSet(tuple(Label(name, 0.5) for name in names)) for names in named]
    there, back = unite(chunks, LABELS), unite(chunks[::-1], LABELS)
    assert there == back
    assert [label.label for label in there.labels] == [
        label for label in LABELS if any(label in names for names in named)
    ]
