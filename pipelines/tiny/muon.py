"""Muon, the optimizer of the matrices of `tiny`'s layers: momentum whose directions weigh alike.

After Jordan et al., "Muon: an optimizer for hidden layers in neural networks" (2024), with the step
sizes of Liu et al., "Muon is scalable for LLM training" (2025). `torch.optim.Muon` does the same in
bfloat16, which takes five times as long where the CPU has no instructions for it.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch

_MOMENTUM = 0.95
# A quintic that takes singular values to about one, where it is applied so often.
_QUINTIC, _TIMES = (3.4445, -4.775, 2.0315), 5
_TINY = 1e-7
# The root mean square of an update by AdamW, whose rates fit.
_UPDATE_RMS = 0.2


class Muon(torch.optim.Optimizer):
    """For matrices only. Decay is decoupled from the gradient."""

    def __init__(self, matrices: Iterable[torch.nn.Parameter], lr: float, decay: float) -> None:
        super().__init__(matrices, {"lr": lr, "decay": decay})

    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One update from the gradients."""
        for group in self.param_groups:
            for matrix in group["params"]:
                buffer = self.state[matrix].setdefault("momentum", torch.zeros_like(matrix))
                buffer.lerp_(matrix.grad, 1 - _MOMENTUM)
                update = orthogonal(matrix.grad.lerp(buffer, _MOMENTUM))
                rate = group["lr"] * _UPDATE_RMS * max(matrix.shape) ** 0.5
                with torch.no_grad():
                    matrix.mul_(1 - group["lr"] * group["decay"]).sub_(update, alpha=rate)


def orthogonal(matrix: torch.Tensor) -> torch.Tensor:
    """Nearly the orthogonal matrix nearest to this one: singular values between 0.5 and 1.5."""
    tall = matrix.size(0) > matrix.size(1)
    wide: torch.Tensor = matrix.T if tall else matrix
    wide = wide / wide.norm().clamp(min=_TINY)
    a, b, c = _QUINTIC
    for _ in range(_TIMES):
        gram = wide @ wide.T
        wide = a * wide + (b * gram + c * gram @ gram) @ wide
    return wide.T if tall else wide
