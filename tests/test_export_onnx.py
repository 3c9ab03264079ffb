"""`to_onnx`: executed in ONNX Runtime and held against the program, integers read back, the same bytes every time."""

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from offramp.errors import BadInput, UnsupportedOperator
from offramp.export.onnx import OPSET, to_onnx
from offramp.quant.capture import capture, to_program
from offramp.quant.quantize import quantize
from offramp.quant.scheme import Scheme
from offramp.runtime.constants import compare_constants
from offramp.runtime.islands import find_islands
from offramp.runtime.onnx_session import OnnxSession, load_onnx, read_activation_scales, read_weights
from torch import nn

sys.path.append(str(Path(__file__).parent))
from small_networks import captured_system, noise, program_of, quantized, quantized_system, randomise

NAMES = {"input_names": ("image",), "output_names": ("logits",)}
IMAGE = (1, 1, 32, 32)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """care_xxs at each precision."""
    folder = tmp_path_factory.mktemp("onnx")
    return {
        precision: to_onnx(
            program_of("care_xxs", "int8" if precision == "int8" else "float32"),
            folder / f"{precision}.onnx",
            **NAMES,
            precision=precision,
            metadata={"license": "MIT", "author": "someone"},
        )
        for precision in ("float32", "float16", "int8")
    }


def test_a_float_file_computes_what_the_network_does(files):
    session, captured = OnnxSession(files["float32"].path), captured_system("care_xxs")
    for seed in range(5):
        x = noise(IMAGE, seed)
        got = session.run({"image": x.numpy()})["logits"]
        np.testing.assert_allclose(got, captured.module(x)[0].detach().numpy(), rtol=0, atol=2e-5)


def test_a_float16_file_stores_half_the_bytes_and_is_close(files):
    session, captured = OnnxSession(files["float16"].path), captured_system("care_xxs")
    stored = {i.data_type for i in onnx.load(files["float16"].path).graph.initializer if i.dims}
    assert onnx.TensorProto.FLOAT16 in stored and onnx.TensorProto.FLOAT not in stored
    assert [spec.dtype for spec in (*files["float16"].inputs, *files["float16"].outputs)] == ["float32", "float32"]
    x = noise(IMAGE)
    wanted = captured.module(x)[0].detach().numpy()
    got = session.run({"image": x.numpy()})["logits"]
    assert 0 < np.abs(got - wanted).max() < 0.01 * np.abs(wanted).max()


def test_an_int8_file_is_within_one_step_of_its_program(files):
    session, program = OnnxSession(files["int8"].path), quantized_system("care_xxs")
    (step,) = program.output_steps()
    for seed in range(8):
        x = noise(IMAGE, seed)
        off = np.abs(session.run({"image": x.numpy()})["logits"] - program(x)[0].numpy())
        assert off.max() <= step * 1.001


def test_every_integer_and_scale_reads_back_identical(files):
    program = quantized_system("care_xxs")
    check = compare_constants(program, files["int8"])
    assert (check.differing, check.missing, check.holds) == ((), (), True)
    assert check.compared == len(program.constants()) + len(program.activations())
    assert set(read_weights(files["int8"].path)) == set(program.constants())
    assert set(read_activation_scales(files["int8"].path)) == set(program.activations())


def test_activations_are_uint8_weights_int8_and_biases_int32(files):
    model = onnx.load(files["int8"].path)
    stored = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    for name, tensor in quantized_system("care_xxs").constants().items():
        if tensor.axis is not None:
            wanted = {"int8": onnx.TensorProto.INT8, "int32": onnx.TensorProto.INT32}[tensor.codes.dtype.name]
            assert stored[name] == wanted
    quantizers = [node for node in model.graph.node if node.op_type == "QuantizeLinear"]
    assert {stored[node.input[2]] for node in quantizers} == {onnx.TensorProto.UINT8}
    assert len(quantizers) >= len(quantized_system("care_xxs").activations())


def test_no_integer_operator_of_the_program_is_a_float_island(files):
    report = find_islands(files["int8"].path, files["int8"].modules)
    assert report.integer_mac_share == 1.0
    # These operators of ONNX have no integer form in the runtime: GELU and ELU, additions of numbers among them.
    assert {island.operator for island in report.islands} <= {
        *("Gelu", "Elu", "ReduceMean", "Div", "Add", "LayerNormalization")
    }


