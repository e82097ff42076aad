"""Pydantic models of all kinds of fields, with a value of each, and models without a column."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from ipaddress import IPv4Address
from typing import Annotated, Any, Generic, Literal, TypeVar
from uuid import UUID

from pydantic import AnyUrl, AwareDatetime, BaseModel, ConfigDict, Field, RootModel, create_model

T = TypeVar("T")


class Color(Enum):
    red = "red"
    blue = "blue"


class Grade(IntEnum):
    low = 1
    high = 2


class Share(Enum):
    third = 0.1
    half = 0.5


class Address(BaseModel):
    """An address."""

    street: str
    city: str | None


class Cash(BaseModel):
    kind: Literal["cash"]
    amount: float


class Stock(BaseModel):
    kind: Literal["stock"] = "stock"
    shares: int
    issuer: str | None = None


class Bonds(BaseModel):
    kind: Literal["bond", "note"]
    amount: float
    rates: list[float]


Payment = Annotated[Cash | Stock | Bonds, Field(discriminator="kind")]


class Page(BaseModel, Generic[T]):
    items: list[T]


class Node(BaseModel):
    name: str
    children: list[Node] = []


class Chain(BaseModel):
    name: str
    next: Chain | None


class Tree(BaseModel):
    name: str
    branches: list[Tree]


class Scalars(BaseModel):
    text: str
    number: float
    whole: int
    flag: bool


class Wrapped(BaseModel):
    text: str = Field(title="T", description="said", examples=["a"], min_length=1)
    code: str = Field(pattern=r"^NCT\d{8}$")
    currency: str = Field(min_length=3, max_length=3)
    body: str = Field(max_length=500)


class Times(BaseModel):
    day: date
    moment: AwareDatetime
    hour: time
    span: timedelta


class Named(BaseModel):
    quotes: list[str]
    status: str
    strategy: str
    chunks: int


class Quoted(BaseModel):
    quotes: str
    quotes_: str = Field(alias="_quotes")
    model_config = ConfigDict(validate_by_name=True, serialize_by_alias=True)


class Renamed(BaseModel):
    name: str = Field(alias='full "name"')
    model_config = ConfigDict(serialize_by_alias=True)


class Closed(BaseModel):
    model_config = ConfigDict(extra="forbid")
    a: int


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")
    a: int


class Base(BaseModel):
    id: int


class Derived(Base):
    base: Base
    others: dict[str, Base]


def model_of(annotation: Any, **field: Any) -> type[BaseModel]:
    """Return a model with one field `v`."""
    return create_model("V", v=(annotation, Field(**field) if field else ...))


@dataclass(frozen=True)
class Case:
    name: str
    model: type[BaseModel]
    value: Any


def v(name: str, annotation: Any, value: Any, **field: Any) -> Case:
    return Case(name, model_of(annotation, **field), {"v": value})


CHAIN: dict[str, Any] = {"name": "a", "next": {"name": "b", "next": {"name": "c", "next": None}}}
TREE = {"name": "a", "branches": [{"name": "b", "branches": [{"name": "c", "branches": []}]}]}
AWKWARD = 'He said "no\\yes",\nthen left. 日本語 é'
ACCEPTED = [
    Case("scalars", Scalars, {"text": AWKWARD, "number": 0.1, "whole": -3, "flag": True}),
    Case("restricted texts", Wrapped,
         {"text": AWKWARD, "code": "NCT01234567", "currency": "日本円", "body": AWKWARD * 9}),
    v("optional text", str | None, None),
    v("default", int, 4, default=3),
    v("decimal", Decimal, Decimal("12.50")),
    v("decimal with limits", Decimal, Decimal("0.07"), ge=0, decimal_places=2),
    v("optional decimal", Decimal | None, Decimal("-1234567890123456.789")),
    v("many digits", Decimal, Decimal("0.12345678901234567890123")),
    v("number or integer", float | int, 3),
    v("integer or number", int | float, 2.5),
    v("integer or text", int | str, "iv"),
    v("text or number", str | float, "12"),
    v("text or boolean", str | bool, "true"),
    v("boolean or integer", bool | int, 7),
    v("boolean or number", float | bool, False),
    v("date or text", date | str, "in spring"),
    v("date", date, date(2024, 2, 29)),
    v("optional date", date | None, date(2024, 2, 29)),
    v("list of dates", list[date], [date(2024, 2, 29)]),
    Case("times", Times, {
        "day": date(2020, 1, 31), "moment": datetime(2020, 1, 31, 1, 2, 3, 456, UTC),
        "hour": time(1, 2, 3), "span": timedelta(days=1, seconds=1.5)}),
    v("identifier", UUID, UUID("123e4567-e89b-12d3-a456-426614174000")),
    v("link", AnyUrl, AnyUrl("https://a.example/b?c=d#e")),
    v("network address", IPv4Address, IPv4Address("127.0.0.1")),
    v("bytes", bytes, b"abc"),
    v("literal", Literal["a", 'b"c\\'], 'b"c\\'),
    v("one literal", Literal["a"], "a"),
    v("number literals", Literal[1, 2], 2),
    v("literal or null", Literal["a", "é"] | None, "é"),
    v("literal or text", Literal["a"] | str, "other"),
    v("two literals", Literal["a"] | Literal["b"], "b"),
    v("choice", Color, Color.blue),
    v("optional choice", Color | None, None),
    v("choices", list[Color], [Color.red, Color.red]),
    v("whole choice", Grade, Grade.high),
    v("fractional choice", Share, Share.third),
    v("percentage", float, 0.123456789, ge=0, le=1),
    v("positive", int, 1, gt=0),
    v("range", int, 9, gt=0, lt=10),
    v("64 bits", int, 2**63 - 1, ge=-(2**63), le=2**63 - 1),
    v("cents", float, 1.13, multiple_of=0.01),
    v("list", list[str], []),
    v("list with bounds", list[int], [1, 2], min_length=1, max_length=3),
    v("list of lists", list[list[int]], [[1], []]),
    v("list with nulls", list[str | None], ["a", None]),
    v("optional list", list[int] | None, None),
    v("set", set[str], {"a", "b"}),
    v("frozen set", frozenset[int], frozenset({3})),
    v("pair", tuple[int, int], (1, 2)),
    v("pair of two types", tuple[str, int], ("3", 4)),
    v("pair of numbers", tuple[int, float], (1, 2.5)),
    v("pair with a date", tuple[date, str], (date(2020, 1, 2), "x")),
    v("pairs", list[tuple[float, float]], [(1.0, 2.0)]),
    v("tuple of any length", tuple[int, ...], (1, 2, 3)),
    v("map", dict[str, str], {"a": "b", 'c"\n': AWKWARD}),
    v("map of numbers", dict[str, float], {}),
    v("map of lists", dict[str, list[int]], {"a": [1]}),
    v("map of choices", dict[Literal["a", "b"], int], {"b": 1}),
    v("map of patterns", dict[Annotated[str, Field(pattern="^x")], int], {"xy": 1}),
    v("optional map", dict[str, int] | None, {"a": 1}),
    v("nested", Address, {"street": "s", "city": None}),
    v("described nested", Address, {"street": "s", "city": "c"}, description="billing"),
    v("optional nested", Address | None, None),
    v("list of nested", list[Address], [{"street": "s", "city": None}]),
    v("discriminated", Payment, {"kind": "stock", "shares": 3, "issuer": "I"}),
    v("list of discriminated", list[Payment],
      [{"kind": "cash", "amount": 1.5}, {"kind": "note", "amount": 2.0, "rates": [0.5]}]),
    v("optional discriminated", Payment | None, None),
    v("plain union with constants", Cash | Stock, {"kind": "cash", "amount": 2.0}),
    v("generic", Page[Address], {"items": [{"street": "s", "city": None}]}),
    Case("recursive", Node, {"name": "a", "children": [{"name": "b", "children": [
        {"name": "c", "children": [{"name": "d"}]}]}]}),
    Case("recursive with null", Chain, CHAIN),
    Case("recursive with a required list", Tree, TREE),
    Case("named as ours", Named, {"quotes": ["a"], "status": "s", "strategy": "t", "chunks": 3}),
    Case("quotes twice", Quoted, {"quotes": "a", "_quotes": "b"}),
    Case("odd names", Renamed, {'full "name"': "a"}),
    Case("closed", Closed, {"a": 1}),
    Case("open", Open, {"a": 1}),
    Case("derived", Derived, {"id": 1, "base": {"id": 2}, "others": {"x": {"id": 3}}}),
    Case("list at the root", RootModel[list[Address]], [{"street": "s", "city": None}]),
    Case("map at the root", RootModel[dict[str, int]], {"a": 1}),
    Case("union at the root", RootModel[Payment], {"kind": "cash", "amount": 1.0}),
]  # fmt: skip


class Dog(BaseModel):
    name: str


class Cat(BaseModel):
    name: str
    lives: int


class Endless(BaseModel):
    inner: Endless


REFUSED = [
    (model_of(dict[str, Any]), r"v\.properties: missing or empty.*additionalProperties"),
    (model_of(dict), r"v\.properties: missing or empty"),
    (model_of(list), r"v\.items"),
    (model_of(Any), r"v\.type: missing, must be one of"),
    (model_of(Dog | Cat), r"v\.anyOf: these objects have no property.*kind"),
    (model_of(str | list[str]), r"v\.anyOf: .*use a separate field for each.*list"),
    (model_of(str | Address), r"v\.anyOf: .*separate field"),
    (model_of(list[int] | list[str]), r"v\.anyOf: .*different array"),
    (model_of(Literal["a", 1]), r"v\.enum: .*use one type"),
    (model_of(tuple[Address, int]), r"v\.prefixItems: .*separate field"),
    (Endless, r"contains itself in every value.*optional"),
    (RootModel[str], r"s\.type: got 'string', must be object"),
    (model_of(int | date), r"v\.anyOf: .*cannot be told apart.*one type"),
    (model_of(None), r"type"),
]
