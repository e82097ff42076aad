"""Seeds of tasks with a temperature: a document that is answered again gets the same answer.

An engine that drafts may still give another one: it also draws for the tokens that it guesses.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace

from pipelines.tasks.kinds import Question, Task

_SEED_BYTES = 6


def seeded(task: Task, document_id: str | int) -> Task:
    """Return `task` with a seed in its questions if it has a temperature, else unchanged.

    The seed depends on the document's id, the text "7" and the number 7 being different ids, and on
    the task's name.
    """
    if not task.question.sampling.temperature:
        return task
    words = repr((task.spec.name, document_id)).encode()
    seed = int.from_bytes(hashlib.sha256(words).digest()[:_SEED_BYTES])
    combining = task.combine_question
    return replace(
        task,
        question=_seeded(task.question, seed),
        chunk_question=_seeded(task.chunk_question, seed),
        combine_question=combining and _seeded(combining, seed),
    )


def _seeded(question: Question, seed: int) -> Question:
    return replace(question, sampling=replace(question.sampling, seed=seed))