def test_values_carry_the_names_and_modules_of_the_program(files):
    produced = {name for node in onnx.load(files["int8"].path).graph.node for name in node.output}
    program = quantized_system("care_xxs")
    for name, module in program.modules.items():
        if name in produced:
            assert files["int8"].modules[name] == module
    named = [name for name in program.activations() if name in produced]
    assert len(named) > 0.9 * len(program.activations())


def test_two_exports_are_equal_to_the_byte(files, tmp_path):
    again = to_onnx(quantized_system("care_xxs").program, tmp_path / "again.onnx", **NAMES, precision="int8")
    once_more = to_onnx(quantized_system("care_xxs").program, tmp_path / "more.onnx", **NAMES, precision="int8")
    assert again.path.read_bytes() == once_more.path.read_bytes()
    assert again.sha256 == once_more.sha256


def test_no_path_of_this_machine_and_no_trace_is_in_a_file(files):
    for artifact in files.values():
        content = artifact.path.read_bytes()
        for text in (Path(__file__).parent.parent, Path(torch.__file__).parent, "Traceback", ".py", "stack_trace"):
            assert str(text).encode() not in content


def test_metadata_and_form_of_the_file(files):
    model = onnx.load(files["int8"].path)
    assert {entry.key: entry.value for entry in model.metadata_props} == {"license": "MIT", "author": "someone"}
    assert (model.producer_name, model.opset_import[0].version) == ("offramp", OPSET)
    assert len(model.opset_import) == 1 and not model.functions
    artifact = files["int8"]
    assert (artifact.inputs[0].name, artifact.inputs[0].shape, artifact.inputs[0].dtype) == ("image", IMAGE, "float32")
    assert (artifact.outputs[0].name, artifact.outputs[0].shape) == ("logits", (1, 10))
    assert artifact.details["opset"] == str(OPSET)


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_an_open_batch_gives_every_row_as_if_alone(precision, tmp_path):
    program = program_of("care_xxs", precision)
    artifact = to_onnx(program, tmp_path / "net.onnx", **NAMES, precision=precision, dynamic_batch=True)
    assert artifact.inputs[0].shape == (None, *IMAGE[1:])
    session, batch = OnnxSession(artifact.path), noise((3, *IMAGE[1:])).numpy()
    together = session.run({"image": batch})["logits"]
    alone = np.concatenate([session.run({"image": row[None]})["logits"] for row in batch])
    np.testing.assert_allclose(together, alone, rtol=0, atol=0 if precision == "int8" else 1e-5)


def test_a_batch_that_cannot_be_opened_is_refused(tmp_path):
    program = program_of_layer(nn.Linear(3, 2), (2, 3))
    with pytest.raises(BadInput, match="x: no batch dimension of 1 to leave open"):
        to_onnx(
            program,
            tmp_path / "net.onnx",
            input_names=("x",),
            output_names=("y",),
            precision="float32",
            dynamic_batch=True,
        )
    assert not (tmp_path / "net.onnx").exists()


def program_of_layer(layer, shape):
    captured = capture(layer, (noise(shape),))
    return to_program(captured.module, captured.example_inputs)


class Odd(nn.Module):
    """A layer whose operator ONNX has no form of."""

    def forward(self, x):
        return torch.linalg.matrix_exp(x)


def test_an_operator_without_a_form_is_named_with_its_module(tmp_path):
    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.odd = nn.Linear(4, 4), Odd()

        def forward(self, x):
            return self.odd(self.stem(x))

    with pytest.raises(UnsupportedOperator, match=r"^odd: onnx has no form of aten\.linalg_matrix_exp\.default; "):
        to_onnx(
            program_of_layer(Outer(), (4, 4)),
            tmp_path / "net.onnx",
            input_names=("x",),
            output_names=("y",),
            precision="float32",
        )
    assert list(tmp_path.iterdir()) == []


class Names(nn.Module):
    """Two inputs, one of whole numbers, and two outputs; one of them is an input passed on."""

    def __init__(self):
        super().__init__()
        self.look_up, self.conv, self.norm = nn.Embedding(9, 4), nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)

    def forward(self, tokens, image):
        x = self.norm(self.conv(image)).relu() + self.look_up(tokens).mean(1)[..., None, None]
        return x.mean((2, 3)), x


