"""The blank that many tokenizers put before a text, and remove from what they decode.

A prompt is put together from parts that are encoded separately. A blank before each would double
those between them. This module knows the settings of tokenizers, and no prompts.
"""

from __future__ import annotations

import json
from typing import Any

# The parts of a tokenizer that may add or remove the blank, with the key of a sequence's steps.
_PARTS = (
    ("normalizer", "normalizers"),
    ("pre_tokenizer", "pretokenizers"),
    ("decoder", "decoders"),
)


def without_first_blank(tokenizer_json: str) -> str:
    """Return a tokenizer that neither adds a blank before a text nor removes one when it decodes.

    Both are in the format of the tokenizers library. All other settings stay.
    """
    description = json.loads(tokenizer_json)
    for part, steps in _PARTS:
        description[part] = _without_blank(description.get(part), steps)
    return json.dumps(description)


def _without_blank(step: dict[str, Any] | None, steps: str) -> dict[str, Any] | None:
    """Return a step of a tokenizer without its effect on the first blank, or None if it has no
    other effect. `steps` is the key of the steps within a sequence."""
    match step:
        case None | {"type": "Prepend"} | {"type": "Strip", "start": 1}:
            return None
        case {"type": "Metaspace"}:
            return {**step, "prepend_scheme": "never"}
        case {"type": "ByteLevel"}:
            return {**step, "add_prefix_space": False}
        case {"type": "Sequence"}:
            kept = (_without_blank(inner, steps) for inner in step[steps])
            return {**step, steps: [inner for inner in kept if inner is not None]}
    return step
