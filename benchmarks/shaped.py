"""The engines that gpu.py compares, on a model of Phi-3's full shape without real weights.

Knows how to write such a model, and how LLM.chat and phifleet answer questions with it. Prints
nothing.
"""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from texts import source_text

from pipelines.documents import Document, Usage
from pipelines.engine.config import EngineConfig, engine_arguments
from pipelines.engine.keeper import EngineSupervisor
from pipelines.job.spec import LongDocuments
from pipelines.job.task_specs import AskTask
from pipelines.models.cost import CPU, CostModel
from pipelines.models.phi3 import HEAD_SIZE, Shape, phi3_config
from pipelines.models.resolve import TRAINED_PATH, Model, read_model
from pipelines.run.answerer import DocumentAnswerer, UnitResults
from pipelines.run.prepared import prepare_tasks
from pipelines.tasks.kinds import TaskSet
from pipelines.text.prompts import END_OF_DOCUMENT, INSTRUCTION
from pipelines.text.tokens import load_tokenizer

_QUESTION = "What does the text say about subject {}?"
_VOCABULARY = 32_064
_ROPE = [1.0 + index / 8 for index in range(HEAD_SIZE // 2)]


@dataclass(frozen=True)
class Size:
    """A model's shape, and the documents to measure it with: of each of `lengths`, as many as have
    `tokens` tokens together."""

    shape: Shape
    lengths: Sequence[int]
    tokens: int


SIZES = {
    "full": Size(Shape(3072, 32, 8192, _ROPE, _ROPE), (4096, 8192, 16_384, 32_768), 131_072),
    "small": Size(Shape(2 * HEAD_SIZE, 2, 512, _ROPE, _ROPE), (512, 1024), 8_000),
}
"""Phi-3-mini's shape, and one to test this script on a CPU. The rope factors change no time."""


class ConstantProposer:
    """A proposer of vLLM's speculative decoding that always drafts as many tokens as it may."""

    def __init__(self, vllm_config: Any) -> None:
        self._tokens = vllm_config.speculative_config.num_speculative_tokens

    def load_model(self, model: Any) -> None:
        """Do nothing; vLLM requires the method."""

    def propose(self, sampled_token_ids: Sequence[Sequence[int]], *_: Any, **__: Any) -> Any:
        """Return the drafts for each sequence: its newest token, repeated."""
        return [[new[-1]] * self._tokens if len(new) else [] for new in sampled_token_ids]


class Side(Protocol):
    """An engine that answers questions about documents."""

    def read(self, texts: Sequence[str], tasks: TaskSet) -> Usage:
        """Answer all questions about all texts, and return the numbers of tokens."""

    def end(self) -> None:
        """End the engine."""


class Chat:
    """vLLM's LLM.chat with all prompts at once, those of a document one after another."""

    def __init__(self, config: EngineConfig) -> None:
        from vllm import LLM

        self._llm = LLM(**engine_arguments(config))

    def read(self, texts: Sequence[str], tasks: TaskSet) -> Usage:
        """Answer all questions about all texts, and return the numbers of tokens."""
        from vllm import SamplingParams

        questions = [task.question for task in tasks.all] * len(texts)
        passages = [text for text in texts for _ in tasks.all]
        outputs = self._llm.chat(
            [
                [{"role": "user", "content": f"{INSTRUCTION}{text}{END_OF_DOCUMENT}{asked.text}"}]
                for text, asked in zip(passages, questions, strict=True)
            ],
            [SamplingParams(temperature=0, max_tokens=q.sampling.max_tokens) for q in questions],
            use_tqdm=False,
        )
        return Usage(
            sum(len(output.prompt_token_ids) for output in outputs),
            sum(output.num_cached_tokens or 0 for output in outputs),
            sum(len(output.outputs[0].token_ids) for output in outputs),
        )

    def end(self) -> None:
        """End the engine."""
        del self._llm


class Phifleet:
    """phifleet's engine, with the part of its worker that answers the documents of a unit."""

    def __init__(self, config: EngineConfig) -> None:
        from pipelines.engine.vllm_engine import VllmEngine

        self._engine = VllmEngine(config, load_tokenizer(config.model.path))
        self._supervisor = EngineSupervisor(lambda: self._engine)
        self._loop = asyncio.Runner()

    def read(self, texts: Sequence[str], tasks: TaskSet) -> Usage:
        """Answer all questions about all texts, and return the numbers of tokens."""
        before = self._engine.used
        documents = [Document(str(number), text) for number, text in enumerate(texts)]
        answerer = DocumentAnswerer(tasks, self._supervisor, None)
        results = self._loop.run(answerer.answer(documents, self._engine))
        assert isinstance(results, UnitResults), f"the engine died: {results.error}"
        used = self._engine.used
        return Usage(
            used.prompt_tokens - before.prompt_tokens,
            used.cached_prompt_tokens - before.cached_prompt_tokens,
            used.output_tokens - before.output_tokens,
        )

    def end(self) -> None:
        """End the engine."""
        self._engine.shutdown()
        self._loop.close()


def write_model(directory: Path, shape: Shape) -> Model:
    """Write a model without weights: a config of this shape, and the tokenizer of `tiny` with as
    many entries as Phi-3's. Its end tokens are ids that the tokenizer does not have."""
    tokenizer = json.loads((TRAINED_PATH / "tokenizer.json").read_bytes())
    entries = tokenizer["model"]["vocab"]
    known = len(entries) + len(tokenizer["added_tokens"])
    entries |= {f"unused {number}": number for number in range(known, _VOCABULARY - 1)}
    (directory / "tokenizer.json").write_text(json.dumps(tokenizer))
    shutil.copy(TRAINED_PATH / "tokenizer_config.json", directory)
    ids = entries | {token["content"]: token["id"] for token in tokenizer["added_tokens"]}
    config = phi3_config(ids, shape)
    config.eos_token_id = config.pad_token_id = _VOCABULARY - 1
    config.save_pretrained(directory)
    settings = {"eos_token_id": [_VOCABULARY - 1], "pad_token_id": _VOCABULARY - 1}
    (directory / "generation_config.json").write_text(json.dumps(settings))
    return read_model("phi3-shape", "dummy", directory)


def tasks_about(config: EngineConfig, answer_tokens: Sequence[int]) -> TaskSet:
    specs = [
        AskTask(name=f"question_{number}", question=_QUESTION.format(number), max_tokens=tokens)
        for number, tokens in enumerate(answer_tokens)
    ]
    return prepare_tasks(
        specs,
        LongDocuments(strategy="single"),
        config.model,
        load_tokenizer(config.model.path),
        config.max_model_len,
    )


def texts_of_length(tasks: TaskSet, name: str, length: int, count: int) -> list[str]:
    """Return `count` texts of about `length` tokens; those of another name begin differently, so
    that the prefix cache does not know them."""
    whole = source_text()[: 8 * count * length]
    ids = tasks.tokenizer.encode(whole)
    step = (len(ids) - length) // count
    return [
        f"{name} {length} {number}\n" + tasks.tokenizer.decode_output(ids[start : start + length])
        for number, start in enumerate(range(0, step * count, step))
    ]


def model_flops(length: int, tasks: TaskSet, model: Model) -> float:
    """Return the model's FLOPs for one document: the prefill of what its prompts share, once, and
    of each question, and a pass for each token of an answer."""
    shape = tasks.reading.document_shape
    tokens = sum(shape.questions) + sum(task.question.sampling.max_tokens for task in tasks.all)
    shared = np.array([length + shape.overhead], dtype=np.float64)
    return float(CostModel(model, CPU, tasks.reading).prefill_flops(shared, tokens)[0])
