"""Brevitas' own post-training quantization of a network, executed in PyTorch.

Layer by layer as its documentation has it: every convolution and linear layer gets quantizers for its input (affine,
the range of the calibration samples' 99.999th percentile, its default), its weights (per channel, least squared error)
and its bias. Batch norms, sums, attention and everything else stay in float, which an integer program does not have:
what it loses in these, this peer does not lose.
"""

import copy
from typing import Any

import torch
from torch import Tensor, nn

_BATCH = 32


def quantize_with_brevitas(network: nn.Module, samples: Tensor, weight_bits: int, border: set[str], gptq: bool) -> Any:
    """A quantized copy of the network, in evaluation mode.

    Args:
        samples: (N, ...) calibration inputs.
        weight_bits: of all layers but those in `border`, which keep 8; activations have 8.
        border: module paths of the first and the last layers.
        gptq: also choose codes by GPTQ, before biases are corrected.
    """
    from brevitas.core.scaling.standalone import ParameterFromStatsFromParameterScaling
    from brevitas.graph.calibrate import bias_correction_mode, calibration_mode
    from brevitas.graph.gptq import gptq_mode
    from brevitas.graph.quantize import layerwise_quantize
    from brevitas.nn import QuantConv2d, QuantLinear
    from brevitas.quant import Int8WeightPerChannelFloatMSE, Int32Bias, ShiftedUint8ActPerTensorFloat

    model = copy.deepcopy(network).eval()
    layers = {name for name, module in model.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)}
    for bits, others in ((weight_bits, border), (8, layers - border)):
        # A scale that is measured once: GPTQ changes the weights under it.
        weights = Int8WeightPerChannelFloatMSE.let(bit_width=bits, scaling_impl=ParameterFromStatsFromParameterScaling)
        quantizers = {
            "weight_quant": weights,
            "input_quant": ShiftedUint8ActPerTensorFloat,
            "bias_quant": Int32Bias,
            "return_quant_tensor": False,
        }
        kinds = {nn.Conv2d: (QuantConv2d, quantizers), nn.Linear: (QuantLinear, quantizers)}
        model = layerwise_quantize(model, kinds, name_blacklist=list(others))
    model.eval()
    batches = samples.split(_BATCH)
    with torch.no_grad():
        model(batches[0])  # measures the scales of the weights
        with calibration_mode(model):
            for batch in batches:
                model(batch)
        if gptq:
            with gptq_mode(model, act_order=True, create_weight_orig=False) as mode:
                for _ in range(mode.num_layers):
                    for batch in batches:
                        mode.model(batch)
                    mode.update()
        with bias_correction_mode(model):
            for batch in batches:
                model(batch)
    return model
