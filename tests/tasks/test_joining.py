"""New results join a unit's files: what was asked again is replaced, and nothing else changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.corpus.ids import accounted_hashes
from pipelines.documents import Answer, Document, DocumentResult, Problem, Reply
from pipelines.tasks.columns import AnswerColumn, dead_letters_table, part_table
from pipelines.tasks.joining import UnitTables, join_results

TASKS = ("one", "two", "three")
COLUMNS = [AnswerColumn(task, "ask") for task in TASKS]
DOCS = ("a", "b", "c", "d")
Outcome = str
"""What became of a task: an answer, or the reason of its dead letter."""
ANSWERS, REASONS = ("yes", "no"), ("invalid_answer", "rejected")
State = Mapping[str, Mapping[str, Outcome] | str]
"""By document, the outcome of each task, or the reason why it failed as a whole."""


def rows_of(docs: Sequence[str]) -> pa.Table:
    return pa.table(
        {
            "doc_id": pa.array(docs, pa.string()),
            "kept.n": pa.array([ord(doc[0]) for doc in docs], pa.int64()),
        }
    )


def result(doc: str, outcome: Mapping[str, Outcome] | str, asked: Sequence[str]) -> DocumentResult:
    document = Document(doc, None, source="f", row=1, tasks=tuple(asked))
    if isinstance(outcome, str):
        return DocumentResult(document, problem=Problem(outcome, "whole"))
    answers = [
        Answer(task, Reply(outcome[task]))
        if outcome[task] in ANSWERS
        else Answer(task, None, Problem(outcome[task], "task"))
        for task in asked
    ]
    return DocumentResult(document, tuple(answers))


def tables_of(state: State, tasks: Sequence[str] = TASKS) -> UnitTables:
    """Return the tables that a unit with these documents is committed with."""
    results = [result(doc, outcome, tasks) for doc, outcome in state.items()]
    columns = [column for column in COLUMNS if column.name in tasks]
    part = part_table(rows_of(list(state)), results, columns, "id")
    letters = dead_letters_table([x for r in results for x in r.dead_letters()], pa.string())
    return UnitTables(part if part.num_rows else None, letters if letters.num_rows else None)


def state_of(unit: UnitTables) -> dict[str, Mapping[str, Outcome] | str]:
    """Return what a unit's tables say of each document. Fails if they contradict each other."""
    part = unit.part.to_pylist() if unit.part is not None else []
    letters = unit.letters.to_pylist() if unit.letters is not None else []
    state: dict[str, Mapping[str, Outcome] | str] = {}
    failed: dict[str, dict[str, Outcome]] = {}
    for letter in letters:
        if letter["task"] is None:
            assert letter["doc_id"] not in state
            state[letter["doc_id"]] = letter["reason"]
        else:
            assert letter["task"] not in failed.setdefault(letter["doc_id"], {})
            failed[letter["doc_id"]][letter["task"]] = letter["reason"]
    for row in part:
        assert row["id"] not in state and row["n"] == ord(row["id"][0])
        tasks = {task: row[task] for task in TASKS if row.get(task)}
        outcome = {task: cell["text"] or cell["_answer"]["status"] for task, cell in tasks.items()}
        assert {t: o for t, o in outcome.items() if o not in ANSWERS} == failed.pop(row["id"], {})
        state[row["id"]] = outcome
    return {**state, **failed}


outcomes = st.sampled_from([*ANSWERS, *REASONS])
documents = st.one_of(
    st.sampled_from(["engine_crash", "timeout"]),
    st.fixed_dictionaries(dict.fromkeys(TASKS, outcomes)),
)
states = st.fixed_dictionaries(dict.fromkeys(DOCS, documents))


def retried(data: st.DataObject, state: State) -> list[DocumentResult]:
    """Return results of asking some documents again: all tasks of one that failed as a whole, else
    some of those that failed."""
    results = []
    for doc, outcome in state.items():
        asked: Sequence[str] = TASKS
        if not isinstance(outcome, str):
            failed = [task for task, became in outcome.items() if became not in ANSWERS]
            asked = data.draw(st.lists(st.sampled_from(failed), unique=True)) if failed else ()
        if not asked or not data.draw(st.booleans()):
            continue
        again = data.draw(st.one_of(
            st.just("timeout"), st.fixed_dictionaries(dict.fromkeys(asked, outcomes))
        ))  # fmt: skip
        results.append(result(doc, again, asked))
    return results


