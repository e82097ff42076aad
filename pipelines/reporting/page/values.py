"""The values of answers as a page shows them: a tree of texts, each with its evidence.

Pure. Knows the cells of parts as Python values; knows nothing of files or HTML.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.documents import EvidenceStatus
from pipelines.reporting.page.document_facts import AnswerFacts, Quote, Value
from pipelines.reporting.page.windows import Span
from pipelines.tasks.columns import ANSWER, EVIDENCE, RESERVED_FIELDS
from pipelines.tasks.paths import field_path, item_path

SHOWN, QUOTED, MISSING = "shown", "quoted", "missing"
STATES = (SHOWN, QUOTED, MISSING)
"""How the text supports a value: it shows it; a quote was found that does not prove it; not at
all."""
_STATE_OF = {
    EvidenceStatus.SHOWN: SHOWN,
    EvidenceStatus.FOUND: SHOWN,
    EvidenceStatus.NEAR: QUOTED,
    EvidenceStatus.ABSENT: MISSING,
}
_MAX_CHARACTERS, _MAX_WORDS, _MAX_ITEMS, _MAX_QUOTES = 4_000, 400, 100, 3
_CUT = " …"


class Places:
    """Numbers the places of a document's evidence, each span once, from 1 on."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self._numbers: dict[Span, int] = {}

    def number(self, row: Mapping[str, Any]) -> int | None:
        """Return the number of the place that a row of evidence names, None if it names none."""
        start, end = row["start"], row["end"]
        if start is None or end is None or end <= start:
            return None
        span = (int(start), int(end))
        if span not in self._numbers:
            self.spans.append(span)
            self._numbers[span] = len(self.spans)
        return self._numbers[span]


def answer_facts(
    task: str, kind: str, cell: Mapping[str, Any] | None, places: Places
) -> AnswerFacts:
    """Return the answer in the cell of a task's column, and number its places."""
    record = (cell or {}).get(ANSWER) or {}
    answered = cell is not None and record.get("status") == "answered"
    return AnswerFacts(
        task=task,
        kind=kind,
        status=str(record.get("status") or "no answer"),
        strategy=str(record.get("strategy") or ""),
        chunks=int(record.get("chunks") or 0),
        prompt_tokens=int(record.get("prompt_tokens") or 0),
        output_tokens=int(record.get("output_tokens") or 0),
        value=_value(kind, cell, places) if answered and cell else Value("none"),
    )


def _value(kind: str, cell: Mapping[str, Any], places: Places) -> Value:
    quotes: defaultdict[str, list[Quote]] = defaultdict(list)
    for row in cell.get(EVIDENCE) or ():
        state = _STATE_OF.get(row["status"], "")
        words = _cut(row["text"] or row["quote"] or "", _MAX_WORDS)
        quotes[row["path"]].append(Quote(row["path"], state, words, places.number(row)))
    if kind == "classify":
        return _labels(cell)
    if kind == "extract":
        fields = {name: item for name, item in cell.items() if name not in RESERVED_FIELDS}
        return _tree(fields, "", quotes)
    return Value("text", _text(cell.get("text")), quotes=tuple(quotes[""][:_MAX_QUOTES]))


def _labels(cell: Mapping[str, Any]) -> Value:
    if "labels" in cell:
        pairs = zip(cell["labels"] or (), cell["confidence"] or (), strict=False)
        return Value("list", items=tuple(_label(*pair) for pair in pairs))
    return _label(cell["label"], cell["confidence"])


def _label(label: Any, confidence: Any) -> Value:
    sure = "" if confidence is None else f"{round(float(confidence) * 100)}% sure"
    return Value("label", _text(label), fields=((sure, Value("none")),) if sure else ())


def _tree(value: Any, path: str, quotes: Mapping[str, Sequence[Quote]]) -> Value:
    """Return a field's value, however deep; `path` is its path in evidence."""
    own = tuple(quotes.get(path, ()))[:_MAX_QUOTES]
    match value:
        case Mapping() if value:
            fields = [
                (str(k), _tree(v, field_path(path, str(k)), quotes)) for k, v in value.items()
            ]
            return Value("fields", fields=tuple(fields), quotes=own)
        case list() | tuple() if value:
            items = [_tree(v, item_path(path, i), quotes) for i, v in enumerate(value)]
            return Value("list", items=tuple(items[:_MAX_ITEMS]), quotes=own)
    return Value("text", _text(value), quotes=own)


def _text(value: Any) -> str | None:
    match value:
        case None | "":
            return None
        case list() | tuple() | Mapping():
            return None
        case bool():
            return "yes" if value else "no"
    return _cut(str(value), _MAX_CHARACTERS)


def _cut(text: str, characters: int) -> str:
    return text if len(text) <= characters else text[:characters] + _CUT
