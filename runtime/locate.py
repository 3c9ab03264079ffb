"""Finds the first value at which an artifact leaves its program, and names the PyTorch module that computes it.

Every operator of the program is run on the values that the artifact itself computed before it. So the rounding of
earlier layers is on both sides, what is left is one operator's own difference, and a wrong layer stands out at once.
"""

from dataclasses import dataclass
from functools import partial

import numpy as np
from torch.fx import Node

from ..export.artifact import Artifact
from ..quant.program import DEQUANTIZE, QUANTIZE
from .reference import ProgramValue, Reference, output_values, program_values
from .samples import Samples
from .session import Session

_LEAST_STEPS = 2.5  # kernels round a requantization to a neighbouring code, a softmax or a mean to the one after it
# For values in float: largest difference over the value's own largest, in hundredths; half precision rounds more.
_LEAST_HUNDREDTHS, _LEAST_HUNDREDTHS_HALF = 0.1, 5.0


@dataclass(frozen=True)
class FirstDifference:
    """Where a disagreement starts.

    Attributes:
        value: name of the first differing value in the program.
        module: path of the PyTorch module that computes it; empty for the network itself.
        difference_steps: largest difference there, in steps of the value (for a float value: in hundredths of its
            own largest).
    """

    value: str
    module: str
    difference_steps: float


def locate(reference: Reference, artifact: Artifact, session: Session, samples: Samples) -> FirstDifference | None:
    """The first value that differs on any of a few samples; None when each follows from the ones before it.

    A converter may give a float value's name to another tensor. What the artifact computes next tells the two apart: it
    follows from the tensor if that is the value, and from the program's own value if it is not.
    """
    replay = _Replay(reference, artifact, session, samples)
    misnamed: set[str] = set()
    found = replay.differences(misnamed)
    while found and found[0].value not in replay.trusted:
        without = replay.differences(misnamed | {found[0].value})
        if {difference.value for difference in without} - {difference.value for difference in found}:
            break  # what reads the value differs now
        misnamed.add(found[0].value)
        found = without
    return found[0] if found else None


class _Replay:
    """The program run on the values that an artifact computed.

    Attributes:
        trusted: values that the artifact surely has under their names: quantized ones and the network's outputs.
        fused: quantized value -> the values in float that only it is made of.
        fused_step: step of the quantized value, by the name of each such value.
    """

    def __init__(self, reference: Reference, artifact: Artifact, session: Session, samples: Samples):
        self.reference = reference
        self.runs = [(sample, session.intermediates(sample)) for sample in samples]
        self.least_hundredths = _LEAST_HUNDREDTHS_HALF if artifact.precision == "float16" else _LEAST_HUNDREDTHS
        self.outputs = output_values(reference.program, reference.output_names)
        nodes = reference.program.graph.nodes
        quantizers = [node for node in nodes if node.target is QUANTIZE]
        self.fused = {node.args[0].name: fused_into(node.args[0]) for node in quantizers}
        self.trusted = {*self.outputs, *self.fused}
        steps = {node.args[0].name: float(node.args[1]) for node in quantizers}
        self.fused_step = {name: steps[value] for value, names in self.fused.items() for name in names}

    def differences(self, misnamed: set[str]) -> list[FirstDifference]:
        """Every value that differs on any sample, in the program's order, with its largest difference."""
        order: list[str] = []
        found: dict[str, FirstDifference] = {}
        for sample, theirs in self.runs:
            compare = partial(self._compare, theirs, misnamed, found)
            order = [value.name for value in program_values(self.reference, sample, compare)]
        return [found[name] for name in order if name in found]

    def _compare(
        self, theirs: dict[str, np.ndarray], misnamed: set[str], found: dict[str, FirstDifference], value: ProgramValue
    ) -> np.ndarray | None:
        """Notes a difference in `found`; returns what the operators behind the value shall read."""
        data = None if value.name in misnamed else self._seen(value, theirs)
        if data is None:
            return None
        error, known = _error(value, data), found.get(value.name)
        least = _LEAST_STEPS if value.step else self.least_hundredths
        if error > max(least, known.difference_steps if known else 0.0):
            found[value.name] = FirstDifference(value.name, value.module, error)
        return data

    def _seen(self, value: ProgramValue, theirs: dict[str, np.ndarray]) -> np.ndarray | None:
        """The artifact's value, in the layout that fits best.

        What stands behind a quantizer is called `_real`, except where the artifact keeps the codes themselves, and what
        the network returns has the output's name; TFLite's codes behind a float border are `_codes`. Where a converter
        fuses a layer with its activation, the codes that come out may have the layer's name.
        """
        output = self.outputs.get(value.name)
        if value.step:
            fused = [name for name in self.fused[value.name] if name in theirs and _has_step(theirs[name], value.step)]
            names = [f"{value.name}_real", output, f"{value.name}_codes", value.name, *fused]
        elif value.name in theirs and _has_step(theirs[value.name], self.fused_step.get(value.name)):
            names = [output]
        else:
            names = [output, value.name]
        data = next((theirs[name] for name in names if name in theirs and theirs[name].dtype.kind == "f"), None)
        layouts = [] if data is None else _layouts(data, value.data.shape)
        return min(layouts, key=lambda seen: _error(value, seen), default=None)


def _error(value: ProgramValue, data: np.ndarray) -> float:
    """Largest difference in steps, or in hundredths of the largest magnitude; NaN differs from all but NaN."""
    ours = value.data.astype(np.float64)
    with np.errstate(invalid="ignore"):
        difference = np.abs(ours - data)
    difference[(ours == data) | (np.isnan(ours) & np.isnan(data))] = 0.0
    largest = float(difference.max(initial=0.0))
    scale = value.step or 0.01 * max(float(np.abs(ours[np.isfinite(ours)]).max(initial=0.0)), 1e-6)
    return largest / scale if np.isfinite(largest) else float(np.finfo(np.float32).max)


def _layouts(data: np.ndarray, shape: tuple[int, ...]) -> list[np.ndarray]:
    """The artifact's value in the program's shape: as it stands or from channels last; sizes of one may differ."""
    channels_first = {4: (0, 3, 1, 2), 3: (0, 2, 1)}
    seen = [data, *([data.transpose(channels_first[data.ndim])] if data.ndim in channels_first else [])]
    wide = [size for size in shape if size > 1]
    return [values.reshape(shape) for values in seen if [size for size in values.shape if size > 1] == wide]


def fused_into(value: Node) -> list[str]:
    """Names of the values in float that nothing else is made of, nearest first."""
    names: list[str] = []
    while value.target not in (QUANTIZE, DEQUANTIZE) and len(value.all_input_nodes) == 1:
        (value,) = value.all_input_nodes
        if value.op != "call_function" or value.target is DEQUANTIZE or len(value.users) > 1:
            break
        names.append(value.name)
    return names


def _has_step(data: np.ndarray, step: float | None) -> bool:
    """Whether all values are whole numbers of steps, as codes mean them."""
    if step is None or data.dtype.kind != "f" or not np.isfinite(data).all():
        return False
    codes = data.astype(np.float64) / step
    return bool(np.abs(codes - np.rint(codes)).max(initial=0.0) < 0.001)
