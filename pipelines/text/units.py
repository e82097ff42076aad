"""Reads the unit directly behind a number, such as `kg` or `square metres`: 5 kg is not 5 g."""

from __future__ import annotations

import re

_WORD_BEHIND = re.compile(r"[ \u00a0]?(?P<word>[^\W\d_]+[²³]?)")
_MAX_LETTERS = 4
# Only units that are no words of a language, since any short word can follow a number in a text.
_SPELLINGS = {
    "kg": "kilogram kilograms kilogramme kilogrammes kilogramm kilogramos kilo kilos",
    "g": "gram grams gramme grammes gramm gramos",
    "mg": "milligram milligrams",
    "t": "tonne tonnes",
    "lb": "lbs",
    "oz": "ounce ounces",
    "km": "kilometer kilometers kilometre kilometres kilómetros chilometri",
    "m": "meter meters metre metres mètres metros",
    "cm": "centimeter centimeters centimetre centimetres",
    "mm": "millimeter millimeters millimetre millimetres",
    "ft": "feet foot",
    "mi": "mile miles",
    "sqm": "",
    "ha": "hectare hectares hektar",
    "l": "liter liters litre litres",
    "ml": "milliliter milliliters millilitre millilitres",
    "kW": "kilowatt kilowatts",
    "MW": "megawatt megawatts",
    "GW": "gigawatt gigawatts",
    "kWh": "",
    "MWh": "",
    "GWh": "",
    "kB": "",
    "MB": "megabyte megabytes",
    "GB": "gigabyte gigabytes",
    "TB": "terabyte terabytes",
    "Hz": "hertz",
    "kHz": "kilohertz",
    "MHz": "megahertz",
    "GHz": "gigahertz",
    "m²": "",
    "m³": "",
    "km²": "",
}
_UNITS = {
    spelling: unit for unit, words in _SPELLINGS.items() for spelling in (unit, *words.split())
}


def unit_at(text: str, end: int) -> str:
    """Return the word directly behind the number that ends before text[end]; "" if there is none.

    A unit in words is returned as its symbol.
    """
    match = _WORD_BEHIND.match(text, end)
    word = match["word"] if match else ""
    return _UNITS.get(word, word)


def is_unit(word: str) -> bool:
    """Return whether a word is the symbol of a unit, and no word of a language."""
    return word in _SPELLINGS


def is_short(word: str) -> bool:
    """Return whether a word behind a number may be the symbol of a unit: it has few letters.

    False in scripts without blanks between words, where other words could follow it.
    """
    return 0 < len(word) <= _MAX_LETTERS and (word[0].isupper() or word[0].islower())
