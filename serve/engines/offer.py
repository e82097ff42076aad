"""What an endpoint offers: its model, its named tasks, and which pool reads what.

Made from the serve file alike in front of the engines and behind. Knows no HTTP and no Ray.
"""

from __future__ import annotations

import json
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
from pipelines.job.spec import TaskSpec
from pipelines.models.resolve import Model, effective_lengths, resolve
from pipelines.run.prepared import prepare_tasks
from pipelines.tasks.kinds import TaskSet
from pipelines.tasks.subschemas import positions, self_contained
from pipelines.text.tokens import load_tokenizer
from serve.engines.chat import ChatTemplate, prompt_ids_of
from serve.spec import ServeSpec

_LEN_STEP = 1024
# What an answer is taken to need where a request does not say.
_USUAL_ANSWER_TOKENS = 256
# Tasks of so many requests are kept ready; ready they are a hundred times as large as written.
_TASKS_KEPT, _KEPT_CHARACTERS = 256, 8192
_MOST_PARTS = 1000
# Of the patterns that an engine decodes by: its grammars take about a millisecond for each.
_MOST_POSITIONS = 1000

TaskReference = str | Mapping[str, Any]
"""A task of a request: a name of the serve file, or a definition."""


class Inline(Section):
    """The tasks that a request defines itself."""

    tasks: Annotated[tuple[TaskSpec, ...], Field(strict=False)]


@dataclass(frozen=True, slots=True)
class _Asked:
    """Tasks as a key: they hold mappings."""

    written: tuple[str, ...]
    specs: tuple[TaskSpec, ...] = field(compare=False)


