"""Recognizes a reply that only says that the text does not state the answer.

Every sentence of such a reply must say so in full: "The rent is not stated to be fixed; it follows
the index." is an answer, and so is "No.". A reply that begins with a bare "Not stated." may explain
it in further sentences. The phrases are English, with the usual short ones of other languages.
"""

from __future__ import annotations

import re

_MAX_SENTENCE_CHARACTERS = 400
_AROUND = " \t\r\n'\"‘’“”„«»‹›「」『』`*_~()[]<>.!。،-–—:"
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|[;。！？\n]+|\s[–—-]\s")
_PARENTHESIS = re.compile(r"\s*[(\[（][^()\[\]（）]*[)\]）][\s.]*$")
# Words after which a sentence says something else after all.
_TURN = re.compile(
    r"\b(?:but|however|though|although|except|instead|rather|yet|only that|other than|apart from|"
    r"it does|they do|likely|probably|presumably|implied|implies|suggests?)\b",
)

_HOW = r"(?:(?:explicitly|expressly|specifically|clearly|directly|otherwise|actually)\s+)?"
_KIND = (
    r"(?:texts?|documents?|passages?|parts?|excerpts?|sections?|contexts?|notes?|articles?|"
    r"contracts?|agreements?|reports?|statements?|letters?|sources?|filings?|information|content)"
)
_TEXT = (
    r"(?:(?:in|of)\s+)?(?:the|this|that|these|those|any)\s+(?:\w+\s+)?(?:\w+\s+of\s+)?"
    rf"(?:the\s+)?{_KIND}(?:\s+(?:given|provided|above|shown|of the (?:document|text)))?"
)
_WHERE = rf"(?:(?:anywhere|here)\b)?\s*(?:(?:in|by|within|from)\s+(?:{_TEXT}|it))?"
# Said of what a text states; the second group only together with the place, or without a subject.
_STATED = r"(?:stated|mentioned|specified|disclosed|indicated|said)"
_GIVEN = (
    r"(?:given|provided|available|known|named|identified|reported|listed|shown|found|described|"
    r"defined|addressed|discussed|included|noted|clear|contained|covered|revealed|answered|present)"
)
_CLAUSE = r"(?:\s+(?:who|whom|whose|what|when|where|whether|which|how|why|if|that|as to)\b.*)?"
_BE = r"(?:is|are|was|were|has been|have been|be)"
_NOT_BE = rf"(?:{_BE}\s+not|isn['’]t|aren['’]t|wasn['’]t|weren['’]t|has not been|have not been)"
_MATTER = (
    r"(?:information|details?|mention|reference|indication|statement|answer|data|particulars|"
    r"specifics|such (?:statement|information|thing))"
)
_ABOUT = (
    r"(?:\s+(?:of|on|about|regarding|concerning|as to|in|for|to|from|that|who|what|when|where|"
    r"which|how|whether|is|was|are|given|provided|available|found|here)\b.*)?"
)
_DOES_NOT = r"(?:does\s+not|do\s+not|did\s+not|doesn['’]t|don['’]t|didn['’]t|fails?\s+to|never)"
_SAY = (
    r"(?:say|state|mention|specify|indicate|disclose|reveal|tell|identify|name|clarify|report|"
    r"answer|address|note|list|show|explain|describe|discuss|says|states|mentions|specifies|know)"
)
_CANNOT = r"(?:cannot|can\s+not|can['’]t|could\s+not|couldn['’]t|(?:am|are|was|is)\s+unable\s+to)"

