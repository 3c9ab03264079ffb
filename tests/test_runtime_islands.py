"""Float islands: each rule on a graph of a few nodes, held against what ONNX Runtime itself fuses."""

import platform

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from offramp.errors import BadInput
from offramp.runtime.islands import find_islands
from onnx import TensorProto, helper, numpy_helper
from torch import nn

X, SHAPE = "x", [1, 4, 6, 6]
LOW = {np.uint8: 0, np.int8: -128}


class Qdq:
    """Builds a quantize/dequantize graph on one float input (1, 4, 6, 6)."""

    def __init__(self, dtype=np.uint8):
        self.dtype, self.nodes, self.constants = dtype, [], {}
        self.constant("scale", np.float32(0.05))
        self.constant("other", np.float32(0.07))
        self.constant("zero", dtype(100))
        self.constant("low", dtype(LOW[dtype]))

    def constant(self, name, value):
        self.constants[name] = np.asarray(value)
        return name

    def weight(self, *shape):
        """Dequantized int8 weights."""
        name = f"w{len(self.constants)}"
        codes = np.random.default_rng(0).integers(-127, 128, shape, np.int8)
        scale, zero = self.constant(f"{name}_s", np.float32(0.01)), self.constant(f"{name}_z", np.int8(0))
        return self.call("DequantizeLinear", self.constant(name, codes), scale, zero)

    def call(self, operator, *inputs, outputs=1, **attributes):
        names = [f"{operator}_{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(operator, list(inputs), names, name=names[0], **attributes))
        return names[0] if outputs == 1 else names

    def codes(self, value, zero="zero", scale="scale"):
        """value -> quantize -> dequantize."""
        return self.call("DequantizeLinear", self.call("QuantizeLinear", value, scale, zero), scale, zero)

    def save(self, path, *outputs):
        graph = helper.make_graph(
            self.nodes,
            "net",
            [helper.make_tensor_value_info(X, TensorProto.FLOAT, SHAPE)],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
            [numpy_helper.from_array(value, name) for name, value in self.constants.items()],
        )
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
        return path


def float_operators_in_onnx_runtime(path):
    """Operator types that still compute on floats in the graph that ONNX Runtime made of the file."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(path.with_suffix(".optimized.onnx"))
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.log_severity_level = 3
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    fused = onnx.load(options.optimized_model_filepath)
    types = {value.name: value.type.tensor_type.elem_type for value in fused.graph.value_info}
    border = {"QuantizeLinear", "DequantizeLinear"}
    produced = {name: node for node in fused.graph.node for name in node.output}
    return sorted(
        node.op_type
        for node in fused.graph.node
        if node.op_type not in border
        and not node.op_type.startswith(("QLinear", "QGemm", "MatMulIntegerToFloat"))
        and _reads_float(node, produced, types)
    )


def _reads_float(node, produced, types):
    """Moves take either type: what they read decides."""
    producer = produced.get(node.input[0])
    if producer is not None and producer.op_type == "QuantizeLinear":
        return False
    return types.get(node.input[0], TensorProto.FLOAT) == TensorProto.FLOAT


def graph_of(case, dtype):
    """One case: the graph and its outputs."""
    net = Qdq(dtype)
    x = net.codes(X)
    if case == "conv":
        return net, [net.codes(net.call("Conv", x, net.weight(8, 4, 3, 3)))]
    if case == "conv relu":
        return net, [net.codes(net.call("Relu", net.call("Conv", x, net.weight(8, 4, 3, 3))), "low")]
    if case == "conv relu of a range below zero":
        return net, [net.codes(net.call("Relu", net.call("Conv", x, net.weight(8, 4, 3, 3))))]
    if case == "conv without quantize after":
        return net, [net.call("Conv", x, net.weight(8, 4, 3, 3))]
    if case == "conv read twice":
        y = net.call("Conv", x, net.weight(8, 4, 3, 3))
        return net, [net.codes(y), net.call("Exp", y)]
    if case == "conv of float":
        return net, [net.codes(net.call("Conv", X, net.weight(8, 4, 3, 3)))]
    if case == "matmul into float":
        return net, [net.call("MatMul", x, net.weight(6, 5))]
    if case == "add":
        return net, [net.codes(net.call("Add", x, net.codes(X, scale="other")))]
    if case == "add of a float constant":
        return net, [net.codes(net.call("Add", x, net.constant("one", np.float32(1))))]
    if case == "sub":
        return net, [net.codes(net.call("Sub", x, net.codes(X, scale="other")))]
    if case == "concat":
        return net, [net.codes(net.call("Concat", x, net.codes(X, scale="other"), axis=1))]
    if case == "sigmoid":
        return net, [net.codes(net.call("Sigmoid", x))]
    if case == "global average pool":
        return net, [net.codes(net.call("GlobalAveragePool", x))]
    if case == "softmax into float":
        return net, [net.call("Softmax", x, axis=-1)]
    if case == "transpose":
        return net, [net.codes(net.call("Transpose", x, perm=[0, 2, 3, 1]))]
    if case == "max pool":
        return net, [net.codes(net.call("MaxPool", x, kernel_shape=[2, 2]))]
    if case == "residual":
        return net, [net.codes(net.call("Add", x, net.codes(net.call("Conv", x, net.weight(4, 4, 1, 1)))))]
    if case == "output read twice":
        y = net.codes(net.call("Conv", x, net.weight(4, 4, 1, 1)))
        return net, [net.codes(net.call("Sigmoid", y)), net.codes(net.call("LeakyRelu", y))]
    assert case == "gelu", case
    return net, [net.codes(net.call("Erf", x))]


CASES = {
    "conv": [],
    "conv relu": [],
    "conv relu of a range below zero": ["Conv", "Relu"],
    "conv without quantize after": ["Conv"],
    "conv read twice": ["Conv", "Exp"],
    "conv of float": ["Conv"],
    "matmul into float": [],
    "add": [],
    "add of a float constant": ["Add"],
    "sub": ["Sub"],
    "concat": [],
    "sigmoid": [],
    "global average pool": [],
    "softmax into float": ["Softmax"],
    "transpose": [],
    "max pool": [],
    "gelu": ["Erf"],
    "residual": [],
    "output read twice": [],
}
# Where int8 activations fall back to float on x86 and uint8 ones do not.
INT8_CASES = {"residual": ["Add", "Conv"], "output read twice": ["Conv", "LeakyRelu", "Sigmoid"]}


@pytest.mark.parametrize("dtype", [np.uint8, np.int8], ids=["uint8", "int8"])
@pytest.mark.parametrize("case", CASES)
def test_the_rules_are_what_onnx_runtime_does(case, dtype, tmp_path):
    net, outputs = graph_of(case, dtype)
    path = net.save(tmp_path / "net.onnx", *outputs)
    found = sorted(island.operator for island in find_islands(path).islands)
    assert found == (INT8_CASES if dtype is np.int8 and case in INT8_CASES else CASES)[case]
    if platform.machine() not in ("x86_64", "AMD64"):
        return  # other processors fuse int8 activations too
    runtime = float_operators_in_onnx_runtime(path)
    if "FusedConv" in runtime:  # a float convolution with its Relu inside
        runtime = sorted([*runtime, "Conv", "Relu"])
        runtime.remove("FusedConv")
    assert runtime == found


def test_an_island_names_its_module_and_reason_and_macs_are_shared(tmp_path):
    net = Qdq()
    x = net.call("Conv", net.codes(X), net.weight(8, 4, 1, 1))
    y = net.call("Conv", net.codes(x), net.weight(2, 8, 3, 3))
    path = net.save(tmp_path / "net.onnx", y)
    report = find_islands(path, modules={x: "stem", y: "head"})
    (island,) = report.islands
    assert (island.operator, island.module, island.reason) == ("Conv", "head", f"output {y} is not quantized")
    assert report.integer_operators == 1
    integer, in_float = 8 * 4 * 6 * 6, 2 * 8 * 3 * 3 * 4 * 4
    assert report.integer_mac_share == pytest.approx(integer / (integer + in_float))


@pytest.fixture(scope="module")
def tflite_files(tmp_path_factory):
    import litert_torch
    from ai_edge_quantizer import quantizer, recipe

    folder = tmp_path_factory.mktemp("islands")
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3))
    in_float, in_int8 = folder / "float.tflite", folder / "int8.tflite"
    litert_torch.convert(network.eval(), (torch.zeros(1, 3, 8, 8),)).export(str(in_float))
    work = quantizer.Quantizer(str(in_float), recipe.static_wi8_ai8())
    ranges = work.calibrate({"serving_default": [{"args_0": np.ones((1, 3, 8, 8), np.float32)}]})
    work.quantize(ranges).export_model(str(in_int8))
    return in_float, in_int8


def test_an_int8_tflite_file_has_no_islands_and_a_float_one_only_islands(tflite_files):
    in_float, in_int8 = (find_islands(path) for path in tflite_files)
    assert (in_int8.islands, in_int8.integer_mac_share) == ((), 1.0)
    assert in_int8.integer_operators == len(in_float.islands) > 0
    assert (in_float.integer_operators, in_float.integer_mac_share) == (0, 0.0)
    assert all("float32" in island.reason for island in in_float.islands)


def test_another_kind_of_file_is_refused(tmp_path):
    with pytest.raises(BadInput, match=r"\.onnx and \.tflite files and \.mlpackage folders, not in \.txt"):
        find_islands(tmp_path / "net.txt")
