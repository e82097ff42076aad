"""The grammar of replies to `ask` tasks: the answer, the quotes that show it, or "not stated".

    reply  := (line | "Answer:" line | quote)*
    quote  := "Quote:" words, on the same line, on the next ones, or behind an answer

Labels may be written in bold, as headings, in lower case, behind a bullet or with a number, and in
the languages of the labels below. Markdown is removed from the answer; quotes keep the words of the
text. Knows no prompts and does not look for the quotes in the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from pipelines.documents import Evidence, Reply
from pipelines.job.task_specs import AskTask, TaskSpec
from pipelines.tasks.evidence import is_supported
from pipelines.tasks.not_stated import is_not_stated
from pipelines.tasks.quotation_marks import is_open, marked_texts, unquoted

NOT_STATED = "Not stated"
"""The reply to an `ask` task if the document does not contain the answer."""
QUOTE_PREFIX = "Quote:"
"""The beginning of a line of a reply that quotes the document."""

_MARKUP = r"(?:\*{1,3}|_{1,3}|`|~~)?"
_OPENING_MARKS = "\"“„‟”«»‹›‘’‚'`「『《〈｢＂〝❝"
_QUOTE_WORD = (
    r"(?:(?:supporting|direct|exact|relevant|verbatim)\s+)?(?:quotes?|quotations?|citations?|"
    r"zitate?|belege?|citas?|citações|citação|citazione|цитата|引用|引文|原文|인용)"
)
_ANSWER_WORD = (
    r"(?:(?:the|my|final|short|brief|direct)\s+)*(?:answer|antwort|réponse|reponse|respuesta|"
    r"resposta|risposta|ответ|回答|答案|答え|답변|답)"
)
_DETAIL = r"(?:\s+from\s+(?:the\s+)?\w+)?(?:\s*#?\d{1,2})?(?:\s*\([^()\n]{0,40}\))?"
_COLON = rf"\s*{_MARKUP}\s*[:：]\s*(?P<after>{_MARKUP})\s*"
_QUOTE_AT_START = re.compile(
    rf"(?P<before>{_MARKUP}){_QUOTE_WORD}{_DETAIL}"
    rf"(?:{_COLON}|\s*{_MARKUP}\s+[-–—]\s+|\s*{_MARKUP}\s*(?=[{_OPENING_MARKS}]))",
    re.IGNORECASE,
)
_ANSWER_AT_START = re.compile(rf"(?P<before>{_MARKUP}){_ANSWER_WORD}{_COLON}", re.IGNORECASE)
_QUESTION_AT_START = re.compile(rf"{_MARKUP}question{_COLON}", re.IGNORECASE)
# Behind an answer, a label follows the end of a sentence, a bracket or a dash, or precedes a mark.
_QUOTE_INSIDE = re.compile(
    rf"(?:(?<=[.!?;,)\]»”\"'」。；，！？*_`])\s*|\s+(?:[-–—|/]\s*)|\s*(?P<bracket>[(\[（]))"
    rf"(?P<before>{_MARKUP})(?i:{_QUOTE_WORD}{_DETAIL}){_COLON}"
    rf"|\s+(?P<before2>{_MARKUP})Quotes?\s*(?P<after2>{_MARKUP})\s*:\s*(?=[*_]*[{_OPENING_MARKS}])",
)
_HEADING = re.compile(
    rf"(?:#+\s*|\*\*|__)(?:(?P<quote>{_QUOTE_WORD})|(?P<answer>{_ANSWER_WORD}))\s*(?:\*\*|__)?",
    re.IGNORECASE,
)
_LINE_MARK = re.compile(r"(?P<mark>[-–—*•·‣▪]|>+|#{1,6})\s+(?=\S)")
_NUMBER_OF_QUOTE = re.compile(rf"^\d{{1,2}}[.)]\s*(?=[{_OPENING_MARKS}])")
# Their length is bounded, so that marks that nothing closes take no quadratic time.
_MARKED_UP = (
    re.compile(r"\*\*\*(?=\S)(.{1,500}?)(?<=\S)\*\*\*"),
    re.compile(r"\*\*(?=\S)(.{1,500}?)(?<=\S)\*\*"),
    re.compile(r"__(?=\S)(.{1,500}?)(?<=\S)__"),
    re.compile(r"(?<![\w*])\*(?=[^\s*])([^*\n]{1,500}?)(?<=[^\s*])\*(?![\w*])"),
    re.compile(r"(?<!\w)_(?=[^\s_])([^\n]{1,500}?)(?<=[^\s_])_(?!\w)"),
    re.compile(r"`([^`\n]+)`"),
)
_WRAPPERS = ("***", "**", "__", "*", "_", "`", "~~")
_PLACE_BEHIND = re.compile(
    r"(?<=[\"”“»’'」』])\s*(?:[(\[](?:page|p\.|pp\.|section|sec\.|§|line|clause|article|art\.|item|"
    r"paragraph|para|source|chapter)[^()\[\]]*[)\]])\s*\.?$",
    re.IGNORECASE,
)
_NO_QUOTE = re.compile(
    r"[-–—.]*|\(?(?:none|n/?a|null|no quotes?(?: (?:available|found|given))?|nothing|empty)\)?\.?",
    re.IGNORECASE,
)


def split_reply(answer: str, *, cut_off: bool = False) -> tuple[str, list[str]]:
    """Split the model's answer to an `ask` question into its text and its quotes.

    The text is without labels, such as "Answer:", and without markdown; the quotes are without
    quotation marks around them. If the answer has quotes only, the first one is the text too. The
    text is "" if there is neither, and the list is empty without quotes. With `cut_off`, the answer
    reached its token limit: if it ends in a quote, the last word of this quote, which may be half a
    word, is removed.
    """
    draft = _Draft()
    for line in answer.strip().splitlines():
        draft.read(line.strip())
    quotes = [words for quote in draft.quotes for words in _quoted("\n".join(quote.lines))]
    if cut_off and quotes and answer.endswith(quotes[-1]):
        quotes[-1] = _without_last_word(quotes[-1])
    return draft.text or (quotes[0] if quotes else ""), quotes


def _without_last_word(words: str) -> str:
    """Return words without the last one; unchanged if there is only one, as between no blanks."""
    return words.rsplit(None, 1)[0]


def normalize_reply(spec: TaskSpec, text: str, evidence: tuple[Evidence, ...]) -> Reply:
    """Return the Reply of an `ask` task with a text and its evidence.

    A text that is empty, or only says that the document does not state the answer, becomes
    NOT_STATED without evidence. If the task has `only_verified` and the evidence does not support
    the reply (`evidence.is_supported`), the text of the Reply is None; its evidence stays.
    """
    if is_not_stated(text):
        return Reply(NOT_STATED)
    only_verified = isinstance(spec, AskTask) and spec.only_verified
    return Reply(None if only_verified and not is_supported(evidence) else text, evidence)


@dataclass
class _QuoteLines:
    """The lines of one quote, and whether the next line may belong to it."""

    lines: list[str]
    in_list: bool = False

    @property
    def words(self) -> str:
        """Return the lines as one text, without markdown around it."""
        return _without_wrapper("\n".join(self.lines).strip())

    @property
    def is_complete(self) -> bool:
        """Return whether quotation marks around the quote are closed."""
        return marked_texts(self.words) is not None


@dataclass
class _Draft:
    """A reply while its lines are read; `quote` is the quote that the next line may continue."""

    lines: list[str] = field(default_factory=list)
    quotes: list[_QuoteLines] = field(default_factory=list)
    quote: _QuoteLines | None = None

    @property
    def text(self) -> str:
        """Return the answer without markdown, quotation marks around it and doubled blank lines."""
        joined = re.sub(r"\n{3,}", "\n\n", "\n".join(self.lines)).strip()
        plain = _without_markup(joined)
        return plain if "\n" in plain else unquoted(plain) or plain

    def read(self, line: str) -> None:
        """Read one line, without white space around it."""
        mark = _LINE_MARK.match(line)
        if not line:
            self._blank()
        elif heading := _HEADING.fullmatch(line):
            self._label(heading["quote"] is not None, "")
        elif not line.startswith("```"):
            self._body(line, mark)

    def _body(self, line: str, mark: re.Match[str] | None) -> None:
        body = line[mark.end() :] if mark else line
        for label, words in _pieces(body):
            if label is None:
                self._plain(words, mark["mark"] if mark else "")
            else:
                self._label(label, words)

    def _blank(self) -> None:
        if self.quote is None:
            self.lines.append("")
        elif self.quote.words and not is_open(self.quote.words):
            self.quote = None
            self.lines.append("")

    def _label(self, is_quote: bool, words: str) -> None:
        if not is_quote:
            # what stands before it repeats the question
            if any(_QUESTION_AT_START.match(line) for line in self.lines):
                self.lines.clear()
            self.quote = None
            self.lines.append(words)
            return
        self.quote = _QuoteLines([words] if words else [], in_list=not words)
        self.quotes.append(self.quote)

    def _plain(self, words: str, mark: str) -> None:
        """Read a line, or a part of one, that has no label."""
        quote = self.quote
        answered = any(self.lines)
        if quote is not None and quote.in_list:
            words = _NUMBER_OF_QUOTE.sub("", words)
        if quote is None:
            if answered and _is_bare_quote(words, mark):
                self.quotes.append(_QuoteLines([words]))
            else:
                self.lines.append(words)
        elif not quote.words or is_open(quote.words):
            quote.lines.append(words)
        elif quote.in_list and (mark not in ("", ">") or marked_texts(words) is not None):
            self._label(True, words)
            assert self.quote is not None
            self.quote.in_list = True
        elif quote.is_complete or not answered:
            self.quote = None
            self._plain(words, mark)
        else:
            quote.lines.append(words)


def _pieces(body: str) -> Iterator[tuple[bool | None, str]]:
    """Yield the parts of a line: None, False or True for no label, an answer's or a quote's, and
    the words behind the label."""
    start, label, markup = 0, None, ("", "")
    if first := (_QUOTE_AT_START.match(body) or _ANSWER_AT_START.match(body)):
        label, start = first.re is _QUOTE_AT_START, first.end()
        markup = (first["before"], first["after"] or "")
    bracket = ""
    for inside in _QUOTE_INSIDE.finditer(body, start):
        words = _unbracketed(body[start : inside.start()], bracket).rstrip(" ,;|-–—")
        if words or label is not None:
            yield label, _closed(words, markup)
        start, label, bracket = inside.end(), True, inside["bracket"] or ""
        markup = (inside["before"] or inside["before2"] or "", inside["after"] or "")
    words = _unbracketed(body[start:], bracket)
    if words or label is not None:
        yield label, _closed(words, markup)


def _unbracketed(words: str, bracket: str) -> str:
    """Return words without the closing bracket at their end if `bracket` opened one before them."""
    closed = words.rstrip(" .。")
    return closed[:-1].rstrip() if bracket and closed[-1:] in (")", "]", "）") else words.strip()


def _closed(words: str, markup: tuple[str, str]) -> str:
    """Return words without markup at their end that was opened before or behind their label."""
    stripped = words.strip()
    for opened in markup:
        if opened and stripped.endswith(opened) and stripped.count(opened) % 2:
            return stripped[: -len(opened)].rstrip()
    return stripped


def _is_bare_quote(words: str, mark: str) -> bool:
    """Return whether a line behind an answer is a quote, although no label says so."""
    marked = unquoted(_without_wrapper(words))
    return (mark.startswith(">") and bool(words)) or (marked is not None and " " in marked)


def _quoted(words: str) -> list[str]:
    """Return the quotes in the words behind a label, without marks around them and empty ones."""
    plain = _without_wrapper(_PLACE_BEHIND.sub("", _without_wrapper(words.strip())))
    texts = marked_texts(plain) or [_without_loose_mark(plain)]
    return [text for text in map(_without_wrapper, texts) if not _NO_QUOTE.fullmatch(text)]


def _without_loose_mark(words: str) -> str:
    """Return words without an opening quotation mark that the model never closed."""
    return words[1:].strip() if is_open(words) and words[0] in '"“„«»「『＂' else words


def _without_wrapper(words: str) -> str:
    """Return words without markdown around all of them, or left over at their end."""
    for wrapper in _WRAPPERS:
        inner = words[len(wrapper) : -len(wrapper)]
        if words.startswith(wrapper) and words.endswith(wrapper) and wrapper not in inner:
            return _without_wrapper(inner.strip()) if inner.strip("*_`~") else inner
        if wrapper in ("**", "__") and words.endswith(wrapper) and words.count(wrapper) == 1:
            return _without_wrapper(words[: -len(wrapper)].strip())
    return words


def _without_markup(text: str) -> str:
    for markup in _MARKED_UP:
        text = markup.sub(r"\1", text)
    return text
