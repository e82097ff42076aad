"""Answers by schemas of models: read whole and in chunks, written to a part, and read back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fakes import FakeEngine, tasks_of
from matcher import accepts
from pydantic import BaseModel, Field, RootModel, create_model
from pydantic_core import to_jsonable_python
from reader_of_schemas import StatedAnswer
from schema_models import Case

from pipelines.answering.answer import answer_document
from pipelines.documents import DOC_ID, Answer, Document, DocumentResult, Fields
from pipelines.job.task_specs import ExtractTask
from pipelines.models.resolve import Model
from pipelines.tasks.arrow import arrow_type, to_arrow_value
from pipelines.tasks.columns import RESERVED_FIELDS, part_table
from pipelines.tasks.decoding import quotes_key
from pipelines.tasks.evidence import leaves
from pipelines.tasks.kinds import Sampling, Task
from pipelines.tasks.normalizing import ROOT_FIELD, normalize_schema
from pipelines.text.tokens import ChatTokenizer
from serve.wire import answers_json

CASES = Path(__file__).parents[3] / "shared/cases/schemas"
WHOLE, CHUNKED = None, (120, 300, 1000)


class Deal(BaseModel):
    quotes: list[str]
    status: str
    text: str
    label: Literal["public", "private"]


class Debt(BaseModel):
    kind: Literal["debt"]
    lender: str
    rates: dict[str, float]


class Equity(BaseModel):
    kind: Literal["equity"]
    shares: int
    holders: list[str]


Funding = Annotated[Debt | Equity, Field(discriminator="kind")]


class Round(BaseModel):
    name: str
    funding: Funding
    others: list[Funding] = []


class Rates(BaseModel):
    rates: dict[str, float]
    names: dict[str, list[str]]


class Address(BaseModel):
    street: str
    city: str | None


class Offices(BaseModel):
    offices: dict[str, Address]


class Span(BaseModel):
    span: tuple[int, int]
    points: list[tuple[str, float]]


class Section(BaseModel):
    title: str
    sections: list[Section] = []


class Chain(BaseModel):
    owner: str
    parent: Chain | None


class Invoice(BaseModel):
    number: int | str
    total: Decimal
    due: date
    lines: list[tuple[date, str]]


ROUND = {
    "name": "Series Blue",
    "funding": {"kind": "debt", "lender": "Green Lake Bank",
                "rates": {"first year": 4125.5, "U.S. part": 6250.75}},
    "others": [
        {"kind": "equity", "shares": 125000, "holders": ["Ann Lee", "Bo Kim"]},
        {"kind": "debt", "lender": "Red Hill Trust", "rates": {"a[0].b": 8125.25}},
    ],
}  # fmt: skip
SECTIONS = {"title": "Blue Harbour Report", "sections": [
    {"title": "Early Green Years", "sections": [{"title": "First Red Office", "sections": []}]},
    {"title": "Later Grey Years", "sections": []}]}  # fmt: skip
OWN = [
    Case("reserved words", Deal, {"quotes": ["so it goes on", "never say never"],
         "status": "under review", "text": "some longer words", "label": "private"}),
    Case("union and maps", Round, ROUND),
    Case("maps", Rates, {"rates": {"EUR": 1250.5, "U.S. dollar": 2250.25, "x[1]": 3125.75},
                         "names": {"board": ["Ann Lee", "Bo Kim"], "staff": ["Cy Young"]}}),
    Case("map of objects", Offices, {"offices": {
        "north": {"street": "Long Lake Road", "city": "Old Ferry"},
        "south": {"street": "Short Hill Lane", "city": None}}}),
    Case("tuples", Span, {"span": (1234, 5678), "points": [
        ("Ann Lee", 4125.5), ("Bo Kim", 6250.75), ("Cy Young", 4125.5)]}),
    Case("recursive list", Section, SECTIONS),
    Case("recursive object", Chain, {"owner": "Blue Harbour", "parent": {
        "owner": "Green Lake", "parent": {"owner": "Red Hill", "parent": None}}}),
    Case("scalars of several types", Invoice, {"number": "A-1234", "total": Decimal("1234.50"),
         "due": date(2024, 2, 29), "lines": [
             (date(2024, 1, 31), "Blue Paint"), (date(2024, 2, 29), "Green Paint")]}),
    Case("list at the root", RootModel[list[Address]], [
        {"street": "Long Lake Road", "city": "Old Ferry"},
        {"street": "Short Hill Lane", "city": "New Bridge"}]),
    Case("map at the root", RootModel[dict[str, int]], {"north": 123456, "south.east": 654321}),
    Case("union at the root", RootModel[Funding], ROUND["funding"]),
    Case("list of unions at the root", RootModel[list[Funding]], ROUND["others"]),
]  # fmt: skip


def task_of(schema: Mapping[str, Any], **keys: Any) -> ExtractTask:
    return ExtractTask.model_validate(
        {"name": "facts", "kind": "extract", "schema": schema, "max_tokens": 2000, **keys}
    )


async def read(
    answer: Any, spec: ExtractTask, model: Model, tokens: ChatTokenizer, size: int | None
) -> tuple[StatedAnswer, Task, DocumentResult]:
    """Answer a document that states `answer`, in chunks of `size` tokens, or whole."""
    keys = {"chunk_tokens": size, "overlap_tokens": 60} if size else {}
    tasks = tasks_of([spec], model, tokens, strategy="map_reduce" if size else "single", **keys)
    (task,) = tasks.all
    assert task.schema is not None
    fields = {ROOT_FIELD: answer} if is_inside_root_field(answer, task.schema) else answer
    stated = StatedAnswer(fields, task.schema, quotes_key(task.schema), 3 * size if size else 0)

    def read_prompt(prompt: str, sampling: Sampling) -> tuple[str, float | None]:
        written, logprob = stated.read(prompt, sampling)
        assert sampling.schema is None or accepts(json.loads(sampling.schema), written), written
        return written, logprob

    engine = FakeEngine(
        tokens, max_model_len=tasks.reading.limit, kv_cache_tokens=10**6, answers=read_prompt
    )
    return stated, task, await answer_document(Document("d", stated.text), tasks, engine)


def is_inside_root_field(answer: Any, schema: Mapping[str, Any]) -> bool:
    return [*schema["properties"]] == [ROOT_FIELD] and (
        isinstance(answer, list) or ROOT_FIELD not in answer
    )


def through_a_part(result: DocumentResult, task: Task, folder: Path) -> dict[str, Any]:
    """Write a part file as a run does, and return the task's value as a reader gets it."""
    table = part_table(pa.table({DOC_ID: ["d"]}), [result], [task.column], "id")
    pq.write_table(table, folder / "part.parquet")
    column = pq.read_table(folder / "part.parquet").column(task.spec.name)
    value: dict[str, Any] = column.to_pylist(maps_as_pydicts="strict")[0]
    over_http = answers_json([task], result.answers)[task.spec.name]
    assert task.schema is not None
    stored = to_arrow_value(over_http, task.schema)
    assert to_jsonable_python(over_http | stored) == to_jsonable_python(value)
    return {name: item for name, item in value.items() if name not in RESERVED_FIELDS}


