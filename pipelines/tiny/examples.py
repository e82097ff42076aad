"""Training examples as token ids: prompts with questions and the expected answers.

`LessonBuilder` makes them with the code that builds the prompts of real requests. Does not draw
random numbers, and does not know what the expected answers are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.job.spec import TaskSpec
from pipelines.tasks.kinds import Question, repair_question, tokenize_tasks
from pipelines.text.tokens import ChatTokenizer

MAX_PROMPT_TOKENS = 4096
"""Limit of a combining prompt, and of answers that are never cut off."""
QUESTION_WORDINGS = (
    "What is the {}?",
    "What is the {}?",
    "Which {} is stated?",
    "What does the text say about the {}?",
    "Who or what is the {}?",
)
"""The questions of ask tasks for a key, as often as they are drawn."""


@dataclass(frozen=True, slots=True)
class TrainingQuestion:
    """A question about the text of a lesson, and the expected answer.

    `question_ids` include the end of the chat frame. `answer_ids` do not include the token that
    ends an answer. `complete` is false if the answer was cut off at the question's `max_tokens`.
    """

    kind: str
    question_ids: tuple[int, ...]
    answer_ids: tuple[int, ...]
    complete: bool = True


@dataclass(frozen=True, slots=True)
class Lesson:
    """A training example. `prefix_ids` are the token ids that all its prompts begin with: the start
    of the chat frame and a text. Each of the questions completes one prompt."""

    prefix_ids: tuple[int, ...]
    questions: tuple[TrainingQuestion, ...]


class LessonBuilder:
    """Builds lessons from texts, questions and expected answers with the model's tokenizer."""

    def __init__(self, tokenizer: ChatTokenizer) -> None:
        self.tokenizer = tokenizer

    def lesson(self, text_ids: Sequence[int], questions: Sequence[TrainingQuestion]) -> Lesson:
        """Return a lesson about a text, given as token ids without the chat frame."""
        return Lesson((*self.tokenizer.prefix_ids, *text_ids), tuple(questions))

    def text_lesson(self, text: str, questions: Sequence[TrainingQuestion]) -> Lesson:
        """Return a lesson that shows a text without phifleet's instructions."""
        return self.lesson(self.tokenizer.encode(text + "\n"), questions)

    def task_question(
        self, spec: TaskSpec, answer: str, *, part: bool, repaired: bool = False
    ) -> TrainingQuestion:
        """Return the question of a task with its expected answer: about a chunk if `part`, else
        about a whole document. With `repaired` it is asked again after an invalid answer."""
        task = tokenize_tasks([spec], self.tokenizer)[0]
        question = task.chunk_question if part else task.question
        if repaired:
            question = repair_question(question, "not JSON: Expecting value", self.tokenizer)
        return self.question(f"{spec.kind}{' part' * part}", question, answer)

    def question(self, kind: str, question: Question, answer: str) -> TrainingQuestion:
        """Return a question with its expected answer, cut off at the question's `max_tokens`.
        `kind` is the name under which the accuracy of such questions is reported."""
        encode = self.tokenizer.encode
        is_free_text = question.sampling.choices is None and question.sampling.schema is None
        # An answer decoded under a schema or from choices starts without the tokenizer's blank.
        ids = encode(answer) if is_free_text else encode(f'"{answer}')[len(encode('"')) :]
        max_tokens = question.sampling.max_tokens
        complete = not is_free_text or len(ids) < max_tokens
        question_ids = (*question.token_ids, *self.tokenizer.suffix_ids)
        return TrainingQuestion(
            kind, question_ids, tuple(ids if complete else ids[:max_tokens]), complete
        )
