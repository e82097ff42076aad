"""Tests of several labels: the grammar of their answers, confidence, parsing, and the union."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from itertools import chain, combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matcher import ebnf_accepts

from pipelines.documents import Label, LabelSet
from pipelines.errors import InvalidAnswer
from pipelines.tasks.several import (
    label_logprobs,
    labels_grammar,
    labels_tokens,
    parse_labels,
    unite,
)
from pipelines.text.tokens import ChatTokenizer

LABELS = ("risk", "risk report", 'a "quoted" \\ label', "two\nlines", "Ärger", "日本")
PIECES = ['["', "risk", '","', '"]', "other", "[", '"', "ri", "sk", "]", " ", ",", '["risk', ""]


def decode(ids: Sequence[int]) -> str:
    return "".join(PIECES[token] for token in ids)


def shares(text: Sequence[str], *steps: dict[str, float]) -> list[float]:
    """Return the probability of each label; `steps` are probabilities of pieces."""
    logged = [{PIECES.index(piece): math.log(p) for piece, p in step.items()} for step in steps]
    ids = [PIECES.index(piece) for piece in text]
    return [math.exp(logprob) for logprob in label_logprobs(ids, logged, decode)]


def label_set(**shares: float | None) -> LabelSet:
    return LabelSet(tuple(Label(name, share) for name, share in shares.items()))


def test_the_grammar_accepts_every_set_of_labels_in_order_and_nothing_else() -> None:
    grammar = labels_grammar(LABELS)
    for labels in chain.from_iterable(
        combinations(LABELS, size) for size in range(len(LABELS) + 1)
    ):
        answer = json.dumps(labels, ensure_ascii=False, separators=(",", ":"))
        assert ebnf_accepts(grammar, answer)
        assert ebnf_accepts(grammar, f" {answer}")
        assert not ebnf_accepts(grammar, answer[:-1])
    for wrong in (
        "", "risk", '["risk"', '["risk","risk"]', '["Ärger","risk"]', '["risks"]', '["risk",]',
        '  []', '["risk"]]', '["risk" ,"Ärger"]',
    ):  # fmt: skip
        assert not ebnf_accepts(grammar, wrong)


def test_a_grammar_grows_with_the_number_of_labels_and_not_its_square() -> None:
    sizes = [len(labels_grammar([f"label {n:03}" for n in range(count)])) for count in (100, 200)]
    assert sizes[1] < 2.1 * sizes[0]


def test_the_limit_of_an_answer_holds_all_labels(tiny_tokenizer: ChatTokenizer) -> None:
    def count(text: str) -> int:
        return len(tiny_tokenizer.encode(text))

    whole = json.dumps(LABELS, ensure_ascii=False, separators=(",", ":"))
    assert count(whole) < labels_tokens(LABELS, count) < 1.5 * count(whole)


def test_a_label_has_the_probability_of_its_text_in_any_spelling() -> None:
    begin = {'["': 0.5, "[": 0.2, '["risk': 0.1, "]": 0.2}
    label = {"risk": 0.6, "ri": 0.2, "other": 0.2}
    following = {'","': 0.5, '"': 0.1, '"]': 0.4}
    expected = [0.8 * 0.8, 0.6 * 0.9]
    last = {"other": 0.9, "risk": 0.1}
    assert shares(
        ['["', "risk", '","', "other", '"]'], begin, label, following, last, {'"]': 1.0}
    ) == pytest.approx(expected)
    assert shares(
        ['["', "ri", "sk", '","', "other", '"', "]"],
        begin, label, {"sk": 1.0}, following, last, {'"': 0.3, '"]': 0.7}, {"]": 1.0},
    ) == pytest.approx(expected)  # fmt: skip


def test_a_token_that_has_a_label_and_more_belongs_to_that_label() -> None:
    assert shares(['["risk', '"]'], {'["risk': 0.3, '["': 0.4, "[": 0.3}, {'"]': 1.0}) == (
        pytest.approx([1.0])
    )
    assert shares(['["risk', '"]'], {'["risk': 0.3, "]": 0.7}, {'"]': 1.0}) == pytest.approx([0.3])


def test_the_end_of_the_list_belongs_to_no_label() -> None:
    steps = ({'["': 1.0}, {"risk": 0.5, "other": 0.5}, {'"]': 0.4, '","': 0.6})
    assert shares(['["', "risk", '"]'], *steps) == pytest.approx([0.5])


def test_a_character_of_several_tokens_counts_like_any_other() -> None:
    # the tokens of the bytes of "Ä" between the quotation marks; others are masked
    texts = {(0,): '["', (0, 1): '["\ufffd', (0, 1, 2): '["Ä', (0, 1, 2, 3): '["Äa"]'}

    def spell(ids: Sequence[int]) -> str:
        return '["o' if ids[1:2] == [4] else texts.get(tuple(ids), '["\ufffd\ufffd' if ids else "")

    masked = {5: -math.inf, 6: -math.inf}
    steps = [
        {0: 0.0},
        {1: math.log(0.75), 4: math.log(0.25)},
        {2: 0.0, **masked},
        {3: 0.0, **masked},
    ]
    assert [math.exp(p) for p in label_logprobs([0, 1, 2, 3], steps, spell)] == (
        pytest.approx([0.75])
    )


def test_a_blank_before_an_answer_is_one_of_its_spellings() -> None:
    steps = ({" ": 0.6, '["': 0.3, "]": 0.1}, {'["': 0.9, "]": 0.1}, {"risk": 1.0}, {'"]': 1.0})
    assert shares([" ", '["', "risk", '"]'], *steps) == pytest.approx([0.81])


def test_an_empty_list_and_an_answer_that_was_cut_off_have_their_complete_labels() -> None:
    assert shares(["[", "]"], {"[": 1.0}, {"]": 1.0}) == []
    steps = ({'["': 1.0}, {"risk": 0.5, "other": 0.5}, {'","': 1.0}, {"ri": 1.0})
    assert shares(['["', "risk", '","', "ri"], *steps) == pytest.approx([0.5])


def test_an_answer_is_parsed_into_labels_with_confidences() -> None:
    logprobs = (math.log(0.9), math.log(0.6))
    parsed = parse_labels(' ["risk","日本"]', logprobs, LABELS, cut_off=False)
    assert [label.label for label in parsed.labels] == ["risk", "日本"]
    assert [label.confidence for label in parsed.labels] == pytest.approx([0.9, 0.6])
    assert parse_labels('["risk"]', None, LABELS, cut_off=False) == label_set(risk=None)
    assert parse_labels(" []", (), LABELS, cut_off=False) == LabelSet(())


@pytest.mark.parametrize("length", range(60))
def test_an_answer_that_was_cut_off_anywhere_keeps_its_complete_labels(length: int) -> None:
    answer = json.dumps(LABELS, ensure_ascii=False, separators=(",", ":"))
    parsed = parse_labels(answer[:length], None, LABELS, cut_off=True)
    named = [label.label for label in parsed.labels]
    assert named == list(LABELS[: len(named)])
    complete = [
        label for label in LABELS if json.dumps(label, ensure_ascii=False) in answer[:length]
    ]
    assert named == complete


@pytest.mark.parametrize("answer", ['["risks"]', "risk", '"risk"', "[1]", '["risk"', "{}", ""])
def test_an_answer_that_is_no_list_of_labels_is_invalid(answer: str) -> None:
    with pytest.raises(InvalidAnswer, match="is not a JSON list of the labels"):
        parse_labels(answer, None, LABELS, cut_off=False)


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
