"""Weights and biases as integers: Brevitas's own codes, and int32 biases that never overflow."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from offramp.quant.codes import IntegerTensor
from offramp.quant.weights import least_weight_scale, quantize_bias, quantize_constant, quantize_weight

sys.path.append(str(Path(__file__).parent))
from small_networks import noise


@settings(max_examples=25, deadline=None)
@given(channels=st.integers(1, 5), rest=st.lists(st.integers(1, 4), min_size=1, max_size=3), seed=st.integers(0, 99))
def test_codes_are_symmetric_and_within_half_a_step(channels, rest, seed):
    weight = noise((channels, *rest), seed)
    tensor = quantize_weight(weight, 0)
    assert tensor.codes.dtype == np.int8 and np.abs(tensor.codes.astype(int)).max() <= 127
    assert (tensor.axis, tensor.scale.shape, tensor.zero_point.any()) == (0, (channels,), False)
    step = tensor.scale.reshape(-1, *[1] * len(rest))
    assert (np.abs(tensor.dequantize() - weight.numpy()) <= step * 0.5001).all()
    assert (np.abs(tensor.codes.reshape(channels, -1).astype(int)).max(1) == 127).all()


@pytest.mark.parametrize("axis", [0, 1])
def test_codes_are_those_of_brevitas(axis):
    from brevitas.nn import QuantConv2d, QuantConvTranspose2d
    from brevitas.quant import Int8WeightPerChannelFloat

    kind = QuantConv2d if axis == 0 else QuantConvTranspose2d
    layer = kind(6, 4, 3, weight_quant=Int8WeightPerChannelFloat).eval()
    theirs = layer.quant_weight()
    ours = quantize_weight(layer.weight.detach(), axis)
    assert np.array_equal(ours.codes, theirs.int(float_datatype=False).numpy())
    assert np.array_equal(ours.scale, theirs.scale.detach().flatten().numpy())


def test_weights_that_are_codes_already_come_back():
    codes = torch.randint(-127, 128, (5, 7, 3, 3), generator=torch.Generator().manual_seed(0))
    codes[:, 0, 0, 0] = 127
    scales = torch.rand(5, generator=torch.Generator().manual_seed(1)) + 0.01
    again = quantize_weight(codes * scales.reshape(-1, 1, 1, 1), 0)
    assert np.array_equal(again.codes, codes.numpy())
    np.testing.assert_allclose(again.scale, scales.numpy(), rtol=2e-7)


def test_a_channel_of_zeros_has_codes_of_zero_and_a_sound_scale():
    weight = noise((3, 4))
    weight[1] = 0
    tensor = quantize_weight(weight, 0)
    assert not tensor.codes[1].any()
    assert (tensor.scale > 0).all() and np.isfinite(tensor.scale).all()
    assert np.array_equal(quantize_bias(torch.ones(3), 0.1, tensor).codes[0], np.round(1 / (0.1 * tensor.scale[0])))


sizes = st.floats(1e-8, 1e4)


@settings(max_examples=60, deadline=None)
@given(weight=sizes, bias=sizes, input_scale=st.floats(1e-6, 1e2), seed=st.integers(0, 9))
def test_biases_never_overflow_and_are_right_to_half_a_step(weight, bias, input_scale, seed):
    weights, biases = noise((4, 6), seed) * weight, noise((4,), seed + 1) * bias
    tensor = quantize_weight(weights, 0, least_weight_scale(biases, input_scale))
    codes = quantize_bias(biases, input_scale, tensor)
    assert codes.codes.dtype == np.int32
    assert (np.abs(codes.codes.astype(np.int64)) <= 2**30 * (1 + 1e-6)).all()
    assert np.array_equal(codes.scale, np.float32(input_scale) * tensor.scale)
    wanted = np.round(biases.double().numpy() / codes.scale.astype(np.float64))
    assert np.array_equal(codes.codes, wanted)


def test_the_floor_of_the_scale_leaves_ordinary_layers_alone():
    weight, bias = noise((8, 16)), noise((8,), 1)
    assert quantize_weight(weight, 0, least_weight_scale(bias, 0.02)) == quantize_weight(weight, 0)


@given(st.floats(-1e6, 1e6, width=32))
def test_a_number_is_exact(value):
    tensor = quantize_constant(torch.tensor(value))
    assert tensor.dequantize() == np.float32(value)
    assert tensor.codes in (-1, 0, 1)


def test_a_constant_tensor_has_one_scale():
    value = noise((1, 4, 1, 1))
    tensor = quantize_constant(value)
    assert (tensor.axis, tensor.scale.shape, np.abs(tensor.codes).max()) == (None, (), 127)
    assert np.abs(tensor.dequantize() - value.numpy()).max() <= tensor.scale / 2 * 1.0001


def test_integer_tensors_compare_by_every_part():
    one = IntegerTensor(np.ones((2, 3), np.int8), np.ones(2, np.float32), np.zeros(2, np.int32), 0)
    assert one == IntegerTensor(one.codes.copy(), one.scale.copy(), one.zero_point.copy(), 0)
    for other in (
        IntegerTensor(one.codes * 2, one.scale, one.zero_point, 0),
        IntegerTensor(one.codes.astype(np.int32), one.scale, one.zero_point, 0),
        IntegerTensor(one.codes, one.scale * 2, one.zero_point, 0),
        IntegerTensor(one.codes, one.scale, one.zero_point + 1, 0),
        IntegerTensor(one.codes, one.scale, one.zero_point, 1),
    ):
        assert one != other


def test_dequantizing_follows_the_axis():
    codes = np.array([[1, 2, 3], [4, 5, 6]], np.int8)
    by_row = IntegerTensor(codes, np.array([1, 10], np.float32), np.array([0, 1], np.int32), 0)
    assert by_row.dequantize().tolist() == [[1, 2, 3], [30, 40, 50]]
    by_column = IntegerTensor(codes, np.array([1, 10, 100], np.float32), np.zeros(3, np.int32), 1)
    assert by_column.dequantize().tolist() == [[1, 20, 300], [4, 50, 600]]
