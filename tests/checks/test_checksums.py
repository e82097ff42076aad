"""Checksums, against numbers made by the definition of each."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.checks.checksums import IBAN_LENGTHS, has_luhn_digit, is_iban

DIGITS = st.text("0123456789", min_size=11, max_size=18)


def _check_digit(payload: str) -> str:
    """Return the digit that makes a number valid, by trying all ten."""
    table = "0246813579"  # the digit sum of the double of each digit
    total = sum(
        int(table[int(digit)]) if place % 2 == 0 else int(digit)
        for place, digit in enumerate(reversed(payload))
    )
    return str(-total % 10)


def _iban(country: str, account: str) -> str:
    """Return an IBAN, with its two check digits computed piece by piece."""
    remainder = 0
    for character in account + country + "00":
        for digit in str(string.ascii_uppercase.index(character) + 10) if character.isalpha() else (
            character
        ):  # fmt: skip
            remainder = (remainder * 10 + int(digit)) % 97
    return f"{country}{98 - remainder:02}{account}"


@st.composite
def ibans(draw: st.DrawFn) -> str:
    country = draw(st.sampled_from(sorted(IBAN_LENGTHS)))
    size = IBAN_LENGTHS[country] - 4
    account = draw(st.text(string.ascii_uppercase + string.digits, min_size=size, max_size=size))
    return _iban(country, account)


@given(DIGITS)
def test_exactly_one_check_digit_is_right(payload: str) -> None:
    valid = [digit for digit in "0123456789" if has_luhn_digit(payload + digit)]
    assert valid == [_check_digit(payload)]


@given(DIGITS, st.data())
def test_one_changed_digit_of_a_card_number_is_noticed(payload: str, data: st.DataObject) -> None:
    number = payload + _check_digit(payload)
    place = data.draw(st.integers(0, len(number) - 1))
    other = data.draw(st.sampled_from("0123456789".replace(number[place], "")))
    assert not has_luhn_digit(number[:place] + other + number[place + 1 :])


@given(ibans())
def test_an_iban_of_every_country_is_recognized(iban: str) -> None:
    assert is_iban(iban)
    assert not is_iban(iban + "0")
    assert not is_iban(iban.lower())


@given(ibans(), st.data())
def test_one_changed_character_of_an_iban_is_noticed(iban: str, data: st.DataObject) -> None:
    place = data.draw(st.integers(2, len(iban) - 1))
    # a letter in place of a digit moves all digits before it, which can cancel out
    same_kind = string.digits if iban[place].isdigit() else string.ascii_uppercase
    other = data.draw(st.sampled_from(same_kind.replace(iban[place], "")))
    assert not is_iban(iban[:place] + other + iban[place + 1 :])


@pytest.mark.parametrize(
    "iban", ["DE89370400440532013000", "GB82WEST12345698765432", "FR1420041010050500013M02606"]
)
def test_published_examples_are_recognized(iban: str) -> None:
    assert is_iban(iban)
