"""What a small eccNET learns from: oriented bars of an environment with chosen statistics, to be classified.

In Gupta et al., NeurIPS 2021, arXiv 2106.02953, the network is trained to classify photographs and never to search.
Here a picture of the environment holds one bar, and the class is its orientation in steps of 10 degrees; how often each
orientation occurs is what an environment is. Searches are only measured.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..errors import BadInput
from .batches import Raw
from .data import Data, InMemory, Preprocessing
from .objectives import Batch, Objective, Outcome
from .search_fixations import Looking, in_picture, window_at
from .search_stimuli import TASKS, Item, draw_items, draw_trials

STEP = 10  # degrees
CLASSES = 180 // STEP
SIZES = (4, 8, 12)
NOISE = 0.1  # of search images, contrast
_ORIENTATION = TASKS[4]


@dataclass(frozen=True)
class Environment:
    """How often orientations occur.

    Attributes:
        degrees: the commonest one, clockwise from upright.
        share: of bars with about that orientation; the others have any.
        spread: standard deviation round it, degrees.
        noise: of each pixel, contrast.
        shift: most that a bar's middle is off the picture's, degrees of visual angle.
    """

    degrees: float = 0.0
    share: float = 0.85
    spread: float = 6.0
    noise: float = 0.05
    shift: float = 0.75

    def draw(self, count: int, side: int, pixels_per_degree: float, draws: torch.Generator) -> tuple[Tensor, Tensor]:
        """Pictures (N, 1, side, side), dark and bright bars, and their classes (N,)."""
        common = torch.rand(count, generator=draws) < self.share
        near = self.degrees + self.spread * torch.randn(count, generator=draws)
        angles = torch.where(common, near, 180 * torch.rand(count, generator=draws))
        shifts = self.shift * (2 * torch.rand(count, 2, generator=draws) - 1)
        signs = torch.where(torch.rand(count, generator=draws) < 0.5, 1.0, -1.0)
        bars = draw_items([Item("bar", angle) for angle in angles.tolist()], shifts, side, pixels_per_degree)
        pictures = signs[:, None, None] * bars + self.noise * torch.randn(bars.shape, generator=draws)
        return pictures.unsqueeze(1), orientation_class(angles)


def orientation_class(degrees: Tensor) -> Tensor:
    """The nearest multiple of 10 degrees, as a class 0..17; a bar turned by 180 degrees is the same."""
    return (degrees / STEP).round().long() % CLASSES


ENVIRONMENTS = {
    "bars-vertical": Environment(),
    "bars-tilted": Environment(degrees=20.0),
    "bars-uniform": Environment(share=0.0),
}
DEFAULT = "bars-vertical"


@dataclass(frozen=True)
class ItemClassification(Objective):
    """Cross-entropy of the target encoder's deepest features, for pictures of an environment.

    Samples are a search window, a target and such a picture; targets (N, 4) are the target's cell, the row and column
    of the search image that are fixated, and the picture's class. Where a network is trained for a precision, and has
    no encoder that could be asked, it is trained to put its attention on the target.

    Attributes:
        features: numbers in the deepest features of a target.
        window: side of what the network sees, pixels.
        grid: cells along a side of the search image.
        cell: their side, pixels.
    """

    features: int
    window: int
    grid: int
    cell: int

    def companion(self, network: nn.Module, data: Data) -> nn.Module | None:
        targets = getattr(data.train, "labels", None)
        if not isinstance(targets, Tensor) or targets.shape[1:] != (4,):
            raise BadInput(
                f"{data.name}: targets are not a cell, a fixation and an orientation; give one of "
                f"{', '.join(ENVIRONMENTS)}"
            )
        return nn.Linear(self.features, CLASSES)

    def inputs(self, samples: Raw, targets: Tensor, draws: torch.Generator) -> tuple[Tensor, ...]:
        return samples[0], samples[1]

    def loss(self, network: nn.Module, companion: nn.Module | None, batch: Batch) -> Outcome:
        assert companion is not None
        inputs = self.inputs(batch.samples, batch.targets, batch.draws)
        cells, classes = batch.targets[:, 0].long(), batch.targets[:, 3].long()
        encode = getattr(network, "target_features", None)
        if encode is None:
            attention = network(*inputs)
            loss = functional.cross_entropy(self.priorities(attention, batch.targets), cells)
            # Nothing is classified, and the optimizer still holds the companion's weights.
            return Outcome(loss + 0.0 * sum(each.sum() for each in companion.parameters()), inputs, attention)
        logits = companion(encode(batch.samples[2])[-1].flatten(1))
        loss = functional.cross_entropy(logits, classes, label_smoothing=batch.recipe.label_smoothing)
        # Searching is much slower than classifying, and only a teacher asks for it.
        return Outcome(loss, inputs, network(*inputs) if batch.recipe.distillation else logits)

    def priorities(self, attention: Tensor, targets: Tensor) -> Tensor:
        """The highest attention (B, 1, H, W) within each cell, (B, cells)."""
        inside = in_picture(attention, targets[:, 1:3].long(), self.grid * self.cell, self.window)
        return functional.max_pool2d(inside.unsqueeze(1), self.cell).flatten(1)

    def scores(self, outputs: tuple[Tensor, ...], inputs: tuple[Tensor, ...], targets: Tensor) -> Tensor:
        """(B, 1): the fixation that finds the target, where cells are visited in the order of the first look."""
        priorities = self.priorities(outputs[0], targets)
        wanted = priorities.gather(1, targets[:, :1].long())
        return 1.0 + (priorities > wanted).sum(1, keepdim=True)

    def metrics(self, scores: Tensor) -> dict[str, float]:
        """Share of searches whose first fixation is on the target, and the mean number of fixations."""
        return {"found_at_once": (scores == 1).double().mean().item(), "fixations": scores.mean().item()}


_Part = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]
"""Search images, targets, their cells, pictures of an environment, their classes."""


@dataclass(frozen=True)
class Searches:
    """Searches for a bar among bars turned by 20 degrees, in windows round their middle.

    Attributes:
        pixels_per_degree: of all pictures.
        window, target: sides of what the network sees, pixels.
    """

    pixels_per_degree: float
    window: int
    target: int

    def read(self, name: str, seed: int, train: int = 1536, test: int = 192) -> Data:
        """Searches of both directions, each with a picture of the named environment.

        Searches held out begin in the middle. Those to train on, which ranges of codes are chosen on too, are at any
        fixation.

        Raises:
            BadInput: there is no such environment.
        """
        if name not in ENVIRONMENTS:
            raise BadInput(
                f"{name}: no such data to train on; give one of {', '.join(ENVIRONMENTS)}. A folder of searches is "
                "measured with models.search_folder.load_trials and models.search_fixations.look"
            )
        draws = torch.Generator().manual_seed(seed)
        environment = ENVIRONMENTS[name]
        learned, held_out = (self._part(environment, count, draws) for count in (train, test))
        side = learned[0].shape[-1]
        anywhere = torch.randint(side, (train, 2), generator=draws)
        middle = torch.full((test, 2), side // 2)
        return Data(name, self._seen(learned, anywhere), self._seen(held_out, middle), (), Preprocessing())

    def _part(self, environment: Environment, count: int, draws: torch.Generator) -> _Part:
        kinds = [(condition, size) for size in SIZES for condition in (_ORIENTATION.easy, _ORIENTATION.hard)]
        scale, each = self.pixels_per_degree, -(-count // len(kinds))
        trials = [
            draw_trials(_ORIENTATION, condition, size, each, scale, self.target, draws, NOISE)
            for condition, size in kinds
        ]
        order = torch.randperm(sum(map(len, trials)), generator=draws)[:count]
        images, targets, cells = (
            torch.cat([getattr(some, name) for some in trials])[order] for name in ("images", "targets", "target_cells")
        )
        pictures, classes = environment.draw(count, self.target, scale, draws)
        return images, targets, cells, pictures, classes

    def _seen(self, part: _Part, places: Tensor) -> InMemory:
        """With the search images as they are seen from places (N, 2)."""
        images, targets, cells, pictures, classes = part
        looking = Looking(self.window)
        windows = torch.stack([window_at(image, place, looking) for image, place in zip(images, places.tolist())])
        return InMemory((windows, targets, pictures), torch.cat([cells[:, None], places, classes[:, None]], 1).float())
