"""Tests that the ids of Phi-3's own tokenizer go through a real engine, on the CPU.

The model has Phi-3's tokenizer and vocabulary, its context and rope factors, and random weights of
a small shape. So its answers mean nothing, but the grammar makes each a valid one.
"""

from __future__ import annotations

import gc
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import zmq
from fakes import tasks_of
from needs import PHI3, needs_phi3
from tokenizers import Tokenizer

from pipelines.answering.answer import answer_document
from pipelines.documents import Document, Fields, Label, Reply
from pipelines.engine.config import EngineConfig
from pipelines.engine.grammars import json_grammar
from pipelines.engine.vllm_engine import VllmEngine, _sampling_params
from pipelines.job.task_specs import AskTask, ClassifyTask, ExtractTask, SummarizeTask, TaskSpec
from pipelines.models.phi3 import Shape, phi3_config, write_weights
from pipelines.models.resolve import Model, resolve
from pipelines.tasks.kinds import Completion, Sampling
from pipelines.text.tokens import ChatTokenizer, load_tokenizer

pytestmark = [
    needs_phi3,
    pytest.mark.asyncio(loop_scope="session"),
    # torch and vLLM warn on import and on shutdown
    pytest.mark.filterwarnings("ignore"),
]

TEXT = "本公司 Acme </s> sells <|end|> anvils.\r\n  Since 1924, for 12.50 €. 👩‍👩‍👧 น้ำ " * 4
SPECS: tuple[TaskSpec, ...] = (
    SummarizeTask(name="summary", max_words=6),
    AskTask(name="who", question="Who sells?", max_tokens=12),
    ClassifyTask(name="kind", labels=("report", "letter")),
    ExtractTask(name="facts", fields={"since": "integer", "sold": "boolean"}),
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A directory with Phi-3's tokenizer and config, and random weights of a small shape."""
    import torch
    from transformers import Phi3ForCausalLM

    directory = tmp_path_factory.mktemp("phi3")
    for file in (PHI3 / "tokenizer/july-2024").iterdir():
        shutil.copyfile(file, directory / file.name)
    shutil.copyfile(PHI3 / "128k/generation_config.json", directory / "generation_config.json")
    factors = json.loads((PHI3 / "128k/config.json").read_text())["rope_scaling"]
    shape = Shape(96, 1, 128, factors["short_factor"], factors["long_factor"])
    ids = Tokenizer.from_file(str(directory / "tokenizer.json")).get_vocab()
    config = phi3_config(ids, shape)
    assert config.vocab_size == 32_064
    config.save_pretrained(directory)
    torch.manual_seed(1)
    write_weights(Phi3ForCausalLM(config).state_dict(), directory)
    return resolve(str(directory))


@pytest.fixture(scope="module")
def phi3(model: Model) -> ChatTokenizer:
    return load_tokenizer(model.path)


class RecordingEngine(VllmEngine):
    """An engine that keeps each prompt, with how its answer was sampled and what it was."""

    def __init__(self, config: EngineConfig, tokenizer: ChatTokenizer) -> None:
        super().__init__(config, tokenizer)
        self.asked: list[tuple[list[int], Sampling, Completion]] = []

    async def generate(
        self,
        prompt: Sequence[int],
        sampling: Sampling,
        on_first_token: Callable[[], None] | None = None,
    ) -> Completion:
        completion = await super().generate(prompt, sampling, on_first_token)
        self.asked.append((list(prompt), sampling, completion))
        return completion


def open_sockets() -> list[zmq.Socket[bytes]]:
    """Return the sockets of this process that are open; other tests' engines may have some."""
    sockets = [item for item in gc.get_objects() if issubclass(type(item), zmq.Socket)]
    return [socket for socket in sockets if not socket.closed]


@pytest.fixture(scope="module")
def engine(model: Model, phi3: ChatTokenizer) -> Iterator[RecordingEngine]:
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    others = open_sockets()
    # vLLM rejects biases, which some tests use, beside drafting
    started = RecordingEngine(EngineConfig(model, 4096, gpu=False, drafting=False), phi3)
    yield started
    started.shutdown()
    assert not [socket for socket in open_sockets() if all(socket is not it for it in others)]


@pytest.fixture(scope="module")
def backend(model: Model) -> Any:
    """vLLM's grammar backend with the model's own tokenizer file."""
    from transformers import PreTrainedTokenizerFast
    from vllm.config import StructuredOutputsConfig, VllmConfig
    from vllm.v1.structured_output.backend_xgrammar import XgrammarBackend

    structured = StructuredOutputsConfig(backend="xgrammar", disable_any_whitespace=True)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(model.path)
    config = VllmConfig(structured_outputs_config=structured)
    return XgrammarBackend(config, tokenizer=tokenizer, vocab_size=32_064)


async def _seen(engine: VllmEngine, prompt: list[int]) -> tuple[list[int], list[int]]:
    """Return the ids of `prompt` that vLLM reports, and those that its model computed."""
    from vllm import SamplingParams

    parameters = SamplingParams(max_tokens=1, prompt_logprobs=0, detokenize=False)
    outputs = engine.client.generate(
        {"prompt_token_ids": prompt}, parameters, f"seen-{len(prompt)}"
    )
    *_, output = [output async for output in outputs]
    # the first token has no probability; the others have one each, by their ids
    computed = [token for position in output.prompt_logprobs[1:] for token in position]
    return output.prompt_token_ids, computed


def _is_decoded(backend: Any, schema: str, answer: str, *, ended: bool) -> bool:
    """Return whether the grammar of `schema` can write `answer`, and end after it if `ended`."""
    from vllm.v1.structured_output.backend_types import StructuredOutputOptions

    grammar = backend.compile_grammar(StructuredOutputOptions.GRAMMAR, json_grammar(schema))
    # the tokenizer puts a blank before a text: the answer's ids are those after a line break
    ids = backend.tokenizer.encode(f"\n{answer}", add_special_tokens=False)
    ids = ids[len(backend.tokenizer.encode("\n", add_special_tokens=False)) :]
    end = [backend.tokenizer.eos_token_id] if ended else []
    accepted: bool = grammar.accept_tokens("answer", [*ids, *end])
    return accepted


async def test_the_engine_reads_exactly_the_ids_of_the_prompt(
    engine: RecordingEngine, phi3: ChatTokenizer
) -> None:
    prompt = phi3.build_prompt(phi3.encode(TEXT))
    assert prompt[0] == 32_010 and prompt[-2:] == [32_007, 32_001]
    assert not {0, 1, 2}.intersection(prompt) and max(prompt[1:-2]) < 32_000
    assert await _seen(engine, prompt) == (prompt, prompt[1:])
    completion = await engine.generate(prompt, Sampling(6))
    assert completion.usage.prompt_tokens == len(prompt)
    again = await engine.generate(prompt, Sampling(6))
    assert again.text == completion.text


async def test_every_kind_of_task_is_answered_about_the_ids_of_the_text(
    engine: RecordingEngine, model: Model, phi3: ChatTokenizer, backend: Any
) -> None:
    engine.asked.clear()
    tasks = tasks_of(SPECS, model, phi3)
    result = await answer_document(Document("d", TEXT), tasks, engine)
    values = {answer.task: answer.value for answer in result.answers}
    assert [answer.task for answer in result.answers] == [spec.name for spec in SPECS]
    statuses = {answer.task: answer.status for answer in result.answers}
    assert statuses["kind"] == statuses["summary"] == "answered"
    assert isinstance(values["kind"], Label) and values["kind"].label in ("report", "letter")
    assert values["who"] is None or isinstance(values["who"], Reply)
    first = [prompt for prompt, _, _ in engine.asked if _contains(prompt, phi3.encode(TEXT))]
    assert len(first) >= len(SPECS)
    for prompt in first:
        assert await _seen(engine, prompt) == (prompt, prompt[1:])
    extracted = [(s.schema, done) for _, s, done in engine.asked if s.schema]
    assert extracted
    for schema, done in extracted:
        assert _is_decoded(backend, schema, done.text, ended=done.finish_reason == "stop")
        if done.finish_reason == "stop":
            form = json.loads(done.text)
            assert form is None or form.keys() == {"since", "sold", "quotes"}
    if statuses["facts"] == "answered":
        assert isinstance(values["facts"], Fields)
        assert values["facts"].values.keys() == {"since", "sold"}


async def test_answers_may_begin_as_phi3_begins_them_and_end_where_it_ends_them(
    engine: RecordingEngine, phi3: ChatTokenizer
) -> None:
    """A bias takes the place of what the real weights have learned."""
    schema = json.dumps({"type": "object", "properties": {"a": {"const": 1}}, "required": ["a"]})
    cases = [
        ("report", Sampling(8, choices=("report", "letter"))),
        ('{"', Sampling(24, schema=schema)),
    ]
    for text, sampling in cases:
        (first,) = phi3.encode_after(phi3.suffix_ids, text)
        for end in (32_000, 32_001, 32_007):
            ids = await _generated(engine, sampling, {first: 100.0, end: 50.0})
            assert ids[0] == first and ids[-1] == end
            assert phi3.control_ids.isdisjoint(ids[:-1])


async def test_control_ids_are_not_generated_inside_a_string(
    engine: RecordingEngine, phi3: ChatTokenizer
) -> None:
    sampling = Sampling(64, schema=json.dumps({"type": "string"}))
    ids = await _generated(engine, sampling, dict.fromkeys(phi3.control_ids, 100.0))
    assert len(ids) > 1 and phi3.control_ids.isdisjoint(ids[:-1])


async def _generated(engine: VllmEngine, sampling: Sampling, bias: dict[int, float]) -> list[int]:
    """Return the ids that `engine` generates as `sampling` states, with a bias for some ids."""
    parameters = _sampling_params(sampling, streamed=False)
    parameters.logit_bias = bias
    prompt = {"prompt_token_ids": engine.tokenizer.build_prompt(engine.tokenizer.encode(TEXT))}
    *_, output = [output async for output in engine.client.generate(prompt, parameters, "biased")]
    return list(output.outputs[0].token_ids)


def _contains(ids: list[int], part: list[int]) -> bool:
    return any(ids[at : at + len(part)] == part for at in range(len(ids) - len(part) + 1))
