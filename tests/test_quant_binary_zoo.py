"""`--scheme binary` takes every small system of the zoo that multiplies, and says what stays in int8."""

import sys
from pathlib import Path

import pytest
import torch
from offramp.models.system import find_system
from offramp.quant.quantize import quantize
from offramp.quant.scheme import Scheme

sys.path.append(str(Path(__file__).parent))
from small_networks import captured_system, noise, samples_of

SYSTEMS = ("bireal_xs", "care_xxs", "ds_cnn", "fc_autoencoder", "mobilenet_v1_025", "mobilenet_v2_xs", "resnet8")


@pytest.mark.parametrize("name", SYSTEMS)
def test_every_small_system_becomes_signs_where_it_can(name):
    shapes = list(find_system(name).input_shapes.values())
    scheme = Scheme(1, 1, calibration="minmax", rounding="nearest", correct_bias=False)
    program = quantize(captured_system(name), samples_of(*shapes, count=2), scheme)
    signs = [layer for layer in program.layers if (layer.weight, layer.activation) == (1, 1)]
    kept = [layer for layer in program.layers if layer.weight == 8]
    assert signs
    assert len(signs) + len(kept) == len(program.layers)
    assert all(layer.reason and layer.module for layer in kept)
    assert not any(layer.reason for layer in signs)
    outputs = program(*(noise(shape, 5) for shape in shapes))
    assert all(torch.isfinite(output).all() for output in outputs)
