"""`locate` on artifacts made up from a program's own values: rounding is no difference, a jump is, and it is named."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from offramp.export.artifact import Artifact
from offramp.quant.capture import capture, to_program
from offramp.quant.program import DEQUANTIZE, QUANTIZE
from offramp.quant.quantize import quantize
from offramp.runtime.locate import fused_into, locate
from offramp.runtime.reference import program_values, run_reference
from offramp.runtime.samples import Samples
from torch import nn

sys.path.append(str(Path(__file__).parent))
from small_networks import QUICK, noise, quantized

SHAPE = (1, 3, 8, 8)
SAMPLES_OF_INPUT = Samples({"input": noise((3, *SHAPE[1:])).numpy()}, None, "noise")
SAMPLES = Samples({"x": noise((3, *SHAPE[1:])).numpy()}, None, "noise")


class Chain(nn.Module):
    """Four layers; each multiplies what the one before it did wrong."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.ModuleList(nn.Conv2d(3, 3, 3, padding=1) for _ in range(4))

    def forward(self, x):
        for layer in self.layers:
            x = 3 * layer(x)
        return x


@pytest.fixture(scope="module")
def references():
    int8 = quantized(Chain(), SHAPE)
    captured = capture(Chain().eval(), (torch.zeros(SHAPE),))
    programs = {"int8": int8.program, "float32": to_program(captured.module, captured.example_inputs)}
    return {name: run_reference(program, ("x",), ("output",), SAMPLES) for name, program in programs.items()}


class Pretended:
    """A session whose values are the program's, changed by `change(value)` and computed on from there."""

    def __init__(self, reference, change, layout=lambda data: data):
        self.reference, self.change, self.layout = reference, change, layout

    def intermediates(self, sample):
        found = {}

        def keep(value):
            data = self.change(value)
            found[value.name] = self.layout(data)
            return data

        program_values(self.reference, sample, keep)
        return found


def located(reference, precision, change, **options):
    artifact = Artifact("onnx", precision, Path("pretended.onnx"), (), ())
    return locate(reference, artifact, Pretended(reference, change, **options), SAMPLES)


def rounded(value, codes=1):
    """Every element of an integer value off by up to `codes`; of a float value, by float's own rounding."""
    draw = np.random.default_rng(len(value.name))
    if value.step is None:
        return value.data * (1 + draw.uniform(-1e-6, 1e-6, value.data.shape)).astype(np.float32)
    return value.data + value.step * draw.integers(-codes, codes + 1, value.data.shape).astype(np.float32)


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_rounding_that_grows_through_layers_is_no_difference(references, precision):
    reference = references[precision]
    assert located(reference, precision, rounded) is None
    sample = next(iter(SAMPLES))
    last = program_values(reference, sample)[-1]
    grown = Pretended(reference, rounded).intermediates(sample)[last.name]
    growth = np.abs(grown - last.data).max() / (last.step or 1e-6 * np.abs(last.data).max())
    assert growth > (2.5 if last.step else 1.5)  # held against the program's own run, the last layer would seem wrong


@pytest.mark.parametrize("layer", [0, 2, 3])
@pytest.mark.parametrize(("precision", "size"), [("float32", 0.02), ("int8", 4)])
def test_a_jump_is_located_at_its_layer(references, precision, size, layer):
    def change(value):
        data = rounded(value)
        if value.name == names[layer]:
            data.flat[0] += size * (value.step or float(np.abs(value.data).max()))
        return data

    values = program_values(references[precision], next(iter(SAMPLES)))
    names = [next(v.name for v in values if v.module == f"layers.{i}") for i in range(4)]
    difference = located(references[precision], precision, change)
    assert (difference.value, difference.module) == (names[layer], f"layers.{layer}")
    assert difference.difference_steps >= (3 if precision == "int8" else 1.9)


def test_a_jump_on_one_sample_alone_is_located(references):
    second = SAMPLES.inputs["x"][1]

    def change(value):
        wrong = value.name == "conv2d_1" and change.calls == 1
        return value.data + 9 * value.step if wrong else value.data

    class Counting(Pretended):
        def intermediates(self, sample):
            change.calls = int(np.array_equal(sample["x"][0], second))
            return super().intermediates(sample)

    artifact = Artifact("onnx", "int8", Path("pretended.onnx"), (), ())
    difference = locate(references["int8"], artifact, Counting(references["int8"], change), SAMPLES)
    assert difference.module == "layers.1"
    assert difference.difference_steps == pytest.approx(9)


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_channels_last_values_are_read_in_the_program_s_order(references, precision):
    def last(data):
        return data.transpose(0, 2, 3, 1) if data.ndim == 4 else data

    assert located(references[precision], precision, rounded, layout=last) is None


