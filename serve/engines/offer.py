"""A serve file with its model and tokenizer: named tasks, limits, and the pool of each request.

The front and the engine replicas each prepare the same serve file, so that both derive the same
prompts and the same pool. This module knows no HTTP and no Ray.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from pipelines.corpus.units import LONG, SHORT
from pipelines.engine.config import EngineConfig
from pipelines.errors import RequestRejected, SpecError
from pipelines.job.sections import Section, checked
from pipelines.job.task_specs import TaskSpec
from pipelines.models.effective_lengths import effective_lengths
from pipelines.models.resolve import Model, resolve
from pipelines.run.prepared import prepare_tasks
from pipelines.tasks.kinds import TaskSet
from pipelines.tasks.limits import check_optional
from pipelines.tasks.subschemas import positions
from pipelines.tasks.validity import valid_schema
from pipelines.text.tokens import load_tokenizer
from serve.engines.chat import ChatTemplate, prompt_ids_of
from serve.engines.json_size import size_fault
from serve.spec import ServeSpec

# The context of the long pool is rounded up to a multiple of this many tokens.
_LEN_STEP = 1024
# The assumed length of an answer, for choosing a pool, if a request sets no maximum.
_USUAL_ANSWER_TOKENS = 256
# The number of task lists that are cached. A prepared task takes about a hundred times the memory
# of its definition, so only those with short definitions are.
_CACHED_TASK_LISTS, _CACHED_CHARACTERS = 256, 8192
# Positions in the patterns of a schema; compiling a grammar takes the engine about 1 ms for each.
_MAX_POSITIONS = 1000

TaskReference = str | Mapping[str, Any]
"""A task in a request: the name of a task in the serve file, or a definition."""


class _RequestTasks(Section):
    """The tasks of a request, all as definitions."""

    tasks: Annotated[tuple[TaskSpec, ...], Field(strict=False)]


@dataclass(frozen=True, slots=True)
class _TaskKey:
    """The key of a task list in the cache: TaskSpec contains mappings and cannot be hashed."""

    definitions: tuple[str, ...]
    specs: tuple[TaskSpec, ...] = field(compare=False)


class PreparedEndpoint:
    """A serve file with its model, tokenizer and chat template.

    It checks requests, tokenizes their prompts, and chooses their pool. Each front and each engine
    replica makes its own from the same `spec`.

    Attributes:
        spec: the serve file.
        model: the resolved model.
        tokenizer: the model's tokenizer.
        tasks_by_name: the tasks that the serve file defines, by name.
    """

    def __init__(self, spec: ServeSpec, *, weights: bool = False) -> None:
        """Resolve the model, and load its tokenizer and chat template.

        A model of a hub is downloaded if needed: without `weights` only its small files, with
        `weights` everything that an engine needs. Raises SpecError if a task of the serve file is
        invalid for this model, ModelError if the model cannot be found.
        """
        self.spec = spec
        self.model: Model = resolve(spec.model.name, spec.model.revision, weights=weights)
        self.tokenizer = load_tokenizer(self.model.path)
        self._chat_template = ChatTemplate(self.model.path, self.tokenizer)
        self.tasks_by_name = {task.name: task for task in spec.tasks}
        # of all pools: a longer document is read in chunks
        self._longest = max(self.longest(pool) for pool in self.pools)
        self._cached_tasks = lru_cache(_CACHED_TASK_LISTS)(lambda key: self._prepare(key.specs))
        if spec.tasks or spec.instructions:
            # so that invalid tasks and instructions are an error when the endpoint starts
            self._prepare(spec.tasks)

    @property
    def pinned(self) -> ServeSpec:
        """The serve file with the model's resolved revision, so that an engine that starts later
        loads the same weights."""
        model = self.spec.model.model_copy(update={"revision": self.model.revision})
        return self.spec.model_copy(update={"model": model})

    @property
    def pools(self) -> tuple[str, ...]:
        """The names of the configured pools: SHORT, and LONG if the serve file has it."""
        return tuple(self.spec.pools.by_name)

    def engine_config(self, pool: str, *, gpu: bool) -> EngineConfig:
        """Return the configuration of an engine of the pool `pool`, on GPUs or on the CPU."""
        spec = self.spec
        return EngineConfig(
            model=self.model,
            max_model_len=self.longest(pool),
            gpu=gpu,
            quantization=spec.model.quantization,
            kv_cache_dtype=spec.model.kv_cache_dtype,
            options=spec.model.engine,
            tensor_parallel=spec.compute.tensor_parallel,
            gpu_share=spec.compute.gpu_share,
            drafting=spec.model.drafting == "auto",
            online=True,
        )

    def longest(self, pool: str) -> int:
        """Return the maximum length of a prompt with its answer in the pool `pool`, in tokens."""
        maximum = self.model.max_model_len
        short = min(maximum, self.model.short_rope_len or maximum)
        if pool == SHORT:
            return short
        if self.spec.limits.long_model_len is not None:
            return min(maximum, self.spec.limits.long_model_len)
        single_pass = self.spec.long_documents.single_pass_tokens
        single_pass = single_pass or effective_lengths(self.model).single_pass_tokens
        needed = single_pass + self.spec.limits.output_tokens + _LEN_STEP
        return min(maximum, max(short, -(-needed // _LEN_STEP) * _LEN_STEP))

    def specs(self, references: Sequence[TaskReference]) -> tuple[TaskSpec, ...]:
        """Return the specs of a request's tasks, in the request's order.

        Raises SpecError if there are none or too many, if a name is unknown or repeated, or if a
        definition is invalid or has a form or schema that is too large.
        """
        limits = self.spec.limits
        if not references:
            raise SpecError("tasks: missing, must be a list of at least one name or definition")
        if len(references) > limits.tasks:
            raise SpecError(
                f"tasks: got {len(references)} tasks, at most {limits.tasks} are allowed in one "
                "request (limits.tasks); send the others in another request"
            )
        for index, task in enumerate(references):
            if not isinstance(task, str):
                self._check_size(index, task)
        # named tasks are validated again, so that a message has the task's index in the request
        data = {
            "tasks": [
                self._named(task).model_dump() if isinstance(task, str) else task
                for task in references
            ]
        }
        specs = checked(_RequestTasks, data, data, None).tasks
        names = [spec.name for spec in specs]
        if len(set(names)) < len(names):
            raise SpecError(
                f"tasks: a name occurs twice in {', '.join(sorted(names))}; give each task of a "
                "request a name of its own"
            )
        return specs

    def _check_size(self, index: int, task: Mapping[str, Any]) -> None:
        """Raise SpecError if a form, a schema or an example in a task's definition is too large."""
        limit = self.spec.limits.schema_depth
        form = {key: value for key, value in task.items() if key != "examples"}
        # a form or schema is one level below its task, and an example's answer three
        if fault := size_fault(form, limit, 1):
            raise SpecError(f"tasks.{index}: got a form or schema {fault}")
        if fault := size_fault(task, limit, 3):
            raise SpecError(f"tasks.{index}: got a definition with examples {fault}")

    def decodable(self, schema: Mapping[str, Any]) -> dict[str, Any]:
        """Check the schema of a `response_format`, and return it as an engine can decode by it.

        Raises RequestRejected with the path of the wrong key if the schema is invalid, nested too
        deeply or too large, refers to anything but itself, or has patterns too large or not
        supported.
        """
        key_path = "response_format.json_schema.schema"
        if fault := size_fault(schema, self.spec.limits.schema_depth):
            raise RequestRejected(f"{key_path}: got a schema {fault}")
        try:
            bare = valid_schema(schema, key_path)
            check_optional(bare, key_path)
        except SpecError as error:
            raise RequestRejected(error.message) from error
        if (total := positions(bare)) > _MAX_POSITIONS:
            raise RequestRejected(
                f"{key_path}: the patterns of the schema have {total} characters and classes, each "
                f"counted as often as it is repeated; at most {_MAX_POSITIONS} are allowed. Use * "
                "or + in place of a large {m,n}, or fewer patterns"
            )
        return bare

    def _named(self, name: str) -> TaskSpec:
        if name not in self.tasks_by_name:
            known = ", ".join(self.tasks_by_name) or "none"
            raise SpecError(
                f"tasks: no task is called {name[:80]!r}; name a task of this endpoint ({known}), "
                "or send a task's definition"
            )
        return self.tasks_by_name[name]

    def prompts(self, kind: str, body: Mapping[str, Any]) -> list[list[int]]:
        """Return the token ids of each prompt of a chat or text completion.

        `kind` is CHAT or TEXT, `body` is OpenAI's request. Raises RequestRejected if the chat
        template rejects a message, or if a prompt is far longer than any pool's context.
        """
        return prompt_ids_of(kind, body, self._chat_template, self._longest)

    def tasks(self, specs: tuple[TaskSpec, ...]) -> TaskSet:
        """Return the tasks `specs` prepared for this model: tokenized, with schemas and limits.

        `specs` is a result of the method `specs`. Small task lists are cached, because most
        requests have the same. Raises SpecError if a task does not fit a prompt, or if its answer
        can be longer than `limits.output_tokens`.
        """
        key = _TaskKey(tuple(spec.model_dump_json() for spec in specs), specs)
        small = sum(map(len, key.definitions)) <= _CACHED_CHARACTERS
        return self._cached_tasks(key) if small else self._prepare(specs)

    def _prepare(self, specs: tuple[TaskSpec, ...]) -> TaskSet:
        for spec in specs:
            if self.tokenizer.is_longer(spec.model_dump_json(), self._longest):
                raise SpecError(
                    f"tasks.{spec.name}: longer than {self._longest} tokens, the maximum of a "
                    "whole prompt; shorten the task"
                )
        limit = self.spec.limits.output_tokens
        tasks = prepare_tasks(
            specs,
            self.spec.long_documents,
            self.model,
            self.tokenizer,
            self._longest,
            self.spec.instructions,
            limit,
        )
        for task in tasks.all:
            if task.question.sampling.max_tokens > limit:
                raise SpecError(
                    f"tasks.{task.spec.name}: its answer can have "
                    f"{task.question.sampling.max_tokens} tokens, at most {limit} are allowed "
                    "(limits.output_tokens); lower max_words or max_tokens, or use fewer fields or "
                    "labels"
                )
        return tasks

    def check_parts(self, text: str, tasks: TaskSet) -> None:
        """Raise SpecError if answers about the parts of the document `text` can be too long.

        All of them together may have `limits.written_tokens`. Takes about as long as tokenizing the
        text, if a task reads parts.
        """
        limit, parts = self.spec.limits.written_tokens, tasks.reading.parts
        if parts is None:
            return
        (count,) = self.tokenizer.count_all([text])
        written = parts.max_answer_tokens(count)
        if written > limit:
            raise SpecError(
                f"text: got {count} tokens; what tasks write about its parts can have {written} "
                f"tokens together, at most {limit} are allowed (limits.written_tokens); send a "
                "shorter text, or fewer tasks with over: parts"
            )

    def pool_of_document(self, text: str, tasks: TaskSet) -> str:
        """Return the name of the pool whose engines answer `tasks` about the document `text`.

        It is chosen as in a batch job; SHORT if the serve file has no pool LONG. Takes about as
        long as tokenizing the text."""
        reading = tasks.reading
        if LONG not in self.pools:
            return SHORT
        (count,) = self.tokenizer.count_all([text])
        longest = reading.lengths(np.array([count], dtype=np.int64)).longest
        return LONG if bool(reading.long_pool(longest)[0]) else SHORT

    def pool_of_prompt(self, tokens: int, max_answer_tokens: int | None) -> str:
        """Return the name of the pool, SHORT or LONG, for a prompt of `tokens` tokens.

        `max_answer_tokens` is the maximum length of its answer, None if the request sets none; 256
        are then assumed. Raises RequestRejected if no pool has a context that is long enough.
        """
        answer_tokens = max_answer_tokens or 1
        if tokens + answer_tokens > self._longest:
            raise RequestRejected(
                f"This model's maximum context length is {self._longest} tokens. However, you "
                f"requested {tokens + answer_tokens} tokens ({tokens} in the prompt, "
                f"{answer_tokens} for the answer). Please shorten the prompt or the answer."
            )
        needed = tokens + (max_answer_tokens or _USUAL_ANSWER_TOKENS)
        fits = LONG not in self.pools or needed <= self.longest(SHORT)
        return SHORT if fits else LONG
