"""ARL: of two encoders with late fusion, each learns as strongly as its reliability asks for.

Wei, Luo and Luo, "Improving Multimodal Learning via Imbalanced Learning", ICCV 2025, arXiv 2507.10203. Only training
differs from plain fusion: gradients into the encoders are scaled (`modality_balance`), and each modality's own logits,
from the same parameters, have a loss of their own. The network that ships is the plain one (`late_fusion`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

from ..errors import BadInput
from .augment import draw_mixture
from .batches import Raw, size_of
from .data import Data
from .data.paired import IMAGE_SIZE, KEY_SOUND, TWO_VIEWS, WITH_TONES, digits_with_tones, two_view_digits
from .data.paired_files import PairedFormat, load_paired_arrays, load_paired_folder
from .data.sound import Spectrogram
from .late_fusion import Outputs, TwoSensors, perceptrons, resnets, small_convolutional
from .modality_balance import Asymmetric, Balanced, Constant, Factors, scale_gradient
from .objectives import Batch, Objective, Outcome
from .objectives.classification import Classification, cross_entropy
from .recipe import Recipe
from .system import System


class Warmup(nn.Module):
    """Counts the steps of a training, beside the network."""

    steps: Tensor

    def __init__(self, samples: int):
        super().__init__()
        self.samples = samples
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))

    def epoch(self, batch_size: int) -> int:
        """The epoch of the next step, from 0; counts that step."""
        epoch = int(self.steps) // max(1, self.samples // batch_size)
        self.steps += 1
        return epoch


@dataclass(frozen=True)
class Arl(Objective):
    """Cross-entropy of the fused logits, and gamma times that of each modality's own; encoders' gradients are scaled.

    Figures are `accuracy`, `loss`, and the accuracy of each modality alone. Samples are the two inputs, to which
    `present` is added where it does not come with them.

    Attributes:
        modalities: their names, in the network's order.
        factors: what multiplies the gradients into the encoders, batch by batch.
        gamma: weight of the modalities' own losses; 0 trains on the fused logits alone.
        warmup_epochs: at first, without scaling and with a gamma of at most 1.
    """

    modalities: tuple[str, str]
    factors: Factors
    gamma: float = 4.0
    warmup_epochs: int = 5
    classes: ClassVar[bool] = True

    def companion(self, network: nn.Module, data: Data) -> nn.Module | None:
        return Warmup(size_of(data.train))

    def inputs(self, samples: Raw, targets: Tensor, draws: torch.Generator) -> tuple[Tensor, ...]:
        assert not isinstance(samples, Tensor)
        return samples if len(samples) == 3 else (*samples, torch.ones(len(targets), 2, device=targets.device))

    def loss(self, network: nn.Module, companion: nn.Module | None, batch: Batch) -> Outcome:
        targets, recipe, draws = batch.targets, batch.recipe, batch.draws
        assert isinstance(companion, Warmup)
        first, second, present = self.inputs(batch.samples, targets, draws)
        mixture = draw_mixture(len(targets), recipe.mixup, draws) if recipe.mixup else None
        if mixture is not None:
            first, second, present = map(mixture, (first, second, present))
        is_warm = companion.epoch(recipe.batch_size) >= self.warmup_epochs
        if is_warm and isinstance(network, TwoSensors):
            outputs = self.fused(network, (network.first(first), network.second(second)), present, targets)
        else:  # so does a network that is trained for a precision, whose encoders cannot be told apart
            outputs = network(first, second, present)
        losses = [cross_entropy(logits, targets, recipe.label_smoothing, mixture) for logits in outputs]
        loss = losses[0] + self.gamma_when(is_warm) * (losses[1] + losses[2])
        return Outcome(loss, (first, second, present), outputs[0])

    def gamma_when(self, is_warm: bool) -> float:
        """The weight of the modalities' own losses, before and after the warm-up."""
        return self.gamma if is_warm else min(1.0, self.gamma)

    def fused(self, network: TwoSensors, features: tuple[Tensor, Tensor], present: Tensor, targets: Tensor) -> Outputs:
        """The network's outputs, through which the gradients of its features are scaled."""
        with torch.no_grad():
            factors = self.factors(network.fuse(*features, present)[1:], targets)
        first, second = map(scale_gradient, features, factors)
        return network.fuse(first, second, present)

    def scores(self, outputs: tuple[Tensor, ...], inputs: tuple[Tensor, ...], targets: Tensor) -> Tensor:
        """(B, 4): hit and loss, and the hit of each modality alone."""
        alone = [(logits.argmax(1) == targets).float() for logits in outputs[1:]]
        return torch.cat([Classification().scores(outputs, inputs, targets), torch.stack(alone, 1)], 1)

    def metrics(self, scores: Tensor) -> dict[str, float]:
        names = (f"accuracy_{modality}_alone" for modality in self.modalities)
        return Classification().metrics(scores[:, :2]) | dict(zip(names, scores[:, 2:].mean(0).tolist()))

    def distance(self, outputs: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        return Classification().distance(outputs, teacher, temperature)


def modes(modalities: tuple[str, str], gamma: float = 4.0, temperature: float = 4.0) -> dict[str, Arl]:
    """ARL and what it is compared with.

    `joint` trains on the fused logits alone, and so does `balanced`, which slows down the modality that is ahead; `ur`
    adds the modalities' own losses, `code` an equal scale for both, `arl` the asymmetric one.
    """
    return {
        "joint": Arl(modalities, Constant(), 0.0, 0),
        "balanced": Arl(modalities, Balanced(), 0.0, 0),
        "ur": Arl(modalities, Constant(), gamma),
        "code": Arl(modalities, Constant(1.5), gamma),
        "arl": Arl(modalities, Asymmetric(temperature), gamma),
    }


VIEWS, SENSES = ("top", "bottom"), ("image", "spectrogram")


def read_views(name: str, seed: int) -> Data:
    """`two-view-digits`, or an `.npz` with `top`, `bottom` and `labels`.

    Raises:
        BadInput: it is neither, or cannot be read.
    """
    if name == TWO_VIEWS:
        return two_view_digits(seed=seed)
    if Path(name).suffix == ".npz":
        return load_paired_arrays(Path(name), VIEWS, seed)
    raise BadInput(f"{name}: no such data; give {TWO_VIEWS}, or an .npz with top, bottom and labels")


def reader_of_pairs(form: PairedFormat) -> Callable[[str, int], Data]:
    """Reads pictures with sound: an `.npz`, a folder, or `digits-with-tones` where they have that format."""

    def read(name: str, seed: int) -> Data:
        if name == WITH_TONES and form == XS_FORM:
            return digits_with_tones(seed=seed)
        if Path(name).suffix == ".npz":
            return load_paired_arrays(Path(name), SENSES, seed)
        if Path(name).is_dir():
            return load_paired_folder(Path(name), form, seed)
        raise BadInput(
            f"{name}: no such data; give an .npz with image, spectrogram and labels, or a folder with AudioWAV/, "
            "Image-01-FPS/ and lists of id,label"
        )

    return read


XS_FORM = PairedFormat(1, IMAGE_SIZE, KEY_SOUND)
CREMA_D_FORM = PairedFormat(3, 224, Spectrogram(rate_hz=22050, length=3 * 22050, window=512, hop=353))

_SMALL = Recipe(epochs=20, label_smoothing=0.0, threads=1)
# The published rate falls by ten at epoch 70; here it follows the cosine of all recipes.
_PUBLISHED = Recipe(
    optimizer="sgd",
    learning_rate=1e-3,
    weight_decay=1e-4,
    epochs=100,
    warmup_epochs=0.0,
    label_smoothing=0.0,
    gradient_clip=40.0,
)


def _system(
    name: str,
    build: Callable[[], nn.Module],
    shapes: dict[str, tuple[int, ...]],
    dataset: str | None,
    read: Callable[[str, int], Data],
    recipe: Recipe,
    temperature: float = 4.0,
) -> System:
    first, second = shapes
    return System(
        name=name,
        paper="imbalanced-multimodal-arl",
        task="multimodal-classification",
        build=build,
        input_shapes=shapes | {"present": (1, 2)},
        output_names=("logits", f"{first}_logits", f"{second}_logits"),
        dataset=dataset,
        recipe=recipe,
        objective=modes((first, second), temperature=temperature)["arl"],
        read=read,
        source="Wei, Luo and Luo, Improving Multimodal Learning via Imbalanced Learning, ICCV 2025, arXiv 2507.10203",
    )


def _shapes(form: PairedFormat) -> dict[str, tuple[int, ...]]:
    return dict(zip(SENSES, ((1, form.channels, form.size, form.size), (1, 1, *form.spectrogram.shape))))


SYSTEMS = (
    _system("arl_digits", perceptrons, dict.fromkeys(VIEWS, (1, 32)), TWO_VIEWS, read_views, _SMALL),
    _system("arl_xs", small_convolutional, _shapes(XS_FORM), WITH_TONES, reader_of_pairs(XS_FORM), _SMALL),
    _system("arl_resnet18", resnets, _shapes(CREMA_D_FORM), None, reader_of_pairs(CREMA_D_FORM), _PUBLISHED, 8.0),
)
