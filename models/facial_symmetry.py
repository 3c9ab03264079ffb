"""The symmetry of faces as a loss: both halves of a face that looks ahead belong to one person.

Prakash et al., "SymFace: Additional Facial Symmetry Loss for Deep Face Recognition", arXiv 2409.11816. Three landmarks
tell which faces look ahead; each of those is cut at the middle of its eyes, and the distance of its halves' embeddings
is added to the margin loss. The paper does not say how a half is presented to the network, so there are four ways.
The normalisation of rho and its threshold are assumed too.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import BadInput

Views = tuple[Tensor, ...]
Present = Callable[[Tensor, Tensor], Views]


def frontality(landmarks: Tensor) -> Tensor:
    """rho (B,) in 0..1: 1 for a face that looks ahead, 0 for one whose nose is under an eye.

    `1 - |x_nose - m| / (|x_right - x_left| / 2)`, where m is the middle of the eyes.

    Args:
        landmarks: (B, 3), x of the left eye, the right eye and the tip of the nose, in pixels; equal eyes give 0.
    """
    left, right, nose = landmarks.unbind(1)
    half = (right - left).abs() / 2
    away = (nose - middle_of_eyes(landmarks)).abs()
    return torch.where(half > 0, 1 - away / half.clamp(min=1e-6), 0.0).clamp(0, 1)


def middle_of_eyes(landmarks: Tensor) -> Tensor:
    """x of where a face is cut (B,), from landmarks (B, 3)."""
    return (landmarks[:, 0] + landmarks[:, 1]) / 2


def blank(faces: Tensor, middles: Tensor) -> Views:
    """Left and right half in their places, the other side 0, which is the mean colour of preprocessed faces."""
    is_left = _columns(faces) < _cut(faces, middles)
    is_left = is_left[:, None, None]  # (B, W) -> (B, 1, 1, W)
    return torch.where(is_left, faces, 0.0), torch.where(is_left, 0.0, faces)


def mirror(faces: Tensor, middles: Tensor) -> Views:
    """As `blank`, and the right half flipped to where the left one is."""
    left, right = blank(faces, middles)
    return left, right.flip(3)


def chimera(faces: Tensor, middles: Tensor) -> Views:
    """Each half and its mirror image; where that reaches over the border, the border's column goes on."""
    columns, cut = _columns(faces), _cut(faces, middles)
    reflected = 2 * cut - 1 - columns
    is_left = columns < cut
    return _taken(faces, torch.where(is_left, columns, reflected)), _taken(
        faces, torch.where(is_left, reflected, columns)
    )


def resize(faces: Tensor, middles: Tensor) -> Views:
    """Each half stretched to the width of the face."""
    width, cut = faces.shape[3], _cut(faces, middles)
    places = (_columns(faces) + 0.5) / width  # 0..1 over a half
    left, right = places * cut - 0.5, cut + places * (width - cut) - 0.5
    return _taken(faces, left.minimum(cut - 1.0)), _taken(faces, right.maximum(cut * 1.0))


def flip(faces: Tensor, middles: Tensor) -> Views:
    """The whole face mirrored, to be held against the face: the plain baseline of what halves do."""
    return (faces.flip(3),)


PRESENTATIONS: dict[str, Present] = {
    "blank": blank,
    "mirror": mirror,
    "chimera": chimera,
    "resize": resize,
    "flip": flip,
}
"""From faces (B, C, H, W) and the x of their middles (B,) to the views whose embeddings should be equal."""


@dataclass(frozen=True)
class Symmetry:
    """How halves enter training.

    Attributes:
        weight: lambda of the distance; the paper's is 1.
        presentation: of `PRESENTATIONS`.
        threshold: least rho of a face whose halves are used.
        labelled: weight of the margin loss of each view by itself; 0 leaves it out. The distance alone is smallest
            where all halves look the same.
        ramp_steps: steps during which lambda grows from 0.
    """

    weight: float = 1.0
    presentation: str = "blank"
    threshold: float = 0.8
    labelled: float = 0.0
    ramp_steps: int = 0

    def __post_init__(self) -> None:
        if self.presentation not in PRESENTATIONS:
            raise BadInput(f"symmetry: presentation must be one of {', '.join(PRESENTATIONS)}, got {self.presentation}")
        for name in ("weight", "labelled", "ramp_steps"):
            if not getattr(self, name) >= 0:
                raise BadInput(f"symmetry: {name} must be 0 or more, got {getattr(self, name)}")
        if not 0 <= self.threshold <= 1:
            raise BadInput(f"symmetry: threshold must be from 0 to 1, got {self.threshold}")

    def views(self, faces: Tensor, landmarks: Tensor) -> tuple[Tensor, Views]:
        """Indices of the faces that look ahead (S,), and their views, each (S, C, H, W)."""
        ahead = (frontality(landmarks) >= self.threshold).nonzero()[:, 0]
        return ahead, PRESENTATIONS[self.presentation](faces[ahead], middle_of_eyes(landmarks[ahead]))

    def weight_at(self, step: int) -> float:
        """Lambda in a step, counted from 0."""
        return self.weight * (min(1.0, step / self.ramp_steps) if self.ramp_steps else 1.0)


def distance(first: Tensor, second: Tensor) -> Tensor:
    """Squared distance of unit embeddings (..., D), `2 - 2 cos`: 0 to 4."""
    return (first - second).square().sum(-1)


def _columns(faces: Tensor) -> Tensor:
    """(1, W): 0, 1, ..."""
    return torch.arange(faces.shape[3], device=faces.device)[None]


def _cut(faces: Tensor, middles: Tensor) -> Tensor:
    """(B, 1): first column of the right half, so that neither half is empty."""
    return middles.ceil().long().clamp(1, faces.shape[3] - 1)[:, None]


def _taken(faces: Tensor, places: Tensor) -> Tensor:
    """Columns at the places (B, W), between two by their distance, outside of the picture the nearest."""
    places = places.clamp(0, faces.shape[3] - 1).float()
    below = places.floor()
    share = (places - below)[:, None, None].to(faces.dtype)
    low, high = (faces.gather(3, index.long()[:, None, None].expand(faces.shape)) for index in (below, places.ceil()))
    return low + share * (high - low)
