"""Evaluations of whole OUTPUTs: against a plain second implementation, and by hand."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_evaluation import Figures, figures
from outputs import answer, write_gold, write_output

from pipelines.corpus.id_types import IdKind
from pipelines.documents import (
    Answer,
    AnswerValue,
    Evidence,
    EvidenceStatus,
    Fields,
    Label,
    LabelSet,
    Reply,
    Summary,
)
from pipelines.errors import InputError, OutputError
from pipelines.reporting.evaluation import evaluate
from pipelines.reporting.results import Evaluation, FieldResult

TASKS: list[dict[str, Any]] = [
    {"name": "topic", "kind": "classify", "labels": ["red", "green", "blue"]},
    {"name": "tags", "kind": "classify", "labels": ["a", "b", "c"], "multiple": True},
    {"name": "who", "kind": "ask", "question": "Who?"},
    {
        "name": "facts",
        "kind": "extract",
        "fields": {
            "company": "string",
            "count": "integer",
            "risks": ["string"],
            "parties": [{"name": "string", "role": "string"}],
        },
    },
]
WORDS = st.sampled_from(["alpha", "beta", "gamma"])
MAYBE = st.none() | WORDS
FACTS = st.fixed_dictionaries(
    {},
    optional={
        "company": MAYBE,
        "count": st.none() | st.integers(0, 3),
        "risks": st.none() | st.lists(WORDS, max_size=3),
        "parties": st.none()
        | st.lists(st.fixed_dictionaries({"name": MAYBE, "role": MAYBE}), max_size=3),
    },
)
GOLD = st.fixed_dictionaries(
    {},
    optional={
        "topic": st.sampled_from(["red", "green", "blue"]),
        "tags": st.none() | st.lists(st.sampled_from("abc"), unique=True),
        "who": MAYBE,
        "facts": FACTS,
    },
)


def values_of(facts: Mapping[str, Any]) -> dict[str, Any]:
    empty: dict[str, Any] = {"company": None, "count": None, "risks": [], "parties": []}
    return {**empty, **{name: value for name, value in facts.items() if value is not None}}


DOCUMENT = st.tuples(
    st.none() | st.sampled_from(["red", "green", "blue"]).map(Label),
    st.none()
    | st.lists(st.sampled_from("abc"), unique=True).map(
        lambda labels: LabelSet(tuple(map(Label, labels)))
    ),
    st.none() | (WORDS | st.just("Not stated")).map(Reply),
    st.none() | FACTS.map(lambda facts: Fields(values_of(facts))),
)


def answers_of(values: tuple[AnswerValue | None, ...]) -> list[Answer]:
    return [answer(task["name"], value) for task, value in zip(TASKS, values, strict=True)]


def found_figures(evaluation: Evaluation) -> Figures:
    """The figures in the form of the second implementation, which adds the fields of parties."""
    found: Figures = {}
    for each in evaluation.fields:
        assert each.path is not None
        if each.path == "facts.parties[]":
            continue
        assert each.right.total == each.documents
        counts = (
            each.recall.right,
            each.precision.total,
            each.recall.total,
            each.right.right,
            each.documents,
            each.none_recall.right,
            each.none_recall.total,
        )
        if each.path.startswith("facts.parties[]."):
            earlier = found.get("facts.parties[].*", (0,) * 7)
            matched, given, wanted = (a + b for a, b in zip(earlier, counts[:3], strict=False))
            found["facts.parties[].*"] = (matched, given, wanted, 0, each.documents, 0, 0)
        else:
            found[each.path] = counts
    return found


def without_objects(expected: Figures) -> Figures:
    """The expected figures, without those of whole documents for parties."""
    return {
        path: (*counts[:3], 0, counts[4], 0, 0) if path.endswith("*") else counts
        for path, counts in expected.items()
    }


@settings(max_examples=40)
@given(st.lists(st.tuples(DOCUMENT, GOLD, st.booleans()), min_size=1, max_size=9))
def test_figures_agree_with_a_plain_second_implementation(documents: list[Any]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory)
        rows = {f"d{at}": values for at, (values, _, _) in enumerate(documents)}
        failed = [name for name, values in rows.items() if not any(values)]
        answered = {name: answers_of(rows[name]) for name in rows if name not in failed}
        if not answered:
            return
        output = write_output(path / "out", TASKS, answered, dead=failed)
        judged = [
            {"doc": f"d{at}", **right}
            for at, (_, right, is_judged) in enumerate(documents)
            if is_judged
        ]
        if not judged:
            return
        gold = write_gold(path / "gold.jsonl", judged)
        assert found_figures(evaluate(output, gold)) == without_objects(figures(output, gold))


def field(evaluation: Evaluation, path: str) -> FieldResult:
    (found,) = (each for each in evaluation.fields if each.path == path)
    return found


def one_task(values: Mapping[Any, AnswerValue | None], path: Path, **options: Any) -> str:
    """Write an OUTPUT of the task `who`, and return its path."""
    documents = {name: [answer("who", value)] for name, value in values.items()}
    return write_output(path, [TASKS[2]], documents, **options)


def test_the_figures_of_a_field_by_hand(tmp_path: Path) -> None:
    replies = {"a": "Ann", "b": "Bob", "c": "Not stated", "d": "Dan", "e": "Not stated"}
    output = one_task({name: Reply(text) for name, text in replies.items()}, tmp_path / "out")
    right = {"a": "Ann", "b": "Carl", "c": "Cid", "d": None, "e": None}
    gold = write_gold(tmp_path / "g.jsonl", [{"doc": n, "who": v} for n, v in right.items()])
    found = field(evaluate(output, gold), "who")
    # of 3 given values 1 is right; of 3 right ones 1 was found
    assert (found.precision.right, found.precision.total) == (1, 3)
    assert (found.recall.right, found.recall.total) == (1, 3)
    assert found.f1 is not None and found.f1.value == pytest.approx(1 / 3)
    # of 2 answers without a value, and of 2 documents without one, 1 is right
    assert (found.none_precision.right, found.none_precision.total) == (1, 2)
    assert (found.none_recall.right, found.none_recall.total) == (1, 2)
    assert (found.right.right, found.right.total) == (2, 5)
    assert found.similarity is not None and found.similarity.value == pytest.approx(1 / 4)


def test_dead_letters_are_no_answers_and_missing_documents_are_named(tmp_path: Path) -> None:
    output = one_task({"a": Reply("Ann")}, tmp_path / "out", dead=["b", "c"], finished=False)
    right = [{"doc": name, "who": v} for name, v in zip("zabcy", ["x", "Ann", "B", None, "x"])]  # noqa: B905
    evaluation = evaluate(output, write_gold(tmp_path / "g.jsonl", right))
    coverage = evaluation.coverage
    assert (coverage.gold, coverage.answered, coverage.dead_letters) == (5, 1, 2)
    assert (coverage.missing, coverage.first_missing, coverage.finished) == (2, "z", False)
    found = field(evaluation, "who")
    assert (found.documents, found.unanswered) == (3, 2)
    assert (found.recall.right, found.recall.total) == (1, 2)
    # a dead letter does not say that there is no value
    assert (found.none_recall.right, found.none_recall.total) == (0, 1)
    assert found.none_precision.total == 0
    assert evaluation.worst == ()


def test_a_failed_task_of_an_answered_document_is_no_answer(tmp_path: Path) -> None:
    documents = {"a": answers_of((Label("red"), None, None, None))}
    output = write_output(tmp_path / "out", TASKS, documents)
    gold = write_gold(tmp_path / "g.jsonl", [{"doc": "a", "who": None, "topic": "red"}])
    evaluation = evaluate(output, gold)
    assert field(evaluation, "who").unanswered == 1
    assert field(evaluation, "who").right.right == 0
    assert field(evaluation, "topic").right.right == 1


def test_values_are_counted_by_the_status_of_their_best_evidence(tmp_path: Path) -> None:
    values = {"company": "Acme", "count": 3, "risks": ["fire", "flood"], "parties": []}
    evidence = (
        Evidence("company", EvidenceStatus.NEAR),
        Evidence("company", EvidenceStatus.SHOWN),
        Evidence("risks[0]", EvidenceStatus.SHOWN),
        Evidence("risks[1]", EvidenceStatus.ABSENT),
    )
    fields = [answer("facts", Fields(values, evidence))]
    output = write_output(tmp_path / "out", TASKS[3:], {"a": fields})
    facts = {"company": "Acme", "count": 4, "risks": ["flood", "theft"]}
    evaluation = evaluate(output, write_gold(tmp_path / "g.jsonl", [{"doc": "a", "facts": facts}]))
    totals = {
        each.status: (each.values.right, each.values.total)
        for each in evaluation.evidence
        if each.path is None
    }
    assert totals == {"shown": (1, 2), "absent": (1, 1), None: (0, 1)}
    of_risks = [e for e in evaluation.evidence if e.path == "facts.risks[]"]
    assert {each.status: each.values.right for each in of_risks} == {"shown": 0, "absent": 1}


def test_documents_are_counted_by_the_strategy_that_read_them(tmp_path: Path) -> None:
    documents = {
        name: [answer("who", Reply(text), strategy)]
        for name, text, strategy in (
            ("a", "Ann", "single"),
            ("b", "Bob", "map_reduce"),
            ("c", "Cid", "map_reduce"),
        )
    }
    output = write_output(tmp_path / "out", [TASKS[2]], documents)
    rows = [{"doc": "a", "who": "Ann"}, {"doc": "b", "who": "x"}, {"doc": "c", "who": "Cid"}]
    evaluation = evaluate(output, write_gold(tmp_path / "g.jsonl", rows))
    assert [
        (each.strategy, each.task, each.result.recall.right, each.result.recall.total)
        for each in evaluation.strategies
    ] == [
        ("single", None, 1, 1),
        ("single", "who", 1, 1),
        ("map_reduce", None, 1, 2),
        ("map_reduce", "who", 1, 2),
    ]


def test_the_confusion_of_labels_counts_documents(tmp_path: Path) -> None:
    labels = ["red", "red", "blue", "green"]
    documents = {
        f"d{at}": [answer("topic", Label(label)), answer("tags", LabelSet((Label("a"),)))]
        for at, label in enumerate(labels)
    }
    output = write_output(tmp_path / "out", TASKS[:2], documents)
    right = ["red", "green", "blue", "pink"]
    rows = [{"doc": f"d{at}", "topic": x, "tags": ["b"]} for at, x in enumerate(right)]
    topic, tags = evaluate(output, write_gold(tmp_path / "g.jsonl", rows)).confusions
    assert topic.labels == ("red", "green", "blue", "pink")
    assert topic.counts == {
        ("red", "red"): 1,
        ("green", "red"): 1,
        ("blue", "blue"): 1,
        ("pink", "green"): 1,
    }
    assert tags.counts == {("b", "a"): 4}


def test_the_documents_with_the_most_wrong_answers_are_listed_first(tmp_path: Path) -> None:
    values = {"company": "Acme", "count": 1, "risks": [], "parties": []}
    documents = {f"d{at}": [answer("facts", Fields(values))] for at in range(4)}
    output = write_output(tmp_path / "out", TASKS[3:], documents)
    rights: list[dict[str, Any]] = [
        {"company": "Acme", "count": 1},
        {"company": "x", "count": 1},
        {"company": "x", "count": 2, "risks": ["fire"]},
        {"company": "Acme", "count": None},
    ]
    rows = [{"doc": f"d{at}", "facts": right} for at, right in enumerate(rights)]
    evaluation = evaluate(output, write_gold(tmp_path / "g.jsonl", rows), worst=2)
    first, second = evaluation.worst
    assert (first.doc_id, first.loss, first.fields) == ("d2", 3.0, 3)
    assert [(each.path, each.gold, each.answer) for each in first.wrong] == [
        ("facts.company", "x", "Acme"),
        ("facts.count", 2, 1),
        ("facts.risks", ["fire"], []),
    ]
    assert second.doc_id == "d1"


@pytest.mark.parametrize(
    ("kind", "ids", "right"),
    [
        (IdKind.INTEGER, [7, -8], [7, "-8"]),
        (IdKind.DIGITS, [str(2**64 - 1), "10"], [2**64 - 1, 10]),
        (IdKind.UUID, ["0000000a-0000-0000-0000-000000000000"] * 1, ["0000000A" + "0" * 24]),
        (IdKind.HEX, ["00ff"], ["00FF"]),
    ],
)
def test_ids_of_every_kind_are_found(
    tmp_path: Path, kind: IdKind, ids: list[Any], right: list[Any]
) -> None:
    replies = {doc_id: Reply("Ann") for doc_id in ids}
    output = one_task(replies, tmp_path / "out", id_kind=kind)
    rows = [{"doc": doc_id, "who": "Ann"} for doc_id in right]
    evaluation = evaluate(output, write_gold(tmp_path / "g.jsonl", rows))
    assert evaluation.coverage.answered == len(ids)
    assert field(evaluation, "who").recall.right == len(ids)


def test_summaries_are_compared_by_similarity_and_not_counted_in_totals(tmp_path: Path) -> None:
    task = {"name": "summary", "kind": "summarize"}
    documents = {"a": [answer("summary", Summary("a b c d")), answer("who", Reply("Ann"))]}
    output = write_output(tmp_path / "out", [task, TASKS[2]], documents)
    rows = [{"doc": "a", "summary": "a c d e", "who": "Ann"}]
    evaluation = evaluate(output, write_gold(tmp_path / "g.jsonl", rows))
    similar = field(evaluation, "summary").similarity
    assert similar is not None and similar.value == pytest.approx(0.75)
    assert evaluation.total is not None and evaluation.total.recall.total == 1


def test_two_outputs_are_compared_on_the_same_documents(tmp_path: Path) -> None:
    ours = {f"d{at}": Reply("Ann" if at < 8 else "x") for at in range(10)}
    theirs = {f"d{at}": Reply("Ann" if at < 2 else "x") for at in range(9)}
    output, other = one_task(ours, tmp_path / "a"), one_task(theirs, tmp_path / "b", dead=["d9"])
    rows = [{"doc": f"d{at}", "who": "Ann"} for at in range(10)]
    against = evaluate(output, write_gold(tmp_path / "g.jsonl", rows), other).against
    assert against is not None and against.coverage.dead_letters == 1
    whole, who = against.fields
    assert (whole.path, whole.measure) == (None, "f1")
    assert (who.path, who.measure, who.documents) == ("who", "right", 10)
    assert (who.ours.value, who.other.value) == (0.8, 0.2)
    # six documents are right only in the first OUTPUT
    assert (who.difference.better, who.difference.worse) == (6, 0)
    assert who.difference.p == pytest.approx(2 / 2**6)
    assert against.not_compared == ()


def test_fields_that_only_one_output_has_are_not_compared(tmp_path: Path) -> None:
    both = {"a": answers_of((Label("red"), None, Reply("Ann"), None))}
    output = write_output(tmp_path / "a", TASKS, both)
    other = one_task({"a": Reply("Bob")}, tmp_path / "b")
    rows = [{"doc": "a", "who": "Ann", "topic": "red"}]
    against = evaluate(output, write_gold(tmp_path / "g.jsonl", rows), other).against
    assert against is not None
    assert against.not_compared == ("topic",)
    assert [each.path for each in against.fields] == [None, "who"]


def test_outputs_of_other_ids_cannot_be_compared(tmp_path: Path) -> None:
    output = one_task({"1": Reply("x")}, tmp_path / "a")
    other = one_task({1: Reply("x")}, tmp_path / "b")
    gold = write_gold(tmp_path / "g.jsonl", [{"doc": "1", "who": "x"}])
    with pytest.raises(InputError, match=r"--against: .* has ids of another kind \(integer\)"):
        evaluate(output, gold, other)


def test_a_directory_without_answers_is_refused(tmp_path: Path) -> None:
    gold = write_gold(tmp_path / "g.jsonl", [{"doc": "1", "who": "x"}])
    with pytest.raises(OutputError, match="does not contain a phifleet run"):
        evaluate(str(tmp_path), gold)
    output = write_output(tmp_path / "out", TASKS, {})
    with pytest.raises(OutputError, match="has no answers yet"):
        evaluate(output, gold)


def test_a_damaged_part_is_named(tmp_path: Path) -> None:
    output = one_task({"a": Reply("Ann")}, tmp_path / "out")
    gold = write_gold(tmp_path / "g.jsonl", [{"doc": "a", "who": "x"}])
    part = tmp_path / "out/answers/part-000000.parquet"
    part.write_bytes(part.read_bytes()[:-9])
    with pytest.raises(OutputError, match=r"part-000000\.parquet: the file is damaged: .*verify"):
        evaluate(output, gold)


def test_a_part_without_a_judged_task_has_no_answer_to_it(tmp_path: Path) -> None:
    values = (Label("red"), None, Reply("Ann"), None)
    documents = {name: answers_of(values) for name in "abc"}
    output = write_output(tmp_path / "out", TASKS, documents, rows_of_part=1)
    part = tmp_path / "out/answers/part-000001.parquet"
    pq.write_table(pq.read_table(part).drop(["who"]), part)
    rows = [{"doc": name, "who": "Ann"} for name in "abc"]
    found = field(evaluate(output, write_gold(tmp_path / "g.jsonl", rows)), "who")
    assert (found.documents, found.unanswered, found.recall.right) == (3, 1, 2)


def test_feedback_is_gold(tmp_path: Path) -> None:
    output = one_task({"a": Reply("Ann"), "b": Reply("Bob"), "c": Reply("x")}, tmp_path / "out")
    rows = [
        ("a", "who", "right", '"Ann"', None, 1),
        ("b", "who", "right", '"Bob"', None, 1),
        # the newest verdict counts
        ("b", "who", "wrong", '"Bob"', '"Carl"', 2),
        ("c", None, "wrong", None, '{"who": null, "topic": "red"}', 1),
        ("d", "who", "right", None, None, 1),
        ("d", "who", "partly", None, None, 1),
        ("d", "topic", "right", '"red"', None, 1),
    ]
    names = ("answer", "task", "verdict", "value", "correction", "received_at")
    table = pa.Table.from_pylist([dict(zip(names, row, strict=True)) for row in rows])
    at = table["received_at"].cast(pa.timestamp("ms", tz="UTC"))
    (tmp_path / "feedback").mkdir()
    pq.write_table(table.set_column(5, "received_at", at), tmp_path / "feedback/feedback-1.parquet")
    evaluation = evaluate(output, str(tmp_path / "feedback"))
    found = field(evaluation, "who")
    assert (found.documents, found.recall.right, found.recall.total) == (3, 1, 2)
    assert (found.none_recall.right, found.none_recall.total) == (0, 1)
    assert evaluation.feedback is not None and evaluation.feedback.verdicts == 7
    assert evaluation.feedback.unused == {
        "right, without the answer's value": 1,
        "wrong or partly right, without a correction": 1,
        "about a task that OUTPUT does not have": 1,
    }


def test_the_result_is_json(tmp_path: Path) -> None:
    documents = {"a": answers_of((Label("red"), LabelSet(()), Reply("Ann"), None))}
    output = write_output(tmp_path / "out", TASKS, documents)
    rows = [{"doc": "a", "who": "Bob", "topic": "red", "facts": {"count": 1}}]
    gold = write_gold(tmp_path / "g.jsonl", rows)
    found = json.loads(json.dumps(evaluate(output, gold, output).to_json()))
    assert found["documents"] == {
        "gold": 1,
        "answered": 1,
        "dead_letters": 0,
        "missing": 0,
        "first_missing": None,
        "finished": True,
    }
    assert found["fields"][0]["field"] == "topic"
    assert found["worst"][0]["wrong"] == [{"field": "who", "gold": "Bob", "answer": "Ann"}]
    assert found["against"]["fields"][0]["difference"]["p"] == 1.0
