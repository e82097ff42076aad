"""The demo's corpus, and how it scores and shows the answers."""

from __future__ import annotations

import copy
import io
import pydoc_data.topics
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from jobs.demo import PLANTED, checked_answers, demo_job, score_lines, show_answers, write_corpus
from pipelines.tasks.replies import NOT_STATED
from pipelines.tiny import rules


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    path = tmp_path_factory.mktemp("demo") / "topics.parquet"
    write_corpus(path)
    rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    return rows


def test_the_demo_can_write_to_a_directory_of_any_name(tmp_path: Path) -> None:
    directory = tmp_path / "run #2: ${HOME}"
    spec = demo_job(directory).spec
    assert spec.input.path == str(directory / "corpus")
    assert spec.output.path == str(directory / "output")


@pytest.fixture
def answered(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of the demo's OUTPUT as if every answer were correct."""
    return [_answered(row) for row in copy.deepcopy(rows)]


def _answered(row: dict[str, Any]) -> dict[str, Any]:
    planted = row["planted"]
    owner, code = planted["owner"], planted["code"]
    released = planted["release"] and date.fromisoformat(planted["release"])
    return {
        "topic": row["topic"],
        "planted": planted,
        "summary": {"text": rules.summary(row["text"])},
        "kind": {"label": planted["kind"] or rules.OTHER, "_evidence": []},
        "owner": {"text": owner or NOT_STATED, "_evidence": _evidence(row, "owner")},
        "code": {"text": code or NOT_STATED, "_evidence": _evidence(row, "code")},
        "record": {
            "version": planted["version"] and float(planted["version"]),
            "release": released,
            "section": planted["section"] and int(planted["section"]),
            "_evidence": [
                evidence | {"path": name}
                for name in ("version", "release", "section")
                for evidence in _evidence(row, name)
            ],
        },
    }


def _evidence(row: dict[str, Any], name: str) -> list[dict[str, Any]]:
    value = row["planted"][name]
    if value is None:
        return []
    line = rules.line(PLANTED[name][0], value)
    start = row["text"].index(line)
    return [{"path": "", "status": "shown", "text": line, "start": start, "end": start + len(line)}]


def test_the_column_planted_has_the_facts_in_the_texts(rows: list[dict[str, Any]]) -> None:
    topics = pydoc_data.topics.topics
    assert [row["topic"] for row in rows] == sorted(topics)
    for row in rows:
        lines = row["text"].splitlines()
        assert lines[0] == topics[row["topic"]].strip().splitlines()[0]
        for name, (key, _) in PLANTED.items():
            stated = [line for line in lines if line.startswith(f"{key}: ")]
            expected = [] if row["planted"][name] is None else [f"{key}: {row['planted'][name]}"]
            assert stated == expected
    for name in PLANTED:
        assert 60 < sum(row["planted"][name] is not None for row in rows) < 79


def test_the_corpus_is_the_same_each_time(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    write_corpus(tmp_path / "again.parquet")
    assert pq.read_table(tmp_path / "again.parquet").to_pylist() == rows


def test_correct_answers_are_counted_as_correct(
    rows: list[dict[str, Any]], answered: list[dict[str, Any]]
) -> None:
    facts = sum(value is not None for row in rows for value in row["planted"].values())
    quotes = sum(
        row["planted"][name] is not None for row in rows for name in PLANTED if name != "kind"
    )
    absent = len(rows) * len(PLANTED) - facts
    assert score_lines([answer for row in answered for answer in checked_answers(row)]) == [
        f"inserted facts answered correctly: {facts} of {facts}; "
        f"absent facts reported as absent: {absent} of {absent}",
        f"answers shown by the text: {quotes} of {quotes}",
    ]


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("owner", {"text": "Nobody", "_evidence": []}),
        ("code", {"text": NOT_STATED, "_evidence": []}),
        ("kind", {"label": rules.OTHER}),
        # a dead letter
        ("owner", {"text": None, "_evidence": None}),
        ("version", {"version": 0.5, "_evidence": []}),
    ],
)
def test_a_wrong_answer_is_counted_as_wrong(
    answered: list[dict[str, Any]], name: str, column: dict[str, Any]
) -> None:
    row = next(row for row in answered if row["planted"][name] is not None)
    row["record" if name == "version" else name] |= column
    wrong = [answer.name for answer in checked_answers(row) if not answer.correct]
    assert wrong == [name]


def test_a_quote_that_is_not_in_the_text_is_not_found(answered: list[dict[str, Any]]) -> None:
    row = next(row for row in answered if row["planted"]["owner"] is not None)
    row["owner"]["_evidence"][0] |= {"status": "absent", "start": None, "end": None}
    rows = [answer.evidence for answer in checked_answers(row) if answer.evidence]
    *_, line = score_lines(list(checked_answers(row)))
    assert line == f"answers shown by the text: {len(rows) - 1} of {len(rows)}"


def test_the_table_shows_answers_with_their_quotes(
    tmp_path: Path, answered: list[dict[str, Any]]
) -> None:
    (tmp_path / "answers").mkdir()
    pq.write_table(pa.Table.from_pylist(answered), tmp_path / "answers/part-000000.parquet")
    screen = io.StringIO()
    show_answers(str(tmp_path), Console(file=screen, width=160))
    shown = screen.getvalue()
    first = answered[0]
    for quote in (*first["owner"]["_evidence"], *first["record"]["_evidence"]):
        assert quote["text"] in shown and f"{quote['start']:,}" in shown
    assert f"3 of {len(answered)} documents" in shown
    assert "inserted facts answered correctly: " in shown


def test_a_narrow_terminal_cuts_no_answer(tmp_path: Path, answered: list[dict[str, Any]]) -> None:
    row = next(row for row in answered if row["planted"]["code"] is not None)
    row["summary"]["text"] = "Values [/of] :smile: lists"
    (tmp_path / "answers").mkdir()
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "answers/part-000000.parquet")
    screen = io.StringIO()
    show_answers(str(tmp_path), Console(file=screen, width=40, markup=False, emoji=False))
    cells = [
        [cell.strip() for cell in line.split("│")[1:-1]]
        for line in screen.getvalue().splitlines()
        if line.startswith("│")
    ]
    answers = "".join(cell[2] for cell in cells)
    assert row["planted"]["code"] in answers and "Values[/of]:smile:lists" in answers
