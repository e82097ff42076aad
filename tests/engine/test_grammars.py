"""Tests of the check of grammars, and of vLLM's grammar backend with the real Phi-3 vocabulary."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from schema_models import ACCEPTED

from pipelines.engine.grammars import check_grammars, grammar_fault, json_grammar
from pipelines.errors import SpecError
from pipelines.job.task_specs import ExtractTask
from pipelines.tasks.decoding import JSON_SEPARATORS, answer_schema
from pipelines.tasks.kinds import Question, Sampling, Task
from pipelines.tasks.normalizing import normalize_schema
from pipelines.tasks.schema import from_shorthand

PHI3 = Path(__file__).parents[3] / "shared/phi3/tokenizer/july-2024"
# torch and vLLM warn on import
pytestmark = pytest.mark.filterwarnings("ignore")
QUOTES = [
    'He said "no" to \\server\\share.', "two\nlines\r\n\tand more", "契約の当事者は次のとおり" * 25,
    "ภาษาไทย 😀 é\u2028", '"', "\\",
]  # fmt: skip
FIELDS = {"company": "string", "revenue": "number", "risks": ["string"], "signed": "date"}


def task(schema: dict[str, Any], decoded: str) -> Task:
    spec = ExtractTask.model_validate({"name": "facts", "kind": "extract", "schema": schema})
    question = Question("", (), Sampling(64, schema=decoded))
    return Task(spec, question, question)


def test_a_schema_that_the_grammar_refuses_is_an_error_with_its_task() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    refused = json.dumps({"type": "string", "pattern": r"^\p{L}$"})
    with pytest.raises(SpecError, match=r"tasks\.facts\.schema: .*Unicode.*Remove keywords"):
        check_grammars([task(schema, refused)])
    check_grammars([task(schema, json.dumps(answer_schema(normalize_schema(schema, "s"))))])


@pytest.fixture(scope="module")
def backend() -> Any:
    """vLLM's structured-output backend, as an engine with the Phi-3 tokenizer makes it."""
    if not PHI3.is_dir():
        pytest.skip("the tokenizer of Phi-3 is not in ../shared beside the project")
    from transformers import PreTrainedTokenizerFast
    from vllm.config import StructuredOutputsConfig, VllmConfig
    from vllm.v1.structured_output.backend_xgrammar import XgrammarBackend

    config = VllmConfig(
        structured_outputs_config=StructuredOutputsConfig(
            backend="xgrammar", disable_any_whitespace=True
        )
    )
    end = "<|endoftext|>"
    # transformers has no type for it
    tokenizer = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_file=str(PHI3 / "tokenizer.json"), eos_token=end
    )
    return XgrammarBackend(config, tokenizer=tokenizer, vocab_size=32_064)


@pytest.mark.parametrize("quote", QUOTES)
@pytest.mark.parametrize("ascii_only", [False, True])
def test_the_real_vocabulary_writes_quotes_with_any_characters(
    backend: Any, quote: str, ascii_only: bool
) -> None:
    from vllm.v1.structured_output.backend_types import StructuredOutputOptions

    values = {"company": quote, "revenue": -1.25e9, "risks": [quote], "signed": "2024-02-29"}
    answer = {**values, "quotes": dict.fromkeys(values, quote)}
    text = json.dumps(answer, ensure_ascii=ascii_only, separators=JSON_SEPARATORS)
    schema = json.dumps(answer_schema(from_shorthand(FIELDS)))
    grammar = backend.compile_grammar(StructuredOutputOptions.GRAMMAR, json_grammar(schema))
    # the tokenizer puts a blank before a text: the answer's tokens are those after a line break
    line = backend.tokenizer.encode("\n", add_special_tokens=False)
    ids = backend.tokenizer.encode(f"\n{text}", add_special_tokens=False)
    assert ids[: len(line)] == line
    ids = ids[len(line) :]
    assert grammar.accept_tokens("r", [*ids, backend.tokenizer.eos_token_id])
    assert grammar.is_terminated()


def test_vllm_itself_takes_every_schema_that_is_decoded() -> None:
    from vllm.v1.structured_output.backend_xgrammar import has_xgrammar_unsupported_json_features

    for case in ACCEPTED:
        decoded = answer_schema(normalize_schema(case.model.model_json_schema(), "s"))
        assert not has_xgrammar_unsupported_json_features(decoded), case.name
        assert grammar_fault(json.dumps(decoded)) is None, case.name
