"""Calibrates a network once for all the bits that its layers may have, and gives the integers of any choice of them.

The integers are made as post-training quantization makes them, learned rounding and corrected biases included, on the
network in batches.
"""

import contextlib
import copy
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node

from ...errors import BadInput
from ..batched import capture_batch
from ..bits import LayerBits, layer_bits
from ..capture import Captured
from ..codes import IntegerTensor
from ..coding import Coding
from ..equalize import equalize
from ..fake_quantized import through_edge
from ..graph import bias_of, constant_of, module_path
from ..placement import activation_inputs, place
from ..quantize import calibrate
from ..refinement import mend_layer, refine
from ..scheme import Scheme
from ..smooth import smooth
from ..sweep import LayerRun, sweep
from ..threads import one_thread
from ..weights import least_weight_scale, quantize_bias, quantize_weight
from .emulation import Emulation, Operands
from .layers import Assignment, Bits, layers_of

_HELD_BYTES = 512 << 20  # of all values of one batch
_WIDEST = 32


class Codings:
    """A calibrated network in batches.

    Args:
        network: the float network, weights in place.
        captured: the same for one sample.
        samples: real inputs, one sample each; at most `scheme.samples` of them are read.
        scheme: how numbers are chosen, and what keeps float or 8 bits.
        choices: bits that layers may have.

    Raises:
        BadInput: the samples do not fit the network, or it has no layer to quantize.
    """

    def __init__(
        self,
        network: nn.Module,
        captured: Captured,
        samples: Sequence[tuple[Tensor, ...]],
        scheme: Scheme,
        choices: Sequence[Bits],
    ):
        self.scheme = scheme
        self.samples = samples[: scheme.samples]
        self.module, batch = _in_batches(network, captured, len(self.samples))
        whole = range(0, len(self.samples) - batch + 1, batch)
        self.batches = [tuple(map(torch.cat, zip(*self.samples[start : start + batch]))) for start in whole]
        with one_thread():
            if scheme.smooth is not None:
                smooth(self.module, self.batches, scheme.smooth)
            if scheme.equalize:
                equalize(self.module)
        self.plan = place(self.module, scheme.keep_float)
        self.layers = layers_of(self.module, self.plan, scheme, choices, batch)
        self.coding = self._calibrated()
        self.emulation = Emulation(self.module, self.plan, self.coding, batch)
        self._nearest: dict[tuple[str, Bits], tuple[IntegerTensor, IntegerTensor | None]] = {}

    def operands(self, assignment: Assignment) -> dict[str, Operands]:
        """The integers of a whole choice of bits, by the names of the layers' values."""
        bits = self._bits(assignment)
        coding = self._coding(bits)
        return {
            node.name: _operands(coding.weights[node.name], coding.biases[node.name], chosen.activation)
            for node, chosen in bits.items()
        }

    def alternatives(self, base: Assignment) -> dict[tuple[str, Bits], dict[str, Operands]]:
        """For every module and each of its choices, its integers while all other layers are as in `base`."""
        bits = self._bits(base)
        coding = self._coding(bits)
        choices = {layer.module: layer.choices for layer in self.layers}
        found: dict[tuple[str, Bits], dict[str, Operands]] = {}

        def visit(run: LayerRun) -> None:
            path = module_path(run.node)
            for chosen in choices[path]:
                found.setdefault((path, chosen), {})[run.node.name] = self._mended(run, chosen)

        eight = {node: replace(chosen, activation=8) for node, chosen in bits.items()}  # a visitor sees every value
        with one_thread():
            sweep(self.module, self.plan, eight, coding, self.batches, visit)
        return found

    def _calibrated(self) -> Coding:
        """Values, and the edges of all activation bits."""
        coding: Coding | None = None
        for activation in sorted({bits[1] for layer in self.layers for bits in layer.choices}, reverse=True):
            readers = ((layer.module, [b for b in layer.choices if b[1] == activation]) for layer in self.layers)
            own = tuple((path, *bits[-1]) for path, bits in readers if bits)
            found = calibrate(self.module, self.plan, self._bits(own), self.batches, self.scheme)
            if coding is None:
                coding = Coding(found.values)
            coding.edges.update(found.edges)
        assert coding is not None
        return coding

    def _bits(self, assignment: Assignment) -> dict[Node, LayerBits]:
        return layer_bits(self.module, self.plan, replace(self.scheme, layers=assignment))

    def _coding(self, bits: dict[Node, LayerBits]) -> Coding:
        coding = Coding(self.coding.values, self.coding.edges)
        for node, chosen in bits.items():
            weight, bias = self._integers(node, (chosen.weight, chosen.activation))
            coding.weights[node.name], coding.biases[node.name] = weight, bias
        if self.scheme.rounding == "learned" or self.scheme.correct_bias:
            with one_thread():
                refine(self.module, self.plan, bits, coding, self.batches, self.scheme)
        return coding

    def _integers(self, node: Node, bits: Bits) -> tuple[IntegerTensor, IntegerTensor | None]:
        """Weight at its nearest codes, and bias."""
        if (node.name, bits) not in self._nearest:
            bias = bias_of(self.module, node)
            input_scale = self._input_scale(node, bits)
            floor = None if bias is None else least_weight_scale(bias, input_scale)
            axis = self.plan.rules[node].channel_axis
            weight = quantize_weight(constant_of(self.module, node.args[1]).float(), axis, floor, bits[0])
            self._nearest[node.name, bits] = (
                weight,
                None if bias is None else quantize_bias(bias, input_scale, weight),
            )
        return self._nearest[node.name, bits]

    def _input_scale(self, node: Node, bits: Bits) -> float:
        return self.coding.input_scale(activation_inputs(node, self.plan.rules[node])[0].name, bits[1])

    def _mended(self, run: LayerRun, bits: Bits) -> Operands:
        """What refinement makes of one layer at other bits, given what it reads."""
        node, inputs = run.node, run.inputs
        if bits[1] < 8:
            edge = self.coding.edges[activation_inputs(node, self.plan.rules[node])[0].name, bits[1]]
            inputs = [through_edge(value, edge) for value in inputs]
        coding = Coding(self.coding.values, self.coding.edges)
        coding.weights[node.name], coding.biases[node.name] = self._integers(node, bits)
        chosen = LayerBits(node.name, module_path(node), *bits)
        mend_layer(replace(run, inputs=inputs), chosen, coding, self.plan, self.scheme)
        return _operands(coding.weights[node.name], coding.biases[node.name], bits[1])


def _operands(weight: IntegerTensor, bias: IntegerTensor | None, activation: int) -> Operands:
    return Operands(
        torch.from_numpy(weight.dequantize()), None if bias is None else torch.from_numpy(bias.dequantize()), activation
    )


def _in_batches(network: nn.Module, captured: Captured, count: int) -> tuple[GraphModule, int]:
    """A graph for a batch that fits into memory; the one sample's own where a batch computes something else."""
    nodes = captured.module.graph.nodes
    values = [node.meta["val"] for node in nodes if isinstance(node.meta.get("val"), Tensor)]
    size = sum(value.numel() * value.element_size() for value in values)
    batch = max(1, min(_WIDEST, count, _HELD_BYTES // max(size, 1)))
    if batch > 1 and not isinstance(network, GraphModule):  # an exported program is fixed to one sample
        with contextlib.suppress(BadInput):
            return capture_batch(network, captured, batch).module, batch
    return copy.deepcopy(captured.module), 1