def check_evidence(stated: StatedAnswer, answer: Answer, schema: Mapping[str, Any]) -> None:
    """Check that every value has evidence, and that each row is of a value, at its place."""
    assert isinstance(answer.value, Fields)
    paths = [leaf.path for leaf in leaves(answer.value.values, schema, "")]
    assert len(paths) == len(set(paths))
    assert {row.path for row in answer.value.evidence} == set(paths)
    for row in answer.value.evidence:
        assert row.start is None or stated.text[row.start : row.end] == row.text


@pytest.mark.parametrize("size", [WHOLE, *CHUNKED])
@pytest.mark.parametrize("case", OWN, ids=lambda case: case.name)
async def test_a_model_comes_back_equal_read_whole_or_in_chunks(
    case: Case, size: int | None, tiny_model: Model, tiny_tokenizer: ChatTokenizer, tmp_path: Path
) -> None:
    said = case.model.model_validate(case.value)
    spec = task_of(case.model.model_json_schema())
    answer = said.model_dump(mode="json")
    stated, task, result = await read(answer, spec, tiny_model, tiny_tokenizer, size)
    assert result.answers[0].problem is None
    assert task.schema is not None
    check_evidence(stated, result.answers[0], task.schema)
    value = through_a_part(result, task, tmp_path)
    back = value[ROOT_FIELD] if is_inside_root_field(answer, task.schema) else value
    assert case.model.model_validate(back) == said


