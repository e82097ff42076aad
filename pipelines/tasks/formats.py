"""The formats of strings and numbers that are checked, after decoding. Knows no schemas.

Those that describe how a value is kept or shown, such as `password`, restrict nothing.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from datetime import datetime, time
from typing import Any
from uuid import UUID

from jsonschema import FormatChecker

_DURATION = re.compile(
    r"[+-]?P(?!$)(?:\d+(?:[.,]\d+)?Y)?(?:\d+(?:[.,]\d+)?M)?(?:\d+(?:[.,]\d+)?W)?"
    r"(?:\d+(?:[.,]\d+)?D)?(?:T(?=\d)(?:\d+(?:[.,]\d+)?H)?(?:\d+(?:[.,]\d+)?M)?"
    r"(?:\d+(?:[.,]\d+)?S)?)?"
)
_EMAIL = re.compile(r"[^\s@]+@[^\s@]+")
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[^\s<>\"{}|\\^`]+")
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST = re.compile(rf"(?=.{{1,253}}$){_LABEL}(?:\.{_LABEL})*")
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")

_TEXTS: Mapping[str, Callable[[str], Any]] = {
    "date-time": datetime.fromisoformat,
    "time": time.fromisoformat,
    "duration": _DURATION.fullmatch,
    "email": _EMAIL.fullmatch,
    "idn-email": _EMAIL.fullmatch,
    "name-email": lambda text: "@" in text,
    "uri": _URI.fullmatch,
    "url": _URI.fullmatch,
    "iri": _URI.fullmatch,
    "multi-host-uri": _URI.fullmatch,
    "hostname": _HOST.fullmatch,
    "uuid": lambda text: _UUID.fullmatch(text) and UUID(text),
    "guid": lambda text: _UUID.fullmatch(text) and UUID(text),
    "ipv4": ipaddress.IPv4Address,
    "ipv6": ipaddress.IPv6Address,
    "ipvanyaddress": ipaddress.ip_address,
    "ipv4network": ipaddress.IPv4Network,
    "ipv6network": ipaddress.IPv6Network,
    "ipvanynetwork": ipaddress.ip_network,
    "ipvanyinterface": ipaddress.ip_interface,
}
_BITS = {"int8": 7, "int16": 15, "int32": 31, "int64": 63}
_UNSIGNED_BITS = {"uint8": 8, "uint16": 16, "uint32": 32}
_UNRESTRICTED = (
    "binary", "byte", "base64", "base64url", "password", "path", "file-path", "directory-path",
    "json-string", "float", "double", "decimal", "color", "textarea", "markdown",
)  # fmt: skip

FORMAT_CHECKER = FormatChecker(("date",))
"""Checks, for the jsonschema validator, that values have the format that their schema names."""
KNOWN_FORMATS = ("date", *_TEXTS, *_BITS, *_UNSIGNED_BITS, *_UNRESTRICTED)
"""The values of `format` that a schema may have: those that are checked or restrict nothing."""


def _add_text_check(name: str, parse: Callable[[str], Any]) -> None:
    def check(value: object) -> bool:
        return not isinstance(value, str) or bool(parse(value) or name == "time")

    FORMAT_CHECKER.checks(name, ValueError)(check)


def _add_range_check(name: str, low: int, high: int) -> None:
    def check(value: object) -> bool:
        return not isinstance(value, int | float) or low <= value < high

    FORMAT_CHECKER.checks(name)(check)


for _name, _parse in _TEXTS.items():
    _add_text_check(_name, _parse)
for _name, _bits in _BITS.items():
    _add_range_check(_name, -(2**_bits), 2**_bits)
for _name, _bits in _UNSIGNED_BITS.items():
    _add_range_check(_name, 0, 2**_bits)
