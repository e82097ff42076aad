"""Sentences of many languages with their changes, and what extractors make of them, as test input.

Every expected span follows from how a text is put together, not from what a search returns.
"""

from __future__ import annotations

import random
import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass

BEFORE, BEHIND = "⟦", "⟧"


@dataclass(frozen=True)
class Sample:
    """A document around one sentence, and the words that a change of its meaning replaces."""

    language: str
    document: str
    name: tuple[str, str]
    negation: tuple[str, str]
    unit: tuple[str, str]

    @property
    def text(self) -> str:
        return self.document.replace(BEFORE, "").replace(BEHIND, "")

    @property
    def span(self) -> tuple[int, int]:
        start = self.document.index(BEFORE)
        return start, self.document.index(BEHIND) - 1

    @property
    def sentence(self) -> str:
        start, end = self.span
        return self.text[start:end]


SAMPLES = tuple(
    Sample(*fields)
    for fields in (
        (
            "English",
            "Terms of 2019 apply. ⟦The lender Hansen Bank shall not pay a fee of 12,500 EUR before "
            "15 March 2024 if the “Rate” falls by -4.1 percent or 30 days pass.⟧ Notices follow.",
            ("Hansen", "Jansen"),
            ("shall not pay", "shall pay"),
            ("EUR", "USD"),
        ),
        (
            "German",
            "Es gilt das Recht von 2019. ⟦Die Müller Großhandel GmbH haftet nicht für Schäden über "
            "12.500 EUR, die nach dem 15. März 2024 bei „Übergabe“ von 350 kg entstehen.⟧ Danach.",
            ("Müller", "Möller"),
            ("haftet nicht", "haftet"),
            ("kg", "g"),
        ),
        (
            "French",
            "Le contrat de 2019 s’applique. ⟦La société Lefèvre n’a pas versé l’indemnité de "
            "12 500 EUR à l’échéance du 15 mars 2024, soit 4,1 % du « capital ».⟧ Rien d’autre.",
            ("Lefèvre", "Lefèbre"),
            ("n’a pas versé", "a versé"),
            ("EUR", "USD"),
        ),
        (
            "Spanish",
            "Rige la ley de 2019. ⟦El señor Ibáñez no pagará la cuota de 12.500 euros antes del 15 "
            "de marzo de 2024, salvo que la «tasa» baje un 4,1 por ciento.⟧ Lo demás sigue.",
            ("Ibáñez", "Ibañes"),
            ("no pagará", "pagará"),
            ("euros", "pesos"),
        ),
        (
            "Portuguese",
            "Vale a lei de 2019. ⟦A empresa Conceição não pagará a multa de 12.500 reais até 15 de "
            "março de 2024, salvo se a “taxa” cair 4,1 por cento.⟧ O resto segue.",
            ("Conceição", "Consolação"),
            ("não pagará", "pagará"),
            ("reais", "euros"),
        ),
        (
            "Russian",
            "Действует закон 2019 года. ⟦Общество «Ромашка» не обязано выплатить 12 500 рублей до "
            "15 марта 2024 года, если ставка упадёт на 4,1 процента.⟧ Прочее без изменений.",
            ("Ромашка", "Ромашко"),
            ("не обязано", "обязано"),
            ("рублей", "евро"),
        ),
        (
            "Greek",
            "Ισχύει ο νόμος του 2019. ⟦Η εταιρεία Παπαδόπουλος δεν θα καταβάλει 12.500 ευρώ έως "
            "τις 15 Μαρτίου 2024, εάν το «επιτόκιο» πέσει κατά 4,1 τοις εκατό.⟧ Τέλος όρων.",
            ("Παπαδόπουλος", "Παπαδάκης"),
            ("δεν θα", "θα"),
            ("ευρώ", "λίρες"),
        ),
        (
            "Turkish",
            "2019 tarihli yasa geçerlidir. ⟦Yılmaz İnşaat, 15 Mart 2024 tarihine kadar 12.500 lira "
            "ödemekle yükümlü değildir ve “faiz” 4,1 puan düşer.⟧ Diğer hükümler sürer.",
            ("Yılmaz", "Yıldız"),
            ("yükümlü değildir", "yükümlüdür"),
            ("lira", "avro"),
        ),
        (
            "Polish",
            "Obowiązuje ustawa z 2019 roku. ⟦Spółka Wiśniewski nie zapłaci opłaty 12 500 złotych "
            "przed 15 marca 2024 roku, chyba że „stopa” spadnie o 4,1 procent.⟧ Reszta później.",
            ("Wiśniewski", "Wiśniowski"),
            ("nie zapłaci", "zapłaci"),
            ("złotych", "euro"),
        ),
        (
            "Vietnamese",
            "Luật năm 2019 được áp dụng. ⟦Ông Nguyễn Văn Ấn không phải trả 12.500 đồng trước ngày "
            "15 tháng 3 năm 2024 nếu “lãi suất” giảm 4,1 phần trăm.⟧ Phần còn lại giữ nguyên.",
            ("Nguyễn", "Nguyện"),
            ("không phải trả", "phải trả"),
            ("đồng", "yên"),
        ),
        (
            "Arabic",
            "يسري قانون عام 2019. ⟦شركة النخيل لن تدفع رسوم قدرها 12,500 ريال قبل 15 مارس 2024 إذا "
            "انخفض المعدل بنسبة 4.1 بالمئة.⟧ وتبقى الأحكام الأخرى.",
            ("النخيل", "النخبة"),
            ("لن تدفع", "تدفع"),
            ("ريال", "دينار"),
        ),
        (
            "Hebrew",
            "חל החוק משנת 2019. ⟦חברת אלון לא תשלם עמלה של 12,500 שקל לפני 15 במרץ 2024 אם "
            "הריבית תרד ב 4.1 אחוז.⟧ שאר התנאים בתוקף.",
            ("אלון", "אילון"),
            ("לא תשלם", "תשלם"),
            ("שקל", "יורו"),
        ),
        (
            "Hindi",
            "वर्ष 2019 का कानून लागू है। ⟦शर्मा कंपनी 15 मार्च 2024 से पहले 12,500 रुपये का शुल्क नहीं देगी, "
            "यदि दर 4.1 प्रतिशत गिरती है।⟧ शेष नियम वही हैं।",
            ("शर्मा", "वर्मा"),
            ("शुल्क नहीं देगी", "शुल्क देगी"),
            ("रुपये", "डॉलर"),
        ),
        (
            "Thai",
            "ใช้กฎหมายปี 2019 ⟦บริษัทสยามไม่ต้องชำระค่าธรรมเนียม 12,500 บาท ก่อนวันที่ 15 มีนาคม 2024 "
            "หากอัตราลดลง 4.1 เปอร์เซ็นต์⟧ ข้ออื่นคงเดิม",
            ("สยาม", "ไทย"),
            ("ไม่ต้องชำระ", "ต้องชำระ"),
            ("บาท", "เยน"),
        ),
        (
            "Chinese",
            "适用2019年的法律。⟦安达公司不得在2024年3月15日之前支付12,500元费用，除非“利率”下降4.1个"
            "百分点。⟧其余条款不变。",
            ("安达", "安远"),
            ("不得在", "须在"),
            ("元", "欧元"),
        ),
        (
            "Japanese",
            "2019年の法律が適用されます。⟦山田商事は2024年3月15日までに手数料12,500円を支払いません、"
            "ただし「金利」が4.1ポイント下がる場合を除きます。⟧その他は同じです。",
            ("山田", "山本"),
            ("支払いません", "支払います"),
            ("円", "ドル"),
        ),
        (
            "Korean",
            "2019년 법률이 적용됩니다. ⟦한강상사는 2024년 3월 15일까지 수수료 12,500원을 지급하지 "
            "않습니다, 다만 “금리”가 4.1 퍼센트 내리는 경우는 예외입니다.⟧ 나머지는 같습니다.",
            ("한강", "한성"),
            ("지급하지 않습니다", "지급합니다"),
            ("원을", "엔을"),
        ),
    )
)

