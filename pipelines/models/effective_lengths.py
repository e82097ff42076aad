"""The lengths of text up to which a model answers well, by the model's name.

Knows names and context lengths; does not know prompts or documents.
"""

from __future__ import annotations

from dataclasses import dataclass

from pipelines.models.resolve import TRAINED, Model


@dataclass(frozen=True, slots=True)
class EffectiveLengths:
    """Lengths in tokens up to which a model's answers are good, often below its context length.

    Each counts text only, not question and answer: `single_pass_tokens` of a document read whole,
    `chunk_tokens` of a chunk, `notes_tokens` of the chunks' answers (notes) that one prompt
    combines; None means as `single_pass_tokens`.
    """

    single_pass_tokens: int
    chunk_tokens: int
    notes_tokens: int | None = None


# Phi-3-mini-128k: the RULER score falls from 91 at 16k to 88 at 32k and 66 at 128k. A chunk leaves
# space for question, carried context and answer within the 4,096 tokens of the short rope factors.
KNOWN_LENGTHS = {
    "phi-3-mini-128k": EffectiveLengths(16_384, 3_072),
    "phi-3.5-mini": EffectiveLengths(16_384, 3_072),
    "phi-3-mini-4k": EffectiveLengths(3_072, 3_072),
}
"""The lengths of models whose name contains the key, in lower case."""
UNKNOWN_LENGTHS = EffectiveLengths(16_384, 3_072)
"""The maximum lengths for all other models, whatever their context length."""
TRAINED_LENGTHS = EffectiveLengths(1_400, 1_000, 400)
"""The lengths of the built-in model TRAINED: the longest texts in its training examples."""


def effective_lengths(model: Model) -> EffectiveLengths:
    """Return the lengths of this model: of TRAINED, or of a model in KNOWN_LENGTHS, its own.

    Any other model gets UNKNOWN_LENGTHS, but neither length above half of its context length.
    """
    if model.name == TRAINED:
        return TRAINED_LENGTHS
    for family, lengths in KNOWN_LENGTHS.items():
        if family in model.name.lower():
            return lengths
    single_pass = min(UNKNOWN_LENGTHS.single_pass_tokens, model.max_model_len // 2)
    return EffectiveLengths(single_pass, min(UNKNOWN_LENGTHS.chunk_tokens, single_pass))
