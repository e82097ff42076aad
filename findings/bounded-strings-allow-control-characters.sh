#!/usr/bin/env bash
# xgrammar 0.2.8 (the grammar library of vLLM 0.29 and 0.32), torch 2.13.0, Linux, CPython 3.11.
#
# A model decodes an answer by a JSON Schema, and the schema bounds the length of a string.
#
# Expected: whatever the grammar allows is JSON. A JSON string may not contain a control character
# such as a tab as it is (RFC 8259, section 7), and the grammar of a string without a bound allows
# none.
# Seen: with `minLength` or `maxLength` the grammar allows every control character but line feed and
# carriage return, the character NUL included, and it forbids the escape `\t` that would be right.
# An answer that obeys the grammar is then rejected by `json.loads`. With `pattern`, control
# characters are forbidden.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
python3 -m venv "$directory/venv"
"$directory/venv/bin/pip" install --quiet xgrammar==0.2.8 torch==2.13.0+cpu numpy
cat > "$directory/bounded.py" <<'PYTHON'
import json

import xgrammar

vocabulary = ["a", '"', "\t", "\x00", "\n", "\\", "t", "</s>"]
tokens = xgrammar.TokenizerInfo(vocabulary, stop_token_ids=[len(vocabulary) - 1])
compiler = xgrammar.GrammarCompiler(tokens)


def allows(schema: dict[str, object], text: str) -> bool:
    matcher = xgrammar.GrammarMatcher(compiler.compile_json_schema(json.dumps(schema)))
    return bool(matcher.accept_string(text) and matcher.accept_token(len(vocabulary) - 1))


free = {"type": "string"}
for bounded in ({**free, "maxLength": 9}, {**free, "minLength": 1}):
    for text in ('"a\ta"', '"a\x00a"', '"a\na"', '"a\\ta"'):
        try:
            valid = bool(json.loads(text))
        except ValueError:
            valid = False
        print(f"{text!r}: JSON {valid}, without a bound {allows(free, text)}, "
              f"with {bounded} {allows(bounded, text)}")
        assert allows(free, text) == valid
        assert allows(bounded, text) == (text in ('"a\ta"', '"a\x00a"')), "the behaviour has changed"
assert not allows({**free, "pattern": "^.*$"}, '"a\ta"')
PYTHON
"$directory/venv/bin/python" "$directory/bounded.py"
