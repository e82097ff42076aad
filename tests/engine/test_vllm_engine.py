"""Tests of the vLLM engine on the CPU: one engine, used by all tests."""

from __future__ import annotations

import asyncio
import gc
import json
import math
import multiprocessing
import os
import pydoc_data.topics
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from itertools import chain

import pytest
import zmq
from fakes import tasks_of

from pipelines.answering.answer import answer_document
from pipelines.documents import Document, Fields, Label, LabelSet, Written
from pipelines.engine.config import EngineConfig, engine_arguments
from pipelines.engine.vllm_engine import VllmEngine, _sampling_params
from pipelines.errors import EngineError, RequestRejected
from pipelines.job.task_specs import (
    AskTask,
    ClassifyTask,
    ExtractTask,
    SummarizeTask,
    TaskSpec,
    WriteTask,
)
from pipelines.models.resolve import Model
from pipelines.tasks.kinds import Sampling, TaskSet
from pipelines.tasks.several import label_logprobs, labels_grammar
from pipelines.text.tokens import ChatTokenizer

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    # torch and vLLM warn on import and on shutdown
    pytest.mark.filterwarnings("ignore"),
]

LONG_TEXT = pydoc_data.topics.topics["specialnames"][:30_000]
SPECS: tuple[TaskSpec, ...] = (
    SummarizeTask(name="summary", max_words=4),
    AskTask(name="who", question="Who?", max_tokens=8),
    AskTask(name="what", question="What?", max_tokens=8),
    ClassifyTask(name="topic", labels=("statement", "expression")),
)


@pytest.fixture(scope="session")
def engine(tiny_model: Model, tiny_tokenizer: ChatTokenizer) -> Iterator[VllmEngine]:
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    # vLLM rejects biases, which some tests use, beside drafting; test_proposer.py tests drafting
    config = EngineConfig(tiny_model, 12_288, gpu=False, drafting=False)
    started = VllmEngine(config, tiny_tokenizer)
    yield started
    started.shutdown()
    # an open socket would keep this process from ending
    sockets = [item for item in gc.get_objects() if issubclass(type(item), zmq.Socket)]
    assert all(socket.closed for socket in sockets)


async def generated_ids(
    engine: VllmEngine, sampling: Sampling, bias: dict[int, float]
) -> list[int]:
    """Return the ids that `engine` generates as `sampling` states, with a bias for some ids."""
    parameters = _sampling_params(sampling, streamed=False)
    parameters.logit_bias = bias
    prompt = {"prompt_token_ids": engine.tokenizer.build_prompt(engine.tokenizer.encode("Write."))}
    *_, output = [output async for output in engine.client.generate(prompt, parameters, "biased")]
    return list(output.outputs[0].token_ids)


@pytest.fixture(scope="session")
def tasks(tiny_model: Model, tiny_tokenizer: ChatTokenizer) -> TaskSet:
    return tasks_of(SPECS, tiny_model, tiny_tokenizer)


async def test_all_kinds_of_task_are_answered(engine: VllmEngine, tasks: TaskSet) -> None:
    result = await answer_document(Document("d", "A short text."), tasks, engine)
    assert [answer.status for answer in result.answers] == ["answered"] * 4
    label = result.answers[3].value
    assert isinstance(label, Label) and label.label in ("statement", "expression")


async def test_the_scheduler_has_a_higher_priority_than_this_process(engine: VllmEngine) -> None:
    (scheduler,) = multiprocessing.active_children()
    assert engine.kv_cache_tokens
    this_process = os.getpriority(os.PRIO_PROCESS, 0)
    assert os.getpriority(os.PRIO_PROCESS, scheduler.pid or 0) < this_process


async def test_the_same_prompt_gives_the_same_answer(engine: VllmEngine) -> None:
    prompt = engine.tokenizer.build_prompt(engine.tokenizer.encode("Tell me of lists."))
    first = await engine.generate(prompt, Sampling(8))
    again = await engine.generate(prompt, Sampling(8), on_first_token=lambda: None)
    assert first.text == again.text
    assert first.usage.output_tokens == again.usage.output_tokens == 8


