"""Embedders of generated faces, trained side by side: all nuisances and seeds of a condition at once."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state
from torch.nn import functional
from torch.utils.data import Dataset

from ..models.data import InMemory
from ..models.data.faces import FaceRecipe, generate_faces
from ..models.facial_symmetry import PRESENTATIONS, Symmetry, distance, frontality, middle_of_eyes
from ..models.margin_losses import additive_cosine
from ..models.symface import to_unit_length
from ..models.symface_training import LANDMARKS, PERSON
from ..models.verification import area, pairs_of, roc, tar_at

TAR, AUC = "tar_at_far_1", "auc"
BATCH = 64
_WIDTH, _MARGIN, _SCALE, _RATE = 32, 0.2, 16.0, 1e-3


class Perceptron(nn.Module):
    """(B, 1, 20, 20) to unit embeddings (B, 32).

    Args:
        gain: of the first weights, whose variance is that of He et al. (arXiv 1502.01852) times its square.
        draws: of the first weights.
    """

    def __init__(self, gain: float, draws: torch.Generator):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(400, 128), nn.ReLU(), nn.Linear(128, _WIDTH))
        for layer in self.layers:
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, std=gain * (2 / layer.in_features) ** 0.5, generator=draws)
                nn.init.zeros_(layer.bias)

    def forward(self, image: Tensor) -> Tensor:
        return to_unit_length(self.layers(image))


@dataclass(frozen=True)
class Setting:
    """What a network sees, and where it starts.

    Attributes:
        faces: of training and measuring.
        gain: of its first weights.
    """

    faces: FaceRecipe
    gain: float = 1.0


@dataclass(frozen=True)
class Faces:
    """What K networks are trained on and measured on: pictures (K, N, 1, 20, 20) and targets (K, N, 4)."""

    train: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]


def draw_faces(settings: Sequence[Setting], seeds: Sequence[int]) -> Faces:
    """For each setting, each seed; equal recipes and seeds give equal faces."""
    drawn = [generate_faces(setting.faces, seed) for setting in settings for seed in seeds]
    return Faces(_stacked([data.train for data in drawn]), _stacked([data.test for data in drawn]))


def _stacked(splits: Sequence[Dataset]) -> tuple[Tensor, Tensor]:
    batches = [split.batch(range(len(split))) for split in splits if isinstance(split, InMemory)]
    return torch.stack([samples for samples, _ in batches if isinstance(samples, Tensor)]), torch.stack(
        [targets for _, targets in batches]
    )


class Stack:
    """K networks and their class vectors, for each setting each seed; equal seeds see equal batches.

    Args:
        persons: to train on.
    """

    def __init__(self, settings: Sequence[Setting], seeds: Sequence[int], persons: int):
        networks, self.batches, vectors = [], [], []
        for setting in settings:
            for seed in seeds:
                draws = torch.Generator().manual_seed(seed)
                networks.append(Perceptron(setting.gain, draws))
                vectors.append(functional.normalize(torch.randn(persons, _WIDTH, generator=draws), dim=1))
                self.batches.append(draws)
        self.network = networks[0]
        self.weights, _ = stack_module_state(networks)
        self.vectors = torch.stack(vectors).requires_grad_()

    def embed(self, faces: Tensor) -> Tensor:
        """(K, N, 1, 20, 20) to (K, N, 32)."""
        return torch.vmap(lambda weights, own: functional_call(self.network, weights, (own,)))(self.weights, faces)

    def alone(self, place: int) -> Perceptron:
        """One of the networks."""
        network = Perceptron(1.0, torch.Generator())
        network.load_state_dict({name: tensor[place].detach() for name, tensor in self.weights.items()})
        return network.eval()

    def learn(self, faces: Faces, symmetry: Symmetry | None, steps: int) -> "Stack":
        """By Adam, on batches drawn with replacement."""
        optimizer = torch.optim.Adam([*self.weights.values(), self.vectors], _RATE)
        images, targets = faces.train
        each = torch.arange(len(images))[:, None]
        for _ in range(steps):
            chosen = torch.stack([torch.randint(images.shape[1], (BATCH,), generator=draws) for draws in self.batches])
            optimizer.zero_grad(set_to_none=True)
            self.loss(images[each, chosen], targets[each, chosen], symmetry).sum().backward()
            optimizer.step()
        return self

    def loss(self, images: Tensor, targets: Tensor, symmetry: Symmetry | None) -> Tensor:
        """That of `FaceVerification` for each network, (K,), with the gate as weights in place of a choice."""
        persons = targets[..., PERSON].long()
        if symmetry is None:
            return self.margin_losses(self.embed(images), persons).mean(1)
        views = views_of(images, targets, symmetry.presentation)
        whole, *halves = self.embed(torch.cat([images, *views], 1)).chunk(1 + len(views), 1)
        loss = self.margin_losses(whole, persons).mean(1)
        ahead = (frontality(targets[..., LANDMARKS].flatten(0, 1)) >= symmetry.threshold).view(persons.shape).float()
        first, second = halves if len(halves) == 2 else (whole, halves[0])
        gap = symmetry.weight * distance(first, second)
        if symmetry.labelled:
            gap = gap + symmetry.labelled * sum(self.margin_losses(half, persons) for half in halves)
        return loss + (ahead * gap).sum(1) / ahead.sum(1).clamp(min=1)

    def margin_losses(self, embeddings: Tensor, persons: Tensor) -> Tensor:
        """(K, B), by the additive cosine margin."""
        cosines = embeddings @ functional.normalize(self.vectors, dim=2).transpose(1, 2)
        logits = _SCALE * additive_cosine(cosines, persons, _MARGIN)
        return functional.cross_entropy(logits.transpose(1, 2), persons, reduction="none")

    @torch.no_grad()
    def figures(self, faces: Faces) -> list[dict[str, float]]:
        """Of each network, on all held-out pairs."""
        return measured(self.embed(faces.test[0]), faces.test[1])

    @torch.no_grad()
    def figures_of_views(self, faces: Faces, presentation: str) -> list[list[dict[str, float]]]:
        """The same where every face is shown by one of its views."""
        images, targets = faces.test
        return [measured(self.embed(view), targets) for view in views_of(images, targets, presentation)]


def measured(embeddings: Tensor, targets: Tensor) -> list[dict[str, float]]:
    """AUC and TAR at 1 % FAR of embeddings (K, N, 32), one dictionary for each network."""
    pairs = [pairs_of(own.numpy(), persons.numpy()) for own, persons in zip(embeddings, targets[..., PERSON])]
    return [{AUC: area(curve), TAR: tar_at(curve, 0.01)} for curve in map(roc, pairs)]


def views_of(images: Tensor, targets: Tensor, presentation: str) -> list[Tensor]:
    """Views of faces (K, N, 1, 20, 20), each of the same shape."""
    middles = middle_of_eyes(targets[..., LANDMARKS].flatten(0, 1))
    views = PRESENTATIONS[presentation](images.flatten(0, 1), middles)
    return [view.view(images.shape) for view in views]
