"""Several labels of one document: question, grammar, confidence, and the union over chunks.

The model answers with a JSON list of the labels that fit, in the order of the task; it is empty if
none fits. With the order fixed, each set of labels has exactly one answer, in which no label is
repeated, so that a short grammar allows all sets. Knows labels and texts; knows no prompts and no
engine.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence

from pipelines.documents import Label, LabelSet
from pipelines.errors import InvalidAnswer

MIN_SHARE = 0.5
"""The minimum probability that a document has a label, for the label to be in its union."""
_SEPARATOR = ","
# A tokenizer may spell what a grammar forces a little longer than its own best spelling.
_SPELLING_SHARE = 8
_SPELLING_TOKENS = 8
# What a tokenizer decodes an incomplete UTF-8 sequence to.
_REPLACEMENT = "\ufffd"


def labels_text(listed: str) -> str:
    """Return the question for all labels that fit. `listed` are the labels, one a line."""
    return (
        f"Which of these labels fit this?\n{listed}\nAnswer with a JSON list of all labels that "
        "fit, in this order, or with [] if none fits."
    )


def labels_answer(labels: Sequence[str]) -> str:
    """Return the answer with these labels, which are in the order of the task."""
    return f"[{_SEPARATOR.join(map(_spelled, labels))}]"


def labels_tokens(labels: Sequence[str], count: Callable[[str], int]) -> int:
    """Return the maximum length in tokens of an answer, which may have all labels.

    `count` returns the number of tokens of a text.
    """
    longest = count(labels_answer(labels))
    return longest + longest // _SPELLING_SHARE + _SPELLING_TOKENS


def labels_grammar(labels: Sequence[str]) -> str:
    """Return the grammar, as EBNF, of all answers with any of `labels` in their order.

    An answer may begin with a blank, as models like Phi-3 begin all words. The list ends with a
    bracket, not only with the token that ends an answer, of which a grammar knows but one. The rule
    of a label is shared by all that may stand before it, so that 500 labels are compiled in a
    second.
    """
    rules = ['root ::= " "? "[" (list0)? "]"']
    for number, label in enumerate(labels):
        word = json.dumps(_spelled(label), ensure_ascii=False)
        if number + 1 == len(labels):
            rules.append(f"list{number} ::= {word}")
            continue
        after = f"list{number + 1}"
        rules.append(f'list{number} ::= {word} ("{_SEPARATOR}" {after})? | {after}')
    return "\n".join(rules)


def label_logprobs(
    ids: Sequence[int],
    steps: Sequence[Mapping[int, float]],
    decode: Callable[[Sequence[int]], str],
) -> tuple[float, ...]:
    """Return the natural logarithm of the probability of each label of a generated answer.

    It is the probability that the model writes this label after those before it, in any spelling.
    Probability is lost at each step to tokens that lead to another label or end the list. The
    result has one entry for each complete label of the answer, also if it was cut off.

    Args:
        ids: the generated token ids.
        steps: for each generated token, the log-probabilities of the most likely allowed tokens
            at that position, by token id.
        decode: returns the text of token ids.
    """

    def spell(some: Sequence[int]) -> str:
        return decode(some).removeprefix(" ")

    generated = spell(ids)
    ends = list(_ends(_complete(generated)))
    logprobs = [0.0] * len(ends)
    for step, likeliest in enumerate(steps):
        prefix = list(ids[:step])
        before = spell(prefix)
        number = sum(end <= len(before.rstrip(_REPLACEMENT)) for end in ends)
        if number == len(ends):
            break  # the end of the list belongs to no label
        texts = {token: spell([*prefix, token]) for token in likeliest}
        share = math.fsum(
            math.exp(likeliest[token])
            for token, text in texts.items()
            # a token without text ends the answer, or is the blank before it
            if generated.startswith(text.rstrip(_REPLACEMENT)) and (text != before or not text)
        )
        # 0 only if the generated token is not among those reported
        if share > 0:
            logprobs[number] += math.log(min(1.0, share))
    return tuple(logprobs)


def parse_labels(
    text: str, logprobs: Sequence[float] | None, labels: Sequence[str], *, cut_off: bool
) -> LabelSet:
    """Return the labels of an answer, each with its probability as confidence.

    Args:
        text: the answer.
        logprobs: those of its labels, as `label_logprobs` returns them; None if they are not known.
        labels: the labels of the task.
        cut_off: whether the answer reached its token limit; its complete labels are then kept.

    Raises InvalidAnswer if the text is not a list of labels.
    """
    answer = text.strip()
    named = _complete(answer) if cut_off else _list(answer)
    if named is None or not set(named) <= set(labels):
        raise InvalidAnswer(
            f"the answer {answer[:80]!r} is not a JSON list of the labels, although the engine may "
            "generate nothing else; use the version of vLLM that phifleet requires"
        )
    shares = [min(1.0, math.exp(logprob)) for logprob in logprobs or ()]
    known = shares if len(shares) == len(named) else [None] * len(named)
    return LabelSet(tuple(map(Label, named, known)))


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


def _spelled(label: str) -> str:
    return json.dumps(label, ensure_ascii=False)


def _ends(labels: Sequence[str]) -> Iterator[int]:
    """Yield the offset of the end of each label in the answer with these labels, before its closing
    quotation mark: what follows decides about the next label."""
    end = len("[") - len(_SEPARATOR)
    for label in labels:
        end += len(_SEPARATOR) + len(_spelled(label))
        yield end - 1


def _list(text: str) -> list[str] | None:
    """Return a JSON list of texts, or None if `text` is none."""
    try:
        items = json.loads(text)
    except ValueError:
        return None
    valid = isinstance(items, list) and all(isinstance(item, str) for item in items)
    return items if valid else None


def _complete(text: str) -> list[str]:
    """Return the complete labels of an answer that may be cut off anywhere."""
    if (items := _list(text)) is not None:
        return items
    for end in range(len(text), 0, -1):
        if text[end - 1] == '"' and (items := _list(text[:end] + "]")) is not None:
            return items
    return []
