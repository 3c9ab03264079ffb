"""The arithmetic in whole numbers: each operation against PyTorch's own, and thresholds that agree with the sums."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from offramp.quant.affine import Affine
from offramp.quant.integer.arithmetic import code_of, exponentials, factors_of, multiplier_of, requantize, table_of
from offramp.quant.integer.evaluate import evaluate
from offramp.quant.integer.lowering import integer_program
from offramp.quant.integer.operations import (
    Add,
    AveragePool,
    Convolution,
    Lookup,
    Sign,
    SignConvolution,
    SignLinear,
    Softmax,
    Window,
)
from offramp.quant.integer.running import run
from offramp.quant.integer.signs import fold_signs
from offramp.quant.integer.values import Kind, Value
from torch import nn
from torch.nn import functional

sys.path.append(str(Path(__file__).parent))
from small_networks import quantized, quantized_system, samples_of

scales = st.floats(1e-6, 10.0).map(lambda scale: float(np.float32(scale)))


@given(st.integers(-(2**31) + 1, 2**31 - 1), st.floats(1e-9, 4.0), st.integers(-128, 127))
def test_a_code_is_the_nearest_in_float32(total, multiplier, zero) -> None:
    scaled = np.float32(total) * np.float32(multiplier)
    wanted = int(np.clip(np.rint(scaled) + np.float64(zero), -128, 127))
    assert int(requantize(torch.tensor([total]), multiplier, zero, -128, 127)) == wanted


@pytest.mark.parametrize(("half", "code"), [(1, 0), (3, 2), (5, 2), (-1, 0), (-3, -2)])
def test_halves_go_to_the_even_code(half, code) -> None:
    assert int(requantize(torch.tensor([half]), 0.5, 0, -128, 127)) == code


@given(scales, scales, scales)
def test_factors_of_a_sum_keep_the_ratio_and_fit(a, b, over) -> None:
    first, second, multiplier = factors_of(a, -b, over)
    assert max(abs(first), abs(second)) <= 2**21
    assert 255 * (abs(first) + abs(second)) < 2**31
    for factor, scale in ((first, a), (second, -b)):
        assert abs(factor * multiplier - scale / over) <= multiplier


def test_a_table_holds_the_code_of_every_input() -> None:
    x, y = Affine(0.05, 3), Affine(1 / 256, -128)
    table = table_of(torch.sigmoid, x, y)
    reals = (torch.arange(-128, 128) - 3) * 0.05
    wanted = torch.round(torch.sigmoid(reals.double()) * 256) - 128
    assert np.array_equal(table, wanted.clamp(-128, 127).numpy())
    assert code_of(np.inf, y) == 127
    assert code_of(0.25, y) == -64


@pytest.mark.parametrize("length", [1, 2, 49, 1000, 60000])
def test_sums_of_exponentials_fit(length) -> None:
    table = exponentials(0.01, length)
    assert int(table[0]) * length < 2**32
    assert (np.diff(table.astype(np.int64)) <= 0).all()


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 20), st.integers(0, 2**16))
def test_softmax_is_the_nearest_code_but_for_rounding_limits(length, seed) -> None:
    scale = 0.07
    codes = torch.randint(-128, 128, (3, length), generator=torch.Generator().manual_seed(seed), dtype=torch.int32)
    x = Value("x", (3, length), Kind.CODES, Affine(scale, 5))
    y = Value("y", (3, length), Kind.CODES, Affine(1 / 256, -128))
    found = run(Softmax((x,), y, "", 1, exponentials(scale, length)), codes)
    exact = functional.softmax((codes.double() - 5) * scale, 1) * 256 - 128
    assert (found - exact.clamp(max=127)).abs().max() <= 0.5 + 1e-3


@settings(max_examples=60, deadline=None)
@given(
    st.integers(2, 3),
    st.integers(1, 3),
    st.integers(0, 1),
    st.booleans(),
    st.booleans(),
    st.one_of(st.none(), st.integers(1, 9)),
    st.integers(3, 9),
)
def test_average_pools_divide_as_pytorch_does(kernel, stride, padding, ceil, counts, divisor, size) -> None:
    codes = torch.randint(-128, 128, (1, 2, size, size + 1), generator=torch.Generator().manual_seed(size))
    pool = nn.AvgPool2d(kernel, stride, padding, ceil, counts, divisor)
    net = nn.Sequential(pool).eval()
    program = quantized(net, (1, 2, size, size + 1))
    integers = integer_program(program.program, program.input_names, program.output_names)
    (operation,) = (o for o in integers.operations if isinstance(o, AveragePool))
    x = operation.inputs[0].meaning
    found = run(operation, codes.to(torch.int32))
    y = operation.output.meaning
    wanted = pool(codes.double() - x.zero_point) * x.scale / y.scale  # padding adds zeros
    wanted = (wanted + y.zero_point).clamp(-128, 127)
    assert (found - wanted).abs().max() <= 0.5 + 1e-4


ZOO = ["resnet8", "ds_cnn", "mobilenet_v1_025", "fc_autoencoder", "care_xxs", "bireal_xs"]


@pytest.mark.parametrize("name", ZOO)
def test_the_zoo_computes_what_pytorch_does(name) -> None:
    """All but a few samples, exactly.

    Where a sum lies at a rounding limit, PyTorch's order of additions, which the processor decides, may take the other
    code. An untrained network lets that grow to any number of steps at its output, so those samples have no limit here:
    what each operation computes is held to PyTorch's above, and what an artifact does where it is verified.
    """
    program = quantized_system(name)
    integers = integer_program(program.program, program.input_names, program.output_names)
    step = program.output_steps()[0]
    samples = samples_of(*(value.shape for value in integers.inputs), count=12)
    found = np.stack([evaluate(integers, [tensor.numpy() for tensor in sample])[0] for sample in samples]) / step
    wanted = np.stack([program(*sample)[0].numpy() for sample in samples]) / step
    assert found.shape == wanted.shape
    assert wanted.std(axis=0).mean() >= 0.5  # outputs that hardly depend on the input would prove nothing
    furthest = np.abs(found - wanted).reshape(len(samples), -1).max(axis=1)
    assert np.count_nonzero(furthest <= 0.001) > len(samples) // 2


def test_signs_are_folded_into_the_sums_before_them() -> None:
    class Chain(nn.Module):
        def __init__(self):
            super().__init__()
            widths = [(3, 32), (32, 64), (64, 64), (64, 32)]
            self.layers = nn.ModuleList(nn.Conv2d(i, o, 3, padding=1) for i, o in widths)
            self.norms = nn.ModuleList(nn.BatchNorm2d(o) for _, o in widths)
            self.last = nn.Linear(32, 5)

        def forward(self, x):
            for layer, norm in zip(self.layers, self.norms):
                x = functional.hardtanh(norm(layer(x)))
            return self.last(x.mean((2, 3)))

    torch.manual_seed(1)
    program = quantized(Chain(), (1, 3, 6, 6), weight_bits=1, activation_bits=1)
    integers = integer_program(program.program, program.input_names, program.output_names)
    kinds = [type(operation) for operation in integers.operations]
    assert kinds.count(SignConvolution) == 3
    assert kinds.count(Sign) == 1  # only behind the int8 stem
    folded = [o for o in integers.operations if isinstance(o, SignConvolution) and o.at_least is not None]
    assert len(folded) == 2
    sample = samples_of((1, 3, 6, 6), count=1)[0]
    difference = evaluate(integers, [sample[0].numpy()])[0] - program(*sample)[0].numpy()
    assert np.abs(difference).max() <= 2.001 * program.output_steps()[0]


def test_thresholds_say_what_sum_and_requantization_do() -> None:
    generator = np.random.default_rng(3)
    x = Value("x", (1, 20), Kind.SIGNS)
    y = Value("y", (1, 6), Kind.CODES, Affine(0.1, 4))
    weight = generator.choice([-1, 1], (6, 20)).astype(np.int8)
    bias, multiplier = generator.integers(-9, 9, 6).astype(np.int32), generator.uniform(0.1, 2, 6).astype(np.float32)
    layer = SignLinear((x,), y, "", weight, bias, multiplier, -128, 127)
    least = generator.integers(-20, 20, 6).astype(np.int16)
    sign = Sign((y,), Value("z", (1, 6), Kind.SIGNS), "", least, 1)
    (folded,) = fold_signs([layer, sign], [sign.output])
    assert isinstance(folded, SignLinear)
    for _ in range(200):
        signs = torch.from_numpy(generator.choice([-1, 1], (1, 20))).to(torch.int32)
        assert torch.equal(run(folded, signs), run(sign, run(layer, signs)))


def test_functions_of_one_code_become_one_table() -> None:
    net = nn.Sequential(nn.Conv2d(2, 4, 1), nn.GELU(), nn.Hardswish(), nn.Conv2d(4, 2, 1)).eval()
    program = quantized(net, (1, 2, 4, 4))
    integers = integer_program(program.program, program.input_names, program.output_names)
    assert [type(o) for o in integers.operations if isinstance(o, Lookup | Add | Convolution)] == [
        Convolution,
        Lookup,
        Convolution,
    ]


def test_padding_with_zeros_becomes_the_convolutions_own() -> None:
    net = nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(2, 4, 3, 2)).eval()
    program = quantized(net, (1, 2, 8, 8))
    integers = integer_program(program.program, program.input_names, program.output_names)
    (layer,) = (o for o in integers.operations if isinstance(o, Convolution))
    assert layer.window == Window((3, 3), (2, 2), (0, 0, 1, 1))


def test_multipliers_are_float32() -> None:
    assert multiplier_of(0.1, np.float32(0.3), over=0.7).dtype == np.float32