def without_nulls(value: Any) -> Any:
    """Return a JSON value without null fields: a union's column has those of all members."""
    if isinstance(value, dict):
        return {name: without_nulls(item) for name, item in value.items() if item is not None}
    return [without_nulls(item) for item in value] if isinstance(value, list) else value


ADDRESS = {"street": "Long Lake Road", "city": "Old Ferry"}
CASH, STOCK = {"kind": "cash", "amount": 4125.5}, {"kind": "stock", "shares": 125000}
ANSWERS: dict[str, Any] = {
    "ClauseResult": {"clauses": [
        {"clause_type": "termination", "title": "Early End", "content": "Either side may end it.",
         "section_reference": "Section 12.3"},
        {"clause_type": "other", "title": "Late Notice", "content": "Notice is in writing.",
         "section_reference": "Section 14.1"}]},
    "ConstDefault": {"type": "invoice", "total": 4125.5},
    "DictStrStr": {"name": "Green Lake", "attributes": {"first owner": "Ann Lee", "1.2": "Bo Kim"}},
    "DiscriminatedUnion": {"consideration": STOCK},
    "FloatOrInt": {"v": 4125.5},
    "IntOrStr": {"page": "iv of ten"},
    "InvoiceFloat": {"invoice_number": "A-12345", "invoice_date": "2024-02-29", "currency": "EUR",
        "line_items": [{"description": "Blue Paint", "quantity": 1250.0, "total": 6250.75},
                       {"description": "Green Paint", "quantity": 2250.0, "total": 8125.25}]},
    "ListOfUnion": {"items": [CASH, STOCK]},
    "Nums": {"pct": 0.1234567, "n": 9, "price": 1234.07, "pos": 1250, "big": 2**63 - 1},
    "OptionalEnumRef": {"cat": "other", "cats": ["category_a", "category_b"], "main": "other"},
    "OrderDecimal": {"order_id": "B-12345", "supplier_type": "category_a",
        "order_date": "2024-01-31", "due_date": "2024-02-29", "subtotal": "1234.50",
        "currency": "USD", "items": [
            {"description": "Blue Paint", "quantity": 1250, "unit_price": "4125.50"}]},
    "Recursive": {"root": {"name": "Blue Harbour", "children": [
        {"name": "Green Lake", "children": [{"name": "Red Hill", "children": []}]}]}},
    "ReservedNames": {"quotes": ["so it goes on", "never say never"], "name": "Green Lake"},
    "SetField": {"tags": ["dark blue", "light green"], "frozen": [1234, 5678]},
    "SharedRef": {"bill": ADDRESS, "ship": {"street": "Short Hill Lane", "city": "New Bridge"},
                  "others": [ADDRESS]},
    "TrialStatus": {"nct_id": "NCT01234567", "title": "Green Lake Trial", "status": "still open",
                    "phase": "phase two", "conditions": ["high fever", "dry cough"]},
    "TupleField": {"span": [1234, 5678], "pts": [[4125.5, 6250.75], [8125.25, 9125.5]]},
    "WrapRoot": [ADDRESS],
}  # fmt: skip


@pytest.mark.skipif(not CASES.is_dir(), reason="the cases are not in ../shared beside the project")
@pytest.mark.parametrize("size", [WHOLE, *CHUNKED])
@pytest.mark.parametrize("name", ANSWERS)
async def test_an_answer_by_a_schema_of_the_cases_comes_back_equal(
    name: str, size: int | None, tiny_model: Model, tiny_tokenizer: ChatTokenizer, tmp_path: Path
) -> None:
    spec = task_of(json.loads((CASES / f"{name}.json").read_text()))
    answer = ANSWERS[name]
    stated, task, result = await read(answer, spec, tiny_model, tiny_tokenizer, size)
    assert result.answers[0].problem is None
    assert task.schema is not None
    check_evidence(stated, result.answers[0], task.schema)
    back = to_jsonable_python(through_a_part(result, task, tmp_path))
    expected = {ROOT_FIELD: answer} if isinstance(answer, list) else answer
    assert without_nulls(back) == expected


