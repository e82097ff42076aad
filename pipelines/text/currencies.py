"""Finds the currency, or the sign for per cent, directly before or after a number."""

from __future__ import annotations

import re

_DOLLARS = frozenset(("USD", "CAD", "AUD", "HKD", "SGD", "MXN", "NZD", "TWD"))
_CURRENCIES = {
    "$": _DOLLARS, "dollar": _DOLLARS, "dollars": _DOLLARS, "us$": frozenset(("USD",)),
    "€": frozenset(("EUR",)), "euro": frozenset(("EUR",)), "euros": frozenset(("EUR",)),
    "£": frozenset(("GBP",)), "pound": frozenset(("GBP",)), "pounds": frozenset(("GBP",)),
    "¥": frozenset(("JPY", "CNY")), "rmb": frozenset(("CNY",)), "元": frozenset(("CNY", "TWD")),
    "円": frozenset(("JPY",)), "₹": frozenset(("INR",)), "rs": frozenset(("INR",)),
    "₩": frozenset(("KRW",)), "원": frozenset(("KRW",)), "kr": frozenset(("SEK", "NOK", "DKK")),
    "zł": frozenset(("PLN",)), "kč": frozenset(("CZK",)), "₽": frozenset(("RUB",)),
    "₺": frozenset(("TRY",)), "fr": frozenset(("CHF",)), "%": frozenset("%"),
    "percent": frozenset("%"), "per cent": frozenset("%"), "prozent": frozenset("%"),
    "рублей": frozenset(("RUB",)), "bps": frozenset(("bp",)), "bp": frozenset(("bp",)),
    "basis points": frozenset(("bp",)), "basis point": frozenset(("bp",)),
}  # fmt: skip
_CODES = (
    "USD EUR GBP CHF JPY CNY INR CAD AUD SEK NOK DKK PLN CZK BRL MXN KRW RUB HKD SGD NZD TWD TRY "
    "ZAR ARS CLP THB MYR IDR PHP VND ILS SAR AED EGP HUF RON UAH ISK PKR QAR KWD"
)
_ALL = {**_CURRENCIES, **{code.casefold(): frozenset((code,)) for code in _CODES.split()}}
_NAMES = "|".join(re.escape(name) for name in sorted(_ALL, key=len, reverse=True))
_BEFORE = re.compile(rf"(?<![^\W\d_])({_NAMES})\.?[\s(+−–-]{{0,3}}$", re.IGNORECASE)
_BEHIND = re.compile(
    r"[)]?\s?(?:(?:thousand|million|billion|trillion|mio|mrd|mln|bn|[kmb])\b\.?\s?|[万億亿]{1,2})?"
    rf"(?:(?:in|of)\s)?({_NAMES})(?![^\W\d_])",
    re.IGNORECASE,
)
_REACH = 24


def currencies_at(text: str, start: int, end: int) -> frozenset[str]:
    """Return the currencies that the number text[start:end] may have, as ISO 4217 codes.

    "%" stands for per cent, and "bp" for basis points. A sign such as `$` gives all currencies that
    use it. A sign before the number decides; otherwise the currencies named before and after it are
    united. Empty if none is named directly before or after the number, as in most tables.
    """
    before = _BEFORE.search(text[max(0, start - _REACH) : start].replace("￥", "¥"))
    behind = _BEHIND.match(text[end : end + _REACH].replace("％", "%"))
    left = _ALL[before[1].casefold()] if before else frozenset()
    right = _ALL[behind[1].casefold()] if behind else frozenset()
    return left if before and not before[1].isalpha() else left | right
