"""BakeNN with CMSIS-NN, the peer on microcontrollers: the same int8 program as C that calls Arm's kernels.

BakeNN (on PyPI, `pip install bakenn==1.0.0`) compiles int8 graphs to C ahead of time and carries the sources of
CMSIS-NN 4.0, the kernels that TensorFlow Lite Micro calls on Arm too. It is given our program, operation by operation
with our codes, scales and zero points, in its own form. Three things differ, all for its good:

- It takes an image channels last, as its kernels want it; ours takes PyTorch's order and transposes.
- An average keeps the scale of its input, as these kernels have it. The layer behind takes the ratio.
- BakeNN calls CMSIS-NN for symmetric padding only and otherwise its own kernels. CMSIS-NN takes padding as TensorFlow
  has it, and BakeNN is let call it there too, which halves the instructions of networks with strides.

CMSIS-NN 4.0 has linear layers with one scale for all weights only. `linear="tensor"` gives weights such a scale, at the
cost of rounding them again; `linear="channel"` keeps ours, for which BakeNN has a kernel of its own.
"""

import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..errors import BadInput, UnsupportedOperator
from ..export.artifact import Artifact, TensorSpec
from ..quant.integer.operations import Add, AveragePool, Convolution, IntegerProgram, Linear, Mean, Operation, Reshape
from ..quant.integer.values import Value

VERSION = "1.0.0"
TITLE = f"BakeNN {VERSION} with CMSIS-NN 4.0.0"
INSTALL = f"pip install bakenn=={VERSION}"
# As BakeNN's own CMake file has it.
_DEFINE = "BAKENN_CMSIS_NN_BUILTIN_MEMORY"

LinearScale = Literal["tensor", "channel"]


@dataclass(frozen=True)
class Peer:
    """The peer's C of a network.

    Attributes:
        artifact: NAME.c, which includes all of the peer's sources, with one function as ours has.
        arena_bytes: of the memory that it computes in.
        kernels: kernel -> how many operations it computes.
        plan: the peer's own form of the program, which it can also run in Python.
    """

    artifact: Artifact
    arena_bytes: int
    kernels: dict[str, int]
    plan: Any

    def reference(self, sample: np.ndarray) -> np.ndarray:
        """What the peer itself says that its C computes: int8 (1, C, H, W) or (1, C) to int8 (number of outputs,)."""
        bakenn: Any = import_module("bakenn")
        given = np.moveaxis(sample, 1, -1) if sample.ndim == 4 else sample
        return np.asarray(bakenn.run_reference(self.plan, np.ascontiguousarray(given))).reshape(-1)


def missing() -> str | None:
    """Why the peer cannot be had here; None where it can."""
    if find_spec("bakenn") is None:
        return f"BakeNN is not installed; {INSTALL}"
    try:
        found = version("bakenn")
    except PackageNotFoundError:
        found = "of no version"
    return None if found == VERSION else f"BakeNN {found} is installed, not {VERSION}; {INSTALL}"


def compile_peer(
    program: IntegerProgram, name: str, folder: Path, linear: LinearScale = "tensor", optimize: str | None = None
) -> Peer:
    """Writes the peer's C of a program into a folder.

    Args:
        program: one input and one output, both codes; a batch of 1.
        name: of the network: the files are `name.c` and `name.h`.
        linear: one scale for all weights of a linear layer, or one for each channel.
        optimize: level of the compiler for all of its C, for example `O3`; None leaves it to the command line.

    Raises:
        BadInput: the peer is not installed, or the network has more inputs or outputs than one.
        UnsupportedOperator: it, or this translation, has no such operation.
    """
    if reason := missing():
        raise BadInput(reason)
    bakenn: Any = import_module("bakenn")
    graph = _Translation(program, linear).graph(name)
    options = bakenn.CBackendOptions(kernel_policy=bakenn.KernelPolicy.STATIC_PRIORITY, enable_cmsis_nn=True)
    with _any_padding():
        compiled = bakenn.compile(
            graph, folder / "generated", model_name=name, backend_options=options, target="cortex-m4"
        )
    built = compiled.artifacts
    sources = (built.model_source, built.weights_source, built.kernels_source, *built.support_sources)
    facts = bakenn.load_manifest(built.manifest)
    kernels = Counter(selection["implementation"] for selection in facts["backend"]["selections"])
    artifact = _write(program, name, folder, built.output_dir, sources, facts, optimize)
    return Peer(artifact, facts["arena_bytes"], dict(sorted(kernels.items())), compiled.plan)


@contextmanager
def _any_padding() -> Iterator[None]:
    """Lets BakeNN call CMSIS-NN whatever the padding."""
    conv: Any = import_module("bakenn.backend.portable_c.families.conv")
    kept = conv._symmetric_padding
    conv._symmetric_padding = lambda padding: True
    try:
        yield
    finally:
        conv._symmetric_padding = kept


