"""The captured graph of a batch: a graph holds its batch size in its reshapes, so each size needs one of its own."""

from itertools import zip_longest

from torch import nn

from ..errors import BadInput
from .capture import Captured, capture
from .graph import calls


def capture_batch(network: nn.Module, captured: Captured, size: int) -> Captured:
    """The network for `size` samples at once, with the names of its capture for one.

    Raises:
        BadInput: it computes differently for a batch than for a sample, or cannot be traced for one.
    """
    inputs = [tensor.repeat(size, *[1] * (tensor.ndim - 1)) for tensor in captured.example_inputs]
    wide = capture(network, inputs, captured.input_names, captured.output_names)
    for single, batched in zip_longest(calls(captured.module), calls(wide.module)):
        names = [f"{node.name} ({node.target})" if node else "nothing" for node in (single, batched)]
        if names[0] != names[1]:
            raise BadInput(
                f"{names[0]}: is {names[1]} in a batch of several samples; training needs a network that treats every "
                "sample of a batch alike"
            )
    return wide
