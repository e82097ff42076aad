"""Prices of GPUs: one table, which the user overrides. Knows no job and no hardware."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from pipelines.errors import SpecError
from pipelines.models.devices import CPU, OFFERED, device_named

PRICES_OF = "October 2025"
"""The month that the prices in LIST_PRICES are of."""
PRICES_SOURCE = "public on-demand list prices of large clouds, rounded"
"""The class of source of LIST_PRICES. They were not fetched from a price list."""
LIST_PRICES: Mapping[str, float] = {
    "H200": 5.00,
    "H100": 4.00,
    "A100-80": 3.40,
    "L40S": 1.90,
    "L4": 0.80,
    "A10G": 1.00,
}
"""US dollars for one GPU for one hour, with its share of the machine."""
PRICED = (*OFFERED, CPU.name)
"""The names for which `--price` may give a price: the GPUs, and an engine on CPUs."""


def list_price(device: str) -> float | None:
    """Return the price of one GPU for one hour in US dollars; None for a CPU, and for a GPU without
    a list price. `device` is a name of LIST_PRICES or a Ray accelerator type; case does not
    count."""
    return LIST_PRICES.get(device_named(device).name.upper())


def prices_with(overrides: Sequence[str]) -> dict[str, float]:
    """Return the price of each device, in US dollars per hour, with the user's own.

    An override is `NAME=PRICE`, such as `h100=2.5`; case does not count, and of several for one
    name the last counts. A CPU has no price unless one is given. Raises SpecError.
    """
    prices = dict(LIST_PRICES)
    names = {name.lower(): name for name in PRICED}
    for override in overrides:
        name, equals, price = override.partition("=")
        if name.lower() not in names:
            raise SpecError(
                f"--price {override}: {name!r} is not a known device; the known ones are "
                f"{', '.join(PRICED)}. Write, for example, --price h100=2.5"
            )
        if not equals or (value := _number(price)) is None:
            raise SpecError(
                f"--price {override}: the price must be a number of at least 0, US dollars per "
                "hour; write, for example, --price h100=2.5"
            )
        prices[names[name.lower()]] = value
    return prices


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None
