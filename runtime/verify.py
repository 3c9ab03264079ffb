"""Executes an artifact on held-out samples and holds it against its program: the verdict, and what it rests on."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..c_compiler import NoCompiler
from ..errors import OfframpError
from ..export.artifact import Artifact
from ..quant.graph import module_path
from ..quant.program import QuantizedProgram
from .constants import ConstantsCheck, compare_constants
from .exact import ExactCheck, compare_exactly
from .locate import FirstDifference, locate
from .reference import Reference
from .samples import Samples
from .session import Session, open_session
from .tflite_compat import CompatibilityUnavailable, run_in_tflite_runtime

LEAST_AGREEMENT = 0.995
# Largest difference over the outputs' own largest value; int8 is held by codes, scales and agreement instead.
TOLERANCE = {"float32": 1e-3, "float16": 5e-2}
_LOCATED_ON = 4  # samples on which every operator is compared by itself
_LEAST_SQNR_DB = 20.0  # outputs that are no class scores agree when the error is below a tenth of the signal


@dataclass(frozen=True)
class EngineResult:
    """What one engine made of an artifact.

    Attributes:
        engine: its name and version.
        ran: whether it executed; `reason` says why not.
        agreement: share of samples with the program's top class; of other outputs and random inputs, of those within
            20 dB or a step.
        accuracy: share of samples with the label's class; None without labels.
        metrics: the task's own figures; None where it has none.
        max_step_difference: largest output difference in output steps; None for float outputs.
        max_abs_difference: largest output difference.
    """

    engine: str
    ran: bool
    reason: str | None = None
    agreement: float | None = None
    accuracy: float | None = None
    max_step_difference: float | None = None
    max_abs_difference: float | None = None
    metrics: dict[str, float] | None = None


@dataclass(frozen=True)
class Verification:
    """The verdict on one artifact.

    Attributes:
        verified: it was executed and everything compared holds.
        reasons: what does not hold, in words; empty when verified.
        engines: one result per engine, the default engine first.
        constants: for quantized artifacts, the integers read back.
        first_difference: where a disagreement starts.
        classes: top class of the first output by sample, in the default engine; None as for `top_classes`.
        exact: for C, how many samples give the whole-number arithmetic's outputs bit for bit.
    """

    verified: bool
    reasons: tuple[str, ...]
    engines: tuple[EngineResult, ...]
    constants: ConstantsCheck | None
    first_difference: FirstDifference | None
    classes: tuple[int, ...] | None = None
    exact: ExactCheck | None = None


def verify_artifact(
    artifact: Artifact,
    reference: Reference,
    samples: Samples,
    quantized: QuantizedProgram | None = None,
    older_runtime: bool = True,
) -> Verification:
    """Executes `artifact` on every sample in every engine that can run it here.

    Args:
        reference: the program's outputs on the same samples.
        quantized: the quantized program, for comparing codes; None for float artifacts.
        older_runtime: also run TFLite files in tflite-runtime 2.14, in an environment of its own.
    """
    try:
        session = open_session(artifact.path)
        outputs = _run(session, samples)
    except NoCompiler as missing:
        result = EngineResult("C compiler", False, str(missing))
        return Verification(False, (f"it was not executed: {missing}",), (result,), None, None)
    engines = [_judge(session.engine, outputs, reference, samples)]
    engines += [run() for run in _other_engines(artifact, reference, samples, older_runtime)]
    constants = compare_constants(quantized, artifact) if quantized is not None else None
    located = locate(reference, artifact, session, samples.first(_LOCATED_ON))
    reasons = _faults(artifact, engines, constants, located, reference, len(samples))
    exact = None
    if artifact.target == "c" and quantized is not None:
        names = reference.input_names, reference.output_names
        exact = compare_exactly(reference.program, *names, samples, outputs, reference.outputs)
    reasons += [exact.fault] if exact is not None and exact.fault else []
    first = _first_fault(reference, located, constants)
    main = reference.output_names[0]
    classes = top_classes(outputs[main].reshape(reference.outputs[main].shape), samples.by_value)
    return Verification(not reasons, tuple(reasons), tuple(engines), constants, first, classes, exact)


def top_classes(outputs: np.ndarray, by_value: bool = False) -> tuple[int, ...] | None:
    """Class of the largest score, sample by sample; None for other outputs, as for those that agree `by_value`."""
    return tuple(outputs.argmax(1).tolist()) if is_class_scores(outputs) and not by_value else None


def accuracy_of(outputs: np.ndarray, labels: np.ndarray | None) -> float | None:
    """Share of samples whose largest score is the label's; None without labels or without class scores."""
    if labels is None or not is_class_scores(outputs):
        return None
    return float(np.mean(outputs.reshape(len(outputs), -1).argmax(1) == labels))


def agreement_of(
    outputs: np.ndarray, reference: np.ndarray, by_value: bool = False, step: float | None = None
) -> float:
    """Share of samples on which two outputs agree.

    Class scores agree when the top class is the same. Others agree `by_value`, as do those of random inputs, whose
    classes mean nothing and are often a near tie: the error is 20 dB below the signal, or no value is off by more than
    one `step` of its codes; a single number near zero is only a few steps large.
    """
    if by_value or not is_class_scores(reference):
        return closeness_of(outputs, reference, step)
    return float(np.mean(_flat(outputs).argmax(1) == _flat(reference).argmax(1)))