def _write(
    program: IntegerProgram,
    name: str,
    folder: Path,
    generated: Path,
    sources: tuple[Path, ...],
    facts: dict[str, Any],
    optimize: str | None,
) -> Artifact:
    """One C file that includes the others, so that one command compiles the peer as it does ours.

    Compiled one by one they take more: the compiler cannot put a function of one file into its caller in another.
    """
    for path in (*sources, *generated.rglob("*.h")):
        shutil.copyfile(path, folder / path.name)
    symbol, (given,), (taken,) = facts["model"], program.inputs, program.outputs
    lengths = [
        f"#define {name.upper()}_INPUT_LENGTH {given.size}",
        f"#define {name.upper()}_OUTPUT_LENGTH {taken.size}",
    ]
    signature = f"void {name}_run(const int8_t *input, int8_t *output)"
    header = ["#include <stdint.h>", *lengths, f"{signature};", ""]
    source = [
        *([f'#pragma GCC optimize("{optimize}")'] if optimize else []),
        f"#define {_DEFINE}",
        *(f'#include "{path.name}"' for path in sources),
        f'#include "{name}.h"',
        f"static uint8_t arena[{max(facts['arena_bytes'], 1)}] __attribute__((aligned({facts['arena_alignment']})));",
        signature,
        "{",
        f"    {symbol}_infer(arena, input, output);",
        "}",
        "",
    ]
    (folder / f"{name}.h").write_text("\n".join(header), encoding="utf-8")
    (folder / f"{name}.c").write_text("\n".join(source), encoding="utf-8")
    specs = (TensorSpec("input", (1, given.size), "int8"),), (TensorSpec("output", taken.shape, "int8"),)
    return Artifact("c", "int8", folder / f"{name}.c", *specs, {}, {})


