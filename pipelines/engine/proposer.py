"""The Drafter as a plugin of vLLM: the proposer of its speculative decoding.

vLLM's worker process imports `Proposer` by its path, creates one, and calls it after each step. The
interface (`method: custom_class`) is not stable between versions of vLLM; it is used here only.
vLLM removes from a draft what an answer's grammar forbids.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.engine.drafting import Drafter, DraftSettings

# A step needs one more token of the context, which it generates itself.
_GENERATED = 1


def speculation(settings: DraftSettings) -> dict[str, Any]:
    """Return the arguments of vLLM's `EngineArgs` for an engine that drafts, and counts its drafts
    for each answer. Its `additional_config` must have `settings` as its attribute `carried`."""
    return {
        "speculative_config": {
            "method": "custom_class",
            "model": f"{Proposer.__module__}.{Proposer.__qualname__}",
            "num_speculative_tokens": settings.max_tokens,
        },
        "per_request_spec_decode_metrics": "summary",
    }


def draft_tokens(metrics: Any) -> tuple[int, int]:
    """Return the numbers of drafted and of accepted tokens of one answer, from vLLM's metrics of
    its drafts, which are None without drafting."""
    if metrics is None:
        return 0, 0
    accepted = sum(tokens * steps for tokens, steps in enumerate(metrics.histogram))
    return metrics.num_draft_tokens, accepted


class Proposer:
    """Proposes drafts for all sequences of one engine."""

    def __init__(self, vllm_config: Any) -> None:
        """`vllm_config` is vLLM's configuration of the engine."""
        settings: DraftSettings = vllm_config.additional_config.carried
        self._drafter = Drafter(settings)
        self._max_model_len: int = vllm_config.model_config.max_model_len

    def load_model(self, *_: Any, **__: Any) -> None:
        """Do nothing: a Drafter has no model. vLLM calls it when it loads its own."""

    def propose(
        self,
        sampled_token_ids: Sequence[Sequence[int]],
        num_tokens_no_spec: NDArray[np.int32],
        token_ids_cpu: NDArray[np.int32],
        slot_mappings: Any = None,
    ) -> list[list[int]]:
        """Return a draft for each sequence, some of them empty.

        Args:
            sampled_token_ids: the tokens that the last step generated for each sequence; none while
                its prompt is computed.
            num_tokens_no_spec: the number of tokens of each sequence, these included.
            token_ids_cpu: the sequences, one in a row.
            slot_mappings: not used.
        """
        drafts = self._drafter.propose(sampled_token_ids, num_tokens_no_spec, token_ids_cpu)
        for draft, length in zip(drafts, num_tokens_no_spec, strict=False):
            del draft[max(0, self._max_model_len - int(length) - _GENERATED) :]
        return drafts
