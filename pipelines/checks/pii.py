"""Patterns of personal data: which of them a text contains.

Each pattern has a check beyond its form: a checksum, a numbering plan or ranges that are issued, so
that few other numbers and words match. All expressions take time linear in the text. Does not know
answers.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from unicodedata import normalize

from pipelines.checks.checksums import IBAN_LENGTHS, has_luhn_digit, is_iban
from pipelines.checks.phones import has_phone
from pipelines.text.folding import plain

# Letters of any script, as in international addresses (RFC 6531), but no quoted names.
_EMAIL = re.compile(
    r"(?<![\w.!#$%&'*+/=?^`{|}~-])[\w!#$%&'*+/=?^`{|}~.-]{1,64}"
    r"@((?:[^\W_](?:[\w-]{0,61}[^\W_])?\.){1,8})([^\W\d_]{2,63}|xn--[a-z0-9-]{1,59})(?![\w@-])",
    re.IGNORECASE,
)
# image@2x.png is the name of a file
_FILE_TYPES = frozenset(
    ["png", "jpg", "jpeg", "gif", "svg", "webp", "bmp", "tif", "tiff", "heic", "css", "js", "pdf"]
)
_CARD = re.compile(
    r"(?<![\w.,-])(?<!\d )"
    r"(?:\d{13,19}|\d{4}([ -])\d{4}\1\d{4}\1\d{1,4}(?:\1\d{1,3})?|\d{4}([ -])\d{6}\2\d{4,5})"
    r"(?!\w|[.,-]\d| \d)"
)
_CARD_STARTS = re.compile(
    r"4(?:\d{12}|\d{15}|\d{18})"  # Visa
    r"|(?:5[1-5]\d\d|222[1-9]|22[3-9]\d|2[3-6]\d\d|27[01]\d|2720)\d{12}"  # Mastercard
    r"|3[47]\d{13}"  # American Express
    r"|(?:30[0-5]|3095|36\d|3[89]\d)\d{11,16}"  # Diners Club
    r"|(?:6011|64[4-9]\d|65\d\d)\d{12,15}"  # Discover
    r"|35(?:2[89]|[3-8]\d)\d{12,15}"  # JCB
    r"|(?:62|81)\d{14,17}"  # UnionPay
    r"|(?:50\d\d|5[6-8]\d\d|6304|6759|676[1-3])\d{8,15}"  # Maestro
)
_SSN = re.compile(r"(?<![\w-])(\d{3})-(\d{2})-(\d{4})(?![\w-])")
_NAMED_SSN = re.compile(
    r"\b(?:ssn|social security (?:number|no|nr|#))\b[^\w\n]{0,4}(?:is[^\w\n]{1,2})?"
    r"(\d{3})([ -]?)(\d{2})\2(\d{4})(?![\w-])",
    re.IGNORECASE,
)
_IBAN_START = re.compile(r"(?<![^\W_])[A-Za-z]{2}\d{2}(?=[ -]?[A-Za-z0-9])")
_IPV4 = re.compile(r"(?<![\w.-])((?:\d{1,3}\.){3}\d{1,3})(?![\w-]|\.\d)(:\d{1,5}|/\d{1,2})?(?!\w)")
_NUMBERS_AND_NAMES = re.compile(r"[\w:.]+")


def _has_email(text: str) -> bool:
    return "@" in text and any(
        match[2].lower() not in _FILE_TYPES and _is_name(match[0].partition("@")[0])
        for match in _EMAIL.finditer(text)
    )


def _is_name(name: str) -> bool:
    return not name.startswith(".") and not name.endswith(".") and ".." not in name


def _has_card(text: str) -> bool:
    for match in _CARD.finditer(text):
        digits = re.sub("[ -]", "", match[0])
        if len(set(digits)) > 1 and _CARD_STARTS.fullmatch(digits) and has_luhn_digit(digits):
            return True
    return False


def _has_ssn(text: str) -> bool:
    return any(_is_issued(*match.group(1, 2, 3)) for match in _SSN.finditer(text)) or any(
        _is_issued(*match.group(1, 3, 4)) for match in _NAMED_SSN.finditer(text)
    )


def _is_issued(area: str, group: str, serial: str) -> bool:
    return area not in ("000", "666") and area < "900" and group != "00" and serial != "0000"


def _has_iban(text: str) -> bool:
    return any(is_iban(candidate) for candidate in _iban_candidates(text))


def _iban_candidates(text: str) -> Iterator[str]:
    """Yield the letters and digits, in capitals, from each place where an IBAN may begin, as many
    as the country's has. They may have single blanks or hyphens between them."""
    for match in _IBAN_START.finditer(text):
        length = IBAN_LENGTHS.get(match[0][:2].upper())
        if length is None:
            continue
        whole = re.compile(rf"(?:[A-Za-z0-9][ -]?){{{length - 1}}}[A-Za-z0-9](?![^\W_])")
        if found := whole.match(text, match.start()):
            yield re.sub("[ -]", "", found[0]).upper()


def _has_ip_address(text: str) -> bool:
    if text.count(".") > 2 and any(_is_ipv4(*m.group(1, 2)) for m in _IPV4.finditer(text)):
        return True
    if text.count(":") < 2:
        return False
    return any(_is_ipv6(name.strip(".")) for name in _NUMBERS_AND_NAMES.findall(text))


def _is_ipv4(text: str, suffix: str | None) -> bool:
    """Return whether a text is an address of a machine, and no number of a section or version: it
    has a number of three digits, or a port or prefix length behind it."""
    octets = text.split(".")
    if any(int(octet) > 255 or (len(octet) > 1 and octet[0] == "0") for octet in octets):
        return False
    if octets[0] in ("0", "127", "255"):
        return False
    return suffix is not None or any(len(octet) == 3 for octet in octets)


def _is_ipv6(text: str) -> bool:
    """Return whether a text is an address, and no time or name such as a::b: a short form has a
    digit, and a group of at least three characters."""
    if text.count(":") < 2:
        return False
    try:
        address = ipaddress.IPv6Address(text)
    except ValueError:
        return False
    if address.is_loopback or address.is_unspecified:
        return False
    if "::" not in text:
        return True
    return any(map(str.isdigit, text)) and any(len(group) > 2 for group in text.split(":"))


_PATTERNS: Mapping[str, Callable[[str], bool]] = {
    "email": _has_email,
    "iban": _has_iban,
    "credit_card": _has_card,
    "us_ssn": _has_ssn,
    "ip_address": _has_ip_address,
}


@dataclass(frozen=True, slots=True)
class PersonalData:
    """The patterns of personal data that a check looks for.

    Attributes:
        patterns: their names in the job file.
        regions: countries whose national forms of phone numbers are found too.
    """

    patterns: tuple[str, ...]
    regions: tuple[str, ...] = ()

    def rules(self, texts: Sequence[str]) -> list[str | None]:
        """Return for each text the name of the first pattern that it contains, or None."""
        return [self._pattern(normalize("NFC", plain(text))) for text in texts]

    def _pattern(self, text: str) -> str | None:
        return next((name for name in self.patterns if self._has(name, text)), None)

    def _has(self, name: str, text: str) -> bool:
        if name == "phone":
            return has_phone(text, self.regions)
        return _PATTERNS[name](text)
