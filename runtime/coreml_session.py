"""`CoremlSession`: a Core ML package ready to run, natively on macOS and by our own evaluator elsewhere."""

import sys
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import BadInput
from ..export.artifact import TensorSpec
from ..export.quiet import quiet
from ..quant.codes import IntegerTensor
from .mil import Evaluator, MilOperation, MilProgram, load_program

NATIVE = "Core ML (macOS)"
EVALUATOR = "offramp ML program evaluator"

# ArrayFeatureType.ArrayDataType in FeatureTypes.proto.
_ARRAY_TYPES = {65568: "float32", 65600: "float64", 65552: "float16", 131104: "int32", 131080: "int8"}
_BGR = 30  # ImageFeatureType.ColorSpace in the same file


class CoremlSession:
    """A loaded package (see `Session`).

    An image input takes raw pixels, (1, C, H, W), whole numbers from 0 to 255, in the channel order of the network; the
    scale and bias of an `ImageType` are operators of the program, and so applied in either engine. A classifier returns
    the label as an array of one string, shape (1,), and its dictionary of scores as float32, (1, classes), in the order
    of the labels.

    Args:
        path: the package.
        threads: threads of the evaluator.
        native: whether to run in Core ML itself; by default where that exists.

    Raises:
        BadInput: no package, or a damaged one; it names the file.
        UnsupportedOperator: an operator that the evaluator lacks.
    """

    target = "coreml"

    def __init__(self, path: Path, threads: int = 1, native: bool | None = None):
        self.path = Path(path)
        self.program = load_program(self.path)
        self._native = _load_native(self.path) if (sys.platform == "darwin" if native is None else native) else None
        self._threads = threads
        if self._native is None:
            _ = self._evaluator  # an operator that is lacking shows now
        self.engine = EVALUATOR if self._native is None else NATIVE
        description = self.program.description
        self._labels = _labels(self.program)
        self._scores = description.predictedProbabilitiesName
        self.inputs = tuple(self._spec(feature) for feature in description.input)
        self.outputs = tuple(self._spec(feature) for feature in description.output)
        self._images = {
            feature.name: feature.type.imageType.colorSpace
            for feature in description.input
            if feature.type.WhichOneof("Type") == "imageType"
        }

    def run(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Outputs by name; shapes as in `inputs`."""
        checked = self._checked(inputs)
        if self._native is None:
            results = self._evaluator.run(checked)
        else:
            results = self._native.predict({name: self._native_value(name, value) for name, value in checked.items()})
        return {spec.name: self._array(results[spec.name]) for spec in self.outputs}

    def intermediates(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Every value computed on the way, by the evaluator on every system: Core ML shows none."""
        return self._evaluator.intermediates(self._checked(inputs))

    @cached_property
    def _evaluator(self) -> Evaluator:
        return Evaluator(self.program, self._threads)

    def _spec(self, feature: Any) -> TensorSpec:
        """Name, shape and dtype of an input or output, from its feature and its value in the program."""
        shapes = {v.name: v.shape for op in self.program.operations for v in op.outputs}
        shapes |= {value.name: value.shape for value in self.program.inputs}
        kind = feature.type.WhichOneof("Type")
        if kind == "stringType":
            return TensorSpec(feature.name, (1,), "str")
        if kind == "int64Type":
            return TensorSpec(feature.name, (1,), "int64")
        if kind == "dictionaryType":
            return TensorSpec(feature.name, (1, len(self._labels)), "float32")
        dtype = "float32" if kind == "imageType" else _ARRAY_TYPES.get(feature.type.multiArrayType.dataType, "float32")
        return TensorSpec(feature.name, shapes[feature.name] or (), dtype)

    def _checked(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The inputs by name, as arrays of their dtypes, or BadInput for a name or shape that does not fit."""
        wanted = {spec.name: spec for spec in self.inputs}
        if set(inputs) != set(wanted):
            raise BadInput(f"{self.path}: inputs are {', '.join(wanted)}, got {', '.join(inputs) or 'none'}")
        arrays = {name: np.asarray(value, wanted[name].dtype) for name, value in inputs.items()}
        for name, array in arrays.items():
            shape = wanted[name].shape
            if len(shape) != array.ndim or any(w is not None and w != got for w, got in zip(shape, array.shape)):
                raise BadInput(f"{self.path}: input {name} must have shape {shape}, got {array.shape}")
            if name in self._images and not np.array_equal(array, array.round().clip(0, 255)):
                raise BadInput(f"{self.path}: image {name} takes whole pixel values from 0 to 255, not normalized ones")
        return arrays

    def _array(self, result: Any) -> np.ndarray:
        if isinstance(result, dict):
            return np.array([[result[label] for label in self._labels]], np.float32)
        return result if isinstance(result, np.ndarray) else np.array([result])

    def _native_value(self, name: str, value: np.ndarray) -> Any:
        """An array, or for an image input the picture that Core ML wants."""
        if name not in self._images:
            return value
        from PIL import Image

        pixels = value[0].astype(np.uint8)  # (C, H, W)
        if len(pixels) == 1:
            return Image.fromarray(pixels[0])
        rgb = pixels[::-1] if self._images[name] == _BGR else pixels
        return Image.fromarray(np.ascontiguousarray(rgb.transpose(1, 2, 0)))


def read_weights(path: Path) -> dict[str, IntegerTensor]:
    """Every weight that a package stores as integers of at most 8 bits, by the name of the value that they become.

    In packages of `to_coreml` that is the name of the buffer, dots as underscores. Read are
    `constexpr_affine_dequantize`, `constexpr_blockwise_shift_scale` with one scale per channel or per tensor,
    `constexpr_lut_to_dense` with a palette of such codes, and `dequantize` of a constant.
    """
    program = load_program(Path(path))
    constants = _constants(program)
    makers = {operation.outputs[0].name: operation for operation in program.operations if operation.outputs}
    found = {}
    for operation in program.operations:
        if operation.type == "constexpr_lut_to_dense":
            tensor = _from_palette(operation, makers, constants)
        else:
            tensor = _integers(operation, constants)
        if tensor is not None:
            found[operation.outputs[0].name] = tensor
    return found


def read_activation_scales(path: Path) -> dict[str, tuple[float, int, str]]:
    """(scale, zero point, dtype) of every `quantize`, by the name of the value that it quantizes."""
    program = load_program(Path(path))
    constants = _constants(program)
    found = {}
    for operation in program.operations:
        if operation.type == "quantize":
            values = {name: _constant(argument, constants) for name, argument in operation.inputs.items()}
            zero_point = values.get("zero_point")
            dtype = str(values["output_dtype"].item())
            scale = float(values["scale"].item())
            (name,) = operation.inputs["input"]
            found[name] = (scale, 0 if zero_point is None else int(zero_point.item()), dtype)
    return found


def read_reals(path: Path) -> dict[str, np.ndarray]:
    """Every constant that a package stores as float32, by its name; biases are among them."""
    constants = _constants(load_program(Path(path)))
    return {n: v for n, v in constants.items() if isinstance(v, np.ndarray) and v.dtype == np.float32}


def _integers(operation: MilOperation, constants: dict[str, np.ndarray]) -> IntegerTensor | None:
    """The codes of an operation that makes real weights of integers, or None for any other operation."""
    values = {name: _constant(argument, constants) for name, argument in operation.inputs.items()}
    if operation.type == "constexpr_affine_dequantize":
        codes, zero_point = values["quantized_data"], values["zero_point"]
    elif operation.type == "constexpr_blockwise_shift_scale":
        codes, zero_point = values["data"], values.get("offset")
    elif operation.type == "dequantize" and values["input"] is not None:
        codes, zero_point = values["input"], values.get("zero_point")
    else:
        return None
    scale = values["scale"]
    if operation.type == "constexpr_blockwise_shift_scale":
        wide = [axis for axis, size in enumerate(scale.shape) if size > 1]
        if len(wide) > 1 or any(scale.shape[axis] != codes.shape[axis] for axis in wide):
            return None  # smaller blocks than a channel have no form as an IntegerTensor
        axis = wide[0] if wide else None
        scale = scale.reshape(-1 if wide else ())
        zero_point = None if zero_point is None else zero_point.reshape(scale.shape)
    else:
        axis = int(values["axis"]) % codes.ndim if values.get("axis") is not None and scale.ndim else None
    zeros = np.zeros(scale.shape) if zero_point is None else np.broadcast_to(zero_point, scale.shape)
    return IntegerTensor(codes, scale.astype(np.float32), zeros.astype(np.int32), axis)


def _from_palette(
    operation: MilOperation, makers: dict[str, MilOperation], constants: dict[str, np.ndarray]
) -> IntegerTensor | None:
    """The codes looked up in a palette of codes, one scale per channel; None for a palette of real numbers."""
    (lut,) = operation.inputs["lut"] if isinstance(operation.inputs.get("lut"), tuple) else ("",)
    indices, maker = _constant(operation.inputs["indices"], constants), makers.get(lut)
    if maker is None or maker.type != "constexpr_blockwise_shift_scale" or "vector_axis" in operation.inputs:
        return None
    palette = _integers(maker, constants)
    if palette is None or palette.zero_point.any():
        return None
    tables = palette.codes.reshape(-1, palette.codes.shape[-2])
    if (tables != tables[0]).any() or palette.codes.shape[-1] != 1:
        return None
    return IntegerTensor(tables[0][indices], palette.scale, palette.zero_point, palette.axis)


def _constants(program: MilProgram) -> dict[str, np.ndarray]:
    return {op.outputs[0].name: op.inputs["val"] for op in program.operations if op.type == "const"}


def _constant(argument: Any, constants: dict[str, np.ndarray]) -> Any:
    """The array bound to a parameter, or None where it is computed."""
    return constants.get(argument[0]) if isinstance(argument, tuple) else argument


def _labels(program: MilProgram) -> list[Any]:
    classify = [op for op in program.operations if op.type == "classify"]
    if not classify:
        return []
    classes = _constant(classify[0].inputs["classes"], _constants(program))
    return classes if isinstance(classes, list) else classes.tolist()


def _load_native(path: Path) -> Any:
    with quiet():
        import coremltools

        return coremltools.models.MLModel(str(path))
