"""Counting and islands of few bits: MACs by the bits that codes need, and what the engine makes of packed weights."""

import sys
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from offramp.export.onnx import to_onnx
from offramp.runtime.islands import find_islands
from offramp.runtime.layers import layer_table
from offramp.runtime.macs import count_program
from onnx import TensorProto, helper, numpy_helper
from torch import nn

sys.path.append(str(Path(__file__).parent))
from small_networks import quantized

STEM, BODY, HEAD = 16 * 3 * 9 * 64, 16 * 16 * 9 * 64, 4 * 16


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.body = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1)
        self.head = nn.Linear(16, 4)

    def forward(self, image):
        return self.head(self.body(self.stem(image).relu()).relu().mean((2, 3)))


def program_of(weight, activation):
    return quantized(Net(), (1, 3, 8, 8), weight_bits=weight, activation_bits=activation).program


CASES = {
    (8, 8): ({8: STEM + BODY + HEAD}, 8, "int8"),
    (4, 8): ({8: STEM + BODY + HEAD}, 4, "w4a8"),
    (4, 4): ({8: STEM + HEAD, 4: BODY}, 4, "w4a4"),
    (2, 4): ({8: STEM + HEAD, 4: BODY}, 2, "w2a4"),
    (2, 8): ({8: STEM + BODY + HEAD}, 2, "ternary"),
    (1, 8): ({8: STEM + BODY + HEAD}, 1, "binary-weights"),
    (1, 1): ({8: STEM + HEAD, 1: BODY}, 1, "binary"),
}


@pytest.mark.parametrize("bits", CASES)
def test_a_program_counts_by_the_wider_operand_and_names_each_layer(bits):
    by_bits, weight, name = CASES[bits]
    program = program_of(*bits)
    count = count_program(program)
    assert count.by_bits == by_bits
    assert count.weight_bits == 8 * (16 * 3 * 9 + 4 * 16) + weight * 16 * 16 * 9
    assert count.weight_bytes == 16 * 3 * 9 + 4 * 16 + 16 * 16 * 9  # a program stores every code as int8
    assert [layer.precision for layer in layer_table(program)] == ["int8", name, "int8"]
    body = count.operations[1]
    assert (body.weight_bits, body.activation_bits) == bits


def optimized(path, folder):
    """How often each operator stands in the graph that ONNX Runtime makes of a file."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.optimized_model_filepath = 4, str(folder / "optimized.onnx")
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return Counter(node.op_type for node in onnx.load(options.optimized_model_filepath).graph.node)


@pytest.mark.parametrize("bits", [(4, 8), (2, 8), (4, 4), (1, 1)])
def test_onnx_runtime_runs_packed_weights_on_integers(bits, tmp_path):
    path = tmp_path / "net.onnx"
    to_onnx(
        program_of(*bits), path, input_names=("image",), output_names=("scores",), precision=f"w{bits[0]}a{bits[1]}"
    )
    made = optimized(path, tmp_path)
    assert (made["QLinearConv"], made["Conv"], made["QGemm"], made["Gemm"], made["Cast"]) == (2, 0, 1, 0, 0)
    assert find_islands(path).integer_mac_share == 1.0


def gemm(path, cast):
    """Quantized values times INT4 weights, which a DequantizeLinear reads at once or behind a cast to int8."""
    node, zeros = helper.make_node, np.zeros(5, np.int8)
    weight = helper.make_tensor("w", TensorProto.INT4, [5, 6], [1, -7, 3] * 10)
    zero = numpy_helper.from_array(zeros, "wz") if cast else helper.make_tensor("wz", TensorProto.INT4, [5], zeros)
    nodes = [
        node("QuantizeLinear", ["x", "s", "z"], ["x8"]),
        node("DequantizeLinear", ["x8", "s", "z"], ["xf"]),
        *([node("Cast", ["w"], ["w8"], to=TensorProto.INT8)] if cast else []),
        node("DequantizeLinear", ["w8" if cast else "w", "ws", "wz"], ["wf"], axis=0),
        node("Gemm", ["xf", "wf"], ["y"], transB=1),
        node("QuantizeLinear", ["y", "s", "z"], ["y8"]),
        node("DequantizeLinear", ["y8", "s", "z"], ["out"]),
    ]
    values = {"s": np.float32(0.1), "z": np.uint8(3), "ws": np.full(5, 0.2, np.float32)}
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 6])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [2, 5])],
        [weight, zero, *(numpy_helper.from_array(value, name) for name, value in values.items())],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), path)
    return path


@pytest.mark.parametrize("cast", [True, False])
def test_packed_codes_without_a_cast_are_an_island_as_in_the_runtime(cast, tmp_path):
    path = gemm(tmp_path / "gemm.onnx", cast)
    made = optimized(path, tmp_path)
    assert (made["QGemm"], made["Gemm"]) == ((1, 0) if cast else (0, 1))
    reasons = [island.reason for island in find_islands(path).islands]
    packed = "input wf is dequantized from packed codes, which have no integer kernel; cast them to int8"
    assert reasons == ([] if cast else [packed])
