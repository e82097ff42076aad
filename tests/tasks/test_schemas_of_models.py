"""Schemas as pydantic generates them: a perfect answer comes back equal through Parquet."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from matcher import accepts
from pydantic import BaseModel, RootModel
from schema_models import ACCEPTED, AWKWARD, REFUSED, Case

from pipelines.errors import SpecError
from pipelines.tasks.arrow import arrow_type, to_arrow_value
from pipelines.tasks.decoding import answer_schema, quotes_key
from pipelines.tasks.extraction import parse_fields
from pipelines.tasks.form import form_template
from pipelines.tasks.normalizing import ROOT_FIELD, normalize_schema
from pipelines.tasks.schema import lenient
from pipelines.text.search import DocumentSearch

CASES = Path(__file__).parents[3] / "shared/cases/schemas"


def through_parquet(values: Mapping[str, Any], schema: dict[str, Any], folder: Path) -> Any:
    """Write values as a part does, and return them as a reader gets them."""
    cells = pa.array([to_arrow_value(values, schema)], arrow_type(schema))
    pq.write_table(pa.table({"facts": cells}), folder / "part.parquet")
    column = pq.read_table(folder / "part.parquet").column("facts")
    return column.to_pylist(maps_as_pydicts="strict")[0]


@pytest.mark.parametrize("case", ACCEPTED, ids=lambda case: case.name)
def test_a_perfect_answer_comes_back_equal_into_its_model(case: Case, tmp_path: Path) -> None:
    said = case.model.model_validate(case.value)
    form = normalize_schema(case.model.model_json_schema(), "s")
    assert form_template(form).startswith("{")
    for schema in (form, lenient(form)):
        fields = answer_of(said, form)
        decoded = answer_schema(schema)
        key = quotes_key(schema)
        answer = {**fields, key: dict.fromkeys(schema["properties"], AWKWARD)}
        written = json.dumps(answer, ensure_ascii=False)
        assert accepts(decoded, written)
        read = parse_fields(written, schema, DocumentSearch(""), (0, 0), only_verified=False)
        back = through_parquet(read.values, schema, tmp_path)
        if [*schema["properties"]] == [ROOT_FIELD] and issubclass(case.model, RootModel):
            back = back[ROOT_FIELD]
        assert case.model.model_validate(back) == said


def answer_of(said: BaseModel, form: dict[str, Any]) -> dict[str, Any]:
    """Return the answer that states a model's values; a list or map at the root has a field."""
    value = said.model_dump(mode="json")
    names = [*form["properties"]]
    is_field = names == [ROOT_FIELD] and isinstance(said, RootModel)
    result = {ROOT_FIELD: value} if is_field else value
    fields: dict[str, Any] = shown(result, form)
    return fields


def shown(value: Any, schema: dict[str, Any]) -> Any:
    """Return a value without what lies below the deepest level, and in the form's order."""
    if isinstance(value, list) and "items" in schema and "prefixItems" not in schema:
        return [shown(item, schema["items"]) for item in value]
    if not isinstance(value, dict) or not schema.get("properties"):
        return value
    for member in schema.get("members", ()):
        names = member["properties"]
        if set(names) == set(value):
            schema = member
    return {name: shown(value[name], schema["properties"][name]) for name in schema["properties"]
            if name in value}  # fmt: skip


@pytest.mark.parametrize(("model", "message"), REFUSED)
def test_a_model_without_a_column_is_refused_with_a_remedy(
    model: type[BaseModel], message: str
) -> None:
    with pytest.raises(SpecError, match=message):
        normalize_schema(model.model_json_schema(), "s")


@pytest.mark.skipif(not CASES.is_dir(), reason="the cases are not in ../shared beside the project")
def test_every_schema_of_the_cases_is_accepted_and_compiles() -> None:
    paths = sorted(CASES.glob("*.json"))
    assert paths
    for path in paths:
        schema = normalize_schema(json.loads(path.read_text()), path.stem)
        empty = empty_value(lenient(schema))
        answer = {**empty, quotes_key(schema): dict.fromkeys(schema["properties"])}
        assert accepts(answer_schema(lenient(schema)), json.dumps(answer)), path.stem


def empty_value(schema: dict[str, Any]) -> Any:
    """Return an object with nothing stated."""
    return {name: empty_field(field) for name, field in schema["properties"].items()}


def empty_field(field: dict[str, Any]) -> Any:
    if "null" in field["type"]:
        return None
    return [] if "items" in field else {}
