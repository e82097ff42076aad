"""Patterns of personal data, by texts that have it and texts that only look like it."""

from __future__ import annotations

import pytest

from pipelines.checks.pii import PersonalData

ALL = ("email", "phone", "iban", "credit_card", "us_ssn", "ip_address")

CONTAINING = [
    ("email", "Write to Bob.O'Neil+x@mail.example.co.uk."),
    ("email", "müller@müller.de"),
    ("email", "ana@例え.テスト"),
    ("email", "bob＠example．com"),
    ("email", "bob@exam\u00adple.com"),
    ("email", "mailto:bob@example.museum?subject=x"),
    ("email", "<a@xn--mller-kva.xn--p1ai>"),
    ("phone", "+49 30 901820"),
    ("phone", "call +1 (212) 555-0123 now"),
    ("phone", "+44\u00a020\u00a07946\u00a00958"),
    ("phone", "+٤٩ ٣٠ ٩٠١٨٢٠"),
    ("iban", "DE89 3704 0044 0532 0130 00 is the account"),
    ("iban", "IBAN:GB82WEST12345698765432."),
    ("iban", "no93-8601-1117-947"),
    ("credit_card", "4111 1111 1111 1111"),
    ("credit_card", "Card 5555-5555-5555-4444, Visa"),
    ("credit_card", "378282246310005"),
    ("credit_card", "3782 822463 10005"),
    ("credit_card", "6011111111111117"),
    ("credit_card", "３５３０１１１３３３３０００００"),
    ("us_ssn", "123-45-6789"),
    ("us_ssn", "SSN: 123456789"),
    ("us_ssn", "Social Security Number is 123 45 6789"),
    ("us_ssn", "123‑45‑6789"),
    ("ip_address", "from 192.168.1.1, port 80"),
    ("ip_address", "8.8.8.8:53"),
    ("ip_address", "10.0.0.0/8"),
    ("ip_address", "2001:db8::1"),
    ("ip_address", "[fe80::1]"),
    ("ip_address", "2001:0db8:85a3:0000:0000:8a2e:0370:7334."),
    ("ip_address", "::ffff:192.0.2.128"),
]
WITHOUT = [
    "a@b", "x@y.z", "@handle", "image@2x.png", "5 apples @ 3.50 each", "bob@", "a..b@example.com",
    "2024-01-12 10:22:11", "+12 345", "1 + 234 567 8901", "(212) 555-2368", "+1 000 000 0000",
    "DE89370400440532013001", "DE8937040044053201300", "XX89370400440532013000",
    "XDE89370400440532013000", "DE89370400440532013000X",
    "4111 1111 1111 1112", "0.4111111111111111", "12 4111 1111 1111 1111", "1234567812345670",
    "4111 1111 1111 1111 22", "0000000000000000", "4111111111111111111111",
    "000-12-3456", "666-12-3456", "900-12-3456", "123-00-4567", "123-45-0000", "123456789",
    "078-05-1120-1", "123 45 6789",
    "8.8.8.8", "Section 4.2.1.3", "version 10.0.19041.1", "300.1.1.1", "192.168.001.1",
    "255.255.255.0", "127.0.0.1", "::1", "12:30:45", "a::b", "std::vector", "abc::def",
    "00:1A:2B:3C:4D:5E", "10:30::45", "1.192.168.1.1.4",
    "The revenue was 1,234,567,890 dollars in 2023, up 12.5 % from 1,098,765,432.", "",
]  # fmt: skip


@pytest.mark.parametrize(("pattern", "text"), CONTAINING)
def test_a_pattern_is_found_and_no_other(pattern: str, text: str) -> None:
    found = [name for name in ALL if PersonalData((name,)).rules([text]) != [None]]
    assert found == [pattern]


@pytest.mark.parametrize("text", WITHOUT)
def test_what_only_looks_like_personal_data_is_not_found(text: str) -> None:
    assert PersonalData(ALL).rules([text]) == [None]


def test_national_phone_numbers_are_found_for_the_regions_given() -> None:
    texts = ["(212) 555-2368", "030 901820", "+33 1 42 68 53 00"]
    assert PersonalData(("phone",), ("US",)).rules(texts) == ["phone", None, "phone"]
    assert PersonalData(("phone",), ("US", "DE")).rules(texts) == ["phone"] * 3


def test_the_first_pattern_of_the_check_is_named() -> None:
    text = "bob@example.com, 123-45-6789"
    assert PersonalData(("us_ssn", "email")).rules([text, "", text]) == ["us_ssn", None, "us_ssn"]