@pytest.mark.skipif(not CASES.is_dir(), reason="the cases are not in ../shared beside the project")
def test_every_schema_of_the_cases_has_an_answer() -> None:
    assert {path.stem for path in CASES.glob("*.json")} == set(ANSWERS)


STRICT = {"type": "object", "required": ["name", "year"],
          "properties": {"name": {"type": "string"}, "year": {"type": "integer"}}}  # fmt: skip


@pytest.mark.parametrize("size", [WHOLE, 120])
async def test_a_strict_task_without_a_required_value_is_a_dead_letter(
    size: int | None, tiny_model: Model, tiny_tokenizer: ChatTokenizer
) -> None:
    spec = task_of(STRICT, strict=True)
    tasks = tasks_of(
        [spec], tiny_model, tiny_tokenizer, strategy="map_reduce" if size else "single",
        **({"chunk_tokens": size, "overlap_tokens": 60} if size else {}),
    )  # fmt: skip
    answers = {
        "stated": '{"name": "Ann", "year": 2024, "quotes": {"name": null, "year": null}}',
        "missing": '{"name": "Ann", "year": null, "quotes": {"name": null, "year": null}}',
    }
    text = "Some words about Ann. " * 40
    for name, status in (("stated", "answered"), ("missing", "invalid_answer")):
        engine = FakeEngine(tiny_tokenizer, answers=lambda *_, name=name: (answers[name], None))
        result = await answer_document(Document("d", text), tasks, engine)
        assert result.answers[0].status == status


@pytest.mark.parametrize("union_mode", ["smart", "left_to_right"])
def test_a_whole_number_or_text_is_read_as_text_unless_the_model_tries_numbers_first(
    union_mode: Literal["smart", "left_to_right"],
) -> None:
    field: Any = (int | str, Field(union_mode=union_mode))
    model = create_model("Place", page=field)
    schema = normalize_schema(model.model_json_schema(), "s")
    (place,) = pa.array([to_arrow_value({"page": 5}, schema)], arrow_type(schema)).to_pylist()
    expected: int | str = "5" if union_mode == "smart" else 5
    assert model.model_validate(place) == model(page=expected)
    assert model.model_validate({"page": "iv"}) == model(page="iv")


PAGES = {"type": "object", "required": ["page", "pages", "flag"], "properties": {
    "page": {"anyOf": [{"type": "integer"}, {"type": "string"}]},
    "pages": {"type": "object", "additionalProperties": {"type": ["string", "integer"]}},
    "flag": {"type": ["boolean", "integer"]}}}  # fmt: skip


@pytest.mark.parametrize("size", [WHOLE, 120])
@pytest.mark.parametrize("written", [int, str])
async def test_an_integer_of_a_union_with_texts_comes_back_as_an_integer_over_http(
    written: type, size: int | None, tiny_model: Model, tiny_tokenizer: ChatTokenizer,
    tmp_path: Path,
) -> None:  # fmt: skip
    pages = {"Blue Lake": "iv of ten", "Green Lake": written(5678), "Red Hill": "007"}
    answer = {"page": written(1234), "pages": pages, "flag": 125000}
    stated, task, result = await read(answer, task_of(PAGES), tiny_model, tiny_tokenizer, size)
    assert task.schema is not None
    check_evidence(stated, result.answers[0], task.schema)
    over_http = answers_json([task], result.answers)["facts"]
    expected = {"page": 1234, "pages": {**pages, "Green Lake": 5678}, "flag": 125000}
    assert {name: over_http[name] for name in expected} == expected
    assert [type(over_http[name]) for name in ("page", "flag")] == [int, int]
    stored = through_a_part(result, task, tmp_path)
    assert stored == {"page": "1234", "pages": {**pages, "Green Lake": "5678"}, "flag": "125000"}
