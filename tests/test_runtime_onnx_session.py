"""`OnnxSession` against ONNX's arithmetic worked out in NumPy, and weights read back as PyTorch keeps them."""

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from offramp.errors import BadInput
from offramp.export.artifact import TensorSpec
from offramp.quant.codes import IntegerTensor
from offramp.runtime.onnx_graph import read_onnx_graph
from offramp.runtime.onnx_session import OnnxSession, read_activation_scales, read_weights
from offramp.runtime.session import open_session
from onnx import TensorProto, helper, numpy_helper

CODES = np.array([[-127, 3, 0], [64, -1, 127]], np.int8)  # (out, in)
SCALES = np.array([0.5, 0.25], np.float32)


def qdq_linear(path, transposed=True, unsigned=False):
    """image -> quantize -> dequantize -> linear with int8 weights -> logits; saved to `path`."""
    dtype, zero = (np.uint8, 130) if unsigned else (np.int8, 2)
    weight = CODES.T if transposed else CODES
    constants = {
        "x_scale": np.float32(0.1),
        "x_zero": dtype(zero),
        "weight": np.ascontiguousarray(weight),
        "w_scale": SCALES,
        "w_zero": np.zeros(2, np.int8),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["image", "x_scale", "x_zero"], ["x_codes"]),
        helper.make_node("DequantizeLinear", ["x_codes", "x_scale", "x_zero"], ["x_real"]),
        helper.make_node("DequantizeLinear", ["weight", "w_scale", "w_zero"], ["w_real"], axis=1 if transposed else 0),
        helper.make_node("MatMul", ["x_real", "w_real"], ["logits"])
        if transposed
        else helper.make_node("Gemm", ["x_real", "w_real"], ["logits"], transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, path)
    return path


def expected(image):
    codes = np.clip(np.rint(image / np.float32(0.1)) + 2, -128, 127)
    return (codes - 2) * np.float32(0.1) @ (CODES * SCALES[:, None]).T


def test_run_matches_the_arithmetic_in_numpy(tmp_path):
    session = open_session(qdq_linear(tmp_path / "net.onnx"))
    image = np.array([[1.26, -0.34, 0.0], [9.0, 20.0, -20.0]], np.float32)
    assert isinstance(session, OnnxSession)
    np.testing.assert_allclose(session.run({"image": image})["logits"], expected(image), rtol=1e-6)


def test_specs_name_inputs_and_free_sizes(tmp_path):
    session = OnnxSession(qdq_linear(tmp_path / "net.onnx"))
    assert session.inputs == (TensorSpec("image", (None, 3), "float32"),)
    assert session.outputs == (TensorSpec("logits", (None, 2), "float32"),)
    assert session.engine.startswith("onnxruntime 1.")


def test_intermediates_hold_every_value_and_leave_the_file_alone(tmp_path):
    path = qdq_linear(tmp_path / "net.onnx")
    before = path.read_bytes()
    values = OnnxSession(path).intermediates({"image": np.array([[1.26, -0.34, 0.0]], np.float32)})
    assert set(values) == {"x_codes", "x_real", "w_real", "logits"}
    np.testing.assert_array_equal(values["x_codes"], [[15, -1, 2]])
    np.testing.assert_array_equal(values["w_real"], CODES.T * SCALES)
    assert path.read_bytes() == before


@pytest.mark.parametrize("transposed", [True, False])
@pytest.mark.parametrize("unsigned", [True, False])
def test_weights_read_back_in_pytorch_layout(tmp_path, transposed, unsigned):
    path = qdq_linear(tmp_path / "net.onnx", transposed, unsigned)
    assert read_weights(path) == {"weight": IntegerTensor(CODES, SCALES, np.zeros(2, np.int32), 0)}


@pytest.mark.parametrize("unsigned", [True, False])
def test_activation_scales_are_given_on_the_int8_side(tmp_path, unsigned):
    path = qdq_linear(tmp_path / "net.onnx", unsigned=unsigned)
    assert read_activation_scales(path) == {"image": (pytest.approx(0.1), 2)}


def test_scales_computed_at_run_time_are_not_read_as_constants(tmp_path):
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["codes", "scale", "zero"]),
        helper.make_node("DequantizeLinear", ["codes", "scale", "zero"], ["real"]),
        helper.make_node("QuantizeLinear", ["real", "scale", "zero"], ["again"]),
    ]
    ends = [
        helper.make_tensor_value_info(name, kind, [2])
        for name, kind in (("x", TensorProto.FLOAT), ("again", TensorProto.UINT8))
    ]
    graph = helper.make_graph(nodes, "dynamic", ends[:1], ends[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), tmp_path / "d.onnx")
    assert read_activation_scales(tmp_path / "d.onnx") == {}
    assert read_weights(tmp_path / "d.onnx") == {}


def test_wrong_inputs_are_named_together(tmp_path):
    session = OnnxSession(qdq_linear(tmp_path / "net.onnx"))
    with pytest.raises(BadInput, match=r"unknown input picture, expected image; input image is missing"):
        session.run({"picture": np.zeros((1, 3), np.float32)})
    with pytest.raises(BadInput, match=r"input image must have shape \?x3, got 1x4"):
        session.run({"image": np.zeros((1, 4), np.float32)})


@settings(max_examples=30, deadline=None)
@given(st.floats(0.0, 0.999))
def test_a_file_cut_short_is_one_line_naming_it(tmp_path_factory, fraction):
    path = qdq_linear(tmp_path_factory.mktemp("cut") / "net.onnx")
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * fraction)])
    with pytest.raises(BadInput, match=r"net\.onnx: ") as caught:
        OnnxSession(path).run({"image": np.zeros((1, 3), np.float32)})
    assert "\n" not in str(caught.value)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_a_damaged_byte_never_gives_another_kind_of_error(tmp_path_factory, data):
    path = qdq_linear(tmp_path_factory.mktemp("damaged") / "net.onnx")
    content = bytearray(path.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    faults = []
    for read in (OnnxSession, read_onnx_graph):
        try:
            read(path)
        except BadInput as error:
            faults.append(str(error))
    assert all("net.onnx" in fault and "\n" not in fault for fault in faults)


def test_a_missing_file_says_how_to_make_it(tmp_path):
    with pytest.raises(BadInput, match=r"gone\.onnx: no such file; export it first"):
        OnnxSession(tmp_path / "gone.onnx")
