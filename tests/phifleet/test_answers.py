"""Answers are read as a dataset, as data frames, and as typed rows."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from fakes import FakeEngine
from here import InProcessRun, in_process_run
from pydantic import BaseModel, RootModel

import phifleet
from phifleet.forms import Form
from pipelines.models.resolve import Model
from pipelines.storage import Storage
from pipelines.tasks.kinds import Sampling
from pipelines.text.tokens import ChatTokenizer

TEXT = "Acme was founded on 2001-02-03. Its rates: EUR 2.5."


class Facts(BaseModel):
    """What is asked of each text."""

    company: str
    founded: date | None
    owner: str = "nobody"
    rates: dict[str, float]


FACTS = {"company": "Acme", "founded": "2001-02-03", "owner": None, "rates": {"EUR": 2.5}}
TASKS = [
    {"name": "summary", "kind": "summarize", "max_words": 4},
    {"name": "topic", "kind": "classify", "labels": ["risk", "other"]},
    {"name": "facts", "kind": "extract", "schema": Facts.model_json_schema()},
]


def answer(prompt: str, sampling: Sampling) -> tuple[str, float | None]:
    if sampling.schema:
        return json.dumps({**FACTS, "quotes": dict.fromkeys(FACTS)}), None
    return (sampling.choices[0] if sampling.choices else "four short words here"), None


@pytest.fixture
def run(tmp_path: Path, tiny_model: Model, tiny_tokenizer: ChatTokenizer) -> Callable[..., Any]:
    """A function that runs a job over three documents into the OUTPUT given."""
    rows = {"doc": ["a", "b", "c"], "text": [TEXT, TEXT, None], "year": [1, 2, 3]}
    pq.write_table(pa.table(rows), tmp_path / "a.parquet")

    def run(output: str) -> InProcessRun:
        return in_process_run(
            tmp_path,
            tmp_path / "a.parquet",
            output,
            make_engine=lambda: FakeEngine(tiny_tokenizer, answers=answer),
            tasks=TASKS,
            input={"keep_columns": ["year"]},
        )

    return run


def test_answers_are_a_dataset_in_every_store(
    run: Callable[..., InProcessRun], storage: Storage
) -> None:
    run(storage.url)()
    answers = phifleet.answers(storage.url)
    assert isinstance(answers, ds.Dataset)
    assert answers.schema.names == ["doc", "year", "summary", "topic", "facts"]
    assert answers.count_rows() == 2
    table = answers.to_table(columns=["doc"], filter=ds.field("year") > 1)
    assert table.to_pydict() == {"doc": ["b"]}


def test_answers_convert_to_pandas(run: Callable[..., InProcessRun], tmp_path: Path) -> None:
    run(str(tmp_path / "out"))()
    frame = phifleet.answers(tmp_path / "out").to_pandas()
    assert list(frame["doc"]) == ["a", "b"]
    assert frame["topic"][0]["label"] == "risk"


def test_answers_convert_to_polars_or_name_the_missing_package(
    run: Callable[..., InProcessRun], tmp_path: Path
) -> None:
    run(str(tmp_path / "out"))()
    answers = phifleet.answers(tmp_path / "out")
    try:
        import polars
    except ModuleNotFoundError:
        for convert in (answers.to_polars, answers.scan_polars):
            with pytest.raises(ModuleNotFoundError, match="pip install polars"):
                convert()
    else:
        assert isinstance(answers.to_polars(), polars.DataFrame)
        assert answers.to_polars()["doc"].to_list() == ["a", "b"]
        assert answers.scan_polars().select("doc").collect().height == 2


def test_an_output_without_answers_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(phifleet.OutputError, match="contains no answers"):
        phifleet.answers(tmp_path)
    with pytest.raises(phifleet.OutputError, match="does not contain a phifleet run"):
        phifleet.rows(tmp_path)


def test_rows_have_values_by_the_kind_of_task_and_their_evidence(
    run: Callable[..., InProcessRun], tmp_path: Path
) -> None:
    run(str(tmp_path / "out"))()
    first, second = phifleet.rows(tmp_path / "out")
    assert (first.id, dict(first.kept), second.id) == ("a", {"year": 1}, "b")
    assert first["summary"].value == "four short words here"
    assert first["topic"].value == "risk"
    facts = first["facts"]
    assert facts.status == "answered"
    assert facts.value == facts.fields
    assert facts.value["company"] == "Acme" and facts.value["rates"] == {"EUR": 2.5}
    (company,) = [row for row in facts.evidence if row.path == "company"]
    assert company.text is not None and TEXT[company.start : company.end] == company.text
    assert facts.prompt_tokens > 0


def test_rows_are_instances_of_the_class_that_is_given(
    run: Callable[..., InProcessRun], tmp_path: Path
) -> None:
    run(str(tmp_path / "out"))()
    expected = Facts(company="Acme", founded=date(2001, 2, 3), rates={"EUR": 2.5})
    for row in phifleet.rows(tmp_path / "out", facts=Facts):
        assert row["facts"].value == expected
        assert row["facts"].problem is None


@pytest.mark.parametrize("name", ["summary", "fact"])
def test_a_class_for_another_task_is_an_error_that_names_the_right_ones(
    name: str, run: Callable[..., InProcessRun], tmp_path: Path
) -> None:
    run(str(tmp_path / "out"))()
    with pytest.raises(phifleet.SpecError, match=f"^{name}: .*it has facts$"):
        phifleet.rows(tmp_path / "out", **{name: Facts})


class Inner(BaseModel):
    name: str = "unknown"


class Outer(BaseModel):
    inner: list[Inner] = []
    size: int | None = 7


def test_nulls_become_defaults_only_where_the_type_allows_no_null() -> None:
    value, problem = Form(Outer).read({"inner": [{"name": "a"}, {"name": None}], "size": None})
    assert (value, problem) == (Outer(inner=[Inner(name="a"), Inner()], size=None), None)


def test_fields_that_are_no_instance_have_a_problem_that_names_the_field() -> None:
    fields: dict[str, Any] = {"company": None, "founded": None, "owner": None, "rates": {}}
    value, problem = Form(Facts).read(fields)
    assert (value, problem) == (None, "company: Field required")
    assert fields["company"] is None and len(fields) == 4


def test_a_list_at_the_root_is_an_instance_too() -> None:
    class Names(RootModel[list[str]]):
        pass

    assert Form(Names).read({"items": ["a"]}) == (Names(["a"]), None)
