"""Tests of drafting in vLLM on the CPU: answers are equal to those of an engine without it.

The cache is small, so that requests are preempted; prompts are computed in several steps, and find
each other's prefixes in the cache.
"""

from __future__ import annotations

import json
import os
import pydoc_data.topics
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from pipelines.engine.config import (
    EngineConfig,
    draft_settings,
    engine_arguments,
    set_environment,
)
from pipelines.engine.grammars import choice_grammar, json_grammar
from pipelines.engine.lifeline import Lifeline
from pipelines.engine.proposer import Proposer, draft_tokens, speculation
from pipelines.job.task_specs import AskTask, ClassifyTask, ExtractTask, SummarizeTask
from pipelines.models.resolve import Model, resolve
from pipelines.tasks.kinds import Question
from pipelines.tasks.questions import tokenize_tasks
from pipelines.text.prompts import Prompts
from pipelines.text.tokens import ChatTokenizer, load_tokenizer

# torch and vLLM warn on import and on shutdown
pytestmark = pytest.mark.filterwarnings("ignore")

SPECS = (
    SummarizeTask(name="summary", max_words=4),
    ClassifyTask(name="topic", labels=("statement", "expression")),
    AskTask(name="owner", question="What is the owner?", max_tokens=48),
    AskTask(name="code", question="What is the release code?", max_tokens=6),
    ExtractTask(name="form", fields={"owner": "string", "version": "number", "tags": ["string"]}),
)
# Blocks of 32 tokens: some of the prompts at once.
BLOCKS = 100


@dataclass(frozen=True)
class Outcome:
    """Holds an engine's answers to all prompts, and the numbers of its drafts and requests."""

    answers: list[tuple[tuple[int, ...], str, list[dict[int, float]]]]
    cached_tokens: int
    drafted: int
    accepted: int
    preemptions: int

    @property
    def tokens(self) -> int:
        return sum(len(ids) for ids, _, _ in self.answers)


@pytest.fixture(scope="module")
def model() -> Model:
    return resolve("tiny")


@pytest.fixture(scope="module")
def tokenizer(model: Model) -> ChatTokenizer:
    return load_tokenizer(model.path)


def texts() -> Iterator[str]:
    for number, text in enumerate(sorted(pydoc_data.topics.topics.values())[:24]):
        facts = f"owner: Useful Tab{number}\nrelease code: c8w{number:03}\nversion: {number}.5"
        tags = f"tags: red {number}; old blue"
        yield "\n".join([f"Text {number}", text[:800], facts, tags, text[800:1600]])


def prompts(tokenizer: ChatTokenizer) -> Iterator[tuple[list[int], Question]]:
    tasks = tokenize_tasks(SPECS, tokenizer)
    for text in texts():
        ids = tokenizer.encode(text)
        prefix = Prompts(tokenizer).document_prefix(ids)
        for task in tasks:
            question = task.question.about(text, len(ids), 400)
            yield tokenizer.build_prompt(prefix.token_ids, question.token_ids), question


def parameters(question: Question) -> Any:
    from vllm import SamplingParams
    from vllm.sampling_params import StructuredOutputsParams

    sampling, structure = question.sampling, None
    if sampling.choices:
        structure = StructuredOutputsParams(grammar=choice_grammar(sampling.choices))
    elif sampling.schema:
        structure = StructuredOutputsParams(grammar=json_grammar(sampling.schema))
    return SamplingParams(
        temperature=0.0,
        max_tokens=sampling.max_tokens,
        structured_outputs=structure,
        logprobs=5 if sampling.choices else None,
        detokenize=False,
    )