_NUMBER = re.compile(r"\d+")
_SIGNED = re.compile(r"(?<![\w.,:/'-])(?=\d)")


def replace_digit(sentence: str, rng: random.Random) -> str:
    """Return the sentence with one digit changed, added or dropped."""
    number = rng.choice(list(_NUMBER.finditer(sentence)))
    place = rng.randrange(number.start(), number.end())
    others = "0123456789".replace(sentence[place], "")
    kind = rng.choice(("change", "add", "drop"))
    digit = "" if kind == "drop" else rng.choice(others)
    return sentence[:place] + digit + sentence[place + (kind != "add") :]


def change_sign(sentence: str, rng: random.Random) -> str:
    """Return the sentence with a minus sign before one number, or without the one it has."""
    if "-4.1" in sentence and rng.random() < 0.3:
        return sentence.replace("-4.1", "4.1")
    places = [match.start() for match in _SIGNED.finditer(sentence)] or [
        sentence.index("12,500"),
    ]
    place = rng.choice(places)
    # between two letters, a hyphen would be no sign
    blank = " " if place and sentence[place - 1].isalnum() else ""
    return sentence[:place] + blank + rng.choice("-−–") + sentence[place:]


CHANGES: dict[str, Callable[[Sample, random.Random], str]] = {
    "digit": lambda sample, rng: replace_digit(sample.sentence, rng),
    "sign": lambda sample, rng: change_sign(sample.sentence, rng),
    "name": lambda sample, rng: sample.sentence.replace(*sample.name),
    "negation": lambda sample, rng: sample.sentence.replace(*sample.negation),
    "unit": lambda sample, rng: sample.sentence.replace(*sample.unit),
}

