"""What a network's innermost layers are given and make, call by call: to tell whether they follow one another."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .evaluation_mode import in_evaluation


@dataclass(frozen=True)
class LeafCall:
    """One call of a layer that holds no other: its path, its first input and its output, (B, ...)."""

    name: str
    layer: nn.Module
    given: Tensor
    made: Tensor


def leaf_calls(module: nn.Module, samples: Tensor) -> tuple[list[LeafCall], Tensor]:
    """The calls of one pass in evaluation mode, in their order, and what the network makes of the samples."""
    calls: list[LeafCall] = []

    def hook_for(name: str):
        def hook(layer: nn.Module, given: tuple[Tensor, ...], made: Tensor) -> None:
            calls.append(LeafCall(name, layer, given[0] if given else made, made))

        return hook

    leaves = [(name, layer) for name, layer in module.named_modules() if not next(layer.children(), None)]
    hooks = [layer.register_forward_hook(hook_for(name)) for name, layer in leaves]
    try:
        with in_evaluation(module), torch.no_grad():
            found = module(samples)
    finally:
        for hook in hooks:
            hook.remove()
    return calls, found