class PreparedEndpoint:
    """A serve file with its model, `weights` only where an engine reads them. Raises SpecError,
    ModelError."""

    def __init__(self, spec: ServeSpec, *, weights: bool = False) -> None:
        self.spec = spec
        self.model: Model = resolve(spec.model.name, spec.model.revision, weights=weights)
        self.tokenizer = load_tokenizer(self.model.path)
        self.frame = ChatTemplate(self.model.path, self.tokenizer)
        self.tasks_by_name = {task.name: task for task in spec.tasks}
        # what no pool holds whole is read in chunks
        self._longest = max(self.longest(pool) for pool in self.pools)
        self._kept = lru_cache(_TASKS_KEPT)(lambda asked: self._tasks(asked.specs))
        if spec.tasks:
            # what is wrong with them is told when the endpoint starts
            self._tasks(spec.tasks)

    @property
    def pinned(self) -> ServeSpec:
        """The serve file with the model's revision: whoever starts later reads the same one."""
        model = self.spec.model.model_copy(update={"revision": self.model.revision})
        return self.spec.model_copy(update={"model": model})

    @property
    def pools(self) -> tuple[str, ...]:
        """The pools that the serve file has."""
        return tuple(self.spec.pools.by_name)

    def engine_config(self, pool: str, *, gpu: bool) -> EngineConfig:
        """How the engine of a pool is started."""
        spec = self.spec
        return EngineConfig(
            model=self.model,
            max_model_len=self.longest(pool),
            gpu=gpu,
            quantization=spec.model.quantization,
            kv_cache_dtype=spec.model.kv_cache_dtype,
            tensor_parallel=spec.compute.tensor_parallel,
            gpu_share=spec.compute.gpu_share,
            online=True,
        )

    def longest(self, pool: str) -> int:
        """Tokens of the longest prompt of a pool with its answer."""
        most = self.model.max_model_len
        short = min(most, self.model.short_rope_len or most)
        if pool == SHORT:
            return short
        if self.spec.limits.long_model_len is not None:
            return min(most, self.spec.limits.long_model_len)
        whole = self.spec.long_documents.single_pass_tokens
        whole = whole or effective_lengths(self.model).single_pass_tokens
        needed = whole + self.spec.limits.output_tokens + _LEN_STEP
        return min(most, max(short, -(-needed // _LEN_STEP) * _LEN_STEP))

    def specs(self, wanted: Sequence[TaskReference]) -> tuple[TaskSpec, ...]:
        """The tasks that a request wants, in its order. Raises SpecError."""
        limits = self.spec.limits
        if not wanted:
            raise SpecError("tasks: missing, must be a list of at least one name or definition")
        if len(wanted) > limits.tasks:
            raise SpecError(f"tasks: {len(wanted)}, at most {limits.tasks} in one request")
        own = [task for task in wanted if not isinstance(task, str)]
        for task in own:
            # the forms and schemas in it stand one level below
            if fault := self.unfit(task, 1):
                raise SpecError(f"tasks: a form or schema {fault}")
        data = {"tasks": own}
        defined = iter(checked(Inline, data, data, None).tasks)
        specs = tuple(
            self._named(each) if isinstance(each, str) else next(defined) for each in wanted
        )
        names = [spec.name for spec in specs]
        if len(set(names)) < len(names):
            raise SpecError(f"tasks: the same name twice: {', '.join(sorted(names))}")
        return specs

    def unfit(self, schema: Any, below: int) -> str | None:
        """Why a value with a schema `below` levels in it is none to decode by: one of some thousand
        properties keeps the engine's grammars busy for minutes."""
        shape = NestingShape.of(schema)
        if shape.depth > self.spec.limits.schema_depth + below:
            return f"nested deeper than {self.spec.limits.schema_depth}"
        if shape.parts > _MOST_PARTS:
            return f"of more than {_MOST_PARTS} parts"
        return None if _is_utf8(schema) else "with a lone surrogate, which is no character"

    def decodable(self, schema: Mapping[str, Any]) -> dict[str, Any]:
        """The schema of a response format as an engine may be given it: it refers to nothing but
        itself, and its patterns are small. Raises RequestRejected with the path of the key."""
        where = "response_format.json_schema.schema"
        if fault := self.unfit(schema, 0):
            raise RequestRejected(f"{where}: a schema {fault}")
        try:
            bare = self_contained(schema, where)
        except SpecError as error:
            raise RequestRejected(error.message) from error
        if positions(bare) > _MOST_POSITIONS:
            raise RequestRejected(
                f"{where}: its patterns have more than {_MOST_POSITIONS} positions, repetitions "
                f"counted; use * or + in place of a large {{m,n}}, or fewer patterns"
            )
        return bare

    def _named(self, name: str) -> TaskSpec:
        if name not in self.tasks_by_name:
            known = ", ".join(self.tasks_by_name) or "none"
            raise SpecError(
                f"tasks: no task is called {name[:80]!r}; the endpoint's tasks: {known}"
            )
        return self.tasks_by_name[name]

    def prompts(self, kind: str, body: Mapping[str, Any]) -> list[list[int]]:
        """The prompts of a chat or completion as ids. Raises RequestRejected."""
        return prompt_ids_of(kind, body, self.frame, self._longest)

    def tasks(self, specs: tuple[TaskSpec, ...]) -> TaskSet:
        """Tasks made ready; kept where they are small, for most requests ask the same. Raises
        SpecError."""
        asked = _Asked(tuple(each.model_dump_json() for each in specs), specs)
        small = sum(map(len, asked.written)) <= _KEPT_CHARACTERS
        return self._kept(asked) if small else self._tasks(specs)

    def _tasks(self, specs: tuple[TaskSpec, ...]) -> TaskSet:
        for spec in specs:
            if self.tokenizer.is_longer(spec.model_dump_json(), self._longest):
                raise SpecError(
                    f"tasks.{spec.name}: longer than {self._longest} tokens, a whole prompt"
                )
        tasks = prepare_tasks(
            specs, self.spec.long_documents, self.model, self.tokenizer, self._longest
        )
        limit = self.spec.limits.output_tokens
        for task in tasks.all:
            if task.question.sampling.max_tokens > limit:
                raise SpecError(
                    f"tasks.{task.spec.name}: its answer may take "
                    f"{task.question.sampling.max_tokens} tokens, at most {limit} are allowed"
                )
        return tasks

    def pool_of_document(self, text: str, tasks: TaskSet) -> str:
        """The pool that reads this text for these tasks, as a job would choose it."""
        reading = tasks.reading
        if LONG not in self.pools:
            return SHORT
        (count,) = self.tokenizer.count_all([text])
        longest = reading.lengths(np.array([count], dtype=np.int64)).longest
        return LONG if bool(reading.long_pool(longest)[0]) else SHORT

    def pool_of_prompt(self, tokens: int, max_answer_tokens: int | None) -> str:
        """The pool of a prompt of so many tokens. Raises RequestRejected where none holds it."""
        wanted = max_answer_tokens or 1
        if tokens + wanted > self._longest:
            raise RequestRejected(
                f"This model's maximum context length is {self._longest} tokens. However, you "
                f"requested {tokens + wanted} tokens ({tokens} in the prompt, {wanted} for the "
                f"answer). Please shorten the prompt or the answer."
            )
        needed = tokens + (max_answer_tokens or _USUAL_ANSWER_TOKENS)
        fits = LONG not in self.pools or needed <= self.longest(SHORT)
        return SHORT if fits else LONG


def _is_utf8(value: Any) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class NestingShape:
    """How deep mappings and lists are nested, and of how many values they are made."""

    depth: int
    parts: int

    @classmethod
    def of(cls, value: Any) -> NestingShape:
        depth, parts, level = 0, 1, [value]
        while level := [each for each in level if isinstance(each, dict | list | tuple)]:
            depth += 1
            level = [
                child
                for each in level
                for child in (each.values() if isinstance(each, dict) else each)
            ]
            parts += len(level)
        return cls(depth, parts)
