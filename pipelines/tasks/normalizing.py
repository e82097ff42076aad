"""Normalizes a JSON Schema as pydantic and zod generate it, so that each value has a column.

References are replaced by their definitions, `allOf` by one schema, and alternatives by one type
(`unions.py`). All faults are found in one pass. Knows no prompts and no engine.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipelines.tasks.conjunction import conjunction
from pipelines.tasks.dialects import modernized, unwrapped
from pipelines.tasks.faults import Faults
from pipelines.tasks.keywords import check_constants, check_others, report_type
from pipelines.tasks.recursion import ENDLESS, MAX_DEPTH, TooDeep
from pipelines.tasks.schema import (
    JsonSchema,
    is_map,
    json_type,
    object_of,
    or_null,
)
from pipelines.tasks.subschemas import keys_of, shorten
from pipelines.tasks.unions import TYPES, inferred_types, union
from pipelines.tasks.validity import valid_schema

ROOT_FIELD = "items"
"""The field of an extraction whose schema is a list or a map, not an object with properties."""
# More than the columns of a sensible table, and than a model can fill in.
_MAX_SUBSCHEMAS = 2000
_PLACEHOLDER: dict[str, Any] = {"type": ["string", "null"]}


def normalize_schema(schema: JsonSchema, where: str) -> dict[str, Any]:
    """Check a JSON Schema from a job file or a request, and return it normalized.

    In a normalized schema each value has one type, so that it has a column (see `schema.py`). A
    wrapper such as {name, strict, schema} is removed. Optional properties become required ones that
    may be null, and no others are allowed. A definition may contain itself; MAX_DEPTH levels of it
    are kept. A list or a map at the root becomes the field ROOT_FIELD of an object. `where` is the
    key path of the schema, such as `tasks.parties.schema`. Raises SpecError with the key path and
    the remedy of each fault, at most 20.
    """
    schema, where = unwrapped(schema, where)
    schema = valid_schema(modernized(schema), where)
    normalizing = _Normalizing(schema)
    try:
        normalized = normalizing.value(schema, where, ())
    except TooDeep as error:
        normalizing.faults.add(where, f"{error.reference} {ENDLESS}")
        normalized = _PLACEHOLDER
    if json_type(normalized) == "array" or is_map(normalized):
        normalized = object_of({ROOT_FIELD: normalized})
    if json_type(normalized) != "object":
        normalizing.faults.add(
            f"{where}.type",
            f"got {json_type(normalized)!r}, must be object: an extraction fills in an object. Use "
            "{type: object, properties: {NAME: ...}}",
        )
    normalizing.faults.raise_any()
    return {**normalized, "type": "object"}


class _Normalizing:
    """Normalizes the subschemas of one root schema, and collects what is wrong with them.

    `where` in its methods is the key path of a subschema, and `followed` are the references that
    led to it.
    """

    def __init__(self, root: JsonSchema) -> None:
        self.faults = Faults()
        self._root = root
        self._subschemas = 0

    def value(self, schema: Any, where: str, followed: tuple[str, ...]) -> dict[str, Any]:
        """Return a subschema normalized, or a placeholder if it is wrong."""
        self._subschemas += 1
        # a few definitions that refer to each other twice each would expand to millions
        if self._subschemas > _MAX_SUBSCHEMAS:
            self.faults.add(
                where,
                f"the schema has more than {_MAX_SUBSCHEMAS} subschemas once its references are "
                f"replaced by their definitions, the limit. Remove fields, or refer to fewer "
                f"definitions",
            )
            self.faults.raise_any()
        if not isinstance(schema, Mapping):
            self.faults.add(
                where,
                f"got {shorten(schema)}, must be a schema with a type, such as {{type: string}}",
            )
            return dict(_PLACEHOLDER)
        flat, followed = self._flat(schema, where, followed)
        for key in ("anyOf", "oneOf"):
            if key in flat:
                return self._alternatives(flat, key, where, followed)
        kinds = inferred_types(flat)
        types = [kind for kind in kinds if kind != "null"]
        if len(types) > 1 and "enum" not in flat and "const" not in flat:
            choices = [{**flat, "type": kind} for kind in kinds]
            return self._alternatives({"anyOf": choices}, "type", where, followed)
        return self._of_one_type(flat, kinds, where, followed)

    def _flat(
        self, schema: JsonSchema, where: str, followed: tuple[str, ...]
    ) -> tuple[dict[str, Any], tuple[str, ...]]:
        """Return a schema without `$ref` and `allOf`, and the references followed for it."""
        outer = {key: value for key, value in schema.items() if key not in ("$ref", "allOf")}
        outer.pop("$defs", None)
        outer.pop("definitions", None)
        parts = list(schema.get("allOf", ()))
        if "$ref" in schema:
            reference = str(schema["$ref"])
            if followed.count(reference) >= MAX_DEPTH:
                raise TooDeep(reference)
            followed = (*followed, reference)
            parts = [self._target(reference), *parts]
        result: dict[str, Any] = {}
        for part in parts:
            if not isinstance(part, Mapping):
                self.faults.add(where, f"got {shorten(part)} in allOf, must be a schema; remove it")
                continue
            flat, followed = self._flat(part, where, followed)
            result = conjunction(result, flat, where, self.faults)
        # annotations of a part come first, so that the order of keys is that of a plain schema
        return conjunction(result, outer, where, self.faults), followed

    def _target(self, reference: str) -> Any:
        target: Any = self._root
        for key in keys_of(reference) or ():
            target = target[int(key)] if isinstance(target, list | tuple) else target[key]
        return target

    def _of_one_type(
        self, schema: dict[str, Any], kinds: list[str], where: str, followed: tuple[str, ...]
    ) -> dict[str, Any]:
        types = [kind for kind in kinds if kind != "null"]
        if len(types) != 1 or types[0] not in TYPES:
            report_type(schema, types, where, self.faults)
            return dict(_PLACEHOLDER)
        kind = types[0]
        result = {key: value for key, value in schema.items() if key != "nullable"}
        result["type"] = kind
        if kind == "object":
            result = self._object(result, where, followed)
        if kind == "array":
            result = self._array(result, where, followed)
        check_constants(result, where, self.faults)
        check_others(result, where, self.faults)
        nulls = "null" in kinds or schema.get("nullable") is True or None in result.get("enum", ())
        return or_null(result) if nulls else result

    def _object(
        self, schema: dict[str, Any], where: str, followed: tuple[str, ...]
    ) -> dict[str, Any]:
        properties = self._properties(schema, where, followed)
        if properties or schema.get("properties"):
            return {**schema, **object_of(properties), "type": "object"}
        patterns = schema.pop("patternProperties", {})
        values = schema.get("additionalProperties")
        if len(patterns) == 1 and not isinstance(values, Mapping):
            ((pattern, values),) = patterns.items()
            named = {"pattern": pattern}
            names = schema.get("propertyNames", True)
            schema["propertyNames"] = named if names is True else {"allOf": [names, named]}
        elif patterns:
            schema["patternProperties"] = patterns
        if isinstance(values, Mapping) and values:
            return {**schema, **self._map(values, where, followed)}
        self.faults.add(
            f"{where}.properties",
            "missing or empty; an object must name its properties, which are the fields of its "
            "column. Add at least one as NAME: {type: string}, or for a map of any names give the "
            "schema of all values as additionalProperties: {type: string}",
        )
        return {**schema, **object_of({})}

    def _map(self, values: Any, where: str, followed: tuple[str, ...]) -> dict[str, Any]:
        place = f"{where}.additionalProperties"
        try:
            normalized = self.value(values, place, followed)
        except TooDeep as error:
            empty = {"type": "object", "properties": {}, "additionalProperties": {"type": "string"}}
            raise TooDeep(error.reference, {**empty, "maxProperties": 0}) from error
        return {"properties": {}, "required": [], "additionalProperties": normalized}

    def _properties(
        self, schema: JsonSchema, where: str, followed: tuple[str, ...]
    ) -> dict[str, Any]:
        required = schema.get("required", ())
        properties = {}
        for name, subschema in schema.get("properties", {}).items():
            place = f"{where}.properties.{name}"
            try:
                normalized = self.value(subschema, place, followed)
            except TooDeep as error:
                # below the last level, an optional property is left out
                if name not in required:
                    continue
                if error.empty is None:
                    raise
                normalized = error.empty
            properties[name] = normalized if name in required else or_null(normalized)
        if schema.get("properties") and not properties:
            raise TooDeep("#")
        return properties

    def _array(
        self, schema: dict[str, Any], where: str, followed: tuple[str, ...]
    ) -> dict[str, Any]:
        if "prefixItems" in schema:
            return self._tuple(schema, where, followed)
        items = schema.get("items")
        if not isinstance(items, Mapping):
            value = "missing" if items is None else f"got {shorten(items)}"
            self.faults.add(
                f"{where}.items",
                f"{value}, must be the schema of all items, such as {{type: string}}",
            )
            return {**schema, "items": dict(_PLACEHOLDER)}
        try:
            return {**schema, "items": self.value(items, f"{where}.items", followed)}
        except TooDeep as error:
            empty = {"type": "array", "items": {"type": "string"}, "maxItems": 0}
            allowed = not schema.get("minItems")
            raise TooDeep(error.reference, empty if allowed else None) from error

    def _tuple(
        self, schema: dict[str, Any], where: str, followed: tuple[str, ...]
    ) -> dict[str, Any]:
        given = schema["prefixItems"]
        items = [
            self.value(item, f"{where}.prefixItems.{at}", followed) for at, item in enumerate(given)
        ]
        size = len(items)
        least, most = schema.get("minItems", size), schema.get("maxItems", size)
        if isinstance(schema.get("items"), Mapping) or (least, most) != (size, size):
            self.faults.add(
                f"{where}.prefixItems",
                f"has the schemas of {size} items, so it must be all items of the list: set "
                f"minItems and maxItems to {size}, and remove items or set it to false. For a list "
                "of any length use items alone",
            )
        column = union(items, f"{where}.prefixItems", self.faults)
        fixed = {"items": column, "prefixItems": items, "minItems": size, "maxItems": size}
        return {**schema, **fixed}

    def _alternatives(
        self, schema: JsonSchema, key: str, where: str, followed: tuple[str, ...]
    ) -> dict[str, Any]:
        """Replace alternatives by one schema with one type, nullable if one of them is null."""
        source = "anyOf" if key == "type" else key
        siblings = {name: value for name, value in schema.items() if name != source}
        siblings.pop("discriminator", None)
        nulls = siblings.pop("nullable", None) is True
        choices = [choice for choice in schema[source] if not _is_null(choice)]
        nulls = nulls or len(choices) < len(schema[source])
        described = {k: v for k, v in siblings.items() if k in ("title", "description")}
        restricted = {k: v for k, v in siblings.items() if k not in described}
        normalized, deep = [], None
        for at, choice in enumerate(choices):
            place = where if len(choices) == 1 or key == "type" else f"{where}.{key}.{at}"
            given = {"allOf": [choice], **restricted} if restricted else choice
            if len(choices) == 1 and isinstance(choice, Mapping):
                given = {"allOf": [choice], **siblings}
            try:
                normalized.append(self.value(given, place, followed))
            except TooDeep as error:
                deep = error
        if deep is not None and not normalized:
            only_null = {"type": ["string", "null"], "enum": [None]} if nulls else deep.empty
            raise TooDeep(deep.reference, only_null)
        if not normalized:
            self.faults.add(f"{where}.{key}", "only null is allowed; add the schema of a value")
            return dict(_PLACEHOLDER)
        result = union(normalized, f"{where}.{key}", self.faults)
        if len(normalized) > 1:
            result = {k: v for k, v in result.items() if k != "title"} | described
        return or_null(result) if nulls else result


def _is_null(schema: Any) -> bool:
    return isinstance(schema, Mapping) and (
        schema.get("type") == "null"
        or ("const" in schema and schema["const"] is None)
        or schema.get("enum") == [None]
    )