def expected(state: State, results: Sequence[DocumentResult]) -> dict[str, object]:
    """Return the state after these results, computed document by document."""
    after: dict[str, object] = dict(state)
    for each in results:
        doc, before = str(each.document.doc_id), state[str(each.document.doc_id)]
        if each.problem:
            tasks = dict.fromkeys(each.document.tasks or (), each.problem.reason)
        else:
            tasks = {a.task: a.status if a.problem else a.value.text for a in each.answers}  # type: ignore[union-attr, misc]
        if isinstance(before, str):
            after[doc] = each.problem.reason if each.problem else tasks
        else:
            after[doc] = {**before, **tasks}
    return after


@settings(max_examples=50)
@given(states, st.data())
def test_only_what_was_asked_again_changes_and_joining_twice_is_joining_once(
    state: State, data: st.DataObject
) -> None:
    unit, results = tables_of(state), retried(data, state)
    rows = rows_of([str(each.document.doc_id) for each in results])
    joined = join_results(unit, rows, results, COLUMNS, "id")
    assert state_of(joined) == expected(state, results)
    twice = join_results(joined, rows, results, COLUMNS, "id")
    assert twice.part == joined.part and state_of(twice) == state_of(joined)
    before, after = (accounted_hashes(each.part, each.letters) for each in (unit, joined))
    assert before.tolist() == after.tolist()


@settings(max_examples=50)
@given(states, st.data())
def test_results_that_are_joined_one_after_the_other_are_as_if_joined_at_once(
    state: State, data: st.DataObject
) -> None:
    results = retried(data, state)
    at_once = tables_of(state)
    at_once = join_results(
        at_once, rows_of([str(r.document.doc_id) for r in results]), results, COLUMNS, "id"
    )
    one_by_one = tables_of(state)
    for each in results:
        rows = rows_of([str(each.document.doc_id)])
        one_by_one = join_results(one_by_one, rows, [each], COLUMNS, "id")
    assert state_of(one_by_one) == state_of(at_once)


@settings(max_examples=50)
@given(st.fixed_dictionaries(dict.fromkeys(DOCS, documents)), st.data())
def test_an_added_task_becomes_a_column_and_leaves_the_others_as_they_were(
    state: State, data: st.DataObject
) -> None:
    unit = tables_of(state, TASKS[:2])
    asked = [doc for doc, outcome in state.items() if not isinstance(outcome, str)]
    results = [
        result(
            doc,
            data.draw(st.one_of(st.just("timeout"), st.fixed_dictionaries({"three": outcomes}))),
            ["three"],
        )
        for doc in asked
    ]
    joined = join_results(unit, rows_of(asked), results, COLUMNS, "id")
    added = {str(r.document.doc_id): r for r in results}
    for doc, outcome in state_of(joined).items():
        before = state[doc]
        if isinstance(before, str):
            assert outcome == before
            continue
        assert isinstance(outcome, Mapping)
        for task in TASKS[:2]:
            assert outcome[task] == before[task]
        answer = added[doc].answers[0] if added[doc].answers else None
        problem = added[doc].problem or (answer and answer.problem)
        assert (outcome["three"] in ANSWERS) == (problem is None)
    if unit.part is not None and joined.part is not None:
        assert joined.part.column_names == ["id", "n", *TASKS]
        old = joined.part.select(unit.part.column_names).slice(0, unit.part.num_rows)
        assert old == unit.part
        assert joined.part.schema == part_table(rows_of([]), [], COLUMNS, "id").schema


@pytest.mark.parametrize("metadata", [{b"huggingface": b"{}"}, None])
def test_the_metadata_of_the_part_are_kept(metadata: dict[bytes, bytes] | None) -> None:
    unit = tables_of({"a": dict.fromkeys(TASKS, "yes"), "b": "timeout"})
    assert unit.part is not None
    unit = UnitTables(unit.part.replace_schema_metadata(metadata), unit.letters)
    results = [result("b", dict.fromkeys(TASKS, "no"), TASKS)]
    joined = join_results(unit, rows_of(["b"]), results, COLUMNS, "id")
    assert joined.part is not None and joined.part.schema.metadata == metadata
    assert joined.part["id"].to_pylist() == ["a", "b"] and joined.letters is None
