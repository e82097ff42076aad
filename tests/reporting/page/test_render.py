"""The page: every number of it is in the JSON, what documents say stays text, and it is small."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from outputs import columns_of
from reported import EVIL, TASKS, reported_run

from pipelines.corpus.id_types import IdKind
from pipelines.corpus.layout import Layout
from pipelines.corpus.units import Unit
from pipelines.documents import (
    Answer,
    AnswerValue,
    Document,
    DocumentResult,
    Evidence,
    EvidenceStatus,
    Label,
    Reply,
    Summary,
    Usage,
)
from pipelines.errors import SpecError
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.records import Commit, Plan, StagedFile
from pipelines.models.resolve import Model
from pipelines.reporting.page import facts
from pipelines.reporting.page.documents import MAX_DOCUMENTS, characters_of_each
from pipelines.reporting.page.facts import Report
from pipelines.reporting.page.gathering import MAX_COMMITS, Choice, gather
from pipelines.reporting.page.render import render
from pipelines.reporting.page.sampled import MAX_PARTS
from pipelines.reporting.page.windows import view_of
from pipelines.storage import Storage
from pipelines.tasks.columns import part_table
from pipelines.text.tokens import ChatTokenizer


@pytest.fixture(scope="module")
def report(
    tmp_path_factory: pytest.TempPathFactory, tiny_model: Model, tiny_tokenizer: ChatTokenizer
) -> Report:
    directory = tmp_path_factory.mktemp("run")
    reported_run(directory, tiny_tokenizer)()
    return gather(str(directory / "out"), Choice(documents=10))


class PageParser(HTMLParser):
    """Collects the elements of a page, and its text without that of scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._within = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._within = tag

    def handle_endtag(self, tag: str) -> None:
        self._within = ""

    def handle_data(self, data: str) -> None:
        if self._within not in ("script", "style"):
            self.text += data


def numbers(value: Any) -> Iterator[float]:
    """Yield all numbers in JSON values."""
    match value:
        case bool() | str() | None:
            return
        case dict():
            for item in value.values():
                yield from numbers(item)
        case list():
            for item in value:
                yield from numbers(item)
        case _:
            yield float(value)


def test_every_number_of_the_page_is_in_the_json(report: Report) -> None:
    shown = re.findall(r'<data value="([^"]*)">', render(report).decode())
    known = set(numbers(json.loads(json.dumps(report.to_json()))))
    assert len(shown) > 60
    assert {float(number) for number in shown} <= known
    for number in (report.documents.answered, report.tokens.prompt, report.tokens.planned_done):
        assert str(number) in shown


def test_no_number_of_the_page_is_outside_a_data_element(report: Report) -> None:
    template = (Path(facts.__file__).parent / "templates/run.html.jinja").read_text()
    # a number that a template prints without a filter has no exact value beside it
    printed = re.findall(r"\{\{ *([a-z_.]+) *\}\}", template)
    for name in printed:
        value: Any = report
        for part in name.split("."):
            value = getattr(value, part, None)
        assert not isinstance(value, int | float), name


def test_what_documents_say_stays_text(report: Report) -> None:
    page = render(report).decode()
    parsed = PageParser(page)
    assert EVIL in parsed.text
    assert [tag for tag, _ in parsed.tags].count("script") == 1
    assert "img" not in [tag for tag, _ in parsed.tags]
    assert not [attributes for _, attributes in parsed.tags if "onerror" in attributes]
    assert unescape(page).count(EVIL) > page.count(EVIL) == 0


def test_the_page_refers_to_nothing_outside(report: Report) -> None:
    page = render(report).decode()
    for tag, attributes in PageParser(page).tags:
        assert tag not in ("link", "iframe", "object", "embed", "base")
        for name in ("src", "href", "xlink:href", "action"):
            assert (attributes.get(name) or "#").startswith("#"), (tag, attributes)
    assert not re.search(r"url\((?!#)|@import", page)
    assert "default-src 'none'" in page


def test_ids_of_elements_are_unique_but_for_definitions_of_plots(report: Report) -> None:
    ids = [a["id"] for tag, a in PageParser(render(report).decode()).tags
           if "id" in a and tag not in ("clippath", "path")]  # fmt: skip
    assert len(ids) == len(set(ids))