class _Translation:
    """A program in BakeNN's form. Behind an average, codes mean something else there than in ours: see `values`."""

    def __init__(self, program: IntegerProgram, linear: LinearScale):
        self.program, self.linear = program, linear
        self.ir: Any = import_module("bakenn.ir")
        self.values: dict[str, Any] = {}
        self.constants: dict[str, np.ndarray] = {}
        self.operations: list[Any] = []

    def graph(self, name: str) -> Any:
        if len(self.program.inputs) != 1 or len(self.program.outputs) != 1:
            raise BadInput(f"{name}: BakeNN takes networks of one input and one output")
        (given,), (taken,) = self.program.inputs, self.program.outputs
        self._add_value(given)
        for operation in self.program.operations:
            self._translate(operation)
        return self.ir.QuantizedGraph(
            name, self.values, self.constants, tuple(self.operations), (given.name,), (taken.name,)
        )

    def _translate(self, operation: Operation) -> None:
        name, inputs, output = operation.output.name, [value.name for value in operation.inputs], operation.output
        if isinstance(operation, Convolution):
            self._convolution(operation)
        elif isinstance(operation, Linear):
            self._linear(operation)
        elif isinstance(operation, Add) and min(operation.factors) > 0:
            self._add_value(output)
            limits = {"activation_min": operation.low, "activation_max": operation.high}
            self.operations.append(self.ir.AddOp(f"{name}.add", *inputs, name, **limits))
        elif isinstance(operation, AveragePool) and operation.divisor is None and not any(operation.window.padding):
            self._average(operation, operation.window.kernel, operation.window.stride, name)
        elif isinstance(operation, Mean) and operation.axes == (2, 3):
            image = operation.inputs[0].shape[2:]
            self._average(operation, image, image, f"{name}.image")
            self._flatten(f"{name}.image", operation)
        elif isinstance(operation, Reshape):
            self._flatten(inputs[0], operation)
        else:
            raise _lacks(operation, type(operation).__name__)

    def _convolution(self, operation: Convolution) -> None:
        (given,), name, window = operation.inputs, operation.output.name, operation.window
        channels = given.shape[1]
        self._add_value(operation.output)
        if channels > 1 and operation.groups == channels:
            weight = operation.weight[:, 0].transpose(1, 2, 0)
            form, layout, axis = self.ir.DepthwiseConv2DOp, self.ir.Layout.HWO, 2
            extra = {"depth_multiplier": operation.weight.shape[0] // channels}
        elif operation.groups == 1:
            weight = operation.weight.transpose(0, 2, 3, 1)
            form, layout, axis, extra = self.ir.Conv2DOp, self.ir.Layout.OHWI, 0, {}
        else:
            raise _lacks(operation, f"a convolution of {operation.groups} groups")
        scales = self._weight_scales(operation)
        self._add_layer_constants(operation, np.ascontiguousarray(weight), scales, layout, axis)
        top, left, bottom, right = window.padding
        self.operations.append(
            form(
                f"{name}.layer",
                given.name,
                f"{name}.weight",
                f"{name}.bias",
                name,
                stride=window.stride,
                dilation=window.dilation,
                padding=(top, bottom, left, right),
                activation_min=operation.low,
                activation_max=operation.high,
                **extra,
            )
        )

    def _linear(self, operation: Linear) -> None:
        (given,), name = operation.inputs, operation.output.name
        self._add_value(operation.output)
        scales, weight = self._weight_scales(operation), operation.weight
        if self.linear == "tensor":
            common = np.full_like(scales, scales.max())
            weight = np.rint(weight * (scales / common)[:, None]).astype(np.int8)
            scales = common
        self._add_layer_constants(operation, weight, scales, self.ir.Layout.OI, 0)
        limits = {"activation_min": operation.low, "activation_max": operation.high}
        self.operations.append(
            self.ir.LinearOp(f"{name}.layer", given.name, f"{name}.weight", f"{name}.bias", name, **limits)
        )

    def _weight_scales(self, operation: Convolution | Linear) -> np.ndarray:
        """float64 (O,), what a step of each channel's weights stands for."""
        (given,), output = operation.inputs, operation.output
        return operation.multiplier.astype(np.float64) * output.meaning.scale / given.meaning.scale

    def _add_layer_constants(
        self, operation: Convolution | Linear, weight: np.ndarray, scales: np.ndarray, layout: Any, axis: int
    ) -> None:
        """Weights, and the bias in products of the steps that the peer has."""
        (given,), name = operation.inputs, operation.output.name
        ours = self._weight_scales(operation) * given.meaning.scale
        zeros = (0,) * len(scales)
        weight_meaning = self.ir.PerAxisQParams(tuple(scales), zeros, axis)
        step = self.values[given.name].qparams.scale
        theirs = np.array([self.ir.PerTensorQParams(step * scale, 0).scale for scale in weight_meaning.scales])
        self.values[f"{name}.weight"] = self.ir.TensorType(weight.shape, self.ir.DType.INT8, layout, weight_meaning)
        self.constants[f"{name}.weight"] = weight
        bias_meaning = self.ir.PerAxisQParams(tuple(theirs), zeros, 0)
        self.values[f"{name}.bias"] = self.ir.TensorType(
            (len(scales),), self.ir.DType.INT32, self.ir.Layout.C, bias_meaning
        )
        self.constants[f"{name}.bias"] = np.rint(operation.bias * (ours / theirs)).astype(np.int32)

    def _average(self, operation: Operation, kernel: tuple[int, ...], stride: tuple[int, ...], name: str) -> None:
        """An average over windows inside an image, in the scale of its input."""
        (given,) = operation.inputs
        kind = self.values[given.name]
        height, width = ((size - k) // s + 1 for size, k, s in zip(given.shape[2:], kernel, stride))
        shape = (1, height, width, given.shape[1])
        self.values[name] = self.ir.TensorType(shape, self.ir.DType.INT8, self.ir.Layout.NHWC, kind.qparams)
        profile = "tflite.int8.average_pool2d.raw_code.v1"  # what CMSIS-NN computes
        pool = self.ir.AveragePool2DOp(
            f"{name}.pool", given.name, name, tuple(kernel), tuple(stride), arithmetic_profile=profile
        )
        self.operations.append(pool)

    def _flatten(self, given: str, operation: Operation) -> None:
        """(1, C, 1, 1) to (1, C), where the order of the elements is the same channels first and last."""
        output, kind = operation.output, self.values[given]
        if kind.shape != (1, 1, 1, output.size) or output.shape != (1, output.size):
            raise _lacks(operation, "an image of several positions as a vector")
        self.values[output.name] = self.ir.TensorType(output.shape, self.ir.DType.INT8, self.ir.Layout.NC, kind.qparams)
        self.operations.append(self.ir.FlattenOp(f"{output.name}.flatten", given, output.name))

    def _add_value(self, value: Value) -> None:
        shape, layout = value.shape, self.ir.Layout.NC
        if len(shape) == 4:
            shape, layout = (shape[0], *shape[2:], shape[1]), self.ir.Layout.NHWC
        meaning = self.ir.PerTensorQParams(value.meaning.scale, value.meaning.zero_point)
        self.values[value.name] = self.ir.TensorType(shape, self.ir.DType.INT8, layout, meaning)


def _lacks(operation: Operation, what: str) -> UnsupportedOperator:
    return UnsupportedOperator(what, operation.module, "the translation for BakeNN", "measure another network")
