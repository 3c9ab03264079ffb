"""Programs of fewer than 8 bits: codes within their limits, edges, signs, thresholds."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from offramp.quant.affine import Affine, affine_of_range, code_limits
from offramp.quant.capture import capture
from offramp.quant.integer.lowering import integer_program
from offramp.quant.integer.operations import SignConvolution
from offramp.quant.program import QUANTIZE, load_program, save_program
from offramp.quant.quantize import quantize, sign_edge
from offramp.quant.scheme import Scheme
from offramp.quant.weights import largest_weight_code, quantize_weight
from torch import nn

sys.path.append(str(Path(__file__).parent))
from small_networks import captured_system, noise, quantized, randomise, samples_of

IMAGE = (1, 3, 8, 8)


def small(seed=0):
    torch.manual_seed(seed)
    layers = [nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU()]
    for _ in range(2):
        layers += [nn.Conv2d(16, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    return randomise(nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 4)))


def watched(program, x):
    """Every value of a run, by name."""
    seen = {}

    class Watch(torch.fx.Interpreter):
        def run_node(self, node):
            seen[node.name] = super().run_node(node)
            return seen[node.name]

    with torch.no_grad():
        Watch(program.program.module(check_guards=False)).run(x)
    return seen


@pytest.mark.parametrize(("weight", "activation"), [(8, 4), (4, 8), (4, 4), (3, 3), (2, 4), (1, 8), (1, 1), (8, 1)])
def test_codes_stay_within_their_bits(weight, activation):
    program = quantized(small(), IMAGE, weight_bits=weight, activation_bits=activation)
    inner = [layer for layer in program.layers if not layer.reason]
    assert [(layer.weight, layer.activation) for layer in inner] == [(weight, activation)] * 2
    for layer in inner:
        codes = program.constants()[f"{layer.module}_weight"].codes
        assert np.abs(codes).max() <= largest_weight_code(weight)
        if weight == 1:
            assert set(np.unique(codes)) == {-1, 1}
    limits = {(a.qmin, a.qmax) for a in program.activations().values()}
    expected = {(-128, 127), (-1, 1) if activation == 1 else code_limits(activation)}
    assert limits == expected


@pytest.mark.parametrize("activation", [4, 1])
def test_the_limits_of_an_edge_are_redundant(activation):
    """An engine that saturates at int8 alone computes the same codes, because the clamp stands before."""
    program = quantized(small(), IMAGE, activation_bits=activation)
    graph = program.program.graph_module
    outputs = program(noise(IMAGE, 7))
    narrow = [node for node in graph.graph.nodes if node.target is QUANTIZE and node.args[3] != -128]
    assert narrow
    for node in narrow:
        node.args = (*node.args[:3], -128, 127, *node.args[5:])
    graph.recompile()
    assert torch.equal(program(noise(IMAGE, 7))[0], outputs[0])


def test_a_sign_is_never_zero():
    program = quantized(small(), IMAGE, weight_bits=1, activation_bits=1)
    signs = [node.name for node in program.program.graph.nodes if node.target is QUANTIZE and node.args[4] == 1]
    seen = watched(program, noise(IMAGE, 3))
    assert len(signs) == 2
    for name in signs:
        assert set(seen[name].unique().tolist()) == {-1, 1}


def test_more_bits_of_weights_come_closer():
    captured = capture(small(), (torch.zeros(IMAGE),))
    x = noise(IMAGE, 99)
    wanted = captured.module(x)[0]
    schemes = [Scheme(bits, rounding="nearest", correct_bias=False) for bits in (8, 5, 3, 2)]
    errors = [float((quantize(captured, samples_of(IMAGE), s)(x)[0] - wanted).detach().norm()) for s in schemes]
    assert errors == sorted(errors)


def test_a_program_of_few_bits_survives_its_file(tmp_path):
    program = quantized(small(), IMAGE, weight_bits=1, activation_bits=1)
    save_program(program, tmp_path)
    again = load_program(tmp_path)
    assert again.layers == program.layers
    assert again.scheme == program.scheme
    assert torch.equal(again(noise(IMAGE, 5))[0], program(noise(IMAGE, 5))[0])


def test_float_networks_run_through_binary_whole():
    """Attention, depthwise and norms stay as they are; the program runs and says what it kept."""
    captured = captured_system("care_xxs")
    shape = tuple(captured.example_inputs[0].shape)
    program = quantize(captured, samples_of(shape, count=2), Scheme(1, 1, calibration="minmax"))
    assert torch.isfinite(program(noise(shape))[0]).all()
    assert {layer.weight for layer in program.layers} == {1, 8}
    assert all(layer.reason for layer in program.layers if layer.weight == 8)


@given(st.integers(2, 8), st.floats(-100, 100), st.floats(-100, 100))
def test_few_codes_hold_zero_and_span_the_range(bits, a, b):
    low, high = min(a, b), max(a, b)
    affine = affine_of_range(low, high, bits)
    assert (affine.qmin, affine.qmax) == code_limits(bits)
    assert affine.qmin <= affine.zero_point <= affine.qmax
    assert affine.high - affine.low >= (max(high, 0) - min(low, 0)) * (1 - 1e-6)


@given(st.integers(1, 8), st.integers(0, 10_000))
def test_weights_of_any_bits_are_rounded_to_the_nearest_code(bits, seed):
    weight = torch.randn(5, 3, 3, 3, generator=torch.Generator().manual_seed(seed))
    weight[2] = 0  # a channel of zeros has no scale of its own
    tensor = quantize_weight(weight, 0, bits=bits)
    real, scale = tensor.dequantize(), tensor.scale.reshape(-1, 1, 1, 1)
    most = largest_weight_code(bits)
    clipped = np.clip(weight.numpy(), -most * scale, most * scale)
    room = 1.0 if bits == 1 else 0.5
    assert (np.abs(real - clipped) <= room * scale * (1 + 1e-5)).all()
    if bits > 1:
        assert not tensor.codes[2].any()
    else:
        np.testing.assert_allclose(tensor.scale[0], weight[0].abs().mean(), rtol=1e-5)


@given(st.floats(-5, 5), st.floats(0.001, 0.1), st.integers(-128, 127))
def test_a_shifted_sign_agrees_with_its_real_shift_up_to_a_step(shift, scale, code):
    value = Affine(scale, 0)
    edge = sign_edge(torch.tensor([shift]), value, rank=4, axis=1)
    assert edge.shift.shape == (1, 1, 1)
    assert edge.shift.item() % 2
    ours = 1 if 2 * code + edge.shift.item() >= 0 else -1
    x, clipped = code * scale, min(max(shift, -63 * scale), 63 * scale)
    if abs(x + clipped) > 1.001 * scale:
        assert ours == np.sign(x + clipped)


# Thresholds: batch norm followed by sign, as one integer comparison a channel.


def binary_pair(gain, activation, seed=0):
    """[sign] -> ±1 1x1 convolution of 18 products -> batch norm -> activation -> [sign] -> ±1 convolution.

    The image is as large as (channels, popcounts): every channel meets every popcount in one run.
    """
    torch.manual_seed(seed)
    layers = nn.Sequential(nn.Conv2d(18, 16, 1, bias=False), nn.BatchNorm2d(16), activation, nn.Conv2d(16, 2, 1))
    randomise(layers, seed)
    with torch.no_grad():
        layers[1].weight.copy_(torch.as_tensor(gain, dtype=torch.float32))
    captured = capture(layers, (torch.zeros(1, 18, 16, 19),))
    scheme = Scheme(layers=(("0", 1, 1), ("3", 1, 1)), calibration="minmax")
    return quantize(captured, samples_of((1, 18, 16, 19), count=2), scheme)


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.sampled_from([-2.0, -0.5, 0.0, 0.3, 1.0, 4.0]), min_size=16, max_size=16),
    st.sampled_from(["identity", "hardtanh", "prelu", "relu"]),
    st.integers(0, 5),
)
def test_one_threshold_a_channel_gives_the_same_sign_on_every_reachable_popcount(gain, activation, seed):
    between = {"identity": nn.Identity(), "hardtanh": nn.Hardtanh(), "prelu": nn.PReLU(16), "relu": nn.ReLU()}
    program = binary_pair(gain, between[activation], seed)
    integers = integer_program(program.program, program.input_names, program.output_names)
    (layer,) = (o for o in integers.operations if isinstance(o, SignConvolution) and o.at_least is not None)
    weight = program.constants()["0_weight"].codes.reshape(16, 18).astype(np.int64)
    inputs = np.repeat(weight[:, None], 19, axis=1)  # (channels, popcounts, 18)
    for flips in range(19):  # popcount: how many bits differ from the channel's own weights
        inputs[:, flips, :flips] *= -1
    x = torch.from_numpy(inputs.transpose(2, 0, 1)[None].astype(np.float32) * 3)
    seen = watched(program, x)
    read, written = (seen[n.name] for n in program.program.graph.nodes if n.target is QUANTIZE and n.args[4] == 1)
    sums = np.einsum("ok,kcp->ocp", weight, read[0].numpy().astype(np.int64))
    for channel in range(16):
        assert set(sums[channel, channel]) == set(range(-18, 19, 2))
    ours = np.where(sums >= layer.at_least.reshape(16, 1, 1), 1, -1)
    np.testing.assert_array_equal(ours, written[0].numpy())


def test_a_value_with_other_readers_has_no_threshold():
    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.convs = nn.ModuleList(nn.Conv2d(channels, 16, 3, padding=1) for channels in (3, 16, 16))
            self.norms = nn.ModuleList(nn.BatchNorm2d(16) for _ in self.convs)
            self.last = nn.Linear(16, 4)

        def forward(self, x):
            stem, first, second = (lambda x, c=conv, n=norm: n(c(x)) for conv, norm in zip(self.convs, self.norms))
            kept = first(stem(x))
            return self.last((second(kept) + kept).mean((2, 3)))

    program = quantized(randomise(Residual()), IMAGE, weight_bits=1, activation_bits=1)
    integers = integer_program(program.program, program.input_names, program.output_names)
    layers = [operation for operation in integers.operations if isinstance(operation, SignConvolution)]
    assert [layer.at_least for layer in layers] == [None, None]  # a sign and a sum read the first, a sum the second
