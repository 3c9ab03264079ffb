"""Two handwritten digits on one picture, and whether they are of one class: a task that no single place decides.

Generated from the digits that come with scikit-learn (Alpaydin and Kaynak, UCI Machine Learning Repository, 1998).
The relation of two glyphs is what single detectors cannot see: Fleuret et al., "Comparing machines and humans on a
visual categorization test", PNAS 2011; Kim et al., "Not-So-CLEVR", Interface Focus 2018, arXiv 1802.03390.
"""

from collections.abc import Callable
from functools import cache
from typing import Literal

import torch
from torch import Tensor, nn

from ..errors import BadInput
from ..models.data import InMemory
from ..models.data.digits import load_digits

GLYPH = 8  # pixels of a digit's side
CLASSES = 10
MEAN, STD = 0.1, 0.25  # of pixels in 0..1
TEST_SEED, TEST_COUNT = 10**6, 1000
Split = Literal["train", "test"]
Draw = Callable[[int, int, Split], tuple[Tensor, Tensor]]  # count, seed and split to images and labels


def same_different(
    count: int, seed: int, size: int = 32, channels: int = 1, split: Split = "train", grid: int = 1
) -> tuple[Tensor, Tensor]:
    """Pictures with two digits that do not overlap; in half of them both are of one class.

    Equal arguments give equal bits. The two digits of a class are drawn apart, so that they are rarely one image; a
    digit of the train split is in no picture of the test split.

    Args:
        count: pictures, at least 1.
        seed: of digits, places and order.
        size: height and width in pixels, at least 16; more where the grid wants it.
        channels: of the picture; grey is repeated.
        split: whose digits are taken, those that the bundled digits train on or the 500 held out.
        grid: digits begin at multiples of so many pixels. Under 1 they may begin anywhere; on a grid of 8 they lie in
            cells, and a small network need not learn to find them first, which takes it far more pictures.

    Returns:
        uint8 images (count, channels, size, size), black where nothing is, and int64 labels (count,), 1 for same.

    Raises:
        BadInput: there is no such split, nothing is asked for, or two digits find no room.
    """
    _check(count, channels, split, grid)
    if (size - GLYPH) // grid * grid < GLYPH:
        raise BadInput(f"same_different: {size} pixels hold no two digits on a grid of {grid}; give a larger size")
    draws = torch.Generator().manual_seed(seed)
    labels = (torch.arange(count) % 2)[torch.randperm(count, generator=draws)]
    first = torch.randint(CLASSES, (count,), generator=draws)
    other = (first + torch.randint(1, CLASSES, (count,), generator=draws)) % CLASSES
    second = torch.where(labels == 1, first, other)
    corners = _corners((count, 2), size, grid, draws)
    while (overlap := (corners[:, 0] - corners[:, 1]).abs().amax(1) < GLYPH).any():
        corners[overlap] = _corners((int(overlap.sum()), 2), size, grid, draws)
    images = torch.zeros(count, size, size, dtype=torch.uint8)
    for place, classes in enumerate((first, second)):
        _paint(images, _glyphs(classes, split, draws), corners[:, place])
    return images.unsqueeze(1).repeat(1, channels, 1, 1), labels


def one_digit(
    count: int, seed: int, size: int = 32, channels: int = 1, split: Split = "train", grid: int = 1
) -> tuple[Tensor, Tensor]:
    """Pictures of the same kind with one digit each, and its class: where a network can learn the glyphs first.

    Arguments, results and errors are those of `same_different`; labels are 0 to 9.
    """
    _check(count, channels, split, grid)
    if size < GLYPH:
        raise BadInput(f"one_digit: a digit needs {GLYPH} pixels, got a size of {size}")
    draws = torch.Generator().manual_seed(seed)
    labels = torch.randint(CLASSES, (count,), generator=draws)
    images = torch.zeros(count, size, size, dtype=torch.uint8)
    _paint(images, _glyphs(labels, split, draws), _corners((count,), size, grid, draws))
    return images.unsqueeze(1).repeat(1, channels, 1, 1), labels


def prepared(images: Tensor) -> Tensor:
    """What a network takes, from bytes."""
    return (images.float() / 255 - MEAN) / STD


@torch.no_grad()
def accuracy(network: nn.Module, draw: Draw) -> float:
    """On pictures that no training saw; leaves evaluation mode."""
    images, labels = draw(TEST_COUNT, TEST_SEED, "test")
    return float((network.eval()(prepared(images)).argmax(1) == labels).float().mean())


def _check(count: int, channels: int, split: str, grid: int) -> None:
    if split not in ("train", "test"):
        raise BadInput(f"pictures of digits: split must be train or test, got {split}")
    if min(count, channels, grid) < 1:
        raise BadInput(f"pictures of digits: count, channels, grid must be 1 or more, got {count}, {channels}, {grid}")


@cache
def _digits(split: str) -> tuple[Tensor, Tensor]:
    """uint8 (N, 8, 8) in the order of their classes, and how many there are of each class, (10,)."""
    digits = load_digits(1, GLYPH)
    part = digits.train if split == "train" else digits.test
    assert isinstance(part, InMemory)
    samples, classes = part.batch(range(len(part)))
    assert isinstance(samples, Tensor)
    in_order = samples.squeeze(1).round().to(torch.uint8)[classes.argsort(stable=True)]
    return in_order, classes.bincount(minlength=CLASSES)


def _glyphs(wanted: Tensor, split: str, draws: torch.Generator) -> Tensor:
    """A digit of each wanted class, (count, 8, 8)."""
    digits, counts = _digits(split)
    first = counts.cumsum(0) - counts
    chosen = torch.rand(len(wanted), generator=draws, dtype=torch.float64) * counts[wanted]
    return digits[first[wanted] + chosen.long()]


def _corners(shape: tuple[int, ...], size: int, grid: int, draws: torch.Generator) -> Tensor:
    """Rows and columns of upper left corners, (*shape, 2), uniform over the grid."""
    return torch.randint((size - GLYPH) // grid + 1, (*shape, 2), generator=draws) * grid


def _paint(images: Tensor, glyphs: Tensor, corners: Tensor) -> None:
    """Writes (count, 8, 8) glyphs into the images (count, H, W), one each, in place."""
    span = torch.arange(GLYPH)
    rows = (corners[:, 0, None] + span)[:, :, None]
    columns = (corners[:, 1, None] + span)[:, None, :]
    images[torch.arange(len(images))[:, None, None], rows, columns] = glyphs
