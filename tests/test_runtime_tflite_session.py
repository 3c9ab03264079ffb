"""`TfliteSession` on files that the ordinary converter and quantizer wrote: values, borders, weights, faults."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from offramp.errors import BadInput
from offramp.export.artifact import TensorSpec
from offramp.export.tflite_rewrites import pack_model, read_model
from offramp.runtime.macs import count_tflite
from offramp.runtime.session import open_session
from offramp.runtime.tflite_graph import TfliteTensor, read_tflite
from offramp.runtime.tflite_session import (
    TfliteSession,
    dequantized,
    quantized,
    read_activation_scales,
    read_weights,
)
from torch import nn


class Small(nn.Module):
    """One of each kind of weight: (8, 3, 3, 3), depthwise (8, 1, 3, 3), linear (5, 8)."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.depthwise = nn.Conv2d(8, 8, 3, groups=8, stride=2, padding=1)
        self.linear = nn.Linear(8, 5)

    def forward(self, image):
        return self.linear(self.depthwise(self.conv(image).relu()).relu().mean((2, 3)))


def images(count):
    return np.random.default_rng(1).standard_normal((count, 1, 3, 16, 16)).astype(np.float32)


@pytest.fixture(scope="module")
def float_file(tmp_path_factory):
    import litert_torch

    path = tmp_path_factory.mktemp("tflite") / "small.tflite"
    litert_torch.convert(Small().eval(), (), {"image": torch.zeros(1, 3, 16, 16)}).export(str(path))
    return path


@pytest.fixture(scope="module")
def int8_file(float_file):
    """The same network, int8 inside and at the border, quantized by ai-edge-quantizer with min/max ranges."""
    from ai_edge_quantizer import quantizer, recipe

    path = float_file.with_name("small_int8.tflite")
    work = quantizer.Quantizer(str(float_file), recipe.static_wi8_ai8())
    ranges = work.calibrate({"serving_default": [{"image": image} for image in images(4)]})
    work.quantize(ranges).export_model(str(path), overwrite=True)
    return path


@pytest.mark.parametrize("xnnpack", [True, False])
def test_run_matches_eager_torch(float_file, xnnpack):
    session, image = TfliteSession(float_file, xnnpack=xnnpack), images(1)[0]
    ours = session.run({"image": image})["output_0"]
    theirs = Small().eval()(torch.from_numpy(image)).detach().numpy()
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_the_engine_says_which_kernels_ran(float_file):
    assert open_session(float_file).engine.endswith("(XNNPACK)")
    assert TfliteSession(float_file, xnnpack=False).engine.endswith("(plain kernels)")


@pytest.mark.parametrize("xnnpack", [True, False])
def test_an_int8_file_takes_and_gives_real_values(int8_file, xnnpack):
    session, image = TfliteSession(int8_file, xnnpack=xnnpack), images(1)[0]
    assert read_tflite(int8_file).tensors[session.graph.inputs["image"]].dtype == "int8"
    assert session.inputs == (TensorSpec("image", (1, 3, 16, 16), "float32"),)
    ours = session.run({"image": image})["output_0"]
    theirs = Small().eval()(torch.from_numpy(image)).detach().numpy()
    scale = float(session.graph.tensors[session.graph.outputs["output_0"]].scale)
    assert np.abs(ours - theirs).max() <= 4 * scale  # seven requantizations, each within half a code
    assert np.allclose(ours / scale, np.rint(ours / scale), atol=1e-3)


def test_intermediates_are_real_values_by_name(int8_file):
    session, image = TfliteSession(int8_file), {"image": images(1)[0]}
    values = session.intermediates(image)
    computed = [session.graph.tensors[i].name for op in session.graph.operators for i in op.outputs]
    assert set(values) == set(computed)
    assert all(value.dtype == np.float32 for value in values.values())
    plain = TfliteSession(int8_file, xnnpack=False).run(image)["output_0"]
    np.testing.assert_array_equal(values[computed[-1]], plain)


