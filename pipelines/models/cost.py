"""The cost model: seconds of one engine for a document, from the model's shape and the device.

Used to cut units of equal cost. Knows shapes and rates; nothing of files or prices.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipelines.models.resolve import Model
from pipelines.text.lengths import ReadingPlan


@dataclass(frozen=True, slots=True)
class Device:
    """What an engine runs on: FLOP/s it reaches in prefill, bytes/s it reads in decode."""

    name: str
    flops_per_second: float
    bytes_per_second: float


# Dense bf16 peak and memory bandwidth of the data sheets; REACHED says how much of them counts.
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
# A server's core with a small model; a guess for others, on which only the cut of units depends.
CPU = Device("CPU", 5e10, 1e10)
# Scheduling, sampling and detokenizing one request, whatever its size.
_REQUEST_SECONDS = 0.002
# Sequences that share one reading of the weights while they decode.
_DECODE_BATCH = 32


def device_named(name: str | None) -> Device:
    """The device behind one of Ray's accelerator types, None for a CPU; an unknown GPU is an L4."""
    if name is None:
        return CPU
    flops, bandwidth = _PEAKS.get(name.split("-")[0].upper(), _PEAKS["L4"])
    return Device(name, flops * _REACHED, bandwidth * _REACHED)


@dataclass(frozen=True, slots=True)
class CostModel:
    """Engine seconds for documents of one model, read in one way."""

    model: Model
    device: Device
    reading: ReadingPlan

    def seconds(self, document_tokens: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Engine seconds for each document, by its length in tokens: all its passages together."""
        lengths = self.reading.lengths(document_tokens)
        return lengths.passages * self._passage_seconds(lengths.shared.astype(np.float64))

    def _passage_seconds(self, shared: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Engine seconds for passages, by the tokens that all prompts about one begin with.

        Prefill is 2 FLOPs a weight and token, and 4 x hidden x layers a pair of tokens halved by
        the causal mask, over the passage once and each question after it. Decode reads the weights
        once for a batch of sequences and each sequence's own cache.
        """
        shape = self.reading.document_shape
        questions = float(sum(shape.questions))
        step_bytes = 2.0 * self._weights / _DECODE_BATCH + shared * self.model.kv_bytes_per_token
        decode = sum(shape.answers) * step_bytes / self.device.bytes_per_second
        flops = self.prefill_flops(shared, questions)
        total: npt.NDArray[np.float64] = (
            flops / self.device.flops_per_second + decode + len(shape.questions) * _REQUEST_SECONDS
        )
        return total

    def prefill_flops(
        self, shared: npt.NDArray[np.float64], questions: float
    ) -> npt.NDArray[np.float64]:
        """FLOPs to read passages and the questions after them once each."""
        pairs = shared**2 / 2 + questions * shared
        attention = 4.0 * self.model.hidden_size * self.model.layers * pairs
        return 2.0 * self._weights * (shared + questions) + attention

    @property
    def _weights(self) -> int:
        """The weights that every token is multiplied with: all but the embeddings."""
        embeddings = 1 if self.model.tied_embeddings else 2
        return self.model.parameters - embeddings * self.model.vocab_size * self.model.hidden_size
