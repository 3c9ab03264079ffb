"""What a learning rule asks of hardware, measured on one update: state, multiplications, and which weights are read."""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from ..batches import Raw, each
from ..objectives import Batch
from . import Learner

_aten = torch.ops.aten
# Operators that multiply value by value; of a product with a sum behind it, each value is one multiply-accumulate.
_BY_VALUE = {_aten.mul, _aten.mul_, _aten.div, _aten.div_, _aten.square, _aten.addcmul, _aten.addcmul_}
_BY_VALUE |= {_aten.addcdiv, _aten.addcdiv_, _aten.lerp, _aten.lerp_, _aten.pow}
_FLOPS_PER_MAC = 2


@dataclass(frozen=True)
class Footprint:
    """One update of one network by one rule.

    Attributes:
        weights: of the network, biases and norms included.
        state_bits: for each weight, that stay between updates: the network's, and all that the learner keeps.
        matrix_macs: for each sample, in products of matrices and convolutions.
        other_macs: for each sample, multiplications value by value.
        forward_macs: for each sample, of the network's forward pass alone, in matrices and convolutions.
        reads_weights_back: whether an operator of the backward pass reads a matrix of the network; None where nothing
            runs backward.
    """

    weights: int
    state_bits: float
    matrix_macs: float
    other_macs: float
    forward_macs: float
    reads_weights_back: bool | None


def footprint(module: nn.Module, learner: Learner, batch: Batch, rate: float) -> Footprint:
    """Learns from a batch, twice, and measures the second time, when all state is there.

    Args:
        module: that the learner changes.
        batch: of the size that the rule is meant for.
        rate: the learning rate.
    """
    learner.learn(batch, rate)
    matrices = {p.untyped_storage().data_ptr() for p in module.parameters() if sum(side > 1 for side in p.shape) > 1}
    learning = _counted(lambda: learner.learn(batch, rate), matrices)
    inferring = _counted(lambda: _forward(module, batch.samples), matrices)
    weights, count = sum(p.numel() for p in module.parameters()), len(batch.targets)
    kept = [*module.state_dict().values(), *learner.tensors().values()]
    return Footprint(
        weights,
        8 * sum(tensor.numel() * tensor.element_size() for tensor in kept) / weights,
        learning.matrix_macs / count,
        learning.other_macs / count,
        inferring.matrix_macs / count,
        learning.reads_back if learning.runs_back else None,
    )


def _forward(module: nn.Module, samples: Raw) -> None:
    inputs = each(lambda tensor: tensor, samples)
    with torch.no_grad():
        module(*((inputs,) if isinstance(inputs, Tensor) else inputs))


class _Counting(TorchDispatchMode):
    """Sees every operator, also those that autograd runs."""

    def __init__(self, matrices: set[int]):
        super().__init__()
        self.matrices = matrices
        self.matrix_macs = self.other_macs = 0.0
        self.runs_back = self.reads_back = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        found = func(*args, **kwargs)
        packet = func._overloadpacket
        if packet in flop_registry:
            macs = flop_registry[packet](*args, **kwargs, out_val=found) / _FLOPS_PER_MAC
            self.matrix_macs += macs
            # Only a gradient of one of these is a pass backward: a readout's own step is not.
            if macs and torch._C._current_autograd_node() is not None:
                self.runs_back = True
                self.reads_back |= any(self._is_matrix(leaf) for leaf in tree_leaves((args, kwargs)))
        elif packet in _BY_VALUE and isinstance(found, Tensor):
            self.other_macs += prod(found.shape)
        return found

    def _is_matrix(self, value: Any) -> bool:
        return isinstance(value, Tensor) and value.untyped_storage().data_ptr() in self.matrices


def _counted(call: Callable[[], object], matrices: set[int]) -> _Counting:
    with _Counting(matrices) as counting:
        call()
    return counting
