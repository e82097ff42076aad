"""Several labels of one document: question, grammar, confidence, and the union over chunks.

The model answers with the labels that fit, one a line, in the order of the task, or with NO_LABEL.
With the order fixed, each set of labels has exactly one answer, in which no label is repeated, so
that a short grammar allows all sets. Knows labels and texts; knows no prompts and no engine.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence

from pipelines.documents import Label, LabelSet
from pipelines.errors import InvalidAnswer
from pipelines.job.task_specs import NO_LABEL

MIN_SHARE = 0.5
"""The minimum probability that a document has a label, for the label to be in its union."""
# A tokenizer may spell what a grammar forces a little longer than its own best spelling.
_SPELLING_SHARE = 8
_SPELLING_TOKENS = 8
# What a tokenizer decodes an incomplete UTF-8 sequence to.
_REPLACEMENT = "\ufffd"


def labels_text(listed: str) -> str:
    """Return the question for all labels that fit. `listed` are the labels, one a line."""
    return (
        f"Which of these labels fit this?\n{listed}\nAnswer with each label that fits, one a line "
        f"and in the order of the list, or with {NO_LABEL!r}."
    )


def labels_tokens(labels: Sequence[str], count: Callable[[str], int]) -> int:
    """Return the maximum length in tokens of an answer, which may have all labels.

    `count` returns the number of tokens of a text.
    """
    longest = max(count("\n".join(labels)), count(NO_LABEL))
    return longest + longest // _SPELLING_SHARE + _SPELLING_TOKENS


def labels_grammar(labels: Sequence[str]) -> str:
    """Return the grammar, as EBNF, of all answers with any of `labels` in their order.

    An answer may begin with a blank, as models like Phi-3 begin all words. The grammar grows
    linearly with the number of labels.
    """
    words = [json.dumps(label, ensure_ascii=False) for label in labels]
    first = " | ".join(f"label{number}" for number in range(len(words)))
    rules = [f'root ::= " "? ({json.dumps(NO_LABEL)} | {first})']
    for number, word in enumerate(words):
        following = f" more{number + 1}" if number + 1 < len(words) else ""
        rules.append(f"label{number} ::= {word}{following}")
        if number:
            rules.append(f'more{number} ::= ("\\n" {word})?{following}')
    return "\n".join(rules)


def line_logprobs(
    ids: Sequence[int],
    steps: Sequence[Mapping[int, float]],
    decode: Callable[[Sequence[int]], str],
) -> tuple[float, ...]:
    """Return the natural logarithm of the probability of each line of a generated answer.

    It is the probability that the model writes this line after those before it, in any spelling.
    Probability is lost at each step to tokens that lead to another line or end the answer.

    Args:
        ids: the generated token ids.
        steps: for each generated token, the log-probabilities of the most likely allowed tokens
            at that position, by token id.
        decode: returns the text of token ids.
    """

    def spell(some: Sequence[int]) -> str:
        return decode(some).removeprefix(" ")

    generated = spell(ids)
    logprobs = [0.0] * len(generated.split("\n"))
    for step, likeliest in enumerate(steps):
        prefix = list(ids[:step])
        before, after = spell(prefix), spell(ids[: step + 1])
        if before == generated:
            break  # the end of the answer belongs to no line
        texts = {token: spell([*prefix, token]) for token in likeliest}
        matching = [
            likeliest[token]
            for token, text in texts.items()
            # a token without text ends the answer, or is the blank before it
            if (not text if text == before else generated.startswith(text.rstrip(_REPLACEMENT)))
        ]
        line = min(before.count("\n") + after[len(before) :].startswith("\n"), len(logprobs) - 1)
        # empty only if the generated token is not among those reported
        logprobs[line] += math.log(min(1.0, math.fsum(map(math.exp, matching)))) if matching else 0
    return tuple(logprobs)


def parse_labels(
    text: str, logprobs: Sequence[float] | None, labels: Sequence[str], *, cut_off: bool
) -> LabelSet:
    """Return the labels of an answer, each with its probability as confidence.

    Args:
        text: the answer.
        logprobs: those of its lines, as `line_logprobs` returns them; None if they are not known.
        labels: the labels of the task.
        cut_off: whether the answer reached its token limit; its last line is then left out.

    Raises InvalidAnswer if a line is not one of the labels.
    """
    lines = text.strip().split("\n")
    if cut_off:
        del lines[-1]
    if lines == [NO_LABEL]:
        return LabelSet(())
    for line in lines:
        if line not in labels:
            raise InvalidAnswer(
                f"the answer has the line {line[:80]!r}, which is not one of the labels, although "
                "the engine may generate nothing else; use the version of vLLM that phifleet "
                "requires"
            )
    shares = [min(1.0, math.exp(logprob)) for logprob in logprobs or ()]
    known = shares if len(shares) >= len(lines) else [None] * len(lines)
    return LabelSet(tuple(map(Label, lines, known)))


def unite(chunks: Sequence[LabelSet], labels: Sequence[str]) -> LabelSet:
    """Return the union of the labels of a document's chunks, in the order of `labels`.

    The confidence of a label is the probability that any chunk has it, if chunks are taken as
    independent: 1 - (1 - c1)(1 - c2)..., with c1, c2, ... the confidences of the chunks that name
    it, and 1 for an unknown confidence. A label with less than MIN_SHARE is left out, so that one
    doubtful chunk does not give the document a label.
    """
    doubts: dict[str, float] = {}
    for chunk in chunks:
        for label in chunk.labels:
            doubts[label.label] = doubts.get(label.label, 1.0) * (1.0 - label.weight)
    united = [Label(label, 1.0 - doubts[label]) for label in labels if label in doubts]
    return LabelSet(tuple(label for label in united if label.weight >= MIN_SHARE))
