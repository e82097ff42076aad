"""Match texts with grammars of xgrammar: of a JSON Schema, compiled as vLLM does it, or in EBNF."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from typing import Any


@cache
def _compiler() -> Any:
    import xgrammar

    # whole texts are matched, so any vocabulary will do
    return xgrammar.GrammarCompiler(xgrammar.TokenizerInfo([chr(code) for code in range(128)]))


def accepts(schema: Mapping[str, Any], text: str) -> bool:
    """Return whether the grammar of `schema` accepts all of `text`, and lets it end there."""
    return _accepts(_compiler().compile_json_schema(json.dumps(schema), any_whitespace=False), text)


def ebnf_accepts(grammar: str, text: str) -> bool:
    """Return whether a grammar in EBNF accepts all of `text`, and lets it end there."""
    return _accepts(_compiler().compile_grammar(grammar), text)


def _accepts(grammar: Any, text: str) -> bool:
    import xgrammar

    matcher = xgrammar.GrammarMatcher(grammar, terminate_without_stop_token=True)
    return bool(matcher.accept_string(text) and matcher.is_terminated())
