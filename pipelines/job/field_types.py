"""The shorthand for the fields of an extraction: types by name, with optional descriptions."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field
from typing_extensions import TypeAliasType

from pipelines.job.sections import MustBe, NonEmptyStr

_SCALARS = ("string", "number", "integer", "boolean", "date")


def _description(given: str) -> str:
    if given in _SCALARS:
        raise ValueError("a type's name: probably a list of two types was meant")
    return given


FieldDescription = Annotated[NonEmptyStr, AfterValidator(_description)]
"""A description of an extracted field, in words; not the name of a type."""
FieldType = TypeAliasType(
    "FieldType",
    """Annotated[
        Literal["string", "number", "integer", "boolean", "date"]
        | Annotated[list[FieldType], Field(min_length=1, max_length=1)]
        | Annotated[tuple[FieldType, FieldDescription], Field(strict=False)]
        | Annotated[dict[NonEmptyStr, FieldType], Field(min_length=1)],
        MustBe(
            "string, number, integer, boolean, date, a list as [string], or a mapping; "
            "or one of these with a description, as [string, 'the issuer']"
        ),
    ]""",
)
"""The type of an extracted field: a scalar's name, a list of one item type, or nested fields.

A list of two has one of these types and a description, such as [string, "the issuer"]."""