def closeness_of(outputs: np.ndarray, reference: np.ndarray, step: float | None = None) -> float:
    """Share of samples on which the error is 20 dB below the signal, or nowhere above one `step`."""
    flat, wanted = _flat(outputs).astype(np.float64), _flat(reference).astype(np.float64)
    signal, noise = np.sum(wanted**2, 1), np.sum((flat - wanted) ** 2, 1)
    is_close = noise <= signal * 10 ** (-_LEAST_SQNR_DB / 10) + 1e-12
    if step:
        is_close |= np.abs(flat - wanted).max(1) <= 1.001 * step
    return float(np.mean(is_close))


def _flat(values: np.ndarray) -> np.ndarray:
    return values.reshape(len(values), -1)


def is_enough(agreement: float, count: int) -> bool:
    """Whether all but a few of `count` samples agree; one may always differ, as between two classes rounded alike."""
    return count * (1 - agreement) <= max(1.0, count * (1 - LEAST_AGREEMENT)) + 1e-9


def is_class_scores(outputs: np.ndarray) -> bool:
    """(N, classes) with at least two classes."""
    return outputs.ndim == 2 and outputs.shape[1] > 1


def _run(session: Session, samples: Samples) -> dict[str, np.ndarray]:
    results: dict[str, list[np.ndarray]] = {}
    for sample in samples:
        for name, value in session.run(sample).items():
            results.setdefault(name, []).append(value)
    return {name: np.concatenate(values) for name, values in results.items()}


def _judge(engine: str, outputs: dict[str, np.ndarray], reference: Reference, samples: Samples) -> EngineResult:
    agreement, steps, largest = 1.0, None, 0.0
    outputs = {name: outputs[name].reshape(wanted.shape) for name, wanted in reference.outputs.items()}
    for name, wanted in reference.outputs.items():
        difference = np.abs(outputs[name].astype(np.float64) - wanted.astype(np.float64))
        step = reference.steps[name]
        agreement = min(agreement, agreement_of(outputs[name], wanted, samples.by_value, step))
        largest = max(largest, float(difference.max(initial=0.0)))
        if step:
            steps = max(steps or 0.0, float(difference.max(initial=0.0)) / step)
    accuracy = accuracy_of(outputs[reference.output_names[0]], samples.labels)
    metrics = None if samples.measure is None else samples.measure(outputs)
    return EngineResult(engine, True, None, agreement, accuracy, steps, largest, metrics)


def _other_engines(
    artifact: Artifact, reference: Reference, samples: Samples, older_runtime: bool
) -> list[Callable[[], EngineResult]]:
    """TFLite files run on three kernel families: XNNPACK, LiteRT's own, and those of the last tflite-runtime."""
    if artifact.target != "tflite":
        return []

    def plain() -> EngineResult:
        from .tflite_session import TfliteSession

        session = TfliteSession(artifact.path, xnnpack=False)
        return _judge(session.engine, _run(session, samples), reference, samples)

    def older() -> EngineResult:
        try:
            outputs = run_in_tflite_runtime(artifact.path, samples.inputs)
        except CompatibilityUnavailable as reason:
            return EngineResult("tflite-runtime 2.14", False, str(reason))
        except OfframpError as fault:
            return EngineResult("tflite-runtime 2.14", False, f"it refuses the file: {fault}")
        return _judge("tflite-runtime 2.14", outputs, reference, samples)

    return [plain, older] if older_runtime else [plain]


def _faults(
    artifact: Artifact,
    engines: list[EngineResult],
    constants: ConstantsCheck | None,
    located: FirstDifference | None,
    reference: Reference,
    count: int,
) -> list[str]:
    faults = []
    if constants is not None and not constants.holds:
        some = ", ".join([*constants.differing, *constants.missing][:3])
        faults.append(f"{len(constants.differing) + len(constants.missing)} constants differ from the program ({some})")
    if located is not None:
        where = located.module or "the network itself"
        faults.append(f"{where} gives other values than the program from the same inputs ({located.value})")
    size = max((float(np.abs(values).max(initial=0.0)) for values in reference.outputs.values()), default=0.0)
    tolerance = TOLERANCE.get(artifact.precision, np.inf) * max(size, 1e-6)
    for result in engines:
        if result.agreement is not None and not is_enough(result.agreement, count):
            faults.append(
                f"{result.engine} agrees on {result.agreement:.1%} of the samples, {LEAST_AGREEMENT:.1%} wanted"
            )
        if result.max_abs_difference is not None and not result.max_abs_difference <= tolerance:
            faults.append(f"{result.engine} differs by {result.max_abs_difference:.3g} where outputs reach {size:.3g}")
    return faults


def _first_fault(
    reference: Reference, located: FirstDifference | None, constants: ConstantsCheck | None
) -> FirstDifference | None:
    """The first fault in the program's order: a value that differs, or a constant whose difference no value shows."""
    wrong = set() if constants is None else {*constants.differing, *constants.missing}
    buffers = reference.program.graph_signature.inputs_to_buffers
    for node in reference.program.graph.nodes:
        if located is not None and node.name == located.value:
            return located
        names = wrong & {node.name, *(buffers.get(source.name, "") for source in node.all_input_nodes)}
        module = module_path(node)
        if names:
            return located if located and located.module == module else FirstDifference(min(names), module, 0.0)
    return located