Piece = Callable[[str, int, random.Random], str]
"""Returns what becomes of the character at an offset of a text."""


def _keep(text: str, offset: int, rng: random.Random) -> str:
    return text[offset]


def _break_lines(text: str, offset: int, rng: random.Random) -> str:
    return rng.choice(("\n", "\r\n", "\n    ", " ")) if text[offset] == " " else text[offset]


def _no_break_blanks(text: str, offset: int, rng: random.Random) -> str:
    return rng.choice("\u00a0\u00a0\u2003 ") if text[offset] == " " else text[offset]


def _hyphenate(text: str, offset: int, rng: random.Random) -> str:
    inside_word = text[offset - 1 : offset + 2].isalpha() and 0 < offset < len(text) - 1
    return text[offset] + ("-\n" if inside_word and rng.random() < 0.1 else "")


def _soft_hyphens(text: str, offset: int, rng: random.Random) -> str:
    inside_word = text[offset : offset + 2].isalpha() and len(text[offset : offset + 2]) == 2
    return text[offset] + ("\u00ad" if inside_word and rng.random() < 0.1 else "")


def _glue_words(text: str, offset: int, rng: random.Random) -> str:
    beside_digit = any(character.isdigit() for character in text[max(0, offset - 1) : offset + 2])
    after_sentence = text[max(0, offset - 1)] in ".。।" or offset + 1 == len(text)
    glued = text[offset] == " " and not beside_digit and not after_sentence
    return "" if glued and rng.random() < 0.5 else text[offset]


def _wide_digits(text: str, offset: int, rng: random.Random) -> str:
    return chr(ord(text[offset]) + 0xFEE0) if text[offset] in "0123456789" else text[offset]


def _other_marks(text: str, offset: int, rng: random.Random) -> str:
    return {"“": '"', "”": '"', "„": '"', "«": "“", "»": "”", "’": "'", "-": "−"}.get(
        text[offset], text[offset]
    )


def _decompose(text: str, offset: int, rng: random.Random) -> str:
    return unicodedata.normalize("NFD", text[offset])


HABITS: dict[str, Piece] = {
    "as it stands": _keep,
    "line breaks": _break_lines,
    "no-break blanks": _no_break_blanks,
    "hyphenation": _hyphenate,
    "soft hyphens": _soft_hyphens,
    "glued words": _glue_words,
    "full-width digits": _wide_digits,
    "other marks": _other_marks,
    "decomposed letters": _decompose,
}
_LIGATURES = {"ffi": "ﬃ", "ffl": "ﬄ", "ff": "ﬀ", "fi": "ﬁ", "fl": "ﬂ"}


def written(sample: Sample, habit: str, rng: random.Random) -> tuple[str, tuple[int, int]]:
    """Return the sample's text as an extractor with this habit writes it, and the span of the
    sentence in it."""
    piece = HABITS[habit]
    start, end = sample.span
    pieces = [piece(sample.text, offset, rng) for offset in range(len(sample.text))]
    lengths = [len(written_piece) for written_piece in pieces]
    return "".join(pieces), (sum(lengths[:start]), sum(lengths[:end]))


def over_pages(sample: Sample, rng: random.Random) -> tuple[str, tuple[int, int]]:
    """Return a document of three pages whose second border interrupts the sentence."""
    start, end = sample.span
    blanks = [place for place in range(start + 8, end - 8) if sample.text[place] == " "]
    place = rng.choice(blanks or [(start + end) // 2])
    borders = [f"\n\n{page}\n\nAnnual Report of the Group | Page {page}\n\n" for page in (7, 8, 9)]
    opening = f"Opening words.{borders[0]}"
    text = opening + sample.text[:place] + borders[1] + sample.text[place:] + borders[2] + "End."
    return text, (len(opening) + start, len(opening) + end + len(borders[1]))


def with_ligatures(words: str) -> str:
    for letters, ligature in _LIGATURES.items():
        words = words.replace(letters, ligature)
    return words


def pairs() -> Iterator[tuple[str, str, str, tuple[int, int] | None]]:
    """Yield kind, quote, text and the right span, None where the quote must not be verified."""
    rng = random.Random(7)  # noqa: S311 - test input, the same each time
    for sample in SAMPLES:
        for habit in HABITS:
            yield (f"{sample.language}: {habit}", sample.sentence, *written(sample, habit, rng))
        yield (f"{sample.language}: page border", sample.sentence, *over_pages(sample, rng))
        for kind, change in CHANGES.items():
            yield f"{sample.language}: {kind}", change(sample, rng), sample.text, None
