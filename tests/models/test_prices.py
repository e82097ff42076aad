"""Tests of the price table and of the user's own prices."""

from __future__ import annotations

import pytest

from pipelines.errors import SpecError
from pipelines.models.prices import LIST_PRICES, prices_with


def test_the_users_prices_replace_those_of_the_table_whatever_their_case() -> None:
    prices = prices_with(["h100=2.5", "A100-80=1", "cpu=0.1", "l4=9", "L4=0"])
    assert prices == {**LIST_PRICES, "H100": 2.5, "A100-80": 1.0, "CPU": 0.1, "L4": 0.0}


def test_an_unknown_device_is_refused_with_the_known_ones() -> None:
    with pytest.raises(SpecError) as refused:
        prices_with(["b9000=1"])
    message = refused.value.message
    assert message.startswith("--price b9000=1: 'b9000' is not a known device")
    assert "H200, H100, A100-80, L40S, L4, A10G, CPU" in message


@pytest.mark.parametrize(
    "price", ["h100", "h100=", "h100=cheap", "h100=-1", "h100=nan", "h100=inf"]
)
def test_what_is_no_price_is_refused(price: str) -> None:
    with pytest.raises(SpecError, match="must be a number of at least 0"):
        prices_with([price])
