"""Generated faces: smooth fields, nearly symmetric, seen under side light and with half of them covered.

They follow what the symmetry loss assumes (Prakash et al., SymFace, arXiv 2409.11816): a person is the symmetric part
of a picture, and what disturbs it comes from one side. The persons held out are others than those to train on.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .dataset import Data, InMemory
from .preprocessing import Preprocessing

SYMMETRIC, TURNED = "symmetric-faces", "turned-faces"
SIZE = 20
SMOOTHNESS = 1.6  # standard deviation of the blur, in pixels
ASYMMETRY = 0.25  # of a person's own face
GRAIN = 0.3
EYES = 0.42  # from the middle, where the border is 1
MOST_TURN = 0.6
MOST_SHIFT = 2  # pixels


@dataclass(frozen=True)
class FaceRecipe:
    """What is drawn.

    Attributes:
        nuisance: strength of side light and covers, where a face's own values have a spread of 1.
        train, test: persons and pictures of each.
        turned: faces look aside by a random angle and stand off the middle.
    """

    nuisance: float = 0.8
    train: tuple[int, int] = (40, 4)
    test: tuple[int, int] = (60, 10)
    turned: bool = False


def generate_faces(recipe: FaceRecipe, seed: int = 0) -> Data:
    """Pictures (1, 20, 20) of zero mean, and targets (4,): number of the person, and x of left eye, right eye and nose.

    Args:
        seed: of everything that is drawn.
    """
    draws = torch.Generator().manual_seed(seed)
    parts: list[InMemory] = []
    first = 0
    for persons, pictures in (recipe.train, recipe.test):
        faces, landmarks = _pictures(persons, pictures, recipe, draws)
        numbers = torch.arange(first, first + persons).repeat_interleave(pictures)
        parts.append(InMemory(faces, torch.cat([numbers[:, None].float(), landmarks], 1)))
        first += persons
    train, test = parts
    return Data(TURNED if recipe.turned else SYMMETRIC, train, test, (), Preprocessing())


def named_faces(name: str, seed: int = 0) -> Data | None:
    """The generated data of that name, with more pictures of each person to train on; None for another name."""
    if name not in (SYMMETRIC, TURNED):
        return None
    return generate_faces(FaceRecipe(train=(100, 8), turned=name == TURNED), seed)


def _pictures(persons: int, pictures: int, recipe: FaceRecipe, draws: torch.Generator) -> tuple[Tensor, Tensor]:
    """(N, 1, 20, 20) and landmarks (N, 3), person after person."""
    own = _smooth(persons, draws)
    own = _standardised(own + own.flip(2)) + ASYMMETRY * _smooth(persons, draws)
    faces = own.repeat_interleave(pictures, 0)
    count = len(faces)
    turns, shifts = torch.zeros(count), torch.zeros(count)
    if recipe.turned:
        turns = MOST_TURN * (2 * torch.rand(count, generator=draws) - 1)
        shifts = torch.randint(-MOST_SHIFT, MOST_SHIFT + 1, (count,), generator=draws).float()
        faces = turn(faces, turns, shifts)
    return _disturbed(faces, recipe.nuisance, draws)[:, None], landmarks_of(turns, shifts)


def turn(faces: Tensor, turns: Tensor, shifts: Tensor) -> Tensor:
    """Faces (N, H, W) that look aside: what is at p, from -1 to 1 over the width, moves to `p + turn (1 - |p|)`.

    Args:
        turns: (N,), in -1..1.
        shifts: (N,), to the right afterwards, in pixels; the border's column goes on.
    """
    width = faces.shape[2]
    seen = _places(width)[None] - shifts[:, None] * 2 / (width - 1)  # where the middle column looks in the turned face
    away = (seen - turns[:, None]).clamp(-2, 2)
    side = torch.where(away > 0, 1 - turns[:, None], 1 + turns[:, None])
    columns = ((away / side).clamp(-1, 1) + 1) / 2 * (width - 1)
    below = columns.floor()
    low, high = (faces.gather(2, index.long()[:, None].expand(faces.shape)) for index in (below, columns.ceil()))
    return low + (columns - below)[:, None] * (high - low)


def landmarks_of(turns: Tensor, shifts: Tensor, width: int = SIZE) -> Tensor:
    """x of left eye, right eye and nose (N, 3) of faces that `turn` made, in pixels; rho is `1 - |turn|`."""
    straight = torch.tensor([-EYES, EYES, 0.0])
    places = straight + turns[:, None] * (1 - straight.abs())
    return (places + 1) / 2 * (width - 1) + shifts[:, None]


def _disturbed(faces: Tensor, nuisance: float, draws: torch.Generator) -> Tensor:
    """Side light that scales and adds, a blotch on one half, and grain."""
    count, _, width = faces.shape
    ramp = _places(width)
    gains, lights = torch.randn(2, count, 1, 1, generator=draws)
    is_left = torch.rand(count, 1, 1, generator=draws) < 0.5
    blotches = torch.where(is_left == (ramp < 0), _smooth(count, draws), 0.0)
    lit = faces * (1 + nuisance * 0.5 * gains.tanh() * ramp) + nuisance * lights * ramp
    return lit + nuisance * blotches + GRAIN * torch.randn(faces.shape, generator=draws)


def _places(width: int) -> Tensor:
    return torch.linspace(-1, 1, width)


def _smooth(count: int, draws: torch.Generator) -> Tensor:
    """Blurred Gaussian fields of unit spread, (N, 20, 20)."""
    from scipy.ndimage import gaussian_filter

    noise = torch.randn(count, SIZE, SIZE, generator=draws).numpy()
    return _standardised(torch.from_numpy(gaussian_filter(noise, (0, SMOOTHNESS, SMOOTHNESS)).astype(np.float32)))


def _standardised(fields: Tensor) -> Tensor:
    """Zero mean and unit spread, each."""
    centred = fields - fields.mean((1, 2), keepdim=True)
    return centred / centred.std((1, 2), keepdim=True, correction=0)
