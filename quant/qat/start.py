"""From a float network and calibration samples to the network that is trained for its integers."""

import copy
from collections.abc import Sequence

from torch import Tensor, nn

from ...errors import BadInput
from ..bits import layer_bits
from ..capture import Captured, capture
from ..graph import calls
from ..placement import place
from ..quantize import calibrate
from ..scheme import Scheme
from .network import QuantizedNetwork, Stages
from .prepare import prepare


def trainable(
    network: nn.Module,
    captured: Captured,
    samples: Sequence[tuple[Tensor, ...]],
    scheme: Scheme,
    batch_size: int,
    stages: Stages,
    estimator: str = "approximate",
) -> QuantizedNetwork:
    """A network to train, which starts as post-training quantization leaves it.

    Args:
        network: the float network, weights in place.
        captured: the same for one sample.
        samples: real inputs for calibration.
        batch_size: samples a step.

    Raises:
        BadInput: the network computes differently for a batch than for a sample.
    """
    inputs = [tensor.repeat(batch_size, *[1] * (tensor.ndim - 1)) for tensor in captured.example_inputs]
    wide = capture(network, inputs, captured.input_names, captured.output_names)
    _check_same_graph(captured, wide)
    module = copy.deepcopy(captured.module)
    plan = place(module, scheme.keep_float)
    coding = calibrate(module, plan, layer_bits(module, plan, scheme), samples[: scheme.samples], scheme)
    return QuantizedNetwork(prepare(wide, coding, scheme, estimator), batch_size, stages)


def _check_same_graph(one: Captured, many: Captured) -> None:
    for single, batched in zip(calls(one.module), calls(many.module)):
        if (single.name, single.target) != (batched.name, batched.target):
            raise BadInput(
                f"{single.name}: is {batched.name} in a batch of several samples; training needs a network that "
                "treats every sample of a batch alike"
            )