async def test_the_callback_for_the_first_token_is_called_once(engine: VllmEngine) -> None:
    calls: list[int] = []
    prompt = engine.tokenizer.build_prompt(engine.tokenizer.encode("Count."))
    await engine.generate(prompt, Sampling(8), on_first_token=lambda: calls.append(1))
    assert calls == [1]


async def test_four_tasks_on_a_document_longer_than_a_prefill_step_prefill_it_once(
    engine: VllmEngine, tasks: TaskSet
) -> None:
    steps = engine._llm.vllm_config.scheduler_config.max_num_batched_tokens
    assert len(engine.tokenizer.encode(LONG_TEXT)) > 1.5 * steps
    result = await answer_document(Document("long", LONG_TEXT), tasks, engine)
    prompt = sum(answer.usage.prompt_tokens for answer in result.answers)
    cached = sum(answer.usage.cached_prompt_tokens for answer in result.answers)
    assert cached / prompt >= 0.97 * 3 / 4


async def test_concurrent_documents_are_prefilled_once_each(
    engine: VllmEngine, tasks: TaskSet
) -> None:
    texts = [f"Text {number}. {LONG_TEXT[: 4000 + 500 * number]}" for number in range(12)]
    answers = (answer_document(Document(text[:8], text), tasks, engine) for text in texts)
    results = await asyncio.gather(*answers)
    overhead = tasks.prompts.whole_overhead
    shared = sum(len(engine.tokenizer.encode(text)) + overhead for text in texts)
    cached = sum(a.usage.cached_prompt_tokens for result in results for a in result.answers)
    assert max(map(len, map(engine.tokenizer.encode, texts))) < engine.max_batched_tokens
    assert cached >= 0.97 * (len(tasks.all) - 1) * shared


async def test_extract_decodes_under_its_schema(engine: VllmEngine, tiny_model: Model) -> None:
    schema = {
        "type": "object",
        "properties": {
            "sector": {"enum": ["bank", "oil", None]},
            "level": {"type": "integer", "minimum": 1, "maximum": 5},
            "listed": {"type": ["boolean", "null"]},
            "on": {"type": "string", "format": "date"},
        },
        "required": ["level", "on"],
    }
    # strict, so that the model can write null neither for the form nor for a required field
    spec = ExtractTask.model_validate(
        {"name": "facts", "kind": "extract", "schema": schema, "strict": True}
    )
    tasks = tasks_of((spec,), tiny_model, engine.tokenizer)
    result = await answer_document(Document("d", "A text."), tasks, engine)
    value = result.answers[0].value
    assert isinstance(value, Fields), result.answers[0].problem
    assert value.values["sector"] in ("bank", "oil", None)
    assert value.values["level"] in range(1, 6)
    assert value.values["listed"] in (True, False, None)
    assert date.fromisoformat(value.values["on"])


async def test_a_labels_confidence_is_its_probability_among_the_labels(engine: VllmEngine) -> None:
    from vllm import SamplingParams

    choices = ("a", "b", "c")
    # each choice is a token, without and with a blank before it, and also the token of its byte
    to_id = engine.tokenizer._plain.token_to_id
    spellings = [
        (to_id(choice), to_id(f"▁{choice}"), to_id(f"<0x{ord(choice):02X}>")) for choice in choices
    ]
    assert None not in chain(*spellings)
    prompt = engine.tokenizer.build_prompt(engine.tokenizer.encode("One letter, please."))
    chosen = await engine.generate(prompt, Sampling(4, choices=choices))
    free = SamplingParams(temperature=0, max_tokens=1, logprob_token_ids=[*chain(*spellings)])
    async for output in engine._llm.generate({"prompt_token_ids": prompt}, free, "free"):
        logprobs = output.outputs[0].logprobs[0]
    weights = [sum(math.exp(logprobs[token].logprob) for token in tokens) for tokens in spellings]
    expected = weights[choices.index(chosen.text)] / sum(weights)
    assert chosen.logprob is not None
    assert math.exp(chosen.logprob) == pytest.approx(expected, rel=0.05)


