"""The facts of a report: the ledger's numbers, documents with their texts, and bounded reads."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from here import InProcessRun
from outputs import answer, write_output
from reported import EVIL, LONG, TEXTS, reported_run

from pipelines.corpus.units import Unit
from pipelines.documents import Reply
from pipelines.errors import OutputError, SpecError
from pipelines.ledger.records import Plan
from pipelines.models.resolve import Model
from pipelines.reporting.page.document_facts import DocumentPage
from pipelines.reporting.page.documents import DocumentReader
from pipelines.reporting.page.facts import Report, TaskFacts
from pipelines.reporting.page.gathering import Choice, gather
from pipelines.reporting.page.writing import write_report
from pipelines.storage import Storage
from pipelines.text.tokens import ChatTokenizer


@pytest.fixture(scope="module")
def run(
    tmp_path_factory: pytest.TempPathFactory, tiny_model: Model, tiny_tokenizer: ChatTokenizer
) -> InProcessRun:
    """A finished run, which no test changes."""
    run = reported_run(tmp_path_factory.mktemp("run"), tiny_tokenizer)
    run()
    return run


@pytest.fixture
def own_run(tmp_path: Path, tiny_model: Model, tiny_tokenizer: ChatTokenizer) -> InProcessRun:
    """A finished run that a test may change."""
    run = reported_run(tmp_path, tiny_tokenizer)
    run()
    return run


def report_of(run: InProcessRun, **choice: object) -> Report:
    return gather(run.storage.url, Choice(**choice))  # type: ignore[arg-type]


def lit(page: DocumentPage, task: str) -> str:
    """Return the text that is lit for the first quote of a task's answer."""
    (answer,) = (answer for answer in page.answers if answer.task == task)
    place = answer.value.quotes[0].place
    assert page.text is not None
    pieces = [piece for window in page.text.windows for piece in window.segments]
    return "".join(piece.text for piece in pieces if place in piece.places)


def test_the_numbers_are_those_of_the_manifest(run: InProcessRun) -> None:
    manifest = run.ledger.manifest()
    assert manifest is not None
    report = report_of(run)
    documents, tokens = report.documents, report.tokens
    assert (report.status, report.job.model, report.job.fingerprint) == (
        "done", manifest["model"], manifest["fingerprint"],
    )  # fmt: skip
    assert (documents.planned, documents.done) == (6, manifest["documents"])
    assert (documents.answered, documents.dead_letters) == (5, manifest["dead_letters"])
    assert (tokens.prompt, tokens.output) == (manifest["prompt_tokens"], manifest["output_tokens"])
    assert tokens.planned == tokens.planned_done > tokens.prompt / 2
    assert report.time.wall_seconds == pytest.approx(manifest["wall_seconds"], abs=0.06)
    assert (report.work.commits, report.work.read) == (6, 6)
    (letter,) = report.letters
    assert (letter.reason, letter.count, letter.examples[0].document) == ("empty", 1, "empty")
    assert report.job.versions == {"phifleet version": "0.1.0"}


def test_strategies_and_evidence_come_from_the_parts(run: InProcessRun) -> None:
    reading = report_of(run).reading
    assert (reading.parts, reading.parts_read, reading.documents) == (5, 5, 5)
    strategies = {name for row in reading.lengths for name in row.strategies}
    assert strategies == {"single"} and len(reading.lengths) > 2
    assert sum(row.answers for row in reading.lengths) == 5 * 4
    owner = next(row for row in reading.evidence if row.task == "owner")
    assert (owner.shown, owner.absent) == (4, 1)
    assert reading.values == 6 and reading.shown_share == pytest.approx(5 / 6, abs=1e-4)


def test_each_document_has_its_text_with_the_evidence_lit(run: InProcessRun) -> None:
    pages = {page.id: page for page in report_of(run, documents=10).shown}
    assert pages.keys() == TEXTS.keys() - {"empty"}
    assert lit(pages["plain"], "owner") == "The owner is Ada Lovelace."
    assert lit(pages["evil"], "owner") == f"The owner is {EVIL}."
    assert lit(pages["wide"], "owner") == "The owner is Smith & Sons."
    wrong = next(answer for answer in pages["wrong"].answers if answer.task == "owner")
    assert wrong.value.quotes[0].state == "missing" and pages["wrong"].row == 4


