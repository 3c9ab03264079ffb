"""Learned rounding and bias correction: what they change, by how much, and that they see what the program computes."""

import copy
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from offramp.errors import BadInput
from offramp.quant.bits import layer_bits
from offramp.quant.capture import capture
from offramp.quant.moments import Moments, grouped, moments_of, steadied
from offramp.quant.placement import place
from offramp.quant.quantize import calibrate, quantize
from offramp.quant.rounding import best_steps, learned_codes
from offramp.quant.scheme import Scheme
from offramp.quant.sweep import sweep
from torch import nn

sys.path.append(str(Path(__file__).parent))
from small_networks import captured_system, noise, randomise, samples_of

PLAIN = {"rounding": "nearest", "correct_bias": False}
IMAGE = (1, 3, 8, 8)


class Mixed(nn.Module):
    """Strided, dilated, depthwise, grouped, transposed and one-dimensional convolutions, a concatenation, linear."""

    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.b = nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=8)
        self.c = nn.Conv2d(8, 4, 1, groups=2)
        self.up = nn.ConvTranspose2d(12, 4, 2, stride=2)
        self.line, self.head = nn.Conv1d(4, 6, 3, padding=1), nn.Linear(64, 5)

    def forward(self, image):
        x = self.a(image).relu()
        x = self.up(torch.cat([self.c(self.b(x).tanh()), x * 0.5], 1))
        return self.head(self.line(x.flatten(2)))


@pytest.fixture(scope="module")
def captured():
    torch.manual_seed(0)
    return capture(randomise(Mixed()), (noise(IMAGE),))


def parts(captured, scheme, samples):
    module = copy.deepcopy(captured.module)
    plan = place(module)
    bits = layer_bits(module, plan, scheme)
    return module, plan, bits, calibrate(module, plan, bits, samples, scheme)


@pytest.mark.parametrize("bits", [(8, 8), (4, 8), (4, 4), (1, 1)])
@pytest.mark.parametrize("system", ["mixed", "resnet8", "care_xxs"])
def test_a_sweep_computes_what_the_program_computes(captured, system, bits):
    network = captured if system == "mixed" else captured_system(system)
    samples = samples_of(*(tuple(x.shape) for x in network.example_inputs), count=2)
    scheme = Scheme(*bits, calibration="minmax", **PLAIN)
    program = quantize(network, samples, scheme).program
    seen = {}
    sweep(*parts(network, scheme, samples), samples, lambda run: seen.update({run.node.name: run}))
    read = {node.name: node.args[0].name for node in program.graph.nodes if node.name in seen}
    module, values = program.module(check_guards=False), {}

    class Recorder(torch.fx.Interpreter):
        def run_node(self, n):
            values[n.name] = super().run_node(n)
            return values[n.name]

    Recorder(module).run(*samples[1])
    for name, run in seen.items():
        step = values[read[name]].abs().max() / 100
        differing = ((run.inputs[1] - values[read[name]]).abs() > step).float().mean()
        assert differing < 0.01, name


def test_moments_predict_the_error_of_a_layer(captured):
    samples = samples_of(IMAGE)
    seen = []
    sweep(*parts(captured, Scheme(), samples), samples, seen.append)
    for run in seen:
        moments = moments_of(run.node, run.inputs, run.wanted)
        if moments is None:
            assert run.node.name == "conv_transpose2d"
            continue
        weight = noise(tuple(run.node.args[1].meta["val"].shape), 3)
        made = [run.node.target(x, weight, None, *run.node.args[3:]) for x in run.inputs]
        wanted = torch.stack([y - w for y, w in zip(made, run.wanted)]).double()
        axis = -1 if "linear" in run.node.name else 2
        rows = grouped(run.node, weight).double()
        mean = (rows @ moments.inputs.unsqueeze(2)).squeeze(2) - moments.wanted
        torch.testing.assert_close(
            mean.flatten(), wanted.movedim(axis, 0).flatten(1).mean(1), rtol=1e-4, atol=1e-5, msg=run.node.name
        )
        least = (rows @ moments.square * rows).sum() - 2 * (rows * moments.cross).sum()
        energy = torch.stack(run.wanted).double().movedim(axis, 0).flatten(1).square().mean(1).sum()
        torch.testing.assert_close(
            least + energy, wanted.movedim(axis, 0).flatten(1).square().mean(1).sum(), rtol=1e-4, atol=1e-4
        )