async def test_several_labels_are_a_set_in_order_with_the_probability_of_each(
    engine: VllmEngine, tiny_model: Model
) -> None:
    labels = ("a", 'b "quoted" \\', "Ärger", "日本")
    spec = ClassifyTask(name="topics", labels=labels, multiple=True)
    tasks = tasks_of((spec,), tiny_model, engine.tokenizer)
    for text in ("One.", "Two lists of words.", "日本 Ärger", LONG_TEXT[:2000]):
        result = await answer_document(Document("d", text), tasks, engine)
        value = result.answers[0].value
        assert isinstance(value, LabelSet), result.answers[0].problem
        named = [label.label for label in value.labels]
        assert named == [label for label in labels if label in named]
        assert all(0 < (label.confidence or 0) <= 1 for label in value.labels)


async def test_the_confidence_of_a_label_of_several_is_that_of_its_continuation(
    engine: VllmEngine,
) -> None:
    from vllm import SamplingParams
    from vllm.sampling_params import StructuredOutputsParams

    prompt = engine.tokenizer.build_prompt(engine.tokenizer.encode("Letters, please."))
    # a list of which the first label is forced, and then "y", "z" or the end
    grammar = labels_grammar(("x", "y", "z")).replace("(list0)?", "list0", 1)
    grammar = grammar.replace(" | list1", "", 1)
    free = SamplingParams(
        temperature=0,
        max_tokens=16,
        logprobs=20,
        structured_outputs=StructuredOutputsParams(grammar=grammar),
    )
    async for output in engine._llm.generate({"prompt_token_ids": prompt}, free, "letters"):
        completion = output.outputs[0]
    steps = [
        {token: entry.logprob for token, entry in step.items()} for step in completion.logprobs
    ]
    text = engine.tokenizer.decode_output(completion.token_ids)
    labels = json.loads(text)
    assert labels[0] == "x"
    found = label_logprobs(completion.token_ids, steps, engine.tokenizer.decode_output)
    # the first label was forced, so it is certain in any spelling
    assert math.exp(found[0]) == pytest.approx(1.0, abs=0.02)
    assert len(found) == len(labels)
    assert all(0 < math.exp(logprob) <= 1 for logprob in found)


async def test_a_seed_and_a_prefill_in_several_steps_leave_a_cpu_engine_alive(
    engine: VllmEngine, tiny_model: Model
) -> None:
    spec = WriteTask(name="a", prompt="Write.", temperature=1, max_tokens=24)
    tasks = tasks_of((spec,), tiny_model, engine.tokenizer)
    assert len(engine.tokenizer.encode(LONG_TEXT)) > engine.max_batched_tokens
    (answer,) = (await answer_document(Document("d", LONG_TEXT), tasks, engine)).answers
    assert isinstance(answer.value, Written) and not engine.dead


async def test_a_document_is_written_part_by_part(engine: VllmEngine, tiny_model: Model) -> None:
    spec = WriteTask(name="a", prompt="Translate it.", over="parts")
    tasks = tasks_of((spec,), tiny_model, engine.tokenizer, chunk_tokens=200)
    (answer,) = (await answer_document(Document("d", LONG_TEXT[:6000]), tasks, engine)).answers
    assert answer.status == "answered"
    assert isinstance(answer.value, Written)
    assert (answer.strategy, answer.chunks > 4) == ("parts", True)
    assert answer.finish_reason in ("stop", "length")


async def test_no_control_token_is_generated_inside_an_answer(engine: VllmEngine) -> None:
    """A document's text can lead the model to one, as the bias does here."""
    schema = Sampling(40, schema=json.dumps({"type": "string"}))
    control = engine.tokenizer.control_ids
    for sampling in (schema, Sampling(8, choices=("</s>", "<|end|>"))):
        *answer, last = await generated_ids(engine, sampling, dict.fromkeys(control, 100.0))
        assert answer and control.isdisjoint(answer)
        ended = last in control
        text = engine.tokenizer.decode_output([*answer, last])
        assert ended == (len(answer) < sampling.max_tokens - 1), text