def test_a_value_that_is_not_finite_is_a_difference(references):
    def change(value):
        return np.full_like(value.data, np.nan) if value.name == "conv2d_2" else value.data

    assert located(references["float32"], "float32", change).module == "layers.2"


def test_values_that_the_artifact_does_not_show_are_passed_over(references):
    class Sparse(Pretended):
        def intermediates(self, sample):
            return {name: data for name, data in super().intermediates(sample).items() if name == "conv2d_3"}

    artifact = Artifact("onnx", "int8", Path("pretended.onnx"), (), ())
    assert locate(references["int8"], artifact, Sparse(references["int8"], lambda value: value.data), SAMPLES) is None


class Confused(Pretended):
    """Shows the first layer's value under the name of the second, as a converter that numbers values anew does."""

    def intermediates(self, sample):
        found = super().intermediates(sample)
        found["conv2d_1"] = found["conv2d"]
        return found


def test_a_name_that_stands_for_another_tensor_is_no_difference(references):
    artifact = Artifact("onnx", "float32", Path("pretended.onnx"), (), ())
    reference = references["float32"]
    assert locate(reference, artifact, Confused(reference, rounded), SAMPLES) is None


@pytest.mark.parametrize("layer", [0, 2, 3])
def test_a_jump_is_located_among_names_that_stand_for_other_tensors(references, layer):
    def change(value):
        wrong = value.name == f"conv2d_{layer}".removesuffix("_0")
        return value.data * (1.1 if wrong else 1.0)

    artifact = Artifact("onnx", "float32", Path("pretended.onnx"), (), ())
    reference = references["float32"]
    assert locate(reference, artifact, Confused(reference, change), SAMPLES).module == f"layers.{layer}"


class Fused(Pretended):
    """Shows the codes behind each activation under the name of the layer before it, as a fusing converter does."""

    def intermediates(self, sample):
        found = super().intermediates(sample)
        names = {f"relu{place}": f"linear{place}" for place in ("", *(f"_{i}" for i in range(1, 8)))}
        return {name: data for name, data in found.items() if name not in {*names, *names.values()}} | {
            layer: found[activation] for activation, layer in names.items()
        }


class Activated(nn.Module):
    """Eight layers with an activation each, and a last one."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        layers = [nn.Sequential(nn.Linear(16, 16), nn.ReLU()) for _ in range(8)]
        self.layers = nn.Sequential(*layers, nn.Linear(16, 16))
        for layer in layers:
            layer[0].weight.data *= 3  # rounding grows on its way

    def forward(self, x):
        return self.layers(x)


@pytest.fixture(scope="module")
def activated():
    samples = Samples({"x": noise((3, 16)).numpy()}, None, "noise")
    return run_reference(quantized(Activated(), (1, 16)).program, ("x",), ("output",), samples), samples


def located_fused(activated, change):
    reference, samples = activated
    artifact = Artifact("tflite", "int8", Path("pretended.tflite"), (), ())
    return locate(reference, artifact, Fused(reference, change), samples)


def test_codes_under_the_name_of_the_layer_before_their_activation_are_no_difference(activated):
    assert located_fused(activated, rounded) is None


@pytest.mark.parametrize("layer", [0, 3, 7])
def test_a_jump_is_located_where_activations_have_the_names_of_layers(activated, layer):
    def change(value):
        data = rounded(value)
        if value.name == f"relu_{layer}".removesuffix("_0"):
            data.flat[0] += 9 * value.step
        return data

    assert located_fused(activated, change).module == f"layers.{layer}.1"


def test_codes_that_are_narrowed_for_one_reader_are_made_of_no_value_in_float():
    nodes = quantized(Activated(), (1, 16), weight_bits=4, activation_bits=4).program.graph.nodes
    sources = [node.args[0] for node in nodes if node.target is QUANTIZE]
    narrowed = [source for source in sources if source.target is DEQUANTIZE]
    assert len(narrowed) == 7
    assert not any(map(fused_into, narrowed))
    assert [fused_into(source) for source in sources if source.name == "relu_3"] == [["linear_3"]]


def test_values_have_the_program_s_names_where_an_input_is_named_like_a_builtin():
    """`nn.Sequential` names its input `input`, which its module's graph calls otherwise."""
    captured = capture(nn.Sequential(nn.Conv2d(3, 3, 3), nn.ReLU()).eval(), (torch.zeros(SHAPE),), ("input",))
    program = quantize(captured, [(noise(SHAPE),)], QUICK)
    reference = run_reference(program.program, ("input",), program.output_names, SAMPLES_OF_INPUT)
    first, *others = program_values(reference, next(iter(SAMPLES_OF_INPUT)))
    assert first.name == "input" and "input_1" not in {value.name for value in others}
