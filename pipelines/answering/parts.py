"""The parts of a document, for tasks that read it in parts instead of passages.

Parts tile the text that is read. Knows the plan of parts and the prompts; knows no engine and no
answers.
"""

from __future__ import annotations

from collections.abc import Iterator

from pipelines.answering.passages import Passage, SplitText, beginning
from pipelines.tasks.kinds import TaskSet
from pipelines.text.lengths import PARTS, TRUNCATE
from pipelines.text.parts import cut_parts, part_prefix


def split_into_parts(text: str, tasks: TaskSet, strategy: str) -> SplitText:
    """Return the parts of a text, each as a passage.

    `strategy` is the reading strategy of the text's passages. If it is `truncate`, only the parts
    of the beginning that is read are returned, and it is the strategy of the parts too.
    """
    if strategy != TRUNCATE:
        return SplitText(PARTS, _parts(text, tasks))
    end = beginning(text, tasks).end
    return SplitText(TRUNCATE, _parts(text[:end], tasks))


def _parts(text: str, tasks: TaskSet) -> Iterator[Passage]:
    assert tasks.reading.parts is not None
    for number, part in enumerate(cut_parts(text, tasks.reading.parts, tasks.tokenizer)):
        prefix = part_prefix(tasks.prompts, text, part)
        yield Passage(number, part, prefix, (part.start, part.end))
