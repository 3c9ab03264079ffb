"""Chips: the program's own bits where all is ideal, one chip for each seed, and the same reads in any batch."""

import math
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from offramp.devices.synapse.converters import adc_joules
from offramp.devices.synapse.design import ArrayDesign
from offramp.devices.synapse.device import Pulse
from offramp.emulation.chip import ASSUMED_READ, Chip
from offramp.emulation.layers import is_layer, sums_of, unrolled, vectors_of
from offramp.quant.affine import Affine
from offramp.quant.integer.evaluate import evaluate, evaluate_many
from offramp.quant.integer.lowering import integer_program
from offramp.quant.integer.operations import Convolution, Linear, SignConvolution, SignLinear
from offramp.quant.integer.sums import centred, completed
from offramp.quant.integer.values import Kind, Value
from torch import nn
from torch.nn import functional

sys.path.append(str(Path(__file__).parent))
from small_networks import quantized, samples_of
from small_synapses import line_of, synapse

IDEAL = synapse(levels=0, g_min=1e-6, g_max=2e-5)
NOISY = synapse(levels=0, program_error=0.02, read_noise=0.02, g_min=1e-6, g_max=2e-5)


class Convolutions(nn.Module):
    """A stem, a strided and dilated convolution, a depthwise, one of two groups, a mean and a linear layer."""

    def __init__(self):
        super().__init__()
        self.stem, self.wide = nn.Conv2d(2, 8, 3, padding=1), nn.Conv2d(8, 8, (3, 2), 2, (2, 1), 2)
        self.depthwise, self.halves = nn.Conv2d(8, 8, 3, 1, 1, groups=8), nn.Conv2d(8, 6, 1, groups=2)
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        x = self.depthwise(self.wide(self.stem(x).relu()).relu()) * 0.5
        return self.head(self.halves(functional.hardswish(x)).mean((2, 3)))


