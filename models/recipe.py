"""`Recipe`: how a network is trained, as one flat value that prints, compares and is kept with the run."""

from dataclasses import dataclass

from ..errors import BadInput

OPTIMIZERS = ("adamw", "sgd", "muon")


@dataclass(frozen=True)
class Recipe:
    """Training hyper-parameters.

    Attributes:
        optimizer: `adamw`, `sgd` (Nesterov momentum 0.9), or `muon` (for hidden matrices, with AdamW for the rest).
        learning_rate: peak rate, reached at the end of the warm-up.
        weight_decay: on matrices and kernels only; biases, norms and scalars are exempt.
        epochs: passes over the training split.
        batch_size: samples per step, over all processes together.
        warmup_epochs: linear warm-up from 1% of the peak; may be a fraction.
        final_learning_rate: where the cosine ends, as a fraction of the peak.
        label_smoothing: in [0, 1).
        mixup: Beta parameter of mixup; 0 turns it off.
        ema: decay of the weight average that is evaluated and kept; 0 turns it off.
        gradient_clip: largest global gradient norm; 0 turns it off.
        shift_pixels: augmentation, random shift by up to this many pixels in each direction.
        flip: augmentation, random horizontal flip.
        distillation: share of the loss that is the distance to a teacher's outputs, in [0, 1].
        temperature: that both outputs are divided by for that distance.
        threads: CPU threads; 0 leaves torch's choice. A small network is as fast on one thread, gives then the same
            bits whatever the number of cores, and does not crawl when other programs want the cores too.
    """

    optimizer: str = "adamw"
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    epochs: int = 30
    batch_size: int = 64
    warmup_epochs: float = 2.0
    final_learning_rate: float = 0.01
    label_smoothing: float = 0.1
    mixup: float = 0.0
    ema: float = 0.0
    gradient_clip: float = 1.0
    shift_pixels: int = 0
    flip: bool = False
    distillation: float = 0.0
    temperature: float = 4.0
    threads: int = 0

    def __post_init__(self) -> None:
        faults = []
        if self.optimizer not in OPTIMIZERS:
            faults.append(f"optimizer must be {', '.join(OPTIMIZERS[:-1])} or {OPTIMIZERS[-1]}, got {self.optimizer}")
        for name in ("learning_rate", "epochs", "batch_size", "temperature"):
            if not getattr(self, name) > 0:
                faults.append(f"{name} must be above 0, got {getattr(self, name)}")
        for name in ("weight_decay", "warmup_epochs", "mixup", "gradient_clip", "shift_pixels", "threads"):
            if not getattr(self, name) >= 0:
                faults.append(f"{name} must be 0 or more, got {getattr(self, name)}")
        for name in ("label_smoothing", "ema"):
            if not 0 <= getattr(self, name) < 1:
                faults.append(f"{name} must be in [0, 1), got {getattr(self, name)}")
        if not 0 <= self.distillation <= 1:
            faults.append(f"distillation must be in [0, 1], got {self.distillation}")
        if faults:
            raise BadInput("recipe: " + "; ".join(faults))
