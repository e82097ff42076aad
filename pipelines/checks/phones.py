"""Phone numbers in texts, by the numbering plans of all countries (libphonenumber's data).

The one module that imports phonenumbers; the plans of a country are loaded at its first number.
"""

from __future__ import annotations

from collections.abc import Sequence


def has_phone(text: str, regions: Sequence[str]) -> bool:
    """Return whether a text contains a phone number that is in use by its country's numbering plan.

    Numbers in the international form, with + and the country's code, are found; of `regions`, codes
    of ISO 3166 such as US, also those in the national form.
    """
    digits = sum(map(str.isdigit, text))
    # no number of a plan is shorter; most texts need not be looked at
    if digits < 7:
        return False
    from phonenumbers import Leniency, PhoneNumberMatcher

    international = (None,) if "+" in text else ()
    return any(
        PhoneNumberMatcher(text, region, leniency=Leniency.VALID).has_next()
        for region in (*international, *regions)
    )