def test_several_inputs_and_outputs_keep_their_names_and_types(tmp_path):
    from offramp.quant.quantize import quantize
    from offramp.quant.scheme import Scheme

    example = torch.tensor([[1, 2, 8]]), noise((1, 3, 4, 4))
    captured = capture(randomise(Names()), example, output_names=("scores", "map"))
    program = quantize(captured, [example], Scheme(calibration="minmax"))
    artifact = to_onnx(
        program.program,
        tmp_path / "net.onnx",
        input_names=("tokens", "image"),
        output_names=("scores", "map"),
        precision="int8",
    )
    assert [(spec.name, spec.dtype) for spec in artifact.inputs] == [("tokens", "int64"), ("image", "float32")]
    got = OnnxSession(artifact.path).run({"tokens": example[0].numpy(), "image": example[1].numpy()})
    for name, wanted, step in zip(("scores", "map"), program(*example), program.output_steps()):
        assert np.abs(got[name] - wanted.numpy()).max() <= step * 1.001


@pytest.mark.parametrize("name", ["conv2d", "relu"])
def test_an_output_may_have_the_name_of_a_value(name, tmp_path):
    program = quantized(nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 1)), (1, 3, 4, 4))
    artifact = to_onnx(
        program.program, tmp_path / "net.onnx", input_names=("x",), output_names=(name,), precision="int8"
    )
    x = noise((1, 3, 4, 4))
    off = np.abs(OnnxSession(artifact.path).run({"x": x.numpy()})[name] - program(x)[0].numpy())
    assert off.max() <= program.output_steps()[0] * 1.001


class Extremes(nn.Module):
    """Two layers whose products, two at a time, pass 16 bits."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 8)
        with torch.no_grad():
            self.first.weight.copy_(1 - 2 * (torch.arange(64).reshape(8, 8) // 4 % 2).float())
            self.second.weight.copy_(self.first.weight.T)

    def forward(self, x):
        return self.second(torch.relu(self.first(x)))


def test_products_do_not_saturate_on_any_processor(tmp_path):
    torch.manual_seed(0)
    samples = [(torch.rand(1, 8) * 2 - 1,) for _ in range(32)]
    samples += [(torch.tensor([[sign] * 4 + [-sign] * 4]),) for sign in (1.0, -1.0)]
    captured = capture(Extremes(), samples[0], ("x",), ("y",))
    quantized = quantize(captured, samples, Scheme())
    path = tmp_path / "net.onnx"
    to_onnx(quantized.program, path, input_names=("x",), output_names=("y",), precision="int8")
    session, module = OnnxSession(path), quantized.program.module(check_guards=False)
    for sample in samples:
        wanted = module(*sample)[0].detach().numpy()
        np.testing.assert_allclose(session.run({"x": sample[0].numpy()})["y"], wanted, atol=0.02 * np.abs(wanted).max())


def test_weights_do_not_share_zero_points(tmp_path):
    captured = capture(Extremes(), (torch.zeros(1, 8),), ("x",), ("y",))
    path = tmp_path / "net.onnx"
    program = quantize(captured, [(torch.rand(1, 8),)], Scheme()).program
    to_onnx(program, path, input_names=("x",), output_names=("y",), precision="int8")
    graph = load_onnx(path).graph
    zeros = [n.input[2] for n in graph.node if n.op_type == "DequantizeLinear" and n.input[0].endswith("weight")]
    assert len(zeros) == len(set(zeros)) == 2


def test_a_file_that_cannot_be_loaded_for_exact_products_is_loaded_as_it_is(tmp_path):
    captured = capture(Extremes(), (torch.zeros(1, 8),), ("x",), ("y",))
    path = tmp_path / "net.onnx"
    program = quantize(captured, [(torch.rand(1, 8),)], Scheme()).program
    to_onnx(program, path, input_names=("x",), output_names=("y",), precision="int8")
    model = load_onnx(path)
    weights = [n for n in model.graph.node if n.op_type == "DequantizeLinear" and n.input[0].endswith("weight")]
    weights[1].input[2] = weights[0].input[2]
    (tmp_path / "shared.onnx").write_bytes(model.SerializeToString())
    assert OnnxSession(tmp_path / "shared.onnx").run({"x": np.zeros((1, 8), np.float32)})["y"].shape == (1, 8)
