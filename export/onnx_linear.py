"""Linear layers on more than two dimensions, which ONNX Runtime computes in integers as a Gemm on rows alone.

PyTorch's exporter writes `MatMul(x, Transpose(W)) + b` for them. Between the product and its bias ONNX Runtime finds no
quantizer and computes both in float; the layers of transformers, on tokens (B, N, C), are such.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .onnx_rewrites import beside

Shape = tuple[int, ...]


@dataclass(frozen=True)
class _Layer:
    """The nodes of one linear layer in QDQ form; `add` is None where it has no bias.

    Between it and `quantize`, which alone reads it, may lie a Relu or Clip.
    """

    product: Any
    transpose: Any
    add: Any | None
    quantize: Any

    @property
    def given(self) -> str:
        return str(self.product.input[0])

    @property
    def told(self) -> str:
        return str((self.add or self.product).output[0])

    @property
    def bias(self) -> list[str]:
        return [] if self.add is None else [_other(self.add, self.product.output[0])]


def linear_as_gemm(model: Any) -> None:
    """Flattens codes to rows before such a layer and brings them back to shape behind it; no value changes.

    Layers whose output is read in float, whose shapes are not known, or whose weights are computed stay as they are.
    """
    graph = _Graph(model)
    layers = [layer for node in model.graph.node if (layer := graph.layer(node)) is not None]
    products = {layer.product.output[0] for layer in layers}
    dropped = products | {layer.transpose.output[0] for layer in layers}
    dropped |= {layer.add.output[0] for layer in layers if layer.add is not None}
    placed: dict[str, list[Any]] = {}  # by the output of the node in whose place they stand
    rows: dict[str, str] = {}
    for layer in layers:
        if layer.given not in rows:
            # A dequantize that none but such layers read gives its name to that of rows: by it the value is found.
            alone = all(node is not None and node.output[0] in products for node in graph.readers[layer.given])
            dropped |= {layer.given} if alone else set()
            rows[layer.given] = layer.given if alone else graph.fresh(f"{layer.given}_rows")
            placed[layer.product.output[0]] = graph.flatten(layer.given, rows[layer.given])
        placed[layer.told] = [*placed.get(layer.told, []), graph.gemm(layer, rows[layer.given])]
        placed[layer.quantize.output[0]] = graph.in_shape(layer.quantize)
    nodes = []
    for node in model.graph.node:
        name = node.output[0]
        nodes += placed.get(name, [] if name in dropped else [node])
    del model.graph.node[:]
    model.graph.node.extend(nodes)


class _Graph:
    """Who makes and reads each value of a model, and of which shape it is, before anything is replaced."""

    def __init__(self, model: Any):
        self.graph = model.graph
        self.shapes = _shapes(model)
        self.makers = {name: node for node in self.graph.node for name in node.output}
        self.taken = {*self.makers, *(tensor.name for tensor in self.graph.initializer)}
        self.taken |= {value.name for value in self.graph.input}
        self.readers: dict[str, list[Any | None]] = {value.name: [None] for value in self.graph.output}
        for node in self.graph.node:
            for name in node.input:
                self.readers.setdefault(name, []).append(node)

    def layer(self, node: Any) -> _Layer | None:
        """The linear layer whose product `node` is."""
        transpose = self.makers.get(node.input[1]) if node.op_type == "MatMul" else None
        if transpose is None or transpose.op_type != "Transpose" or self._reader(transpose) is None:
            return None
        if self._rank_of_real(node.input[0]) < 3 or self._rank_of_real(transpose.input[0]) != 2:
            return None
        after = self._reader(node)
        add = after if after is not None and after.op_type == "Add" else None
        if add is not None and self._rank_of_real(_other(add, node.output[0])) != 1:
            return None
        after = after if add is None else self._reader(add)
        while after is not None and after.op_type in ("Relu", "Clip"):
            after = self._reader(after)
        if after is None or after.op_type != "QuantizeLinear" or after.output[0] not in self.shapes:
            return None
        return _Layer(node, transpose, add, after)

    def flatten(self, real: str, rows: str) -> list[Any]:
        """Codes behind `real` as rows, and their real values under the name `rows`."""
        dequantize = self.makers[real]
        codes = self.fresh(f"{dequantize.input[0]}_rows")
        shape = self._constant(f"{codes}_shape", (-1, self.shapes[real][-1]))
        return [
            _node("Reshape", [dequantize.input[0], shape], codes),
            _node("DequantizeLinear", [codes, *dequantize.input[1:]], rows),
        ]

    def gemm(self, layer: _Layer, rows: str) -> Any:
        """The layer on rows."""
        return _node("Gemm", [rows, layer.transpose.input[0], *layer.bias], layer.told, transB=1)

    def in_shape(self, quantize: Any) -> list[Any]:
        """Codes of rows, and those codes in the shape that they had."""
        codes = quantize.output[0]
        rows = self.fresh(f"{codes}_rows")
        shape = self._constant(f"{codes}_shape", (-1, *self.shapes[codes][1:]))
        return [_node("QuantizeLinear", quantize.input, rows), _node("Reshape", [rows, shape], codes)]

    def fresh(self, name: str) -> str:
        name = beside(name, self.taken)
        self.taken.add(name)
        return name

    def _reader(self, node: Any) -> Any | None:
        """The only one; None where there are several, or the network returns the value."""
        found = self.readers.get(node.output[0], [])
        return found[0] if len(found) == 1 else None

    def _rank_of_real(self, name: str) -> int:
        """Of what a dequantize makes of codes; 0 where it is made otherwise, or its shape is not known."""
        maker = self.makers.get(name)
        return len(self.shapes.get(name, ())) if maker is not None and maker.op_type == "DequantizeLinear" else 0

    def _constant(self, name: str, values: Shape) -> str:
        from onnx import numpy_helper

        name = self.fresh(name)
        self.graph.initializer.append(numpy_helper.from_array(np.array(values, np.int64), name))
        return name


def _node(kind: str, inputs: Iterable[str], output: str, **attributes: Any) -> Any:
    import onnx

    return onnx.helper.make_node(kind, list(inputs), [output], output, **attributes)


def _other(add: Any, name: str) -> str:
    first, second = add.input
    return str(second if first == name else first)


def _shapes(model: Any) -> dict[str, Shape]:
    """Of values whose every dimension is known."""
    import onnx

    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    found = {}
    for value in [*graph.input, *graph.value_info, *graph.output]:
        sizes = value.type.tensor_type.shape.dim
        if all(size.HasField("dim_value") for size in sizes):
            found[value.name] = tuple(size.dim_value for size in sizes)
    return found