class Sound(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv1d(1, 8, 9, stride=4), nn.Conv1d(8, 8, 5, padding=2, groups=8)
        self.head = nn.Linear(8, 4)

    def forward(self, wave):
        return self.head(self.second(self.first(wave).relu()).mean(2))


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.query, self.key, self.value, self.head = (nn.Linear(8, 8) for _ in range(4))
        self.place = nn.Parameter(torch.linspace(-1, 1, 40).reshape(1, 5, 8))

    def forward(self, tokens):
        tokens = tokens + self.place
        x = functional.scaled_dot_product_attention(self.query(tokens), self.key(tokens), self.value(tokens))
        return self.head(x), tokens + x, self.place * 2


class Signs(nn.Module):
    """Convolutions of signs, one that gives signs and one that gives codes, and a linear layer of signs."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv2d(i, 16, 3, padding=1, bias=False) for i in (3, 16, 16))
        self.middle, self.head = nn.Linear(16 * 36, 32), nn.Linear(32, 5)

    def forward(self, x):
        for layer in self.layers:
            x = functional.hardtanh(layer(x))
        return self.head(functional.hardtanh(self.middle(x.flatten(1))))


NETWORKS = {
    "convolutions": (Convolutions, (1, 2, 9, 9), {}),
    "linear": (lambda: nn.Sequential(nn.Linear(20, 33), nn.ReLU(), nn.Linear(33, 5)), (1, 20), {}),
    "sound": (Sound, (1, 1, 64), {}),
    "attention": (Attention, (1, 5, 8), {}),
    "signs": (Signs, (1, 3, 6, 6), {"weight_bits": 1, "activation_bits": 1}),
    "few bits": (Convolutions, (1, 2, 9, 9), {"weight_bits": 4, "activation_bits": 4}),
}
networks = pytest.mark.parametrize("name", NETWORKS)


@cache
def program_of(name):
    build, shape, scheme = NETWORKS[name]
    torch.manual_seed(1)
    found = quantized(build(), shape, rounding="nearest", correct_bias=False, **scheme)
    return integer_program(found.program, found.input_names, found.output_names)


@cache
def samples(name, count=6):
    """As `evaluate_many` takes them: (samples, *shape) of each input."""
    drawn = samples_of(*(value.shape for value in program_of(name).inputs), count=count)
    return [np.stack([each.numpy() for each in values]) for values in zip(*drawn)]


@cache
def one_by_one(name):
    """Each output of `evaluate`, sample after sample."""
    found = [evaluate(program_of(name), sample) for sample in zip(*samples(name))]
    return [np.stack(outputs) for outputs in zip(*found)]


def same(found, wanted):
    return len(found) == len(wanted) and all(np.array_equal(a, b) for a, b in zip(found, wanted))


def chip_of(name, device=NOISY, seed=1, **design):
    chip = Chip(program_of(name), device, ArrayDesign(**design), seed)
    chip.calibrate(samples(name))
    return chip


@networks
def test_many_samples_at_once_are_each_by_itself(name):
    found = evaluate_many(program_of(name), samples(name))
    assert same(found, one_by_one(name))
    assert all(np.ptp(output, 0).max() > 0 for output in found[:2])  # samples differ, or nothing would be seen


@networks
@pytest.mark.parametrize(
    "design",
    [
        {},
        {"reference": "column"},
        {"dac_bits": 8, "rows": 16, "columns": 10, "slice_bits": 2},
        {"dac_bits": 8, "rows": 7, "reference": "column", "slice_bits": 3, "adc_bits": 0},
    ],
    ids=["pair", "column", "tiled", "tiled column"],
)
def test_an_ideal_chip_gives_the_bits_of_the_program(name, design):
    assert same(chip_of(name, IDEAL, **design).run(samples(name)), one_by_one(name))


def test_every_kind_of_layer_has_been_on_a_chip():
    held = {type(o) for name in NETWORKS for o in program_of(name).operations if is_layer(o)}
    assert held == {Convolution, Linear, SignConvolution, SignLinear}
    folded = [o for o in program_of("signs").operations if isinstance(o, SignConvolution)]
    assert {o.at_least is None for o in folded} == {True, False}


@networks
def test_unrolled_layers_have_the_sums_of_the_program(name):
    layers = [operation for operation in program_of(name).operations if is_layer(operation)]
    for layer in layers:
        value, part = layer.inputs[0], unrolled(layer)
        low, high = (-1, 2) if value.kind is Kind.SIGNS else (value.meaning.qmin, value.meaning.qmax + 1)
        codes = torch.randint(
            low, high, (3, *value.shape), generator=torch.Generator().manual_seed(0), dtype=torch.int32
        )
        vectors = vectors_of(layer, centred(layer.inputs[0], codes).double())
        groups, inputs, _ = part.weights.shape
        assert vectors.shape == (3 * part.vectors, groups, inputs)
        assert part.inputs[0] <= float(vectors.min()) and float(vectors.max()) <= part.inputs[1]
        sums = sums_of(layer, torch.einsum("bgi,gio->bgo", vectors, part.weights), 3)
        assert sums.shape == (3, *layer.output.shape)


@pytest.mark.parametrize("bias", [2**24, 2**24 + 1, -(2**24) - 3, 2**30 + 5])
def test_sums_that_are_all_but_whole_are_rounded_as_whole_ones(bias):
    """Above 2^24 float32 has no place for every whole number: one halfway between two goes to the even."""
    x, y = Value("x", (1, 1), Kind.CODES, Affine(1.0, 0)), Value("y", (1, 1), Kind.CODES, Affine(1.0, 0))
    multiplier = np.array([2.5 / bias], np.float32)
    layer = Linear((x,), y, "", np.ones((1, 1), np.int8), np.array([bias], np.int32), multiplier, -128, 127)
    sums = torch.arange(-9, 10, dtype=torch.int32)[:, None, None]
    for error in (-abs(bias) * 2**-50, 0.0, abs(bias) * 2**-50):  # four units in the last place of float64
        assert torch.equal(completed(layer, sums.double() + error), completed(layer, sums))


# Noisy chips


@pytest.mark.parametrize("name", ["convolutions", "signs", "attention"])
def test_a_seed_is_a_chip(name):
    found = [chip_of(name, seed=seed).run(samples(name)) for seed in (1, 1, 2)]
    assert same(found[0], found[1])
    assert not same(found[0], found[2])
    assert not same(found[0], one_by_one(name))


@pytest.mark.parametrize("name", ["convolutions", "sound", "signs"])
@pytest.mark.parametrize("batch", [1, 4])
def test_a_noisy_chip_reads_the_same_in_batches_of_any_size(name, batch):
    at_once, split = (chip_of(name, adc_bits=8, rows=16) for _ in range(2))
    parts = [split.run([each[at : at + batch] for each in samples(name)]) for at in range(0, 6, batch)]
    together = [np.concatenate(each) for each in zip(*parts)]
    assert same(at_once.run(samples(name)), together)
    assert not same(at_once.run(samples(name)), together)  # another read, another noise


def test_memory_is_bounded_by_batches(monkeypatch):
    whole = chip_of("convolutions").run(samples("convolutions"))
    monkeypatch.setattr("offramp.emulation.chip._BYTES", 1)
    assert same(chip_of("convolutions").run(samples("convolutions")), whole)


def test_layers_have_devices_of_their_own():
    layer = nn.Linear(30, 30, bias=False)
    found = quantized(nn.Sequential(layer, nn.ReLU(), layer), (1, 30), rounding="nearest", correct_bias=False)
    program = integer_program(found.program, found.input_names, found.output_names)
    first, second = Chip(program, NOISY, ArrayDesign(), 1)._arrays.values()
    exact = Chip(program, IDEAL, ArrayDesign(), 1)._arrays.values()
    errors = [(noisy.matrices - ideal.matrices).flatten() for noisy, ideal in zip((first, second), exact)]
    assert abs(torch.corrcoef(torch.stack(errors))[0, 1]) < 4 / math.sqrt(900)


# What a chip costs


def test_costs_are_those_of_each_layer():
    device = synapse(levels=0, g_min=1.0, g_max=3.0, write_up=Pulse(2.0, 1e-6))
    chip, (first, second) = chip_of("linear", device, adc_bits=6), (20 * 33, 33 * 5)
    cost = chip.cost
    assert (cost.arrays, cost.cells, cost.write_pulses) == (4, 2 * (first + second), 0)
    assert cost.converter_joules == pytest.approx((33 + 5) * adc_joules(6))
    assert cost.joules == cost.cell_joules + cost.converter_joules
    assert cost.write_joules == 0.0
    wanted = 0.0
    layers = [operation for operation in program_of("linear").operations if is_layer(operation)]
    seen = {}
    for sample in zip(*samples("linear")):
        evaluate(
            program_of("linear"),
            sample,
            lambda operation, result: seen.setdefault(operation.output.name, []).append(result),
        )
    for layer in layers:
        zero, weights = layer.inputs[0].meaning.zero_point, torch.from_numpy(layer.weight).double()
        siemens = (2 + 2 * weights.abs() / weights.abs().max()).sum(0)  # both devices of each pair on a row
        inputs = torch.cat(seen[layer.inputs[0].name]).double() - zero
        largest = max(abs(layer.inputs[0].meaning.qmin - zero), layer.inputs[0].meaning.qmax - zero)
        volts = inputs / largest * ASSUMED_READ.volts
        wanted += float((volts.square() * siemens).sum()) / 6 * ASSUMED_READ.seconds
    assert cost.cell_joules == pytest.approx(wanted, rel=1e-9)


def test_writing_takes_the_energy_of_its_pulses():
    pulses = {"pulses_up": 4, "pulses_down": 4, "write_up": Pulse(-2.0, 1e-6), "read": Pulse(-0.1, 1e-8)}
    published, silent = chip_of("linear", synapse(**pulses)).cost, chip_of("linear", synapse(pulses_up=4)).cost
    assert published.write_pulses == silent.write_pulses > 0
    assert published.write_joules == pytest.approx(published.write_pulses * 4 * 0.5e-6)
    assert silent.write_joules is None
    assert published.cell_joules == pytest.approx(silent.cell_joules / 4)  # half the volts, as long a read
    assert silent.converter_joules == 0.0


def test_a_program_without_weights_has_nothing_for_arrays():
    found = quantized(nn.ReLU(), (1, 4))
    program = integer_program(found.program, found.input_names, found.output_names)
    line = "the quantized program: no layer multiplies with weights, so arrays have nothing to hold"
    assert line_of(Chip, program, IDEAL, ArrayDesign(), 1) == line
