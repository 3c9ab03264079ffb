"""Crops of photographs in grey, locally normalised: two pictures that come with scikit-learn, or a folder of them.

The normalisation is that of Ladret et al., arXiv 2312.14685: less its Gaussian-weighted mean over 15x15 pixels, each
value is divided by its local norm, or by the picture's mean local norm where that is larger. A fifth of each picture,
at the end of its longer side, is held out and normalised on its own, so that no held-out value has seen a pixel of
training.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from ...errors import BadInput
from .dataset import Data, InMemory
from .image_folder import ENDINGS
from .pictures import GREY, open_picture, tell_left_out
from .preprocessing import Preprocessing

NAME = "photographs"
TRAINING, HELD_OUT = 512, 64  # crops, at least one of each picture
HELD_OUT_SHARE = 0.2
LARGEST_SIDE = 1024  # of a picture that is read; a larger one is shrunk
LEAST_CONTRAST = 0.2  # standard deviation of a crop that has something to code; whole pictures have about 0.7
_RADIUS = 7  # pixels; three standard deviations of the Gaussian


def load_photographs(name_or_path: str | Path, size: int, seed: int = 0) -> Data:
    """Crops (1, size, size), about 0 and seldom beyond 3; each one's target is the number of its picture.

    Args:
        name_or_path: `photographs`, or a folder of pictures in any format that Pillow reads.
        size: height and width of a crop.
        seed: of where training crops lie; held-out crops lie side by side, whatever the seed.

    Raises:
        BadInput: nothing lies there, more than half of the files cannot be read, or no picture is large enough.
    """
    draws = torch.Generator().manual_seed(seed)
    count, pictures = _pictures(name_or_path)
    train, test = _Crops(count, TRAINING), _Crops(count, HELD_OUT)
    for number, picture in enumerate(pictures):
        if min(picture.shape) < size:
            continue
        learned, held_out = areas(picture)
        train.add(number, random_crops(learned, size, draws))
        test.add(number, iter(_spread(tiles(held_out, size), test.each)))
    if not train.crops or not test.crops:
        raise BadInput(
            f"{name_or_path}: no picture gives crops of {size}x{size} that have some contrast, for training and held "
            f"out; give pictures of {size}x{math.ceil((size + 1) / HELD_OUT_SHARE)} or more"
        )
    name = NAME if str(name_or_path) == NAME else Path(name_or_path).resolve().name
    return Data(name, train.dataset(), test.dataset(), (), Preprocessing())


def bundled() -> list[np.ndarray]:
    """The two photographs of scikit-learn (`china.jpg`, `flower.jpg`), (427, 640) each, grey in 0..255."""
    from PIL import Image
    from sklearn.datasets import load_sample_images

    return [np.asarray(Image.fromarray(image).convert("L"), np.float32) for image in load_sample_images().images]


def pictures_in(folder: Path) -> list[Path]:
    """Files of a folder and those below it that by their ending are pictures, sorted.

    Raises:
        BadInput: there is no such folder, or no picture in it.
    """
    if not folder.is_dir():
        raise BadInput(f"{folder}: no such folder; give one with pictures, or `{NAME}`")
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in ENDINGS and path.is_file())
    if not paths:
        raise BadInput(f"{folder}: no picture in it; known endings are {' '.join(ENDINGS)}")
    return paths


def read_all(folder: Path, paths: Sequence[Path]) -> Iterator[np.ndarray]:
    """The grey pictures (H, W) of those files. One that cannot be read is left out, and a warning says how many were.

    Raises:
        BadInput: more than half of them cannot be read.
    """
    faults = []
    for path in paths:
        try:
            yield read_grey(path)
        except BadInput as error:
            faults.append(str(error))
    tell_left_out(faults, len(paths), "pictures", folder)


def read_grey(path: Path) -> np.ndarray:
    """A picture as float32 (H, W), shrunk where it is larger than `LARGEST_SIDE`; the scale is the file's own.

    Raises:
        BadInput: the file is no picture, is cut short, or holds values that are no numbers.
    """
    from PIL.Image import Resampling

    opened = open_picture(path)
    deep = opened.mode.startswith(("I", "F"))  # 16 bits and more, which grey of 8 bits would cut off
    image = opened.convert("F" if deep else GREY)
    if max(image.size) > LARGEST_SIDE:
        image.thumbnail((LARGEST_SIDE, LARGEST_SIDE), Resampling.BICUBIC)
    grey = np.array(image, np.float32)
    if not np.isfinite(grey).all():
        raise BadInput(f"{path}: holds values that are no finite numbers; replace or remove it")
    return grey


def local_contrast(grey: np.ndarray) -> np.ndarray:
    """Any (H, W) locally normalised, float32; what is flat becomes 0. Scale and offset of `grey` do not matter."""
    from scipy.ndimage import gaussian_filter

    def mean(values: np.ndarray) -> np.ndarray:
        return gaussian_filter(values, _RADIUS / 3, mode="reflect", radius=_RADIUS)

    wide = grey.astype(np.float64)
    centred = wide - mean(wide)
    norm = np.sqrt(mean(centred**2))
    # Rounding in a flat picture is no contrast.
    floor = max(float(norm.mean()), 1e-9 * float(np.abs(wide).max()), float(np.finfo(np.float64).tiny))
    return (centred / np.maximum(norm, floor)).astype(np.float32)


def areas(grey: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A picture's training and held-out area, which share no pixel, each normalised on its own."""
    axis = int(grey.shape[1] >= grey.shape[0])
    cut = round(grey.shape[axis] * (1 - HELD_OUT_SHARE))
    first, second = np.split(grey, [cut], axis=axis)
    return local_contrast(first), local_contrast(second)


