"""Trains a float network further for the precision that it ships in (quantization-aware training).

The result is a quantized program and a run beside the float run, `runs/NAME.SCHEME/`, which a cut-off training goes on
from and a later call finds again: as long as the float weights, the scheme and the recipe are the same, nothing is
trained twice.
"""

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from .errors import BadInput
from .models.batches import size_of
from .models.data import Data
from .models.recipe import Recipe
from .models.run import Run, restore
from .models.system import System
from .models.training import train
from .quant.capture import Captured
from .quant.program import QuantizedProgram
from .quant.scheme import Scheme
from .sources import Source

if TYPE_CHECKING:
    from .quant.qat.network import Stages

# What a training starts from; how weights are rounded without training does not matter to it.
_SCHEME_MATTERS = {
    *("weight_bits", "activation_bits", "border_bits", "layers"),
    *("calibration", "percentile", "samples", "keep_float", "keep_int8"),
}


@dataclass(frozen=True)
class Finetuning:
    """How quantization-aware training goes; None leaves the choice to the scheme.

    Attributes:
        epochs: passes over the training split.
        learning_rate: peak rate.
        distillation: share of the loss that is the distance to the float network's outputs, in [0, 1].
        estimator: how gradients pass a sign: `plain`, `clipped` or `approximate`.
        frozen: last share of the training during which batch norms keep their statistics.
        real_weights: first share of the training during which weights to become ±1 or ternary stay real.
    """

    epochs: int | None = None
    learning_rate: float | None = None
    distillation: float | None = None
    estimator: str = "approximate"
    frozen: float = 0.2
    real_weights: float | None = None

    def __post_init__(self) -> None:
        for name in ("distillation", "frozen", "real_weights"):
            share = getattr(self, name)
            if share is not None and not 0 <= share <= 1:
                raise BadInput(f"{name} must be a share from 0 to 1, got {share}")

    def recipe(self, base: Recipe, scheme: Scheme) -> Recipe:
        """The network's own recipe, shorter and gentler: the fewer the bits, the longer and stronger it stays."""
        epochs, share, distillation = _effort(scheme)
        return replace(
            base,
            epochs=self.epochs or epochs,
            learning_rate=self.learning_rate or share * base.learning_rate,
            warmup_epochs=min(0.5, base.warmup_epochs),
            weight_decay=0.0,
            ema=0.0,
            distillation=distillation if self.distillation is None else self.distillation,
        )

    def stages(self, epochs: int, steps_per_epoch: int, scheme: Scheme) -> "Stages":
        """The shares in steps."""
        from .quant.qat.network import Stages

        steps = epochs * steps_per_epoch
        real = self.real_weights if self.real_weights is not None else (0.3 if scheme.activation_bits == 1 else 0.0)
        return Stages(freeze_norms=round((1 - self.frozen) * steps), quantize_weights=round(real * steps))


def _effort(scheme: Scheme) -> tuple[int, float, float]:
    """(epochs, share of the network's own learning rate, distillation), from trials on the digits.

    With 8 bits between layers the float network is all but reached, so training stays near it and follows it closely.
    """
    weight = min([scheme.weight_bits, *(bits for _, bits, _ in scheme.layers)])
    activation = min([scheme.activation_bits, *(bits for _, _, bits in scheme.layers)])
    if activation == 1:
        return 80, 1.0, 0.5
    if weight <= 2:
        return 30, 0.5, 0.5
    if activation < 8:
        return 20, 0.25, 0.5
    return 8 if weight < 8 else 5, 0.1, 0.9


def finetune(
    source: Source,
    captured: Captured,
    samples: Sequence[tuple[Tensor, ...]],
    data: Data,
    scheme: Scheme,
    tuning: Finetuning,
    folder: Path,
    seed: int = 0,
    device: str = "cpu",
) -> tuple[QuantizedProgram, Run]:
    """Trains `source` for `scheme`, starting as post-training quantization leaves it.

    Args:
        captured: the float network for one sample.
        samples: calibration inputs.
        data: the splits; the test split only measures.
        folder: of the run.

    Returns:
        The program, whose outputs are those of the trained network, and the run.

    Raises:
        BadInput: the network takes several inputs, or treats samples of a batch differently.
        OfframpError: the loss became NaN or infinite.
    """
    objective = source.system.objective if source.system is not None else None
    if len(captured.input_names) != 1 and objective is None:
        raise BadInput(
            f"{source.name}: takes {len(captured.input_names)} inputs; training for a precision takes networks of one"
        )
    if isinstance(source.network, GraphModule):
        raise BadInput(f"{source.origin}: is fixed to one sample; train it as a system, a run or package.module:build")
    # What mends integers after training has no say where they are trained.
    scheme = replace(scheme, rounding="nearest", correct_bias=False, equalize=False, smooth=None)
    base = source.system.recipe if source.system else Recipe(threads=1)
    recipe = tuning.recipe(base, scheme)
    batch = min(recipe.batch_size, size_of(data.train))
    recipe = replace(recipe, batch_size=batch)
    # Loads Brevitas, which nothing else at the start of a verb needs.
    from .quant.qat.read import lower_trained
    from .quant.qat.start import trainable

    stages = tuning.stages(recipe.epochs, math.ceil(size_of(data.train) / batch), scheme)
    network = trainable(source.network, captured, samples, scheme, batch, stages, tuning.estimator)
    system = System(
        name=f"{source.name}.{scheme.name} {_digest(source.network, scheme, tuning)}",
        paper=source.paper,
        task=source.task or "image-classification",
        build=lambda: network,
        input_shapes={name: tuple(x.shape) for name, x in zip(captured.input_names, captured.example_inputs)},
        objective=objective,
    )
    run = _trained(system, data, recipe, folder, seed, device, source.network)
    restore(run, network)
    return lower_trained(network, captured, scheme), run


def _trained(
    system: System, data: Data, recipe: Recipe, folder: Path, seed: int, device: str, teacher: nn.Module
) -> Run:
    try:
        return train(system, data, recipe, folder, seed, resume=True, device=device, teacher=teacher)
    except BadInput:
        if not (folder / "training").is_dir():
            raise
        # What lies there was cut off before its float network, scheme or recipe changed: begin anew.
        return train(system, data, recipe, folder, seed, resume=False, device=device, teacher=teacher)


def _digest(network: nn.Module, scheme: Scheme, tuning: Finetuning) -> str:
    """Tells trainings apart that start from other weights or go another way."""
    matters = {name: value for name, value in scheme.to_json().items() if name in _SCHEME_MATTERS}
    digest = hashlib.sha256(json.dumps([matters, asdict(tuning)], sort_keys=True).encode())
    for name, value in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:12]
