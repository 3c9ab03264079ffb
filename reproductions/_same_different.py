"""Two handwritten digits on one picture, and whether they are of one class: a task that no single place decides.

Generated from the digits that come with scikit-learn (Alpaydin and Kaynak, UCI Machine Learning Repository, 1998).
The relation of two glyphs is what single detectors cannot see: Fleuret et al., "Comparing machines and humans on a
visual categorization test", PNAS 2011; Kim et al., "Not-So-CLEVR", Interface Focus 2018, arXiv 1802.03390.
"""

from functools import cache
from typing import Literal

import torch
from torch import Tensor

from ..errors import BadInput

GLYPH = 8  # pixels of a digit's side
CLASSES = 10
_GREY = 255 / 16  # the digits have 17 grey levels


def same_different(
    count: int, seed: int, size: int = 32, channels: int = 1, split: Literal["train", "test"] = "train"
) -> tuple[Tensor, Tensor]:
    """Pictures with two digits that do not touch each other; in half of them both are of one class.

    Equal arguments give equal bits. The two digits of a class are two people's, or one's twice, never told which; a
    digit of the train split is in no picture of the test split.

    Args:
        count: pictures, at least 1.
        seed: of digits, places and order.
        size: height and width in pixels, at least 18.
        channels: of the picture; grey is repeated.
        split: whose digits are taken, those that the bundled digits train on or the 500 held out.

    Returns:
        uint8 images (count, channels, size, size), black where nothing is, and int64 labels (count,), 1 for same.

    Raises:
        BadInput: there is no such split, nothing is asked for, or two digits find no room.
    """
    if split not in ("train", "test"):
        raise BadInput(f"same_different: split must be train or test, got {split}")
    if count < 1 or channels < 1:
        raise BadInput(f"same_different: give a count and channels of at least 1, got {count} and {channels}")
    if size < 2 * GLYPH + 2:
        raise BadInput(f"same_different: two digits need a size of {2 * GLYPH + 2} or more, got {size}")
    draws = torch.Generator().manual_seed(seed)
    digits, classes = _digits(split)
    labels = (torch.arange(count) % 2)[torch.randperm(count, generator=draws)]
    first = torch.randint(CLASSES, (count,), generator=draws)
    other = (first + torch.randint(1, CLASSES, (count,), generator=draws)) % CLASSES
    second = torch.where(labels == 1, first, other)
    images = torch.zeros(count, size, size, dtype=torch.uint8)
    for wanted, corners in zip((first, second), _corners(count, size, draws)):
        _paint(images, digits[_one_of(wanted, classes, draws)], corners)
    return images.unsqueeze(1).repeat(1, channels, 1, 1), labels


@cache
def _digits(split: str) -> tuple[Tensor, Tensor]:
    """uint8 (N, 8, 8) in 0..255, and their classes (N,): the split of `models.data.digits`."""
    from sklearn.datasets import load_digits as bundled
    from sklearn.model_selection import train_test_split

    from ..models.data.digits import HELD_OUT, SPLIT_SEED

    digits = bundled()
    parts = train_test_split(
        range(len(digits.target)), test_size=HELD_OUT, stratify=digits.target, random_state=SPLIT_SEED
    )
    chosen = parts[0 if split == "train" else 1]
    images = torch.tensor(digits.images[chosen]) * _GREY
    return images.round().to(torch.uint8), torch.tensor(digits.target[chosen])


def _one_of(wanted: Tensor, classes: Tensor, draws: torch.Generator) -> Tensor:
    """For each wanted class the place of a digit of it, (count,)."""
    chances = (wanted.unsqueeze(1) == classes).float()
    return torch.multinomial(chances, 1, generator=draws).squeeze(1)


def _corners(count: int, size: int, draws: torch.Generator) -> tuple[Tensor, Tensor]:
    """Upper left corners (count, 2) of both digits, uniform among those that leave a pixel between them."""
    pairs = torch.randint(size - GLYPH + 1, (count, 2, 2), generator=draws)
    while (touching := (pairs[:, 0] - pairs[:, 1]).abs().amax(1) <= GLYPH).any():
        again = int(touching.sum())
        pairs[touching] = torch.randint(size - GLYPH + 1, (again, 2, 2), generator=draws)
    return pairs[:, 0], pairs[:, 1]


def _paint(images: Tensor, glyphs: Tensor, corners: Tensor) -> None:
    """Writes (count, 8, 8) glyphs into the images (count, H, W), one each, in place."""
    span = torch.arange(GLYPH)
    rows = (corners[:, 0, None] + span)[:, :, None]
    columns = (corners[:, 1, None] + span)[:, None, :]
    images[torch.arange(len(images))[:, None, None], rows, columns] = glyphs
