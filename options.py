"""What to make of a network: the choices that a user makes once and every step of the pipeline reads."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from .errors import BadInput
from .export.artifact import FLOAT_PRECISIONS, TARGETS, offers
from .finetune import Finetuning
from .mixed import Wanted
from .quant.scheme import Scheme

Say = Callable[[str], None]


@dataclass(frozen=True)
class Options:
    """What to make of a network.

    Attributes:
        targets: of `onnx`, `coreml`, `tflite`, `c`.
        precisions: of `float32`, `float16` and the scheme's name (`int8`, `w4a8`, `binary`, ...); `int8` stands for
            the quantized program whatever its scheme.
        data: a data set's name or path; None takes the network's own, or random inputs where it has none.
        scheme: how to quantize.
        mixed: what each layer's own bits are to be found for; None takes those of the scheme.
        tuning: how to train the network for the scheme; None leaves it as post-training quantization makes it.
        held_out: samples to verify on, at most.
        seed: of weights, splits and random inputs.
        dynamic_batch: ONNX with an open batch dimension.
        bake: put the preprocessing into the network, which then takes raw values.
        integer_io: TFLite and C with int8 at their border.
        image_input: Core ML with an image as its input (needs `bake`).
        ram, flash: bytes of memory, and of constants, that a C network may take at most; None for no limit.
        class_labels: labels inside the Core ML and TFLite artifacts.
        measure: time the artifacts on this host.
        older_runtime: also run TFLite artifacts in tflite-runtime 2.14.
        runs: folder of training runs.
        out: folder of dists.
    """

    targets: tuple[str, ...] = ("onnx", "coreml", "tflite")
    precisions: tuple[str, ...] = ("float32", "int8")
    data: str | None = None
    scheme: Scheme = field(default_factory=Scheme)
    mixed: Wanted | None = None
    tuning: Finetuning | None = None
    held_out: int = 500
    seed: int = 0
    dynamic_batch: bool = False
    bake: bool = False
    integer_io: bool = False
    image_input: bool = False
    ram: int | None = None
    flash: int | None = None
    class_labels: bool = False
    measure: bool = True
    older_runtime: bool = True
    runs: Path = Path("runs")
    out: Path = Path("dist")

    def __post_init__(self) -> None:
        named = (self.quantized if name == "int8" else name for name in self.precisions)
        object.__setattr__(self, "precisions", tuple(dict.fromkeys(named)))
        for name, chosen, known in (
            ("target", self.targets, TARGETS),
            ("precision", self.precisions, (*FLOAT_PRECISIONS, self.quantized)),
        ):
            unknown = [value for value in chosen if value not in known]
            if unknown or not chosen:
                raise BadInput(f"{name} {', '.join(unknown) or '(none)'}: unknown; choose from {', '.join(known)}")
        if not any(offers(target, precision) for target in self.targets for precision in self.precisions):
            targets, precisions = ", ".join(self.targets), ", ".join(self.precisions)
            raise BadInput(f"{precisions}: {targets} has no such form; choose float32 or a quantized precision")
        if self.held_out < 1:
            raise BadInput(f"samples to verify on must be 1 or more, got {self.held_out}")
        if self.image_input and not self.bake:
            raise BadInput("an image input takes raw pixels; add --bake-preprocessing")

    @property
    def quantized(self) -> str:
        """What the quantized precision is called."""
        return self.scheme.name if self.mixed is None else "mixed"
