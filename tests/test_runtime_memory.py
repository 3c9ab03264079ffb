"""Peak memory: liveness by hand, the six MLPerf Tiny networks' figures, and agreement between program and artifacts."""

import flatbuffers
import numpy as np
import onnx
import pytest
import torch

# Registers torch.ops.quantized_decomposed.
import torch.ao.quantization.fx._decomposed
from ai_edge_litert import schema_py_generated as schema
from offramp.runtime.macs import count_tflite
from offramp.runtime.memory import PeakMemory, Step, peak_of, peak_of_onnx, peak_of_program, peak_of_tflite
from onnx import TensorProto, helper, numpy_helper
from torch import nn


class Int8File:
    """Writes an int8 `.tflite` file layer by layer, images as (1, h, w, c)."""

    def __init__(self, *shape):
        self.tensors, self.operators, self.codes, self.buffers = [], [], [], [schema.BufferT()]
        self.input = self.tensor(shape)

    def tensor(self, shape, data=None, kind=schema.TensorType.INT8):
        stored = schema.TensorT()
        stored.name, stored.shape, stored.type = f"t{len(self.tensors)}", list(shape), kind
        if data is not None:
            buffer = schema.BufferT()
            buffer.data = list(data)
            self.buffers.append(buffer)
            stored.buffer = len(self.buffers) - 1
        stored.quantization = schema.QuantizationParametersT()
        stored.quantization.scale, stored.quantization.zeroPoint = [0.1], [0]
        self.tensors.append(stored)
        return len(self.tensors) - 1

    def shape(self, index):
        return tuple(self.tensors[index].shape)

    def call(self, name, inputs, shape):
        code = schema.OperatorCodeT()
        code.builtinCode = getattr(schema.BuiltinOperator, name)
        self.codes.append(code)
        operator = schema.OperatorT()
        operator.opcodeIndex, operator.inputs = len(self.codes) - 1, inputs
        operator.outputs = [self.tensor(shape)]
        self.operators.append(operator)
        return operator.outputs[0]

    def weighted(self, name, x, weight, out):
        bias = self.tensor(out[-1:], np.zeros(4 * out[-1], np.uint8), schema.TensorType.INT32)
        return self.call(name, [x, self.tensor(weight, np.zeros(weight, np.uint8).ravel()), bias], out)

    def conv(self, x, out, kernel=(1, 1), stride=1, valid=False):
        return self.weighted("CONV_2D", x, (out, *kernel, self.shape(x)[3]), self._image(x, out, kernel, stride, valid))

    def depthwise(self, x, kernel=(3, 3), stride=1, valid=False):
        channels = self.shape(x)[3]
        return self.weighted(
            "DEPTHWISE_CONV_2D", x, (1, *kernel, channels), self._image(x, channels, kernel, stride, valid)
        )

    def linear(self, x, out):
        return self.weighted("FULLY_CONNECTED", x, (out, self.shape(x)[-1]), (1, out))

    def pooled(self, x):
        """Average pooling over the image, then flattened."""
        channels = self.shape(x)[3]
        return self.call("RESHAPE", [self.call("AVERAGE_POOL_2D", [x], (1, 1, 1, channels))], (1, channels))

    def save(self, output, path):
        graph, model = schema.SubGraphT(), schema.ModelT()
        graph.tensors, graph.operators, graph.inputs, graph.outputs = (
            self.tensors,
            self.operators,
            [self.input],
            [output],
        )
        model.version, model.operatorCodes, model.subgraphs, model.buffers = 3, self.codes, [graph], self.buffers
        builder = flatbuffers.Builder(1024)
        builder.Finish(model.Pack(builder), b"TFL3")
        path.write_bytes(builder.Output())

    def _image(self, x, out, kernel, stride, valid):
        sizes = self.shape(x)[1:3]
        cut = [size - k + 1 if valid else size for size, k in zip(sizes, kernel)]
        return (1, *(-(-size // stride) for size in cut), out)


def keyword_spotting(path):
    file = Int8File(1, 49, 10, 1)
    x = file.conv(file.input, 64, (10, 4), stride=2)
    for _ in range(4):
        x = file.conv(file.depthwise(x), 64)
    file.save(file.call("SOFTMAX", [file.linear(file.pooled(x), 12)], (1, 12)), path)


def visual_wake_words(path):
    file = Int8File(1, 96, 96, 3)
    x = file.conv(file.input, 8, (3, 3), stride=2)
    blocks = [(16, 1), (32, 2), (32, 1), (64, 2), (64, 1), (128, 2), *[(128, 1)] * 5, (256, 2), (256, 1)]
    for channels, stride in blocks:
        x = file.conv(file.depthwise(x, stride=stride), channels)
    file.save(file.call("SOFTMAX", [file.linear(file.pooled(x), 2)], (1, 2)), path)


def image_classification(filters):
    def write(path):
        file = Int8File(1, 32, 32, 3)
        x = file.conv(file.input, filters, (3, 3))
        for channels, stride in ((filters, 1), (2 * filters, 2), (4 * filters, 2)):
            y = file.conv(file.conv(x, channels, (3, 3), stride), channels, (3, 3))
            x = x if stride == 1 else file.conv(x, channels, stride=2)
            x = file.call("ADD", [x, y], file.shape(y))
        file.save(file.call("SOFTMAX", [file.linear(file.pooled(x), 10)], (1, 10)), path)

    return write


def anomaly_detection(path):
    file = Int8File(1, 640)
    x = file.input
    for width in (128, 128, 128, 128, 8, 128, 128, 128, 128, 640):
        x = file.linear(x, width)
    file.save(x, path)


def streaming_wakeword(path):
    file = Int8File(1, 30, 1, 40)
    x = file.input
    for channels, taps in ((128, 3), (128, 5), (128, 10), (32, 15)):
        x = file.conv(file.depthwise(x, (taps, 1), valid=True), channels)
    file.save(file.linear(file.call("RESHAPE", [x], (1, 32)), 3), path)


# MLPerf Tiny v1.4's reference files: millions of MACs, weights (biases left out), peak of live activations in kB.
MLPERF_TINY = {
    "KWS": (keyword_spotting, 2.657, 22_016, 16.0),
    "VWW": (visual_wake_words, 7.490, 208_112, 55.3),
    "IC": (image_classification(16), 12.502, 77_360, 49.2),
    "IC02": (image_classification(40), 76.474, 479_480, 122.9),
    "AD": (anomaly_detection, 0.264, 264_192, 0.77),
    "SWW": (streaming_wakeword, 0.826, 46_040, 6.7),
}


@pytest.mark.parametrize("name", MLPERF_TINY)
def test_mlperf_tiny_figures_come_out(name, tmp_path):
    write, million_macs, weights, peak_kb = MLPERF_TINY[name]
    path = tmp_path / f"{name}.tflite"
    write(path)
    count, peak = count_tflite(path), peak_of_tflite(path)
    assert (round(count.total / 1e6, 3), count.weight_bytes, count.uncounted) == (million_macs, weights, ())
    assert count.by_bits == {8: count.total}
    assert round(peak.size_bytes / 1e3, 2 if peak_kb < 1 else 1) == peak_kb


def test_values_die_after_their_last_reader():
    steps = [Step(("x",), ("a",)), Step(("a",), ("b",)), Step(("a", "b"), ("c",)), Step(("c",), ("y",))]
    sizes = {"x": 100, "a": 10, "b": 20, "c": 40, "y": 1}
    assert peak_of(steps, sizes, ["x"], ["y"]) == PeakMemory(100 + 10, "a", ("x", "a"))
    sizes["x"] = 1
    assert peak_of(steps, sizes, ["x"], ["y"]) == PeakMemory(10 + 20 + 40, "c", ("c", "b", "a"))


def test_outputs_live_to_the_end_and_weights_count_nothing():
    steps = [Step(("x", "weight"), ("early",)), Step(("x",), ("late",)), Step(("late",), ("y",))]
    assert peak_of(steps, {"x": 1, "early": 30, "late": 5, "y": 7}, ["x"], ["early", "y"]).size_bytes == 30 + 5 + 7


class Residual(nn.Module):
    """x (4, 8, 8) and both convolutions' outputs are alive at the addition and at the second convolution."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(4, 6, 3, padding=1), nn.Conv2d(6, 4, 3, padding=1)

    def forward(self, x):
        return (x + self.second(self.first(x))).flatten(1)


RESIDUAL_PEAK = 4 * (4 * 8 * 8 + 6 * 8 * 8 + 4 * 8 * 8)


def test_a_program_keeps_the_skip_alive_and_views_are_free():
    peak = peak_of_program(torch.export.export(Residual().eval(), (torch.zeros(1, 4, 8, 8),)))
    assert (peak.size_bytes, peak.operator) == (RESIDUAL_PEAK, "conv2d_1")


def test_onnx_agrees_with_the_program(tmp_path):
    path = tmp_path / "residual.onnx"
    torch.onnx.export(
        Residual().eval(), (torch.zeros(1, 4, 8, 8),), path, dynamo=True, external_data=False, verbose=False
    )
    assert peak_of_onnx(path).size_bytes == RESIDUAL_PEAK


class Codes(nn.Module):
    """An int8 convolution and a Relu between quantize nodes; its input and output are codes of one byte each."""

    def __init__(self):
        super().__init__()
        self.register_buffer("weight", torch.ones(6, 4, 1, 1, dtype=torch.int8))

    def forward(self, x):
        q = torch.ops.quantized_decomposed
        x = q.dequantize_per_tensor(
            q.quantize_per_tensor(x, 0.1, 0, -128, 127, torch.int8), 0.1, 0, -128, 127, torch.int8
        )
        weight = q.dequantize_per_tensor(self.weight, 0.1, 0, -127, 127, torch.int8)
        y = torch.nn.functional.conv2d(x, weight).relu()
        y = q.quantize_per_tensor(y, 0.2, -128, -128, 127, torch.int8)
        y = torch.nn.functional.max_pool2d(q.dequantize_per_tensor(y, 0.2, -128, -128, 127, torch.int8), 8)
        return q.quantize_per_tensor(y, 0.2, -128, -128, 127, torch.int8)


def test_a_quantized_program_counts_codes_not_real_values():
    peak = peak_of_program(torch.export.export(Codes(), (torch.zeros(1, 4, 8, 8),)))
    image, codes = 4 * (4 * 8 * 8), 4 * 8 * 8
    assert (peak.size_bytes, peak.operator) == (image + codes, "quantize_per_tensor")


def test_an_onnx_file_counts_codes_where_the_engine_fuses(tmp_path):
    node, codes = helper.make_node, ["s", "z"]
    nodes = [
        node("QuantizeLinear", ["x", *codes], ["x8"]),
        node("DequantizeLinear", ["x8", *codes], ["xf"]),
        node("DequantizeLinear", ["w", *codes], ["wf"]),
        node("Conv", ["xf", "wf"], ["c"]),
        node("Relu", ["c"], ["r"]),
        node("QuantizeLinear", ["r", "s", "low"], ["r8"]),
        node("DequantizeLinear", ["r8", "s", "low"], ["rf"]),
        node("Sin", ["rf"], ["y"]),
    ]
    constants = {"s": np.float32(0.1), "z": np.int8(0), "low": np.int8(-128), "w": np.ones((6, 1, 1, 1), np.int8)}
    graph = helper.make_graph(
        nodes,
        "codes",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 6, 8, 8])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), tmp_path / "c.onnx")
    peak = peak_of_onnx(tmp_path / "c.onnx")
    # Sin has no integer form: its input is dequantized to real values, and they are alive beside its output.
    assert (peak.size_bytes, peak.operator) == (2 * 4 * 6 * 8 * 8, "y")