def test_a_long_text_is_cut_around_its_evidence(run: InProcessRun) -> None:
    (page,) = report_of(run, ids=["long"]).shown
    assert page.text is not None and page.text.characters == len(LONG)
    assert lit(page, "owner") == "The owner is Zoe Miller."
    assert lit(page, "code") == "The code is qx-4417."
    assert sum(window.end - window.start for window in page.text.windows) < 24_000


def test_documents_are_chosen_by_id_and_one_without_an_answer_says_so(run: InProcessRun) -> None:
    report = report_of(run, ids=["wide", "empty"])
    assert [page.id for page in report.shown] == ["wide", "empty"]
    assert "No answer to this document is committed" in report.shown[1].note
    with pytest.raises(SpecError, match="--id nobody: this run has no document"):
        report_of(run, ids=["nobody"])


def test_a_sample_has_as_many_documents_as_asked_and_no_document_is_read_for_none(
    run: InProcessRun,
) -> None:
    assert len(report_of(run, documents=2).shown) == 2
    assert report_of(run, documents=0).shown == []


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (Path.unlink, "The text cannot be read from the input"),
        (lambda path: path.write_bytes(b"PAR1"), "The text cannot be read from the input"),
    ],
)
def test_without_the_input_the_answers_are_shown_alone(
    own_run: InProcessRun, tmp_path: Path, damage: Callable[[Path], object], why: str
) -> None:
    damage(tmp_path / "corpus.parquet")
    pages = report_of(own_run).shown
    assert len(pages) == 5
    for page in pages:
        assert page.text is None and page.note.startswith(why)
        assert len(page.answers) == 4 and page.source == str(tmp_path / "corpus.parquet")


def test_the_input_is_read_up_to_a_limit(run: InProcessRun) -> None:
    (page,) = report_of(run, ids=["plain"], max_bytes=10).shown
    assert page.text is None and "to read little of the input" in page.note


def test_a_run_that_is_not_finished_has_a_report(own_run: InProcessRun) -> None:
    own_run.storage.remove("manifest.json")
    own_run.storage.remove("_run/commits/000001.json")
    report = report_of(own_run)
    assert report.status == "unfinished"
    assert (report.documents.planned, report.documents.done) == (6, 5)
    assert report.tokens.planned > report.tokens.planned_done


def test_the_page_is_written_to_output_or_to_a_file(own_run: InProcessRun, tmp_path: Path) -> None:
    report, where = write_report(own_run.storage.url, Choice(documents=1))
    assert Path(where).read_bytes().startswith(b"<!doctype html>")
    assert where == str(tmp_path / "out/report.html")
    assert json.loads(json.dumps(report.to_json()))["run"] == "here"
    with pytest.raises(OutputError, match=r"--to .*: cannot be written"):
        write_report(own_run.storage.url, Choice(documents=1), str(tmp_path / "no/page.html"))


def test_a_report_is_stored_in_a_bucket(
    tmp_path: Path, tiny_model: Model, tiny_tokenizer: ChatTokenizer, s3: object
) -> None:
    output = f"{s3.new_bucket()}/out"  # type: ignore[attr-defined]
    run = reported_run(tmp_path, tiny_tokenizer, output)
    run()
    _, where = write_report(output, Choice(documents=2))
    assert where == f"{output}/report.html"
    assert run.storage.read("report.html").startswith(b"<!doctype html>")


def test_large_parts_make_up_for_small_ones(tmp_path: Path, tiny_model: Model) -> None:
    documents = {f"d{n}": [answer("who", Reply("Ada", ()))] for n in range(10)}
    tasks = [{"name": "who", "kind": "ask", "question": "Who?"}]
    output = write_output(tmp_path / "out", tasks, documents, rows_of_part=9)
    units = [Unit(n, "short", "text-00000", n, rows, 1, 1, 1.0, "") for n, rows in ((0, 9), (1, 1))]
    plans = [Plan((), tuple(units), (), {})]
    facts = [TaskFacts("who", "ask", "Who?")]
    reader = DocumentReader(Storage(output), plans, None, "doc", facts, max_bytes=0)
    assert len(reader.sample(8)) == 8