def test_weights_read_back_in_pytorch_layout(int8_file):
    network, weights = Small(), read_weights(int8_file)
    for module in (network.conv, network.depthwise, network.linear):
        wanted = module.weight.detach().numpy()
        (found,) = [w for w in weights.values() if w.codes.shape == wanted.shape and w.codes.dtype == np.int8]
        assert found.axis == 0
        step = found.scale.reshape(-1, *[1] * (wanted.ndim - 1))
        assert (np.abs(found.dequantize() - wanted) <= step * 0.5001).all()


def test_biases_read_back_as_int32(int8_file):
    bias = Small().linear.bias.detach().numpy()
    (found,) = [w for w in read_weights(int8_file).values() if w.codes.shape == (5,)]
    assert found.codes.dtype == np.int32
    np.testing.assert_allclose(found.dequantize(), bias, atol=float(found.scale.max()))


def test_activation_scales_cover_what_is_computed_in_int8(int8_file):
    graph, scales = read_tflite(int8_file), read_activation_scales(int8_file)
    computed = {graph.tensors[i].name for op in graph.operators for i in op.outputs}
    assert set(scales) == computed | {graph.tensors[graph.inputs["image"]].name}
    assert all(scale > 0 and -128 <= zero_point <= 127 for scale, zero_point in scales.values())


@given(
    st.lists(st.floats(-1000, 1000, width=32), min_size=1), st.floats(0.0009765625, 8, width=32), st.integers(-128, 127)
)
def test_codes_survive_the_border_both_ways(values, scale, zero_point):
    tensor = TfliteTensor(0, "x", (), (), "int8", np.float32(scale).reshape(()), np.int32(zero_point), None, None)
    codes = quantized(np.array(values, np.float32), tensor)
    assert codes.dtype == np.int8
    np.testing.assert_array_equal(quantized(dequantized(codes, tensor), tensor), codes)


def test_wrong_shape_is_named(float_file):
    with pytest.raises(BadInput, match="input image must have shape 1x3x16x16, got 1x3x8x8"):
        TfliteSession(float_file).run({"image": np.zeros((1, 3, 8, 8), np.float32)})


@settings(max_examples=60, deadline=None)
@given(st.floats(0.0, 0.999))
def test_a_file_cut_short_is_one_line_naming_it(int8_file, tmp_path_factory, fraction):
    content = int8_file.read_bytes()
    path = tmp_path_factory.mktemp("cut") / "cut.tflite"
    path.write_bytes(content[: int(len(content) * fraction)])
    with pytest.raises(BadInput, match=r"cut\.tflite: ") as caught:
        TfliteSession(path)
    assert "\n" not in str(caught.value)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_a_damaged_byte_never_gives_another_kind_of_error(int8_file, tmp_path_factory, data):
    content = bytearray(int8_file.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("damaged") / "net.tflite"
    path.write_bytes(content)
    faults = []
    for read in (count_tflite, read_weights, read_activation_scales):
        try:
            read(path)
        except BadInput as error:
            faults.append(str(error))
    assert all("net.tflite" in fault and "\n" not in fault for fault in faults)


@pytest.mark.parametrize("index", [-1000, -1, 1000])
def test_an_operator_that_gives_a_tensor_which_is_not_there_is_refused(int8_file, tmp_path, index):
    model = read_model(int8_file.read_bytes())
    model.subgraphs[0].operators[0].outputs[0] = index
    path = tmp_path / "net.tflite"
    path.write_bytes(pack_model(model))
    with pytest.raises(BadInput, match=r"net\.tflite: damaged TFLite file"):
        count_tflite(path)


def test_another_kind_of_file_is_refused(tmp_path):
    (tmp_path / "text.tflite").write_text("not a network")
    with pytest.raises(BadInput, match=r"text\.tflite: not a TFLite file \(no TFL3 mark\)"):
        TfliteSession(tmp_path / "text.tflite")
