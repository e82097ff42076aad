"""Checksums of card numbers and bank account numbers.

Knows nothing of texts.
"""

from __future__ import annotations

import re

# From the IBAN registry of SWIFT, the registration authority of ISO 13616.
IBAN_LENGTHS = {
    "AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22,
    "BI": 27, "BR": 29, "BY": 28, "CH": 21, "CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DJ": 27,
    "DK": 18, "DO": 28, "EE": 20, "EG": 29, "ES": 24, "FI": 18, "FK": 18, "FO": 18, "FR": 27,
    "GB": 22, "GE": 22, "GI": 23, "GL": 18, "GR": 27, "GT": 28, "HN": 28, "HR": 21, "HU": 28,
    "IE": 22, "IL": 23, "IQ": 23, "IS": 26, "IT": 27, "JO": 30, "KW": 30, "KZ": 20, "LB": 28,
    "LC": 32, "LI": 21, "LT": 20, "LU": 20, "LV": 21, "LY": 25, "MC": 27, "MD": 24, "ME": 22,
    "MK": 19, "MN": 20, "MR": 27, "MT": 31, "MU": 30, "NI": 28, "NL": 18, "NO": 15, "OM": 23,
    "PK": 24, "PL": 28, "PS": 29, "PT": 25, "QA": 29, "RO": 24, "RS": 22, "RU": 33, "SA": 24,
    "SC": 31, "SD": 18, "SE": 24, "SI": 19, "SK": 24, "SM": 27, "SO": 23, "ST": 25, "SV": 28,
    "TL": 23, "TN": 24, "TR": 26, "UA": 29, "VA": 22, "VG": 24, "XK": 20, "YE": 30,
}  # fmt: skip
"""The number of characters of an IBAN by the country code that it begins with."""
_IBAN = re.compile(r"[A-Z]{2}[0-9]{2}[A-Z0-9]+")


def has_luhn_digit(digits: str) -> bool:
    """Return whether the last of some ASCII digits is their check digit by Luhn (ISO/IEC 7812-1).

    From the right, every second digit is doubled, and the digits of the doubles are added; the sum
    is a multiple of 10.
    """
    doubled = (sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2])
    return (sum(map(int, digits[-1::-2])) + sum(doubled)) % 10 == 0


def is_iban(text: str) -> bool:
    """Return whether a text of capital letters and digits, without blanks, is an IBAN.

    It has its country's length, and the number that it makes, with the first four characters moved
    to its end and letters as 10 to 35, is 1 modulo 97 (ISO 13616).
    """
    if len(text) != IBAN_LENGTHS.get(text[:2]) or not _IBAN.fullmatch(text):
        return False
    return int("".join(str(int(character, 36)) for character in text[4:] + text[:4])) % 97 == 1