def tiles(area: np.ndarray, size: int) -> list[np.ndarray]:
    """Crops of (size, size) side by side, none overlapping another, those that have contrast."""
    rows, columns = (side // size for side in area.shape)
    every = [area[size * r : size * (r + 1), size * c : size * (c + 1)] for r in range(rows) for c in range(columns)]
    return [tile for tile in every if tile.std() >= LEAST_CONTRAST]


def random_crops(area: np.ndarray, size: int, draws: torch.Generator) -> Iterator[np.ndarray]:
    """Crops of (size, size) at random places, those that have contrast; ends where such are hard to find."""
    since_last = 0
    while since_last < 100 and min(area.shape) >= size:
        top, left = (int(torch.randint(side - size + 1, (), generator=draws)) for side in area.shape)
        crop = area[top : top + size, left : left + size]
        since_last += 1
        if crop.std() >= LEAST_CONTRAST:
            since_last = 0
            yield crop


class _Crops:
    """Crops of one split as they come, as many of each picture as make the wanted number together."""

    def __init__(self, pictures: int, wanted: int):
        self.each = math.ceil(wanted / pictures)
        self.crops: list[np.ndarray] = []
        self.numbers: list[int] = []

    def add(self, number: int, crops: Iterator[np.ndarray]) -> None:
        some = list(islice(crops, self.each))
        self.crops += some
        self.numbers += [number] * len(some)

    def dataset(self) -> InMemory:
        return InMemory(torch.from_numpy(np.stack(self.crops)).unsqueeze(1), torch.tensor(self.numbers))


def _pictures(name_or_path: str | Path) -> tuple[int, Iterator[np.ndarray]]:
    """How many there are at most, and each."""
    if str(name_or_path) == NAME:
        found = bundled()
        return len(found), iter(found)
    folder = Path(name_or_path)
    paths = pictures_in(folder)
    return len(paths), read_all(folder, paths)


def _spread(items: list[np.ndarray], count: int) -> list[np.ndarray]:
    """At most `count` of them, from the first to the last."""
    places = np.unique(np.linspace(0, len(items) - 1, min(count, len(items))).round().astype(int))
    return [items[place] for place in places]
