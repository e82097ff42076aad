"""The cost model: estimates one engine's seconds per document from the model's shape and device.

The planner uses it to form units of equal cost. This module does not know files or prices.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipelines.models.resolve import Model
from pipelines.text.lengths import ReadingPlan


@dataclass(frozen=True, slots=True)
class Device:
    """The hardware of one engine, with the speeds that it reaches in practice.

    `flops_per_second` is the speed of prefill, and `bytes_per_second` that of reading memory, which
    bounds decode.
    """

    name: str
    flops_per_second: float
    bytes_per_second: float


# Dense bf16 FLOP/s and memory bytes/s of the data sheets, and the fraction of them that is reached.
_PEAKS = {
    "H100": (989e12, 3.35e12),
    "H200": (989e12, 4.8e12),
    "A100": (312e12, 1.55e12),
    "L40S": (362e12, 0.86e12),
    "L4": (121e12, 0.3e12),
    "A10G": (125e12, 0.6e12),
    "T4": (65e12, 0.32e12),
}
_REACHED = 0.45
CPU = Device("CPU", 5e10, 1e10)
"""One server core. A guess, on which only the size of units depends."""
# Time to schedule, sample and detokenize one request of any size.
_REQUEST_SECONDS = 0.002
# Sequences that decode in one batch, so that they share one read of the weights.
_DECODE_BATCH = 32


def device_named(name: str | None) -> Device:
    """Return the device of a Ray accelerator type such as "A100-80G"; None means a CPU.

    A GPU of an unknown type keeps its name, and gets the speeds of an L4.
    """
    if name is None:
        return CPU
    flops, bandwidth = _PEAKS.get(name.split("-")[0].upper(), _PEAKS["L4"])
    return Device(name, flops * _REACHED, bandwidth * _REACHED)


@dataclass(frozen=True, slots=True)
class CostModel:
    """Estimates engine seconds for documents read by one model, on one device, by one plan."""

    model: Model
    device: Device
    reading: ReadingPlan

    def seconds(self, document_tokens: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Return the estimated engine seconds of each document, given the lengths in tokens.

        All passages, questions and answers of a document are counted, but not the prompts that
        combine chunks' answers. A document that is too long for the plan takes 0 seconds.
        """
        lengths, shape = self.reading.lengths(document_tokens), self.reading.document_shape
        shared = lengths.shared.astype(np.float64)
        questions, answers = sum(shape.questions), sum(shape.answers)
        seconds = lengths.passages * self._passage_seconds(
            shared, len(shape.questions), questions, answers
        )
        if (plan := self.reading.parts) is None:
            return seconds
        part = np.minimum(document_tokens, plan.part_tokens).astype(np.float64) + plan.overhead
        questions = sum(question.tokens for question in plan.questions)
        parts = plan.count(self.reading.tokens_in_parts(document_tokens))
        return seconds + parts * self._passage_seconds(
            part, len(plan.questions), questions, plan.usual_answer_tokens
        )

    def _passage_seconds(
        self, shared: npt.NDArray[np.float64], requests: int, questions: int, answers: int
    ) -> npt.NDArray[np.float64]:
        """Return the engine seconds of passages whose prompts share prefixes of `shared` tokens.

        Each passage has `requests` prompts, whose questions together have `questions` tokens, and
        whose answers have `answers`.

        Prefill takes 2 FLOPs per weight and token, and 4 x hidden x layers per pair of tokens,
        halved by the causal mask, for the passage once and each question after it. Decode reads the
        weights once per batch of sequences, and each sequence's KV cache.
        """
        step_bytes = 2.0 * self._weights / _DECODE_BATCH + shared * self.model.kv_bytes_per_token
        decode = answers * step_bytes / self.device.bytes_per_second
        flops = self.prefill_flops(shared, questions)
        total: npt.NDArray[np.float64] = (
            flops / self.device.flops_per_second + decode + requests * _REQUEST_SECONDS
        )
        return total

    def prefill_flops(
        self, shared: npt.NDArray[np.float64], questions: float
    ) -> npt.NDArray[np.float64]:
        """Return the FLOPs to prefill each passage with all questions about it.

        `shared` are the lengths of the passages in tokens, computed once each; `questions` is the
        length of all questions together in tokens.
        """
        pairs = shared**2 / 2 + questions * shared
        attention = 4.0 * self.model.hidden_size * self.model.layers * pairs
        return 2.0 * self._weights * (shared + questions) + attention

    @property
    def _weights(self) -> int:
        """Return the number of weights that each token is multiplied with: no embeddings."""
        embeddings = 1 if self.model.tied_embeddings else 2
        return self.model.parameters - embeddings * self.model.vocab_size * self.model.hidden_size
