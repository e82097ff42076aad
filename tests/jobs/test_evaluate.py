"""`phifleet evaluate`: what it prints, its exit codes, and the demo's own figures."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from outputs import answer, write_output
from outputs import write_gold as write_rows
from rich.console import Console

import jobs.demo
from jobs.cli import main
from jobs.demo import GOLD, checked_answers, score_lines, write_corpus, write_gold
from jobs.evaluation_text import print_evaluation
from pipelines.documents import (
    Answer,
    Evidence,
    EvidenceStatus,
    Fields,
    Label,
    LabelSet,
    Reply,
    Summary,
)
from pipelines.reporting.evaluation import evaluate
from pipelines.tasks.replies import NOT_STATED
from pipelines.tiny import rules

LABELS = [f"a rather long name of a label, number {at}" for at in range(4)]
TASKS: list[dict[str, Any]] = [
    {"name": "a_task_with_a_rather_long_name", "kind": "classify", "labels": LABELS},
    {"name": "tags", "kind": "classify", "labels": list("abcdefghijk"), "multiple": True},
    {"name": "who", "kind": "ask", "question": "Who?"},
    {"name": "summary", "kind": "summarize"},
    {
        "name": "facts",
        "kind": "extract",
        "fields": {"the_company_that_issues_the_shares": "string", "parties": [{"name": "string"}]},
    },
]


def demo_tasks() -> list[dict[str, Any]]:
    tasks: list[dict[str, Any]] = yaml.safe_load(
        Path(jobs.demo.__file__).with_name("demo.yaml").read_text()
    )["tasks"]
    return tasks


def evidence_of(row: Mapping[str, Any], name: str, path: str, value: Any) -> tuple[Evidence, ...]:
    """Return evidence as a run has it: `shown` for what is planted, else `absent`."""
    shown = str(value) == row["planted"][name]
    return (Evidence(path, EvidenceStatus.SHOWN if shown else EvidenceStatus.ABSENT),)


def demo_answers(row: Mapping[str, Any], chance: random.Random) -> list[Answer]:
    """Return the answers about a document of the demo, of which some are wrong or missing."""
    planted = dict(row["planted"])
    for name, wrong in (("kind", "library"), ("owner", "Nobody Else"), ("version", "0.5")):
        if chance.random() < 0.2:
            planted[name] = chance.choice([wrong, None])
    replies = [
        Reply(planted[name] or NOT_STATED, evidence_of(row, name, "", planted[name]))
        if planted[name]
        else Reply(NOT_STATED)
        for name in ("owner", "code")
    ]
    record = {
        "version": planted["version"] and float(planted["version"]),
        "release": planted["release"] and date.fromisoformat(planted["release"]).isoformat(),
        "section": planted["section"] and int(planted["section"]),
    }
    evidence = [
        each
        for name, value in record.items()
        if value is not None
        for each in evidence_of(row, name, name, value)
    ]
    return [
        answer("summary", Summary("short")),
        answer("kind", Label(planted["kind"] or rules.OTHER)),
        answer("owner", replies[0]),
        answer("code", replies[1]),
        answer("record", Fields(record, tuple(evidence))),
    ]


def test_it_has_the_demos_own_figures(tmp_path: Path) -> None:
    write_corpus(tmp_path / "corpus/topics.parquet")
    write_gold(tmp_path / "corpus/topics.parquet", tmp_path / GOLD)
    rows = pq.read_table(tmp_path / "corpus/topics.parquet").to_pylist()
    chance = random.Random(1)  # noqa: S311 (no secret)
    documents = {row["topic"]: demo_answers(row, chance) for row in rows}
    output = write_output(
        tmp_path / "output", demo_tasks(), documents, rows_of_part=20, id_column="topic"
    )
    by_topic = {row["topic"]: row for row in pq.read_table(f"{output}/answers").to_pylist()}
    checked = [each for row in rows for each in checked_answers({**row, **by_topic[row["topic"]]})]
    facts, shown = score_lines(checked)
    total = evaluate(output, str(tmp_path / GOLD)).total
    assert total is not None
    assert facts == (
        f"inserted facts answered correctly: {total.recall.right} of {total.recall.total}; "
        f"absent facts reported as absent: {total.none_recall.right} of {total.none_recall.total}"
    )
    assert 300 < total.recall.right < total.recall.total
    evidence = evaluate(output, str(tmp_path / GOLD)).evidence
    values = {each.status: each.values.total for each in evidence if each.path is None}
    assert shown == f"answers shown by the text: {values['shown']} of {sum(values.values())}"


@pytest.fixture
def output(tmp_path: Path) -> str:
    """An OUTPUT in which every answer has an error somewhere."""
    documents = {}
    for at in range(12):
        values = {
            "the_company_that_issues_the_shares": f"Company {at % 5}",
            "parties": [{"name": "Ann"}, {"name": "Eve"}],
        }
        evidence = (Evidence("the_company_that_issues_the_shares", EvidenceStatus.SHOWN),)
        documents[f"a document with a long name {at}"] = [
            answer(TASKS[0]["name"], Label(LABELS[at % 4])),
            answer("tags", LabelSet((Label("a"), Label("b")))),
            answer("who", Reply("Ann"), "map_reduce"),
            answer("summary", Summary("a b c d")),
            answer("facts", Fields(values, evidence)),
        ]
    return write_output(tmp_path / "out", TASKS, documents, dead=["dead"])


@pytest.fixture
def gold(tmp_path: Path) -> str:
    rows = [
        {
            "doc": f"a document with a long name {at}",
            TASKS[0]["name"]: LABELS[at % 3],
            "tags": ["a", "k"],
            "who": "Ann" if at % 2 else None,
            "summary": "a c d e " * 30,
            "facts": {
                "the_company_that_issues_the_shares": f"Company {at % 4}",
                "parties": [{"name": "Ann"}],
            },
        }
        for at in range(12)
    ]
    return write_rows(
        tmp_path / "gold.jsonl", [*rows, {"doc": "dead", "who": "x"}, {"doc": "gone", "who": "x"}]
    )


def test_the_result_is_one_json_object(
    output: str, gold: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", output, "--gold", gold, "--json", "--worst", "1"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["documents"]["dead_letters"] == 1
    assert found["documents"]["first_missing"] == "gone"
    assert len(found["worst"]) == 1


@pytest.mark.parametrize("width", [80, 200])
def test_no_line_is_longer_than_the_terminal(output: str, gold: str, width: int) -> None:
    screen = io.StringIO()
    console = Console(file=screen, width=width, markup=False, emoji=False, highlight=False)
    print_evaluation(evaluate(output, gold, output), console)
    lines = screen.getvalue().splitlines()
    paths = [line for line in lines if output in line or gold in line]
    assert all(len(line) <= width for line in lines if line not in paths)
    shown = "".join(screen.getvalue().split())
    # a long name is folded, not cut
    assert "facts.the_company_that_issues_the_shares" in shown or width == 80
    assert "14withrightanswers:12answered,1deadletters" in shown
    assert "1ofthem,first'gone'" in shown
    assert "…" not in "".join(line for line in lines if "100.0" in line)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            ["--gold", "nowhere.jsonl"],
            "phifleet: --gold: no file of Parquet or JSON lines at nowhere",
        ),
        (["--against", "nowhere"], "phifleet: nowhere does not contain a phifleet run"),
    ],
)
def test_a_wrong_path_ends_with_2(
    output: str, gold: str, change: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", output, "--gold", gold, *change]) == 2
    assert capsys.readouterr().err.startswith(message)


def test_a_negative_number_of_documents_is_refused(output: str, gold: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", output, "--gold", gold, "--worst", "-1"])
    assert ended.value.code == 2
