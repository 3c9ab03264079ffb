"""Runs a program of ±1 on many inputs at once, as what its netlist is held against."""

from typing import Any

import numpy as np
import torch
from torch.fx import GraphModule, Interpreter

from ..export.logic.layers import TIES

_AT_ONCE = 4096


def run_signs(module: GraphModule, inputs: np.ndarray, shape: tuple[int, ...], ties: str = "refuse") -> np.ndarray:
    """The outputs of a captured network of one input and one output.

    Args:
        module: of `quant.capture`, captured with a batch of one.
        inputs: (N, inputs) of ±1, a sample's elements in order.
        shape: of one sample, with the batch dimension of 1.
        ties: `plus` or `minus`: the sign of 0, which for PyTorch's own `sign` is 0.

    Returns:
        (N, outputs) float64.
    """
    interpreter = _Signs(module, TIES[ties])
    run = torch.vmap(lambda sample: interpreter.run(sample)[0])
    found = []
    with torch.no_grad():
        for start in range(0, len(inputs), _AT_ONCE):
            part = torch.tensor(inputs[start : start + _AT_ONCE], dtype=torch.float32)
            found.append(run(part.reshape(len(part), *shape)).reshape(len(part), -1).double().numpy())
    return np.concatenate(found)


class _Signs(Interpreter):
    """Follows a graph, with a sign for 0 where one was chosen."""

    def __init__(self, module: GraphModule, tie: int):
        super().__init__(module)
        self._tie = tie

    def call_function(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        found = super().call_function(target, args, kwargs)
        if self._tie and target is torch.ops.aten.sign.default:
            return torch.where(found == 0, float(self._tie), found)
        return found
