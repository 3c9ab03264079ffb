"""Quantization end to end: close to the float network, the same at every run, explicit codes everywhere."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from offramp.errors import BadInput
from offramp.quant.capture import capture
from offramp.quant.program import DEQUANTIZE, DEQUANTIZE_CHANNELS, QUANTIZE
from offramp.quant.quantize import quantize
from offramp.quant.scheme import CALIBRATIONS, Scheme
from torch import nn

sys.path.append(str(Path(__file__).parent))
from small_networks import Recurrent, captured_system, noise, quantized, quantized_system, randomise, samples_of

IMAGE = (1, 3, 8, 8)


class Small(nn.Module):
    """Convolution, depthwise with a skip, transposed convolution, mean, linear."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU())
        self.depthwise = nn.Conv2d(6, 6, 3, padding=1, groups=6, bias=False)
        self.up = nn.ConvTranspose2d(6, 4, 2, stride=2)
        self.head = nn.Linear(4, 5)

    def forward(self, image):
        x = self.stem(image)
        return self.head(self.up(x + self.depthwise(x) * 0.5).mean((2, 3)))


@pytest.fixture(scope="module")
def captured():
    torch.manual_seed(0)
    return capture(randomise(Small()), (noise(IMAGE),))


@pytest.mark.parametrize("calibration", CALIBRATIONS)
def test_the_program_stays_close_to_the_float_network(captured, calibration):
    program = quantize(captured, samples_of(IMAGE), Scheme(calibration=calibration, percentile=99.99))
    for seed in range(3):
        x = noise(IMAGE, seed + 500)
        (wanted,), (got,) = captured.module(x), program(x)
        assert (got - wanted).norm() < 0.1 * wanted.norm()
    assert program.float_operators == ()


@pytest.mark.parametrize("system", ["resnet8", "care_xxs"])
def test_whole_networks_stay_close(system):
    captured, program = captured_system(system), quantized_system(system)
    inputs = tuple(noise(tuple(x.shape), 900) for x in captured.example_inputs)
    with torch.no_grad():
        wanted = captured.module(*inputs)[0]
    assert (program(*inputs)[0] - wanted).norm() < 0.15 * wanted.norm()


def test_the_same_samples_give_the_same_program(captured):
    first, second = (quantize(captured, samples_of(IMAGE), Scheme()) for _ in range(2))
    assert first.constants() == second.constants()
    assert first.activations() == second.activations()
    assert first.program.graph_module.code == second.program.graph_module.code


def test_quantizing_leaves_the_captured_network_as_it_was(captured):
    before, wanted = captured.module.code, captured.module(noise(IMAGE))[0]
    quantize(captured, samples_of(IMAGE), Scheme())
    assert captured.module.code == before
    assert torch.equal(captured.module(noise(IMAGE))[0], wanted)


def test_weights_are_int8_and_biases_int32_at_the_scale_of_their_products(captured):
    program = quantize(captured, samples_of(IMAGE), Scheme())
    constants, scales = program.constants(), program.activations()
    weights = {"stem_0_weight": 0, "depthwise_weight": 0, "up_weight": 1, "head_weight": 0}
    assert {name: constants[name].axis for name in weights} == weights
    read = {"stem_0": "image", "up": "add", "head": "mean"}
    for layer, source in read.items():
        bias = constants[f"{layer}_bias"]
        assert bias.codes.dtype == np.int32
        wanted = np.float32(scales[source].scale) * constants[f"{layer}_weight"].scale
        assert np.array_equal(bias.scale, wanted)
    assert "depthwise_bias" not in constants
    assert constants["mul_number"].dequantize() == 0.5


