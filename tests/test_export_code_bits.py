"""Bits of codes, and packing them: every code comes back from INT4, INT2 and palettes as it went in."""

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from offramp.export.code_bits import Form, bits_of_codes, bits_of_limits, describe_weights, weight_bits
from offramp.export.coreml_few_bits import PALETTES, indices_of
from offramp.export.onnx_few_bits import pack_weights
from offramp.export.tflite_few_bits import pack_int4
from offramp.runtime.mil.blobs import unpack_bits as unpack_blob
from offramp.runtime.onnx_session import constants_of
from offramp.runtime.tflite_graph import unpack_bits
from onnx import helper, numpy_helper
from torch import nn

sys.path.append(str(Path(__file__).parent))
from small_networks import quantized


def codes(low, high, without_zero=False):
    each = st.integers(low, high).filter(bool) if without_zero else st.integers(low, high)
    return arrays(np.int8, st.tuples(st.integers(1, 5), st.integers(1, 7)), elements=each)


@pytest.mark.parametrize(
    ("limits", "bits"),
    [((-127, 127), 8), ((-128, 127), 8), ((-31, 31), 6), ((-8, 7), 4), ((-7, 7), 4), ((-3, 3), 3), ((-1, 1), 2)],
)
def test_limits_say_the_bits(limits, bits):
    assert bits_of_limits(*limits) == bits


@given(codes(-1, 1))
def test_codes_within_one_without_a_zero_are_signs(values):
    assert bits_of_codes(values, -1, 1) == (2 if (values == 0).any() else 1)
    assert bits_of_codes(values, -3, 3) == 3


@pytest.mark.parametrize(
    ("scheme", "bits"), [({"weight_bits": 4}, 4), ({"weight_bits": 2}, 2), ({"weight_bits": 1}, 1)]
)
def test_bits_of_a_program_s_weights_are_read_from_its_nodes(scheme, bits):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 4))
    program = quantized(net, (1, 8), **scheme).program
    assert weight_bits(program) == {"0_weight": 8, "2_weight": bits, "4_weight": 8}


def test_weights_are_described_by_bits_and_form():
    forms = {4: Form(4, "INT4"), 1: Form(1, "signs")}
    assert describe_weights({"a": 8, "b": 4, "c": 4, "d": 1, "e": 5}, forms) == (
        "1 of 1 bit as signs; 2 of 4 bits as INT4; 1 of 5 bits as int8; 1 of 8 bits as int8"
    )


@pytest.mark.parametrize(("bits", "opset"), [(4, 21), (3, 21), (2, 25), (1, 25)])
@given(st.data())
def test_onnx_packs_every_code(bits, opset, data):
    most = {4: 7, 3: 3, 2: 1, 1: 1}[bits]
    values = data.draw(codes(-most, most, without_zero=bits == 1))
    node = helper.make_node("DequantizeLinear", ["w", "s"], ["y"])
    tensors = [numpy_helper.from_array(values, "w"), numpy_helper.from_array(np.float32(1), "s")]
    graph = helper.make_graph([node], "net", [], [], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    pack_weights(model, {"w": bits})
    assert model.opset_import[0].version == opset
    assert [n.op_type for n in model.graph.node] == ["Cast", "DequantizeLinear"]
    stored = model.graph.initializer[0]
    width = 4 if bits > 2 else 2
    assert stored.data_type == (onnx.TensorProto.INT4 if width == 4 else onnx.TensorProto.INT2)
    assert len(stored.raw_data) == -(-values.size * width // 8)
    back = constants_of(model.graph, Path("net.onnx"))["w"]
    assert back.dtype == np.int8
    np.testing.assert_array_equal(back, values)


@given(codes(-8, 7))
def test_tflite_packs_every_code(values):
    packed = pack_int4(values)
    assert packed.size == -(-values.size // 2)
    np.testing.assert_array_equal(unpack_bits(packed, 4, values.size), values.reshape(-1))


@pytest.mark.parametrize("bits", [2, 1])
@given(st.data())
def test_a_palette_gives_every_code_back(bits, data):
    values = data.draw(codes(-1, 1, without_zero=bits == 1))
    indices = indices_of(values, bits)
    assert indices.max() < 2**bits
    stream = np.unpackbits(indices.reshape(-1, 1), axis=1, bitorder="little")[:, :bits].reshape(-1)
    stored = unpack_blob(np.packbits(stream, bitorder="little"), bits, values.size)
    np.testing.assert_array_equal(np.asarray(PALETTES[bits])[stored].reshape(values.shape), values)
