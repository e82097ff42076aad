"""The record of one task about one document: its findings, problems and tokens so far.

A finding is the value that one passage of the document gave for the task.

Pure: no Ray, no vLLM, no files.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from pipelines.answering.combining import Finding
from pipelines.documents import (
    INVALID_ANSWER,
    REJECTED,
    Answer,
    AnswerValue,
    Chunk,
    Problem,
    Usage,
)
from pipelines.errors import InvalidAnswer, RequestRejected
from pipelines.tasks.kinds import Completion, Question, Task, question_for
from pipelines.text.lengths import MAP_REDUCE


@dataclass
class TaskRecord:
    """Collects the findings and problems of one task over the passages of one document.

    Attributes:
        task: the task.
        strategy: how the document is read: `single`, `map_reduce`, `truncate` or `parts`.
        findings: the finding of each passage, by passage number.
        problems: the problems of passages that gave no finding.
        passages: how many passages were read, with or without a finding.
        usage: tokens of all prompts and answers so far.
        last_reason: the finish reason of the last answer counted.
        cut_off: whether any passage's answer was cut off at its maximum number of tokens.
        text_characters: the length of all passages together, in characters, without the context
            around them in prompts.
        text_tokens: the same length in tokens.
    """

    task: Task
    strategy: str
    findings: dict[int, Finding] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    passages: int = 0
    usage: Usage = field(default_factory=Usage)
    last_reason: str | None = None
    cut_off: bool = False
    text_characters: int = 0
    text_tokens: int = 0

    @property
    def question(self) -> Question:
        """Return the question of the task that is asked about each passage."""
        return question_for(self.task, chunk=self.in_chunks)

    @property
    def in_chunks(self) -> bool:
        """Return True if the document is read in chunks, whose findings are then combined.

        The parts of a task that reads parts are chunks too.
        """
        return self.strategy == MAP_REDUCE or self.task.in_parts

    @property
    def tokens_per_character(self) -> float:
        """Return the mean tokens per character of all passages read so far; 0.0 before any."""
        return self.text_tokens / max(1, self.text_characters)

    def count(self, completion: Completion) -> Completion:
        """Add a completion's tokens to `usage`, keep its finish reason, and return it unchanged."""
        self.usage += completion.usage
        self.last_reason = completion.finish_reason
        return completion

    def add_passage(self, chunk: Chunk) -> None:
        """Count a passage that was read, given as its chunk, and add the length of its text."""
        self.passages += 1
        self.text_characters += chunk.end - chunk.start
        self.text_tokens += len(chunk.token_ids)

    def add_problem(self, error: RequestRejected | InvalidAnswer, chunk: Chunk) -> None:
        """Record the problem of a passage, given as its chunk; that of a part names its place."""
        problem = problem_of(error)
        if self.task.in_parts:
            place = f"the part of the characters {chunk.start} to {chunk.end}"
            problem = Problem(problem.reason, f"{place}: {problem.message}")
        self.problems.append(problem)

    def answer(
        self, value: AnswerValue | None, problem: Problem | None, reason: str | None
    ) -> Answer:
        """Return the task's answer, with the strategy, passages and tokens recorded here.

        Either `value` or `problem` is None. `reason` is the finish reason, None if there is none.
        """
        name = self.task.spec.name
        return Answer(name, value, problem, self.strategy, self.passages, self.usage, reason)


def problem_of(error: RequestRejected | InvalidAnswer) -> Problem:
    """Return the problem to record for a task, or one passage of it, that failed with `error`.

    Its reason is REJECTED for RequestRejected and INVALID_ANSWER for InvalidAnswer; its message is
    that of the error.
    """
    reason = REJECTED if isinstance(error, RequestRejected) else INVALID_ANSWER
    return Problem(reason, str(error))
