"""`to_tflite`: integer kernels throughout, the program's own codes inside, and the same bytes every time."""

import json
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from offramp.errors import UnsupportedOperator
from offramp.export.tflite import to_tflite
from offramp.quant.capture import capture, to_program
from offramp.quant.quantize import quantize
from offramp.quant.scheme import Scheme
from offramp.runtime.constants import compare_constants
from offramp.runtime.islands import find_islands
from offramp.runtime.tflite_graph import read_tflite
from offramp.runtime.tflite_session import TfliteSession
from torch import nn
from torch.nn import functional

sys.path.append(str(Path(__file__).parent))
from small_networks import noise, quantized, randomise, samples_of

IMAGE = (1, 3, 12, 12)
NAMES = {"input_names": ("image",), "output_names": ("logits",)}
LABELS = ("cat", "dog", "emu")
METADATA = {"license": "MIT", "author": "someone"}


class Small(nn.Module):
    """Convolution with ReLU, depthwise, a skip, a concatenation, a product of activations, pooling, linear."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.depthwise, self.mix = nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.Conv2d(16, 8, 1)
        self.head = nn.Linear(8, 3)

    def forward(self, image):
        x = self.stem(image)
        x = self.mix(torch.cat([x, functional.gelu(self.depthwise(x)) + x], 1)).flatten(2)
        x = (x @ x.transpose(1, 2)).softmax(-1) @ x  # (1, 8, 36)
        return self.head(x.mean(2))


@pytest.fixture(scope="module")
def captured():
    torch.manual_seed(0)
    return capture(randomise(Small()), (noise(IMAGE),))


@pytest.fixture(scope="module")
def program(captured):
    return quantize(captured, samples_of(IMAGE), Scheme(calibration="minmax"))


@pytest.fixture(scope="module")
def files(captured, program, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tflite")
    floating = to_program(captured.module, captured.example_inputs)
    extras = {"labels": LABELS, "metadata": METADATA}
    return {
        "float32": to_tflite(floating, folder / "float32.tflite", **NAMES, precision="float32"),
        "float16": to_tflite(floating, folder / "float16.tflite", **NAMES, precision="float16"),
        "int8": to_tflite(program.program, folder / "int8.tflite", **NAMES, precision="int8", **extras),
        "codes": to_tflite(program.program, folder / "codes.tflite", **NAMES, precision="int8", integer_io=True),
    }


def run(artifact, x):
    return TfliteSession(artifact.path).run({"image": x})["logits"]


def test_a_float_file_computes_what_the_network_does(files, captured):
    for seed in range(3):
        x = noise(IMAGE, seed)
        wanted = captured.module(x)[0].detach().numpy()
        np.testing.assert_allclose(run(files["float32"], x.numpy()), wanted, rtol=0, atol=1e-5)


def test_a_float16_file_is_smaller_and_close(files, captured):
    graph = read_tflite(files["float16"].path)
    halves = [tensor for tensor in graph.tensors if tensor.dtype == "float16"]
    assert {tensor.name.removesuffix("_half") for tensor in halves} >= {"stem.0.weight", "mix.weight"} or len(
        halves
    ) >= 3
    assert files["float16"].size_bytes < files["float32"].size_bytes
    x = noise(IMAGE)
    wanted = captured.module(x)[0].detach().numpy()
    off = np.abs(run(files["float16"], x.numpy()) - wanted).max()
    assert 0 < off < 0.01 * np.abs(wanted).max()


def test_an_int8_file_is_within_one_step_of_its_program(files, program):
    (step,) = program.output_steps()
    for seed in range(8):
        x = noise(IMAGE, seed)
        off = np.abs(run(files["int8"], x.numpy()) - program(x)[0].numpy())
        assert off.max() <= step * 1.001


def test_convolutions_linear_layers_and_products_run_on_integers(files):
    graph = read_tflite(files["int8"].path)
    heavy = [
        op for op in graph.operators if op.name in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "BATCH_MATMUL")
    ]
    assert len(heavy) == 7  # the last average among them
    for operator in heavy:
        tensors = [graph.tensors[i] for i in (*operator.inputs[:2], *operator.outputs)]
        assert {tensor.dtype for tensor in tensors} == {"int8"}
        if len(operator.inputs) > 2 and operator.inputs[2] >= 0:
            assert graph.tensors[operator.inputs[2]].dtype == "int32"
    report = find_islands(files["int8"].path, files["int8"].modules)
    assert (report.islands, report.integer_mac_share) == ((), 1.0)


@pytest.mark.parametrize("kind", ["int8", "codes"])
def test_every_integer_and_scale_reads_back_identical(kind, files, program):
    check = compare_constants(program, files[kind])
    assert (check.differing, check.missing, check.holds) == ((), (), True)
    weights = {name for name in program.constants() if name.endswith(("_weight", "_bias"))}
    assert weights == {
        f"{layer}_{part}" for layer in ("stem_0", "depthwise", "mix", "head") for part in ("weight", "bias")
    }
    assert check.compared >= len(weights) + len(program.activations()) - 2


def test_codes_at_the_border_are_those_of_the_program(files, program):
    graph = read_tflite(files["codes"].path)
    border = [graph.tensors[i] for i in (graph.inputs["image"], graph.outputs["logits"])]
    assert [tensor.dtype for tensor in border] == ["int8", "int8"]
    assert files["codes"].details["border"] == "int8" and files["int8"].details["border"] == "float32"
    x = noise(IMAGE)
    plain, coded = (run(files[kind], x.numpy()) for kind in ("int8", "codes"))
    np.testing.assert_array_equal(plain, coded)  # the session quantizes and dequantizes where the file does not


def test_the_signature_has_the_names_of_the_user(files):
    for kind, artifact in files.items():
        graph = read_tflite(artifact.path)
        assert (list(graph.inputs), list(graph.outputs)) == (["image"], ["logits"])
        tensors = {graph.tensors[i].name for i in (graph.inputs["image"], graph.outputs["logits"])}
        assert tensors == {"image", "logits"}, kind
        session = TfliteSession(artifact.path)
        assert [(spec.name, spec.shape) for spec in artifact.inputs] == [(s.name, s.shape) for s in session.inputs]


def test_values_carry_the_modules_of_the_program(files):
    modules = files["int8"].modules
    assert {"stem.2", "depthwise", "mix", "head"} <= set(modules.values())
    assert modules["logits"] == "head"
    graph = read_tflite(files["int8"].path)
    convolutions = {
        modules.get(graph.tensors[op.outputs[0]].name) for op in graph.operators if op.name.endswith("CONV_2D")
    }
    assert convolutions == {"stem.2", "depthwise", "mix"}


def test_labels_and_metadata_are_a_zip_behind_the_model(files):
    with zipfile.ZipFile(files["int8"].path) as archive:
        assert archive.read("labels.txt").decode().splitlines() == list(LABELS)
        assert json.loads(archive.read("metadata.json")) == METADATA
    assert not zipfile.is_zipfile(files["codes"].path)


def test_two_exports_are_equal_to_the_byte(files, program, tmp_path):
    again = to_tflite(
        program.program, tmp_path / "int8.tflite", **NAMES, precision="int8", labels=LABELS, metadata=METADATA
    )
    assert again.path.read_bytes() == files["int8"].path.read_bytes()


def test_no_path_of_this_machine_is_in_a_file(files):
    for artifact in files.values():
        content = artifact.path.read_bytes()
        for folder in (Path(__file__).parent.parent, Path(torch.__file__).parent):
            assert str(folder).encode() not in content
        assert b".py" not in content and b"Traceback" not in content


class Odd(nn.Module):
    """A layer whose operator LiteRT has no form of."""

    def forward(self, x):
        return torch.linalg.matrix_exp(x)


def test_an_operator_without_a_form_is_named_with_its_module(tmp_path):
    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.odd = nn.Linear(4, 4), Odd()

        def forward(self, x):
            return self.odd(self.stem(x))

    captured = capture(Outer(), (noise((4, 4)),))
    with pytest.raises(
        UnsupportedOperator, match=r"^odd: tflite has no form of aten\.linalg_matrix_exp\.default; "
    ) as error:
        to_tflite(
            to_program(captured.module, captured.example_inputs),
            tmp_path / "net.tflite",
            input_names=("x",),
            output_names=("y",),
            precision="float32",
        )
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


class Tokens(nn.Module):
    """Whole numbers and an image in; two outputs, the second before the first in the graph."""

    def __init__(self):
        super().__init__()
        self.look_up, self.conv = nn.Embedding(9, 4), nn.Conv2d(3, 4, 1)

    def forward(self, tokens, image):
        x = self.conv(image).relu()
        return {"scores": x.mean((2, 3)) + self.look_up(tokens).mean(1), "map": x}


def test_several_inputs_and_outputs_keep_their_names_and_types(tmp_path):
    example = torch.tensor([[1, 2, 8]]), noise((1, 3, 4, 4))
    captured = capture(Tokens(), example)
    program = quantize(captured, [example], Scheme(calibration="minmax"))
    names = {"input_names": captured.input_names, "output_names": captured.output_names}
    artifact = to_tflite(program.program, tmp_path / "net.tflite", **names, precision="int8")
    session = TfliteSession(artifact.path)
    assert {(s.name, s.dtype) for s in artifact.inputs} == {(s.name, s.dtype) for s in session.inputs}
    tokens = example[0].numpy().astype({s.name: s.dtype for s in session.inputs}["tokens"])
    got = session.run({"tokens": tokens, "image": example[1].numpy()})
    for name, wanted, step in zip(("scores", "map"), program(*example), program.output_steps()):
        assert np.abs(got[name] - wanted.numpy()).max() <= step * 1.001


def test_a_bias_beyond_what_float32_counts_exactly_keeps_its_codes(tmp_path) -> None:
    network = nn.Linear(8, 3)
    with torch.no_grad():
        network.weight.copy_(torch.linspace(-1e-3, 1e-3, 24).reshape(3, 8))
        network.bias.copy_(torch.tensor([0.3, -0.7, 0.9]))
    quantized = quantize(
        capture(network, (torch.zeros(1, 8),)), [(1e-3 * noise((1, 8)),)], Scheme(calibration="minmax")
    )
    (codes,) = (tensor.codes for tensor in quantized.constants().values() if tensor.codes.dtype == np.int32)
    assert np.abs(codes).min() > 2**24
    names = {"input_names": quantized.input_names, "output_names": quantized.output_names}
    artifact = to_tflite(quantized.program, tmp_path / "bias.tflite", precision="int8", **names)
    check = compare_constants(quantized, artifact)
    assert check.holds
    assert check.compared >= 3


class Soft(nn.Module):
    """Both sides of a threshold: a constant that two operators read, each with its ReLU."""

    def __init__(self):
        super().__init__()
        self.conv, self.lowered = nn.Conv2d(3, 8, 3), nn.Parameter(-torch.linspace(0.1, 0.4, 8).reshape(8, 1, 1))

    def forward(self, x):
        values = self.conv(x)
        return torch.relu(values + self.lowered) - torch.relu(self.lowered - values)


def test_a_constant_is_found_behind_a_fused_activation_wherever_it_is_read(tmp_path):
    torch.manual_seed(0)
    program = quantized(Soft(), (1, 3, 8, 8))
    names = {"input_names": ("x",), "output_names": ("y",), "precision": "int8"}
    artifact = to_tflite(program.program, tmp_path / "soft.tflite", **names)
    check = compare_constants(program, artifact)
    assert (check.differing, check.missing, check.holds) == ((), (), True)
    session, (step,) = TfliteSession(artifact.path), program.output_steps()
    for seed in range(4):
        x = noise((1, 3, 8, 8), seed)
        assert np.abs(session.run({"x": x.numpy()})["y"] - program(x)[0].numpy()).max() <= 2.001 * step