async def test_a_label_may_begin_with_a_blank_and_counts_as_the_label(engine: VllmEngine) -> None:
    tokenizer = engine.tokenizer
    (blank,) = tokenizer.encode(" ")
    sampling = Sampling(6, choices=("a", "b"))
    ids = await generated_ids(engine, sampling, {blank: 100.0, tokenizer.encode("b")[0]: 50.0})
    assert ids[0] == blank
    assert tokenizer.decode_output(ids).strip() in ("a", "b")


async def test_a_long_document_is_read_in_chunks_by_all_kinds_of_task(
    engine: VllmEngine, tiny_model: Model
) -> None:
    facts = ExtractTask(name="facts", fields={"listed": "boolean", "founded": "date"})
    tasks = tasks_of(
        (*SPECS, facts), tiny_model, engine.tokenizer, strategy="map_reduce", chunk_tokens=1000
    )
    result = await answer_document(Document("long", LONG_TEXT), tasks, engine)
    assert {answer.strategy for answer in result.answers} == {"map_reduce"}
    assert min(answer.chunks for answer in result.answers) > 5
    assert [answer.status for answer in result.answers[:4]] == ["answered"] * 4
    assert result.answers[4].status in ("answered", "invalid_answer")


async def test_a_prompt_over_the_models_length_is_rejected_and_others_are_answered(
    engine: VllmEngine,
) -> None:
    with pytest.raises(RequestRejected):
        await engine.generate([5] * 20_000, Sampling(4))
    completion = await engine.generate(engine.tokenizer.build_prompt([300]), Sampling(4))
    assert completion.usage.output_tokens > 0


async def test_a_document_of_control_strings_is_answered(
    engine: VllmEngine, tasks: TaskSet
) -> None:
    text = "".join(engine.tokenizer.control_tokens.values()) * 3
    result = await answer_document(Document("d", text), tasks, engine)
    assert result.answered


async def test_the_kv_capacity_is_that_of_the_engine(engine: VllmEngine, tiny_model: Model) -> None:
    wide = 2 if engine_arguments(engine.config)["dtype"] == "float32" else 1
    max_tokens = (1 << 30) // (wide * tiny_model.kv_bytes_per_token)
    assert 0.9 * max_tokens < engine.kv_cache_tokens <= max_tokens
    assert engine.block_tokens == engine_arguments(engine.config)["block_size"]


def test_an_engine_that_cannot_start_reports_the_reason(
    tiny_model: Model, tiny_tokenizer: ChatTokenizer
) -> None:
    with pytest.raises(EngineError, match=r"the engine for tiny-random did not start: .*quantiz"):
        VllmEngine(
            EngineConfig(tiny_model, 4096, gpu=False, quantization="nonsense"), tiny_tokenizer
        )


def test_a_value_that_vllm_refuses_is_reported_with_its_option(
    tiny_model: Model, tiny_tokenizer: ChatTokenizer
) -> None:
    config = EngineConfig(tiny_model, 4096, gpu=False, options={"max_num_seqs": 0})
    with pytest.raises(EngineError, match=r"did not start: .*model\.engine\.max_num_seqs: 0\. "):
        VllmEngine(config, tiny_tokenizer)
    unknown = {"compilation_config": {"quarks": 3}}
    with pytest.raises(EngineError, match=r"did not start: .*model\.engine\.compilation_config: "):
        VllmEngine(replace(config, options=unknown), tiny_tokenizer)


async def test_admission_follows_the_options_of_the_engine(
    tiny_model: Model, tiny_tokenizer: ChatTokenizer
) -> None:
    options = {"max_num_seqs": 4, "max_num_batched_tokens": 512, "dtype": "float32"}
    started = VllmEngine(EngineConfig(tiny_model, 4096, gpu=False, options=options), tiny_tokenizer)
    try:
        assert started.max_batched_tokens == 512
        assert started.min_request_tokens == started.kv_cache_tokens // 8
        assert started.kv_cache_tokens <= (1 << 30) // (2 * tiny_model.kv_bytes_per_token)
        completion = await started.generate(tiny_tokenizer.build_prompt([300]), Sampling(4))
        assert completion.usage.output_tokens > 0
    finally:
        started.shutdown()
