"""Runs a `.tflite` file in LiteRT, and reads its weights and scales back.

Two kernel families can run the same file: XNNPACK (the default on phones and desktops) and LiteRT's own kernels
(`xnnpack=False`, what a phone falls back to). They round differently, so a file is held against both.
"""

from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import BadInput, first_line
from ..export.artifact import TensorSpec
from ..export.quiet import quiet_process
from ..quant.codes import IntegerTensor
from .border import checked_inputs
from .tflite_graph import TfliteGraph, TfliteTensor, read_tflite


class TfliteSession:
    """A `.tflite` file ready to run; see `Session`.

    Inputs and outputs that the file keeps in integers are quantized and dequantized here, so that `run` takes and
    gives real float32 values.
    """

    target = "tflite"

    def __init__(self, path: Path, threads: int = 1, xnnpack: bool = True):
        self.path = Path(path)
        self.threads = threads
        self.xnnpack = xnnpack
        self.graph = read_tflite(self.path)
        self.engine = f"ai-edge-litert {version('ai-edge-litert')} ({'XNNPACK' if xnnpack else 'plain kernels'})"
        self.inputs = _specs(self.graph, self.graph.inputs)
        self.outputs = _specs(self.graph, self.graph.outputs)
        self._interpreter = self._open(xnnpack)

    def run(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Outputs by name for inputs by name, real values."""
        self._invoke(self._interpreter, inputs)
        return {name: self._value(self._interpreter, index) for name, index in self.graph.outputs.items()}

    def intermediates(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Every value computed on the way, real values by tensor name, from LiteRT's plain kernels."""
        interpreter = self._open(xnnpack=False, preserve=True)
        self._invoke(interpreter, inputs)
        computed = [index for operator in self.graph.operators for index in operator.outputs]
        return {self.graph.tensors[index].name: self._value(interpreter, index) for index in computed}

    def _open(self, xnnpack: bool, preserve: bool = False) -> Any:
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        kernels = OpResolverType.AUTO if xnnpack else OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        try:
            with quiet_process():  # it tells of its delegate, and that keeping every tensor is for debugging, as here
                interpreter = Interpreter(
                    model_path=str(self.path),
                    num_threads=self.threads,
                    experimental_op_resolver_type=kernels,
                    experimental_preserve_all_tensors=preserve,
                )
                interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise BadInput(f"{self.path}: LiteRT cannot load it ({first_line(error)}); export it again") from error
        return interpreter

    def _invoke(self, interpreter: Any, inputs: dict[str, np.ndarray]) -> None:
        values = checked_inputs(self.path, self.inputs, inputs)
        details = {d["index"]: d for d in interpreter.get_input_details()}
        resized = False
        for name, value in values.items():
            index = self.graph.inputs[name]
            if tuple(details[index]["shape"]) != value.shape:
                interpreter.resize_tensor_input(index, value.shape)
                resized = True
        if resized:
            interpreter.allocate_tensors()
        for name, value in values.items():
            tensor = self.graph.tensors[self.graph.inputs[name]]
            interpreter.set_tensor(tensor.index, quantized(value, tensor))
        interpreter.invoke()

    def _value(self, interpreter: Any, index: int) -> np.ndarray:
        return dequantized(interpreter.get_tensor(index), self.graph.tensors[index])


def quantized(value: np.ndarray, tensor: TfliteTensor) -> np.ndarray:
    """`round(value / scale) + zero_point`, half to even, clipped to the tensor's type; unquantized tensors as given."""
    if not tensor.is_quantized:
        return np.ascontiguousarray(value, dtype=tensor.dtype)
    limits = np.iinfo(tensor.dtype)
    # Divided in float32, as the quantize operator of every target does.
    codes = np.rint(value.astype(np.float32) / tensor.scale) + tensor.zero_point
    return np.clip(codes, limits.min, limits.max).astype(tensor.dtype)


def dequantized(codes: np.ndarray, tensor: TfliteTensor) -> np.ndarray:
    """`(codes - zero_point) * scale` in float32; unquantized tensors as given."""
    if not tensor.is_quantized:
        return np.array(codes)
    return IntegerTensor(codes, tensor.scale, tensor.zero_point, tensor.axis).dequantize()


def read_weights(path: Path) -> dict[str, IntegerTensor]:
    """The constant int8, INT4, INT2 and int32 tensors that carry scales, in PyTorch's layout, by tensor name.

    Layouts: CONV_2D (out, h, w, in) -> (out, in, h, w); DEPTHWISE_CONV_2D (1, h, w, c) -> (c, 1, h, w);
    TRANSPOSE_CONV (out, h, w, in) -> (in, out, h, w); FULLY_CONNECTED stays (out, in).
    """
    graph = read_tflite(path)
    readers = {index: (op.name, place) for op in graph.operators for place, index in enumerate(op.inputs)}
    weights = {}
    for tensor in graph.tensors:
        if tensor.data is None or not tensor.is_quantized or tensor.dtype not in ("int8", "int4", "int2", "int32"):
            continue
        codes = IntegerTensor(tensor.data, tensor.scale, tensor.zero_point, tensor.axis)
        operator, place = readers.get(tensor.index, ("", 0))
        weights[tensor.name] = _to_pytorch(codes, _LAYOUT.get(operator, ())) if place == 1 else codes
    return weights


def read_activation_scales(path: Path) -> dict[str, tuple[float, int]]:
    """(scale, zero point) of every int8 value computed at run time, of int8 inputs, and of float inputs that become
    int8 at once, by tensor name."""
    graph = read_tflite(path)
    scales = {
        tensor.name: (float(tensor.scale), int(tensor.zero_point))
        for tensor in graph.tensors
        if tensor.dtype == "int8" and not tensor.is_constant and tensor.is_quantized and tensor.axis is None
    }
    for operator in graph.operators:
        if operator.name == "QUANTIZE" and operator.inputs[0] in graph.inputs.values():
            real, codes = (graph.tensors[index].name for index in (operator.inputs[0], operator.outputs[0]))
            scales.setdefault(real, scales[codes])
    return scales


# Operator -> the file's axes in the order that PyTorch keeps them.
_LAYOUT = {"CONV_2D": (0, 3, 1, 2), "DEPTHWISE_CONV_2D": (3, 0, 1, 2), "TRANSPOSE_CONV": (3, 0, 1, 2)}


def _to_pytorch(weight: IntegerTensor, order: tuple[int, ...]) -> IntegerTensor:
    if not order:
        return weight
    axis = None if weight.axis is None else order.index(weight.axis)
    codes = np.ascontiguousarray(weight.codes.transpose(order))
    return IntegerTensor(codes, weight.scale, weight.zero_point, axis)


def _specs(graph: TfliteGraph, names: dict[str, int]) -> tuple[TensorSpec, ...]:
    """What `run` takes and gives: float32 where the file keeps integers with a scale."""
    found = ((name, graph.tensors[index]) for name, index in names.items())
    return tuple(TensorSpec(n, t.shape_signature, "float32" if t.is_quantized else t.dtype) for n, t in found)