UNITS, ROWS = 2_500, 40


@pytest.fixture
def huge(tmp_path: Path) -> str:
    """An OUTPUT with the ledger and the parts of 100,000 documents in 2,500 units."""
    output = tmp_path / "out"
    ledger = Ledger(Storage(str(output)))
    source = {
        "input": {"path": str(tmp_path / "gone"), "id_column": "doc"},
        "output": {"path": str(output)},
        "model": {"name": "tiny"},
        "tasks": TASKS,
    }
    names = {"fingerprint": "f", "model": "m", "revision": "r"}
    ledger.open_job({"source": source, "digests": {}, **names})
    text = "_run/index/0/text-00000"
    units = [Unit(n, "short", text, n, ROWS, 40_000, 900, 30.0, "") for n in range(UNITS)]
    layout = Layout(IdKind.TEXT, pa.schema([])).to_text()
    ledger.add_plan(0, Plan((), tuple(units), (), {}, layout))
    for directory in ("answers", "_run/commits"):
        (output / directory).mkdir(parents=True)
    answers = _answers()
    for number in range(UNITS):
        ids = pa.array([f"document-{number}-{row}" for row in range(ROWS)])
        part = answers.set_column(0, "doc", ids)
        pq.write_table(part, output / f"answers/part-{number:06d}.parquet")
        (output / f"_run/commits/{number:06d}.json").write_bytes(_commit(number).to_json())
    return str(output)


def _answers() -> pa.Table:
    """Return the answers of a unit's documents, with long texts and evidence."""
    quote = Evidence("", EvidenceStatus.SHOWN, "words " * 60, 5, 400)
    replies = [Reply("Ada Lovelace", (quote,)), Reply("qx", (quote,))]
    values: list[AnswerValue] = [Summary("A calm year. " * 40), Label("risk", 0.9), *replies]
    usage = Usage(900, 0, 30)
    answers = tuple(
        Answer(task["name"], value, None, "single", 1, usage, "stop")
        for task, value in zip(TASKS, values, strict=True)
    )
    ids = [str(number) for number in range(ROWS)]
    results = [DocumentResult(Document(doc_id, "text"), answers) for doc_id in ids]
    return part_table(pa.table({"doc_id": ids}), results, columns_of(TASKS), "doc")


def _commit(number: int) -> Commit:
    return Commit(
        unit=number,
        plan="",
        ids="",
        rows=ROWS,
        answered=ROWS,
        dead_letters=0,
        reasons={},
        part=StagedFile("s", ROWS, 1, ""),
        errors=None,
        prompt_tokens=36_000,
        cached_prompt_tokens=27_000,
        output_tokens=1_200,
        seconds=25.0 + number % 9,
        host="h",
        committed_at=f"2026-01-01T{number % 24:02}:00:00+00:00",
        decoding={task["name"]: (300, 90, 200) for task in TASKS},
    )


def test_the_report_of_a_hundred_thousand_documents_is_small(huge: str) -> None:
    report = gather(huge, Choice(documents=200))
    page = render(report)
    assert report.documents.answered == UNITS * ROWS == 100_000
    assert (report.work.commits, report.work.read) == (UNITS, MAX_COMMITS)
    assert report.reading.parts_read == MAX_PARTS
    assert len(report.shown) == 200 and len(page) < 5_000_000
    assert "estimated from" in page.decode() and len(json.dumps(report.to_json())) < 5_000_000


def test_the_longest_texts_of_many_documents_stay_small(report: Report) -> None:
    text, spans = "words of a text " * 20_000, [(at, at + 200) for at in range(0, 300_000, 4_000)]
    for count in (1, 50, MAX_DOCUMENTS):
        view = view_of(text, spans, characters_of_each(count))
        pages = [replace(page, text=view) for page in report.shown] * count
        page = render(replace(report, shown=pages[:count]))
        assert len(page) < 5_000_000
        assert page.count(b'class="document"') == count


def test_a_page_shows_at_most_500_documents() -> None:
    for choice in ({"documents": 501}, {"ids": ["a"] * 501}):
        with pytest.raises(SpecError, match="a page shows at most 500 documents, got 501"):
            Choice(**choice)
