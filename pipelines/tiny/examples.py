"""Training examples as token ids: prompts with questions and the expected answers.

`LessonBuilder` makes them with the code that builds the prompts of real requests. Does not draw
random numbers, and does not know what the expected answers are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.job.task_specs import TaskSpec
from pipelines.tasks.kinds import Question
from pipelines.tasks.questions import repair_question, tokenize_tasks
from pipelines.text.tokens import ChatTokenizer

MAX_PROMPT_TOKENS = 4096
"""The maximum length of a combining prompt in a lesson, in tokens. Also used as the `max_tokens` of
questions whose answers are never to be cut off."""
QUESTION_WORDINGS = (
    "What is the {}?",
    "What is the {}?",
    "Which {} is stated?",
    "What does the text say about the {}?",
    "Who or what is the {}?",
)
"""Formats of an ask task's question about a key. One that occurs twice is drawn twice as often."""


@dataclass(frozen=True, slots=True)
class TrainingQuestion:
    """A question about the text of a lesson, and the expected answer.

    `kind` is the name under which the accuracy of such questions is reported. `question_ids` are
    the rest of the prompt after a lesson's `prefix_ids`, up to where the answer begins.
    `answer_ids` do not include the token that ends an answer. `complete` is false if the answer was
    cut off at the question's `max_tokens`.
    """

    kind: str
    question_ids: tuple[int, ...]
    answer_ids: tuple[int, ...]
    complete: bool = True


@dataclass(frozen=True, slots=True)
class Lesson:
    """A training example: several prompts about the same text, with expected answers.

    `prefix_ids` are the token ids that all the prompts begin with: the start of the chat frame and
    the text. Each of `questions` completes one prompt.
    """

    prefix_ids: tuple[int, ...]
    questions: tuple[TrainingQuestion, ...]


class LessonBuilder:
    """Builds lessons from texts, questions and expected answers, as token ids of `tokenizer`."""

    def __init__(self, tokenizer: ChatTokenizer) -> None:
        self.tokenizer = tokenizer

    def lesson(self, text_ids: Sequence[int], questions: Sequence[TrainingQuestion]) -> Lesson:
        """Return a lesson about a text, given as token ids without the start of the chat frame,
        which is added."""
        return Lesson((*self.tokenizer.prefix_ids, *text_ids), tuple(questions))

    def text_lesson(self, text: str, questions: Sequence[TrainingQuestion]) -> Lesson:
        """Return a lesson whose prompts begin with `text`, without phifleet's instructions."""
        ids = self.tokenizer.encode_after(self.tokenizer.prefix_ids, text + "\n\n")
        return self.lesson(ids, questions)

    def task_question(
        self, spec: TaskSpec, answer: str, *, part: bool, repaired: bool = False
    ) -> TrainingQuestion:
        """Return the question of the task `spec` with its expected answer, the text `answer`.

        With `part`, it is the question about a chunk, else the one about a whole document. With
        `repaired`, it is the question that phifleet sends again after an invalid answer.
        """
        task = tokenize_tasks([spec], self.tokenizer)[0]
        question = task.chunk_question if part else task.question
        if repaired:
            question = repair_question(question, "not JSON: Expecting value", self.tokenizer)
        return self.question(f"{spec.kind}{' part' * part}", question, answer)

    def question(self, kind: str, question: Question, answer: str) -> TrainingQuestion:
        """Return `question` with the expected answer `answer` as token ids.

        Free text is cut off at the question's `max_tokens`. `kind` is the name under which the
        accuracy of such questions is reported.
        """
        # Phi-3 begins every answer with a blank, labels and JSON too
        ids = self.tokenizer.encode_after(self.tokenizer.suffix_ids, answer)
        is_free_text = question.sampling.choices is None and question.sampling.schema is None
        max_tokens = question.sampling.max_tokens
        complete = not is_free_text or len(ids) < max_tokens
        question_ids = (*question.token_ids, *self.tokenizer.suffix_ids)
        return TrainingQuestion(
            kind, question_ids, tuple(ids if complete else ids[:max_tokens]), complete
        )