def outcome(model: Model, tokenizer: ChatTokenizer, *, drafting: bool) -> Outcome:
    """Return what a new engine makes of all prompts, sent together."""
    config = EngineConfig(model, 2048, gpu=False)
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    set_environment(config)
    from vllm import LLM

    settings = draft_settings(config, tokenizer)
    llm = LLM(
        **engine_arguments(config),
        **(speculation(settings) if drafting else {}),
        structured_outputs_config={"backend": "xgrammar", "disable_any_whitespace": True},
        additional_config=Lifeline(carried=settings),
        num_gpu_blocks_override=BLOCKS,
        max_num_batched_tokens=512,
        long_prefill_token_threshold=256,
        disable_log_stats=False,
    )
    asked = list(prompts(tokenizer))
    outputs = llm.generate(
        [{"prompt_token_ids": prompt} for prompt, _ in asked],
        [parameters(question) for _, question in asked],
        use_tqdm=False,
    )
    metrics = {metric.name: metric for metric in llm.get_metrics()}
    llm.llm_engine.engine_core.shutdown()
    drafts = [draft_tokens(output.outputs[0].spec_decode_metrics) for output in outputs]
    return Outcome(
        [_answer(output.outputs[0]) for output in outputs],
        sum(output.num_cached_tokens for output in outputs),
        sum(drafted for drafted, _ in drafts),
        sum(accepted for _, accepted in drafts),
        int(metrics["vllm:num_preemptions"].value),
    )


def _answer(completion: Any) -> tuple[tuple[int, ...], str, list[dict[int, float]]]:
    probabilities = [
        {token: round(entry.logprob, 3) for token, entry in step.items()}
        for step in completion.logprobs or ()
    ]
    return tuple(completion.token_ids), completion.finish_reason, probabilities


@pytest.fixture(scope="module")
def plain(model: Model, tokenizer: ChatTokenizer) -> Outcome:
    return outcome(model, tokenizer, drafting=False)


@pytest.fixture(scope="module")
def drafted(model: Model, tokenizer: ChatTokenizer) -> Outcome:
    return outcome(model, tokenizer, drafting=True)


def test_answers_and_their_ends_are_equal_with_drafting(plain: Outcome, drafted: Outcome) -> None:
    differing = [
        number
        for number, (one, other) in enumerate(zip(plain.answers, drafted.answers, strict=True))
        if one[:2] != other[:2]
    ]
    assert not differing
    assert {end for _, end, _ in drafted.answers} == {"stop", "length"}


def test_probabilities_of_labels_are_equal_with_drafting(plain: Outcome, drafted: Outcome) -> None:
    assert any(steps for _, _, steps in plain.answers)
    for one, other in zip(plain.answers, drafted.answers, strict=True):
        assert len(one[2]) == len(other[2])
        for before, after in zip(one[2], other[2], strict=True):
            chosen = max(before, key=lambda token: before[token])
            assert after[chosen] == pytest.approx(before[chosen], abs=0.01)


def test_drafting_saves_steps_and_keeps_the_reuse_of_prefixes(
    plain: Outcome, drafted: Outcome
) -> None:
    assert (plain.drafted, plain.accepted) == (0, 0)
    assert drafted.tokens - drafted.accepted < 0.5 * drafted.tokens
    assert drafted.accepted <= drafted.drafted
    assert drafted.cached_tokens > 0 and plain.cached_tokens > 0


def test_requests_were_preempted(plain: Outcome, drafted: Outcome) -> None:
    assert plain.preemptions > 0 and drafted.preemptions > 0


def test_forms_follow_their_schema(drafted: Outcome, tokenizer: ChatTokenizer) -> None:
    forms = [
        ids
        for (ids, end, _), (_, question) in zip(drafted.answers, prompts(tokenizer), strict=True)
        if question.sampling.schema and end == "stop"
    ]
    assert forms
    for ids in forms:
        form = json.loads(tokenizer.decode_output(list(ids)))
        assert form is None or form.keys() >= {"owner", "version", "tags"}


def test_vllm_loads_the_proposer_by_its_path(model: Model, tokenizer: ChatTokenizer) -> None:
    from vllm import EngineArgs
    from vllm.v1.spec_decode.custom_class_proposer import create_custom_proposer

    config = EngineConfig(model, 2048, gpu=False)
    settings = draft_settings(config, tokenizer)
    arguments = EngineArgs(
        **engine_arguments(config),
        **speculation(settings),
        additional_config=Lifeline(carried=settings),
    )
    proposer = create_custom_proposer(arguments.create_engine_config())
    assert isinstance(proposer, Proposer)