def random_layer(taps=200, outputs=6, positions=500, seed=0):
    """Weights (1, o, k), correlated inputs, and moments of them with the outputs of the float layer."""
    draw = torch.Generator().manual_seed(seed)
    mix = torch.randn(taps, taps, generator=draw, dtype=torch.double)
    x = mix @ torch.randn(taps, positions, generator=draw, dtype=torch.double) / taps**0.5 + 0.3
    weight = torch.randn(1, outputs, taps, generator=draw, dtype=torch.double)
    return weight, x, moments_between(x, weight[0] @ x)


def moments_between(x, y):
    count = x.shape[1]
    square, cross = x @ x.T / count, y @ x.T / count
    return Moments(square.unsqueeze(0), cross.unsqueeze(0), x.mean(1).unsqueeze(0), y.mean(1).unsqueeze(0), count)


def random_moments(**given):
    weight, _, moments = random_layer(**given)
    return weight, moments


def error_of(codes, scale, weight, moments):
    square = moments.square - moments.inputs.unsqueeze(2) * moments.inputs.unsqueeze(1)
    change = codes * scale.unsqueeze(2) - weight
    return float((change @ square * change).sum())


@pytest.mark.parametrize("most", [1, 3, 7, 127])
def test_learned_codes_are_near_and_better(most):
    weight, moments = random_moments()
    scale = weight.abs().amax(2) / most
    nearest = torch.round(weight / scale.unsqueeze(2))
    codes = learned_codes(nearest, scale, most, moments)
    assert torch.equal(codes, codes.round()) and codes.abs().max() <= most
    assert (codes - nearest).abs().max() <= 1
    assert error_of(codes, scale, weight, moments) < 0.7 * error_of(nearest, scale, weight, moments)


def test_steps_serve_the_inputs_that_vary():
    """Half of the inputs hardly vary and have large weights, as behind a folded norm."""
    weight, moments = random_moments(taps=64)
    size = torch.where(torch.arange(64) < 32, 20.0, 1.0).double()
    weight, square = weight * size, moments.square / size.unsqueeze(1) / size
    moments = replace(moments, square=square, cross=moments.cross / size, inputs=moments.inputs / size)
    given = weight.abs().amax(2) / 7
    errors = []
    for steps in (given, best_steps(weight, given, 7, moments).double()):
        step = steps.unsqueeze(2)
        nearest = torch.round(weight / step).clamp(-7, 7)
        errors.append(error_of(nearest, steps, weight, moments))
    assert errors[1] < 0.8 * errors[0]


def test_few_positions_carry_codes_no_further_than_they_bear_out():
    """Codes learned on 20 of 2,000 positions, judged on the others."""
    weight, x, _ = random_layer(positions=2000)
    few, rest = moments_between(x[:, :20], weight[0] @ x[:, :20]), moments_between(x[:, 20:], weight[0] @ x[:, 20:])
    scale = weight.abs().amax(2) / 7
    nearest = torch.round(weight / scale.unsqueeze(2))
    alone, steadied_codes = (learned_codes(nearest, scale, 7, m) for m in (few, steadied(few, weight)))
    errors = [error_of(codes, scale, weight, rest) for codes in (nearest, steadied_codes, alone)]
    assert errors[0] < 0.8 * errors[2]
    assert errors[1] < 1.05 * errors[0]
    assert error_of(alone, scale, weight, few) < error_of(nearest, scale, weight, few)


def test_many_positions_are_believed():
    weight, _, moments = random_layer(taps=20, positions=5000)
    scale = weight.abs().amax(2) / 7
    nearest = torch.round(weight / scale.unsqueeze(2))
    learned, held = (learned_codes(nearest, scale, 7, m) for m in (moments, steadied(moments, weight)))
    first, least, ours = (error_of(codes, scale, weight, moments) for codes in (nearest, learned, held))
    assert ours - least < 0.05 * (first - least)


