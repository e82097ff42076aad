"""The types that texts may have in files: strings, bytes, or a list of pages."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.corpus.conversion import is_list, replace_items
from pipelines.corpus.id_types import is_text

_PAGE_END = b"\f"


def can_be_text(kind: pa.DataType) -> bool:
    """Return whether values of a type are texts: strings, bytes, or lists of either, the pages."""
    if isinstance(kind, pa.JsonType):
        return can_be_text(kind.storage_type)
    if pa.types.is_dictionary(kind):
        return can_be_text(kind.value_type)
    if is_list(kind):
        return not is_list(kind.value_type) and can_be_text(kind.value_type)
    return is_text(kind) or pa.types.is_null(kind)


def text_bytes(texts: pa.Array) -> pa.Array:
    """Return texts as bytes: whether they are UTF-8 is checked for each document, so that one bad
    text does not fail its whole file.

    Every page of a list ends with a form feed, also the last one, so that passages of the text have
    the page's number, counted from 1. A page that is null is empty, and a form feed within a page
    becomes a line break.
    """
    kind = texts.type
    if isinstance(kind, pa.BaseExtensionType):
        return text_bytes(texts.storage)
    if pa.types.is_dictionary(kind):
        return text_bytes(texts.dictionary_decode())
    if is_list(kind):
        pages = replace_items(texts, text_bytes)
        return pa.array([_joined(each) for each in pages.to_pylist()], pa.large_binary())
    return pc.cast(texts, pa.large_binary())


def _joined(pages: list[bytes | None] | None) -> bytes | None:
    if pages is None:
        return None
    return b"".join((page or b"").replace(_PAGE_END, b"\n") + _PAGE_END for page in pages)