def test_every_integer_operator_reads_and_writes_codes(captured):
    program = quantize(captured, samples_of(IMAGE), Scheme()).program
    codes = {QUANTIZE, DEQUANTIZE, DEQUANTIZE_CHANNELS}
    computed = [node for node in program.graph.nodes if node.op == "call_function" and node.target not in codes]
    for node in computed:
        fused = node.name == "relu"
        assert all(source.target in codes for source in node.all_input_nodes) or fused
        assert all(user.target is QUANTIZE or user.name == "relu" for user in node.users)
    assert [node.name for node in computed] == [
        *("conv2d", "relu", "conv2d_1", "mul", "add", "conv_transpose2d", "mean", "linear")
    ]


def test_an_output_step_is_the_scale_of_the_output(captured):
    program = quantize(captured, samples_of(IMAGE), Scheme())
    (step,) = program.output_steps()
    assert step == program.activations()["linear"].scale
    codes = program(noise(IMAGE))[0].numpy() / np.float32(step)
    np.testing.assert_allclose(codes, np.round(codes), atol=1e-4)


def test_a_kept_module_computes_in_float(captured):
    program = quantize(captured, samples_of(IMAGE), Scheme(keep_float=("depthwise",)))
    (kept,) = program.float_operators
    assert (kept.name, kept.module, kept.reason) == ("conv2d_1", "depthwise", "kept in float on request")
    assert "depthwise_weight" not in program.constants()
    state = program.program.state_dict
    weight = next(value for name, value in state.items() if "depthwise" in name)
    assert weight.dtype == torch.float32


def test_a_module_that_is_not_there_cannot_be_kept(captured):
    with pytest.raises(BadInput, match=r"keep_float: no module hed in the network; it has depthwise, head, "):
        quantize(captured, samples_of(IMAGE), Scheme(keep_float=("hed",)))


def test_no_more_samples_are_read_than_the_scheme_says(captured):
    few, many = samples_of(IMAGE, count=2), samples_of(IMAGE, count=6)
    scheme = Scheme(samples=2, calibration="minmax")
    assert quantize(captured, many, scheme).activations() == quantize(captured, few, scheme).activations()
    more = quantize(captured, many, Scheme(samples=6, calibration="minmax"))
    assert more.activations() != quantize(captured, few, scheme).activations()


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([], "calibration: no samples"),
        ([(torch.zeros(1, 3, 8, 9),)], r"calibration sample 0: shapes \[\(1, 3, 8, 9\)\] do not fit"),
        ([(torch.full(IMAGE, float("nan")),)], "calibration sample 0: holds NaN or infinite values"),
    ],
)
def test_samples_that_do_not_fit_are_refused(captured, samples, message):
    with pytest.raises(BadInput, match=message):
        quantize(captured, samples, Scheme())


def stored(calls, **changes):
    """Buffers of codes of the weight, and of the bias, of a layer that is called so many times."""
    constants = quantized(Recurrent(6, calls), (1, 6), **changes).constants()
    return [[value for name, value in constants.items() if name.startswith(f"layer_{of}")] for of in ("weight", "bias")]


def test_a_layer_called_twice_has_one_weight_and_a_bias_for_each_call():
    weights, biases = stored(2, rounding="nearest")
    assert len(weights) == 1 and len(biases) == 2
    assert not np.array_equal(biases[0].scale, biases[1].scale)


def test_learned_codes_of_each_call_take_no_more_room_than_the_float_weight():
    few, many = stored(4, rounding="learned")[0], stored(5, rounding="learned")[0]
    assert 1 < len(few) <= 4 and len(many) == 1
    assert len(stored(5, rounding="learned", weight_bits=4)[0]) > 1
    nearest = stored(5, rounding="nearest")[0]
    assert np.array_equal(many[0].codes, nearest[0].codes)


def test_an_input_that_is_also_an_output_passes_its_codes():
    class Through(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(6, 2)

        def forward(self, x):
            return x, self.layer(x)

    program, x = quantized(Through(), (1, 6)), noise((1, 6))
    same, _ = program(x)
    assert (same - x).abs().max() <= program.activations()["x"].scale * 0.501
