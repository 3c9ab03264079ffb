"""Steps of optimizers on stacks of matrices: one of several copies of a network, each with weights of its own.

Muon as in Jordan et al. (2024) and `torch.optim.Muon`, which takes one matrix at a time and computes in bfloat16; here
a whole stack is orthogonalized at once, in the precision it is given in.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
STEPS, MOMENTUM, SMALLEST = 5, 0.95, 1e-7


def newton_schulz(stack: Tensor, steps: int = STEPS) -> Tensor:
    """(..., A, B) to nearly orthogonal matrices of the same singular vectors.

    `X = N / |N|`, then `Y = X X^T`, `X <- a X + (b Y + c Y Y) X`; singular values end between about 0.7 and 1.2, those
    of directions that are far weaker than the strongest below.
    """
    a, b, c = COEFFICIENTS
    tall = stack.shape[-2] > stack.shape[-1]
    x = stack.transpose(-2, -1) if tall else stack
    x = x / torch.linalg.matrix_norm(x, keepdim=True).clamp(min=SMALLEST)
    for _ in range(steps):
        y = x @ x.transpose(-2, -1)
        x = a * x + (b * y + c * (y @ y)) @ x
    return x.transpose(-2, -1) if tall else x


def polar_factor(stack: Tensor) -> Tensor:
    """(..., A, B) to `U V^T` of their singular vectors: what Muon's iteration is to come to."""
    left, _, right = torch.linalg.svd(stack, full_matrices=False)
    return left @ right


class StackedMuon(torch.optim.Optimizer):
    """Muon with Nesterov momentum on stacks (..., A, B), without weight decay, at AdamW's root mean square.

    `M <- mu M + G`; `W <- W - 0.2 sqrt(max(A, B)) lr NS(G + mu M)`.
    """

    def __init__(self, stacks: Sequence[Tensor], lr: float = 1e-3):
        super().__init__(stacks, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for stack in group["params"]:
                momentum = self.state[stack].setdefault("momentum", torch.zeros_like(stack))
                momentum.mul_(MOMENTUM).add_(stack.grad)
                scale = 0.2 * max(stack.shape[-2:]) ** 0.5
                stack.sub_(scale * group["lr"] * newton_schulz(stack.grad + MOMENTUM * momentum))