def test_no_single_code_could_be_chosen_better():
    weight, moments = random_moments(taps=12, outputs=2)
    scale = weight.abs().amax(2) / 7
    nearest = torch.round(weight / scale.unsqueeze(2))
    codes = learned_codes(nearest, scale, 7, moments)
    least = error_of(codes, scale, weight, moments)
    for spot in np.ndindex(*codes.shape):
        for change in (-1, 1):
            other = codes.clone()
            other[spot] += change
            if abs(other[spot]) <= 7 and abs(other[spot] - nearest[spot]) <= 1:
                assert error_of(other, scale, weight, moments) >= least - 1e-9


@pytest.mark.parametrize("bits", [(8, 8), (4, 8), (4, 4)])
def test_both_tools_bring_the_program_nearer_to_the_float_network(captured, bits):
    samples, errors = samples_of(IMAGE, count=32), []
    for tools in (PLAIN, PLAIN | {"correct_bias": True}, {"rounding": "learned", "correct_bias": True}):
        program = quantize(captured, samples, Scheme(*bits, **tools))
        inputs = [(noise(IMAGE, 7000 + seed),) for seed in range(24)]
        errors.append(sum(float((program(*x)[0] - captured.module(*x)[0]).square().sum()) for x in inputs))
    assert errors[2] < 0.9 * errors[0]
    assert errors[1] < 1.1 * errors[0]


def test_a_corrected_layer_has_the_mean_of_the_float_layer(captured):
    samples = samples_of(IMAGE, count=16)
    scheme = Scheme(3, 8, rounding="nearest", correct_bias=True)
    program = quantize(captured, samples, scheme)
    with torch.no_grad():
        got = torch.stack([program(*x)[0] for x in samples]).mean((0, 1, 2))
        wanted = torch.stack([captured.module(*x)[0] for x in samples]).mean((0, 1, 2))
    (step,) = program.output_steps()
    assert (got - wanted).abs().max() < step


def test_the_same_samples_give_the_same_codes(captured):
    scheme = Scheme(4, 8, rounding="learned", correct_bias=True)
    first, second = (quantize(captured, samples_of(IMAGE), scheme).constants() for _ in range(2))
    assert first == second


def test_only_codes_and_biases_differ_from_plain_quantization(captured):
    samples = samples_of(IMAGE)
    plain = quantize(captured, samples, Scheme(**PLAIN))
    refined = quantize(captured, samples, Scheme(rounding="learned", correct_bias=True))
    assert plain.activations() == refined.activations()
    assert plain.constants().keys() == refined.constants().keys()
    for name, tensor in plain.constants().items():
        other = refined.constants()[name]
        assert np.array_equal(tensor.scale, other.scale)
        if name.endswith("_weight"):
            assert np.abs(tensor.codes.astype(int) - other.codes).max() <= 1


def test_a_channel_of_zeros_and_a_constant_one_give_their_bias():
    network = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 4, 1))
    torch.manual_seed(0)
    randomise(network)
    with torch.no_grad():
        network[0].weight[1] = 0
        network[0].weight[2] = 0.25
        network[2].weight[3] = 0
    flat = capture(network.eval(), (noise(IMAGE),))
    samples = samples_of(IMAGE)
    for bits in ((8, 8), (4, 8), (4, 4)):
        program = quantize(flat, samples, Scheme(*bits))
        (step,) = program.output_steps()
        (got,) = program(*samples[0])
        assert (got[0, 3] - network[2].bias[3]).abs().max() < step
        assert all(np.isfinite(constant.scale).all() for constant in program.constants().values())


def test_a_value_that_calibration_never_saw_is_named():
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 2, 1))
    with torch.no_grad():
        network[0].bias.fill_(-1e3)
    flat = capture(network.eval(), (noise(IMAGE),))
    with pytest.warns(UserWarning, match=r"always zero on the calibration samples: relu \(1\); give samples that"):
        program = quantize(flat, samples_of(IMAGE), Scheme())
    (got,) = program(noise(IMAGE))
    assert torch.isfinite(got).all()


def test_a_value_that_overflows_is_named():
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 2, 1))
    with torch.no_grad():
        network[0].weight.fill_(3e38)
    flat = capture(network.eval(), (torch.zeros(IMAGE),))
    with pytest.raises(BadInput, match="NaN or infinite during calibration; check the calibration samples"):
        quantize(flat, samples_of(IMAGE), Scheme())
