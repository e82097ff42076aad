"""Checks that the engine's grammar library, xgrammar, accepts the schemas of answers.

The only import of xgrammar. It comes with vLLM, and takes seconds to import, so it is imported only
where a schema is checked. Knows no engine.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from pipelines.errors import SpecError
from pipelines.job.task_specs import ExtractTask
from pipelines.tasks.kinds import Task

# Most requests to an endpoint have the same schemas.
_CACHED_SCHEMAS = 64


def check_grammars(tasks: Sequence[Task]) -> None:
    """Raise SpecError if xgrammar rejects the schema of an `extract` task's answers.

    Call it after `tokenize_tasks`, before engines start. The message has a line for each such task,
    with its key path. Only a task's `schema` is checked, not the shorthand `fields`. Takes
    milliseconds a schema, and seconds for the first one. If xgrammar is not installed, as on a
    machine that only submits jobs, nothing is checked.
    """
    checked = [task for task in tasks if isinstance(task.spec, ExtractTask) and _is_schema(task)]
    if not checked:
        return
    faults = []
    for task in checked:
        for question in (task.question, task.chunk_question):
            if fault := grammar_fault(question.sampling.schema or "{}"):
                faults.append(
                    f"tasks.{task.spec.name}.schema: the engine cannot decode answers of this "
                    f"schema: {fault}. Remove keywords that restrict values, such as pattern, one "
                    f"by one, or use fields in place of schema"
                )
                break
    if faults:
        raise SpecError("\n".join(faults))


def _is_schema(task: Task) -> bool:
    return isinstance(task.spec, ExtractTask) and task.spec.json_schema is not None


@lru_cache(_CACHED_SCHEMAS)
def grammar_fault(schema: str) -> str | None:
    """Return the last line of xgrammar's error for a JSON Schema, or None if it accepts the schema.

    `schema` is the schema as JSON text. None as well if xgrammar is not installed. The first call
    takes seconds, to import xgrammar; results are cached.
    """
    try:
        import xgrammar
    except ImportError:
        return None
    try:
        xgrammar.Grammar.from_json_schema(schema, any_whitespace=False)
    except (RuntimeError, ValueError) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        return lines[-1]
    return None
