"""Tests of the tokens that grammars allow, by vLLM's grammar backend without an engine.

With the vocabulary of the built-in model, and with those of both revisions of Phi-3's tokenizer.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from needs import PHI3, needs_phi3
from schema_models import ACCEPTED

from pipelines.engine.grammars import choice_grammar, json_grammar
from pipelines.engine.vocabulary import write_vocabulary
from pipelines.tasks.decoding import JSON_SEPARATORS, answer_schema
from pipelines.tasks.normalizing import normalize_schema
from pipelines.tasks.schema import from_shorthand
from pipelines.text.tokens import ChatTokenizer, load_tokenizer

# torch and vLLM warn on import
pytestmark = pytest.mark.filterwarnings("ignore")

LABELS = ("report", "letter", "cannot tell")
FORM = json.dumps(answer_schema(from_shorthand({"company": "string", "risks": ["string"]})))
STRING = json.dumps({"type": "string"})


@dataclass
class Vocabulary:
    """vLLM's grammar backend with the vocabulary that an engine of a model uses.

    `ends` are the ids at which the engine ends an answer.
    """

    tokenizer: ChatTokenizer
    backend: Any
    size: int
    ends: frozenset[int]

    def grammar(self, text: str) -> Any:
        """Compile a grammar, as an engine does for a request."""
        from vllm.v1.structured_output.backend_types import StructuredOutputOptions

        return self.backend.compile_grammar(StructuredOutputOptions.GRAMMAR, text, set(self.ends))

    def allowed(self, grammar: Any) -> set[int]:
        """Return the ids of the tokens that may come next."""
        mask = self.backend.allocate_token_bitmask(1)
        grammar.fill_bitmask(mask, 0)
        bits = np.unpackbits(mask.numpy().view(np.uint8), bitorder="little")
        return set(np.flatnonzero(bits[: self.size]).tolist())

    def ids(self, text: str) -> list[int]:
        """Return the ids of `text` behind a line break: the tokenizer puts no blank before it."""
        line = self.tokenizer.encode("\n")
        ids = self.tokenizer.encode(f"\n{text}")
        assert ids[: len(line)] == line
        return ids[len(line) :]

    def accepts(self, grammar: str, text: str) -> bool:
        """Return whether a whole answer can be `text`, and end after it."""
        matcher = self.grammar(grammar)
        (end, *_) = self.ends
        return matcher.accept_tokens("a", self.ids(text)) and bool(
            matcher.accept_tokens("a", [end]) and matcher.is_terminated()
        )


def _vocabulary(tokenizer: ChatTokenizer, model: Path, size: int, at: Path) -> Vocabulary:
    from vllm.config import StructuredOutputsConfig, VllmConfig
    from vllm.tokenizers import get_tokenizer
    from vllm.v1.structured_output.backend_xgrammar import XgrammarBackend

    structured = StructuredOutputsConfig(backend="xgrammar", disable_any_whitespace=True)
    assert write_vocabulary(tokenizer, model / "config.json", at)
    config = VllmConfig(structured_outputs_config=structured)
    backend = XgrammarBackend(config, tokenizer=get_tokenizer(at), vocab_size=size)
    ends = json.loads((model / "generation_config.json").read_text())["eos_token_id"]
    return Vocabulary(tokenizer, backend, size, frozenset(ends))


PHI3_REVISIONS = [
    pytest.param(revision, marks=needs_phi3) for revision in ("july-2024", "april-2024")
]


@pytest.fixture(scope="module", params=["tiny", *PHI3_REVISIONS])
def vocabulary(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    tiny_tokenizer: ChatTokenizer,
    tiny_model: Any,
) -> Vocabulary:
    at = tmp_path_factory.mktemp("vocabulary")
    if request.param == "tiny":
        return _vocabulary(tiny_tokenizer, tiny_model.path, tiny_model.vocab_size, at)
    tokenizer = load_tokenizer(PHI3 / "tokenizer" / request.param)
    return _vocabulary(tokenizer, PHI3 / "128k", 32_064, at)


def _after(vocabulary: Vocabulary, grammar: str, text: str) -> set[int]:
    """Return the tokens that `grammar` allows after `text`."""
    matcher = vocabulary.grammar(grammar)
    assert matcher.accept_tokens("a", vocabulary.ids(text)), text
    return vocabulary.allowed(matcher)


def _ids_of(tokenizer: ChatTokenizer, texts: Iterable[str]) -> list[int]:
    """Return the first token of each text, as the tokenizer encodes it with its blank before it."""
    return [tokenizer.encode_after((), text)[0] for text in texts]


def test_a_label_may_begin_with_the_blank_of_the_tokenizer_or_without(
    vocabulary: Vocabulary,
) -> None:
    grammar = choice_grammar(LABELS)
    allowed = vocabulary.allowed(vocabulary.grammar(grammar))
    assert allowed.issuperset(_ids_of(vocabulary.tokenizer, LABELS))
    assert allowed.issuperset(vocabulary.ids(label)[0] for label in LABELS)
    for label in LABELS:
        assert vocabulary.accepts(grammar, label) and vocabulary.accepts(grammar, f" {label}")
        assert not vocabulary.accepts(grammar, f"  {label}")
    assert not vocabulary.accepts(grammar, "reports")


def test_a_form_may_begin_with_the_blank_of_the_tokenizer_or_without(
    vocabulary: Vocabulary,
) -> None:
    grammar = json_grammar(FORM)
    allowed = vocabulary.allowed(vocabulary.grammar(grammar))
    answer = {"company": "A", "risks": [], "quotes": {"company": None, "risks": None}}
    text = json.dumps(answer, separators=JSON_SEPARATORS)
    assert allowed.issuperset([*_ids_of(vocabulary.tokenizer, [text]), vocabulary.ids(text)[0]])
    assert vocabulary.accepts(grammar, text) and vocabulary.accepts(grammar, f" {text}")
    assert not vocabulary.accepts(grammar, f"  {text}")


@needs_phi3
@pytest.mark.parametrize("vocabulary", PHI3_REVISIONS, indirect=True)
def test_phi3s_natural_first_tokens_are_allowed(vocabulary: Vocabulary) -> None:
    pieces = {token: piece for piece, token in _pieces(vocabulary.tokenizer).items()}
    labels = vocabulary.allowed(vocabulary.grammar(choice_grammar(("report", "letter"))))
    assert {"▁report", "report", "▁letter", "letter", "▁"} <= {pieces[token] for token in labels}
    form = vocabulary.allowed(vocabulary.grammar(json_grammar(FORM)))
    assert {pieces[token] for token in form} == {"▁{", "{", '▁{"', '{"', "▁", "<0x7B>", "<0x20>"}


def _pieces(tokenizer: ChatTokenizer) -> Mapping[str, int]:
    pieces: dict[str, int] = json.loads(tokenizer.tokenizer_json)["model"]["vocab"]
    return pieces


@pytest.mark.parametrize("before", ['"', '"a', '"a ', '"<|', '"</'])
def test_no_control_token_is_allowed_inside_a_string(vocabulary: Vocabulary, before: str) -> None:
    allowed = _after(vocabulary, json_grammar(STRING), before)
    assert len(allowed) > 0.8 * len(_pieces(vocabulary.tokenizer))
    assert allowed.isdisjoint(vocabulary.tokenizer.control_ids)
    assert max(allowed) < len(_pieces(vocabulary.tokenizer))


@pytest.mark.parametrize("control", ["<|end|>", "</s>", "<|endoftext|>", "<unk>", "<|user|>"])
def test_the_text_of_a_control_token_is_written_in_ordinary_tokens_only(
    vocabulary: Vocabulary, control: str
) -> None:
    text = json.dumps(f"ends in {control} here")
    assert vocabulary.accepts(json_grammar(STRING), text)
    grammar = choice_grammar((control, "other"))
    assert vocabulary.accepts(grammar, control)
    allowed = vocabulary.allowed(vocabulary.grammar(grammar))
    assert allowed and allowed.isdisjoint(vocabulary.tokenizer.control_ids)


@pytest.mark.parametrize(
    ("grammar", "answer"),
    [(choice_grammar(LABELS), "letter"), (json_grammar(STRING), '"a"')],
    ids=["label", "string"],
)
def test_an_answer_ends_with_any_natural_end_and_only_where_it_is_complete(
    vocabulary: Vocabulary, grammar: str, answer: str
) -> None:
    assert _after(vocabulary, grammar, answer) == vocabulary.ends
    assert len(vocabulary.ends) == 3
    for end in vocabulary.ends:
        matcher = vocabulary.grammar(grammar)
        assert matcher.accept_tokens("a", [*vocabulary.ids(answer), end])
        assert matcher.is_terminated()
    for text in ("", answer[:1]):
        assert _after(vocabulary, grammar, text).isdisjoint(vocabulary.tokenizer.control_ids)


def test_a_label_that_begins_another_may_end_or_go_on(vocabulary: Vocabulary) -> None:
    allowed = _after(vocabulary, choice_grammar(("risk", "risky")), " risk")
    assert allowed >= vocabulary.ends and allowed & set(vocabulary.ids("y"))


@pytest.mark.parametrize("case", ACCEPTED, ids=lambda case: case.name)
@pytest.mark.parametrize("vocabulary", ["tiny"], indirect=True)
def test_a_grammar_sent_as_text_allows_what_vllms_own_grammar_of_the_schema_does(
    vocabulary: Vocabulary, case: Any
) -> None:
    from vllm.v1.structured_output.backend_types import StructuredOutputOptions

    schema = json.dumps(answer_schema(normalize_schema(case.model.model_json_schema(), "s")))
    ours = vocabulary.grammar(json_grammar(schema, (", ", ": ")))
    ends = set(vocabulary.ends)
    theirs = vocabulary.backend.compile_grammar(StructuredOutputOptions.JSON, schema, ends)
    blank = {token for token in vocabulary.allowed(ours) if _blank_first(vocabulary, token)}
    expected = vocabulary.allowed(theirs)
    assert vocabulary.allowed(ours) - blank == expected
    for token in _walk(vocabulary, theirs):
        assert ours.accept_tokens("a", [token])
        assert vocabulary.allowed(ours) == vocabulary.allowed(theirs)


def _blank_first(vocabulary: Vocabulary, token: int) -> bool:
    line = vocabulary.tokenizer.encode("\n")[-1]
    return vocabulary.tokenizer.decode([line, token]).startswith("\n ")


def _walk(vocabulary: Vocabulary, grammar: Any, steps: int = 120) -> Iterable[int]:
    """Yield tokens that `grammar` allows one after the other, and advance it over each."""
    for step in range(steps):
        allowed = sorted(vocabulary.allowed(grammar) - vocabulary.tokenizer.control_ids)
        if not allowed:
            return
        token = allowed[(7919 * step) % len(allowed)]
        assert grammar.accept_tokens("a", [token])
        yield token


def test_the_tokenizer_without_control_tokens_has_all_other_ids(vocabulary: Vocabulary) -> None:
    own, written = vocabulary.tokenizer, vocabulary.backend.tokenizer
    assert written.eos_token_id == own.end_id and own.end_id in vocabulary.ends
    ids = sorted(set(_pieces(own).values()) - own.control_ids)
    assert sorted(written.get_vocab().values()) == [*ids, own.end_id]
    text = "A report about </s> and <|end|>.\n\tΩ 漢字 1924"
    assert written.encode(text, add_special_tokens=False) == own.encode_after((), text)
    assert written.decode(own.encode(text)) == text


@pytest.mark.parametrize("separators", [(", ", ": "), JSON_SEPARATORS], ids=["spaced", "compact"])
def test_json_has_exactly_the_chosen_separators(
    vocabulary: Vocabulary, separators: tuple[str, str]
) -> None:
    properties = {
        "text": {"type": "string"},
        "texts": {"type": "array", "items": {"type": "string"}},
        "map": {"type": "object", "additionalProperties": {"type": "integer"}},
        "one": {"type": "object", "properties": {"k": {"type": "null"}}, "required": ["k"]},
    }
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    grammar = json_grammar(json.dumps(schema), separators)
    value = {"text": "a, b:  c", "texts": ["x", "y"], "map": {"p": 1, "q": 2}, "one": {"k": None}}
    for other in ((", ", ": "), JSON_SEPARATORS, (",", ": "), (",  ", ": "), (",\n", ":")):
        text = json.dumps(value, separators=other)
        assert vocabulary.accepts(grammar, text) == (other == separators), other
    assert not vocabulary.accepts(grammar, json.dumps(value, indent=1))
