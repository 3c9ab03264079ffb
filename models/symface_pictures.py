"""What the report shows of a face embedder: faces with their halves, and the ROC curve of an artifact's embeddings."""

import numpy as np
import torch
from torch.nn.functional import pad

from .facial_symmetry import blank, middle_of_eyes
from .picture import Picture, RunArtifact, png_of
from .symface_training import LANDMARKS, PERSON, first_of_each
from .verification import Pairs, Roc, area, pairs_of, roc, tar_at

FACES = 6
MOST_SAMPLES = 200
LEAST_FAR = 1e-3
SIDE = 240  # pixels of the plot


def illustrate(run: RunArtifact, inputs: dict[str, np.ndarray], targets: np.ndarray) -> tuple[Picture, ...]:
    """Both pictures, or the faces alone where the samples hold no pairs of both kinds."""
    images, targets = inputs["image"][:MOST_SAMPLES], targets[:MOST_SAMPLES]
    embeddings = np.concatenate([run({"image": images[i : i + 1]})["embedding"] for i in range(len(images))])
    pairs = pairs_of(embeddings, targets[:, PERSON])
    pictures = [_faces(images, targets, embeddings)]
    return (*pictures, _curve(pairs)) if pairs.measurable else tuple(pictures)


def _faces(images: np.ndarray, targets: np.ndarray, embeddings: np.ndarray) -> Picture:
    places = np.flatnonzero(first_of_each(targets[:, PERSON]))[:FACES]
    faces = torch.from_numpy(images[places])
    views = blank(faces, middle_of_eyes(torch.from_numpy(targets[places, LANDMARKS])))
    low, high = faces.amin((1, 2, 3), keepdim=True), faces.amax((1, 2, 3), keepdim=True)
    shown = [pad((part - low) / (high - low).clamp(min=1e-6), (0, 1, 0, 1), value=1.0) for part in (faces, *views)]
    rows = [torch.cat(list(part), 2) for part in shown]
    pixels = torch.cat(rows, 1).permute(1, 2, 0).squeeze(2).numpy()  # (C, 3 H', n W') -> (3 H', n W'[, C])
    return Picture(
        "Faces and their halves",
        "Held-out persons as the network sees them, and the left and right half that training draws together.",
        png_of(pixels, max(1, 100 // faces.shape[3])),
    )


def _curve(pairs: Pairs) -> Picture:
    curve = roc(pairs)
    return Picture(
        "Verification",
        f"Share of same pairs accepted (up, 0 to 1) by that of different ones (to the right, {LEAST_FAR:g} to 1, "
        f"logarithmic), from the artifact's embeddings: {pairs.same.sum():,} same and {(~pairs.same).sum():,} other "
        f"pairs, area {area(curve):.4f}, {tar_at(curve, 0.01):.1%} of the same accepted at 1%.",
        png_of(plot(curve)),
    )


def plot(curve: Roc) -> np.ndarray:
    """The curve in grey (SIDE, SIDE), with lines at each tenth of `far`, and every quarter of `tar`."""
    from PIL import Image, ImageDraw

    image = Image.new("L", (SIDE, SIDE), 255)
    draw = ImageDraw.Draw(image)
    decades = round(-np.log10(LEAST_FAR))
    for place in np.linspace(0, SIDE - 1, decades + 1).round():
        draw.line([(place, 0), (place, SIDE - 1)], 210)
    for place in np.linspace(0, SIDE - 1, 5).round():
        draw.line([(0, place), (SIDE - 1, place)], 210)
    across = 1 + np.log10(np.maximum(curve.far, LEAST_FAR)) / decades
    points = np.stack([across, 1 - curve.tar], 1) * (SIDE - 1)
    draw.line([(float(x), float(y)) for x, y in points], 0, 2)
    return np.asarray(image, np.float32) / 255