# A reply that consists of one of these says it without naming what is not stated.
_BARE = re.compile(
    rf"(?:not\s+{_HOW}(?:{_STATED}|{_GIVEN}|applicable|sure|determinable)(?:\s+{_WHERE})?"
    rf"|none\s+(?:{_BE}\s+)?{_HOW}(?:{_STATED}|{_GIVEN})(?:\s+{_WHERE})?"
    rf"|not\s+(?:in|part\s+of)\s+{_TEXT}"
    r"|n\s*/\s*a|n\.\s*a|na|null|unknown|unspecified|undisclosed|unstated|unclear|undetermined"
    rf"|(?:there\s+is\s+)?(?:no|not\s+enough|insufficient)\s+{_MATTER}{_ABOUT}"
    r"|no\s+answer|(?:i\s+)?(?:do\s+not|don['’]t)\s+know|\?+"
    # German, Dutch, French, Spanish, Portuguese, Italian, Polish, Russian
    r"|nicht\s+(?:angegeben|genannt|erwähnt|bekannt)|keine\s+angaben?|niet\s+(?:vermeld|genoemd)"
    r"|non\s+(?:indiqué|précisé|mentionné|spécifié)e?|no\s+se\s+(?:indica|menciona|especifica)"
    r"|no\s+(?:indicado|mencionado|especificado|consta)|não\s+(?:informado|mencionado|consta)"
    r"|non\s+(?:indicato|specificato|menzionato)|nie\s+podano|не\s+указан[оаы]?"
    # Chinese, Japanese, Korean
    r"|(?:文中|文本|文件|文档|原文)?(?:中)?(?:未|没有|沒有)(?:提及|提到|说明|說明|注明|明确说明)"
    r"|(?:記載|言及|情報)(?:は)?(?:なし|ありません|されていません)|不明"
    r"|명시되지\s*않(?:음|았습니다)|언급되지\s*않(?:음|았습니다))",
)
_OPENING = re.compile(
    r"^(?:(?:unfortunately|no|well)\s*,\s*|(?:i['’]m\s+|i\s+am\s+)?sorry\s*,\s*(?:but\s+)?|"
    rf"(?:(?:based\s+on|according\s+to|in|from)\s+{_TEXT}\s*,\s*))+",
)
_SENTENCES = tuple(
    re.compile(pattern)
    for pattern in (
        # The text does not say who ...; the notes don't mention ...; I do not see it stated
        rf"(?:{_TEXT}|it|i)\s+{_DOES_NOT}\s+{_HOW}{_SAY}\b.*",
        rf"(?:{_TEXT}|it)\s+{_DOES_NOT}\s+{_HOW}(?:contain|include|provide|give|have|offer)\s+"
        rf"(?:(?:any|the|an?|enough|sufficient|this|such|specific|that|explicit)\s+)*"
        rf"{_MATTER}{_ABOUT}",
        rf"(?:{_TEXT}|it)\s+(?:contains|includes|provides|gives|has|offers|makes)\s+no\s+"
        rf"(?:(?:specific|explicit|further)\s+)*{_MATTER}{_ABOUT}",
        rf"(?:{_TEXT}|it)\s+(?:says|states|mentions)\s+nothing\b.*",
        rf"(?:{_TEXT}|it)\s+is\s+silent\b.*",
        # It is not stated who ...; the auditor is not named in the text; no date is given
        rf"(?:\S+\s+){{1,14}}?{_NOT_BE}\s+{_HOW}{_STATED}(?:\s+{_WHERE})?{_CLAUSE}",
        rf"(?:\S+\s+){{1,14}}?{_NOT_BE}\s+{_HOW}{_GIVEN}\s+(?:in|by|within|from)\s+{_TEXT}{_CLAUSE}",
        rf"(?:it|this|that|the\s+answer|this\s+information)\s+{_NOT_BE}\s+{_HOW}{_GIVEN}"
        rf"(?:\s+{_WHERE})?{_CLAUSE}",
        rf"(?:no|nothing|none|neither)\b(?:\s+\S+){{0,10}}?\s+(?:{_BE}\s+)?{_HOW}{_STATED}"
        rf"(?:\s+{_WHERE})?(?:\s+(?:about|on|of)\b.*)?",
        rf"(?:no|none)\b(?:\s+\S+){{0,10}}?\s+(?:is|are)\s+{_HOW}{_GIVEN}(?:\s+{_WHERE})?",
        rf"there\s+(?:is|are|was)\s+(?:no|not\s+enough|insufficient)\s+"
        rf"(?:(?:specific|explicit|direct|clear|further)\s+)*{_MATTER}{_ABOUT}",
        rf"(?:no|not\s+enough|insufficient)\s+(?:(?:specific|explicit|direct)\s+)*{_MATTER}{_ABOUT}",
        # I cannot find it; it cannot be determined from the text
        rf"(?:(?:i|we)\s+)?{_CANNOT}\s+(?:find|determine|tell|answer|say|locate|see)\b.*",
        rf"(?:(?:it|this|that|the\s+answer)\s+)?{_CANNOT}\s+be\s+"
        rf"(?:determined|found|answered|told|inferred)\b.*",
        r"(?:it|this|that|the\s+answer)\s+is\s+(?:unknown|unclear|unspecified|undisclosed)\b.*",
    )
)


def is_not_stated(text: str | None) -> bool:
    """Return whether a reply gives no answer: None, blank, or only "the text does not state it".

    Such a reply may be worded in many ways, mostly in English. Case does not matter, nor do
    punctuation, markdown and quotation marks around its sentences.
    """
    if text is None:
        return True
    sentences = [_bare(sentence) for sentence in _SENTENCE_END.split(text.casefold())]
    sentences = [sentence for sentence in sentences if sentence]
    if not sentences:
        return True
    if _BARE.fullmatch(sentences[0]):
        return not any(_TURN.search(sentence) for sentence in sentences[1:])
    return all(_says_so(sentence) for sentence in sentences)


def _says_so(sentence: str) -> bool:
    said = _OPENING.sub("", sentence)
    if len(sentence) > _MAX_SENTENCE_CHARACTERS or _TURN.search(said):
        return False
    return bool(_BARE.fullmatch(said)) or any(one.fullmatch(said) for one in _SENTENCES)


def _bare(sentence: str) -> str:
    """Return a sentence with single blanks, without a parenthesis at its end and marks around."""
    spaced = " ".join(sentence.split())
    shortened = _PARENTHESIS.sub("", spaced)
    return (shortened if shortened.strip(_AROUND) else spaced).strip(_AROUND)
