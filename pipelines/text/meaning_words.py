"""Words of many languages that can turn the meaning of a sentence if a quote leaves them out."""

from __future__ import annotations

import re


def _words(words: str) -> frozenset[str]:
    return frozenset(words.split())


NEGATIONS = _words(
    """
    not no non never neither nor none nobody nothing nowhere cannot without unless except
    excluding exempt refuse refuses refused fail fails failed cease ceases ceased forbidden
    prohibited barred waives waived instead hardly rarely
    nicht nichts nie niemals niemand kein keine keinen keinem keiner keines ohne weder noch außer
    ausgenommen niet geen nooit zonder tenzij behalve niemand ikke ikkje aldrig aldri ingen intet
    uden uten undtagen unntatt inte ej inget inga utan
    ne pas jamais aucun aucune ni sans sauf hormis nunca jamás jamas sin salvo excepto tampoco
    ningún ninguno ninguna ningun nada nadie não nao nem jamais sem nenhum nenhuma exceto mai
    nessun nessuno nessuna né senza eccetto nu nici niciodată fără nimic
    nie nigdy żaden żadna żadnego żadnej bez ani oprócz není nikdy žádný žádná žádné nesmí nemá
    nebude nelze nejsou nem soha nincs nélkül kivéve ei eivät eikä älä ilman paitsi
    değil yok hiç hiçbir hariç olmadan không chưa chẳng đừng trừ tidak bukan tanpa jangan belum
    kecuali
    не ни нет никогда без кроме нельзя ні немає жоден крім δεν δε μη μην ούτε χωρίς ποτέ όχι
    εκτός ουδέποτε
    لا لم لن ليس ليست غير دون بدون إلا عدم ولا ولم ولن وليس فلا كلا نه نیست بدون لما لیس
    לא אין אינו אינה אינם אינן בלי ללא מבלי למעט ולא ואין נא אסור
    नहीं न ना मत बिना सिवाय
    """
)
# A word of these scripts can be joined to others, or a negation is a part of it.
JOINED_NEGATION = re.compile(
    "[不未非无無没沒勿毋否莫禁拒]|除外|除了|别|"
    "ない|なかっ|なく|ません|(?<![必ま])ず|ぬ|除く|以外|"
    "않|못|아니|없|제외|금지|(?<![가-힣])안(?![가-힣])|"
    "ไม่|มิ|ห้าม|ยกเว้น|เว้นแต่|ปราศจาก"
)
NEGATED_WORD = re.compile(r"\w+n['’]t|n['’]\w+|\w+(?:m[ea]z|m[ae]y[ae]ca?k?\w*)|نمی\w*")
# "no" is "in the" in Portuguese
PORTUGUESE = _words("da dos das ao aos em uma pelo pela às é são")
CLAUSE_WORDS = _words(
    """
    and but or while whereas who whom whose which that what if when und aber oder während wer
    welche welcher et mais ou tandis qui que dont y e pero mientras quien cuyo mas enquanto quem
    cujo ma mentre che cui și dar iar care ale oraz który która zaś и а но или который которая
    пока και αλλά ενώ που ve ama fakat ise và nhưng còn mà dan tetapi sedangkan yang en maar
    terwijl och men eller som og mens samt و لكن بينما الذي التي או אך אבל ואילו אשר और लेकिन जबकि
    जो
    """  # noqa: RUF001  # a word of Russian
)
PARTIES = re.compile(
    r"\b(?:less|licens|assign|trust|grant|mortgag|guarant|indemnit|oblig|pledg|employ|pay)"
    r"(?:or|ee|er)s?\b|\b(?:tenant|landlord|buyer|seller|purchaser|vendor|lender|borrower|part(?:y|"
    r"ies)|company|client|customer|supplier|contractor|provider|plaintiff|defendant|bank|he|she|"
    r"they|agent|insurer|insured|issuer|holder)s?\b|"
    r"\b(?:bailleur|locataire|preneur|vendeu|acheteu|acquéreur|prêteur|emprunteur|société|client|"
    r"fourniss|arrendador|arrendatari|vendedor|comprador|prestamista|prestatari|empresa|locador|"
    r"locatári|locator|conduttore|venditor|acquirent|mutuant|clien|fornitor|"
    r"арендода|арендатор|продав|покупа|заказчик|исполнител|кредитор|за[её]мщик|сторон|"
    r"εκμισθωτ|μισθωτ|πωλητ|αγοραστ|δανειστ|δανειολήπτ|εταιρ|kiracı|kiraya|satıcı|alıcı|şirket|"
    r"wynajmując|najemc|sprzedawc|kupując|kupc|pożyczk|spółk|verhuurder|huurder|koper|verkoper|"
    r"penyewa|penjual|pembeli|pemberi)\w*|"
    r"\b(?:bên|người)\b|المؤجر|المستأجر|البائع|المشتري|المقرض|المقترض|الطرف|שוכר|משכיר|מוכר|קונה|"
    r"מלווה|לווה|צד|मकान|किराएदार|विक्रेता|खरीदार|पक्ष|कंपनी|ऋणदाता|ผู้|บริษัท|"
    r"[甲乙丙丁買卖賣买][方家]|[出承]租[人方]|借款人|贷款人|公司|[貸借売買]主|当社|賃[貸借]人|임대인|임차인|매도인|매수인|"
    r"[갑을]",
    re.IGNORECASE,
)
