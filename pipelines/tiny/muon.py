"""Muon, the optimizer for the weight matrices of `tiny`'s layers: momentum whose update matrices
are made nearly orthogonal, so that all directions of an update have about the same size.

After Jordan et al., "Muon: an optimizer for hidden layers in neural networks" (2024), with the step
sizes of Liu et al., "Muon is scalable for LLM training" (2025). `torch.optim.Muon` computes the
same in bfloat16, which takes five times as long on a CPU without bfloat16 instructions.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch

_MOMENTUM = 0.95
# Coefficients of a quintic polynomial that moves singular values close to one when it is applied
# this many times (Newton-Schulz iteration).
_QUINTIC, _ITERATIONS = (3.4445, -4.775, 2.0315), 5
_MIN_NORM = 1e-7
# Scales updates to the root mean square of AdamW's, so that learning rates for AdamW fit.
_UPDATE_RMS = 0.2


class Muon(torch.optim.Optimizer):
    """Optimizer for the parameters `matrices`, which must all be two-dimensional.

    `lr` is the learning rate, on the scale of AdamW's. `decay` is the weight decay: each step
    subtracts `lr * decay` of a matrix from it, independently of its gradient.
    """

    def __init__(self, matrices: Iterable[torch.nn.Parameter], lr: float, decay: float) -> None:
        super().__init__(matrices, {"lr": lr, "decay": decay})

    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update every matrix once from its gradient, which must be set. `closure` is unused; torch
        requires the argument."""
        for group in self.param_groups:
            for matrix in group["params"]:
                buffer = self.state[matrix].setdefault("momentum", torch.zeros_like(matrix))
                buffer.lerp_(matrix.grad, 1 - _MOMENTUM)
                update = orthogonal(matrix.grad.lerp(buffer, _MOMENTUM))
                rate = group["lr"] * _UPDATE_RMS * max(matrix.shape) ** 0.5
                with torch.no_grad():
                    matrix.mul_(1 - group["lr"] * group["decay"]).sub_(update, alpha=rate)


def orthogonal(matrix: torch.Tensor) -> torch.Tensor:
    """Return an approximation of the orthogonal matrix nearest to `matrix`, of the same shape.

    The singular values of the result are between about 0.5 and 1.5, not exactly 1.
    """
    tall = matrix.size(0) > matrix.size(1)
    wide: torch.Tensor = matrix.T if tall else matrix
    wide = wide / wide.norm().clamp(min=_MIN_NORM)
    a, b, c = _QUINTIC
    for _ in range(_ITERATIONS):
        gram = wide @ wide.T
        wide = a * wide + (b * gram + c * gram @ gram) @ wide
    return wide.T if tall else wide
