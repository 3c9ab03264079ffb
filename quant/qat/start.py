"""From a float network and calibration samples to the network that is trained for its integers."""

import copy
from collections.abc import Sequence

from torch import Tensor, nn

from ..batched import capture_batch
from ..bits import layer_bits
from ..capture import Captured
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
    wide = capture_batch(network, captured, batch_size)
    module = copy.deepcopy(captured.module)
    plan = place(module, scheme.keep_float)
    coding = calibrate(module, plan, layer_bits(module, plan, scheme), samples[: scheme.samples], scheme)
    return QuantizedNetwork(prepare(wide, coding, scheme, estimator), batch_size, stages)
