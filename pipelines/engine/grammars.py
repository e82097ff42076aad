"""The grammars by which an engine decodes answers, as text, and the check of a task's schemas.

After `<|assistant|>` Phi-3 has learned to begin an answer with a blank (`▁report`, `▁{`), which the
grammars that vLLM itself derives from choices and schemas forbid. The grammars here allow an answer
to begin with a blank or without. vLLM accepts a grammar as text (GBNF, the notation of llama.cpp).

The only import of xgrammar, vLLM's grammar library. It comes with vLLM, and takes seconds to
import, so it is imported only where a grammar is needed. Knows no engine.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from pipelines.errors import SpecError
from pipelines.job.task_specs import ExtractTask
from pipelines.tasks.decoding import JSON_SEPARATORS
from pipelines.tasks.kinds import Task

# Most requests to an endpoint have the same schemas.
_CACHED_SCHEMAS = 64
_BLANK = '" "?'
# Characters that a string of a grammar cannot contain as they are, and how it writes them.
_ESCAPES = str.maketrans({'"': r"\"", "\\": r"\\", "\n": r"\n", "\r": r"\r", "\t": r"\t"})


def choice_grammar(choices: Sequence[str]) -> str:
    """Return the grammar of an answer that is one of `choices`, with or without a blank first."""
    texts = " | ".join(f'"{choice.translate(_ESCAPES)}"' for choice in choices)
    return f"root ::= {_BLANK} ({texts})"


@lru_cache(_CACHED_SCHEMAS)
def json_grammar(schema: str, separators: tuple[str, str] = JSON_SEPARATORS) -> str:
    """Return the grammar of JSON that matches a schema, with or without a blank before it.

    `schema` is a JSON Schema as JSON text; `separators` are the texts after an item and after a
    key, as in `json.dumps`. The JSON has no other white space outside its strings. Results are
    cached; the first call takes seconds, to import xgrammar. Raises ValueError or RuntimeError with
    the reason if xgrammar rejects the schema, ImportError if it is not installed.
    """
    from xgrammar import Grammar

    value = Grammar.from_json_schema(schema, any_whitespace=False, separators=separators)
    text = str(Grammar.concat(Grammar.from_ebnf(f"root ::= {_BLANK}"), value))
    # the engine reads the text again
    Grammar.from_ebnf(text)
    return text


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


def grammar_fault(schema: str) -> str | None:
    """Return the last line of xgrammar's error for a JSON Schema, or None if it accepts the schema.

    `schema` is the schema as JSON text. None as well if xgrammar is not installed. The grammar that
    is checked is the one that engines decode by, of `json_grammar`.
    """
    try:
        json_grammar(schema)
    except ImportError:
        return None
    except (RuntimeError, ValueError) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        return lines[-1]
    return None
