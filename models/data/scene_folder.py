"""Pictures with a class for each pixel, in the layout of ADE20K (Zhou et al., IJCV 2019, arXiv 1608.05442).

`images/training/NAME.jpg` with `annotations/training/NAME.png`, and `validation/` beside both. An annotation is a
grey picture of the same size: 0 where nothing is labelled, else the class, from 1 on.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ...errors import BadInput
from .dataset import Data
from .image_folder import ENDINGS, GREY_MEAN, GREY_STD, MEAN, STD
from .pictures import UnreadablePicture, mode_of, open_picture, planes_of, tell_left_out
from .preprocessing import Preprocessing

if TYPE_CHECKING:
    from PIL.Image import Image, Resampling

UNLABELLED = -1.0
SPLITS = ("training", "validation")


@dataclass(frozen=True)
class SceneFormat:
    """What a network takes and tells.

    Attributes:
        channels: 1 or 3.
        size: height and width in pixels.
        classes: of a pixel.
    """

    channels: int
    size: int
    classes: int


class SceneFiles(Dataset):
    """Pictures (channels, size, size) in 0..255 and their pixels' classes (size * size,), decoded when asked for.

    The shorter side is resized to `size` and the centre cut out: bilinearly, and classes to the nearest. Classes count
    from 0; `UNLABELLED` where there is none.
    """

    def __init__(self, pairs: list[tuple[Path, Path]], form: SceneFormat):
        self.pairs, self.form = pairs, form

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return read_scene(*self.pairs[index], self.form)


def load_scene_folder(folder: Path, form: SceneFormat) -> Data:
    """The data set in `folder`. Pictures that cannot be read are left out, with a warning that counts them.

    Every picture is decoded once.

    Raises:
        BadInput: a folder or an annotation is missing, a picture is not of its annotation's size, there is a class that
            the network does not tell, or more than half of a split cannot be read.
    """
    if form.channels not in (1, 3):
        raise BadInput(f"{folder}: pictures come with 1 or 3 channels and the network wants {form.channels}")
    train, test = (SceneFiles(_readable(folder, split, _pairs(folder, split), form), form) for split in SPLITS)
    mean, std = (MEAN, STD) if form.channels == 3 else (GREY_MEAN, GREY_STD)
    return Data(folder.resolve().name, train, test, (), Preprocessing(1 / 255, mean, std))


def read_scene(picture: Path, annotation: Path, form: SceneFormat) -> tuple[Tensor, Tensor]:
    """One picture and its pixels' classes.

    Raises:
        UnreadablePicture: either is no picture, or is cut short.
        BadInput: they differ in size, or there is a class that the network does not tell.
    """
    from PIL.Image import Resampling

    pixels = open_picture(picture, mode_of(form.channels))
    said = open_picture(annotation)
    if said.mode not in ("L", "P", "I", "I;16"):
        raise BadInput(f"{annotation}: has colours ({said.mode}); an annotation is grey, its values are classes")
    if said.size != pixels.size:
        found = " and ".join(f"{width} x {height}" for width, height in (pixels.size, said.size))
        raise BadInput(f"{annotation}: {picture.name} and its annotation are of {found}; they must be equal")
    highest = int(np.array(said).max())
    if highest > form.classes:
        raise BadInput(f"{annotation}: holds class {highest}; the network tells {form.classes}, numbered from 1")
    planes = planes_of(_cut(pixels, form.size, Resampling.BILINEAR))
    classes = np.array(_cut(said, form.size, Resampling.NEAREST), np.float32)
    return planes, torch.from_numpy(classes).flatten() - 1


def _cut(image: "Image", size: int, resampling: "Resampling") -> "Image":
    factor = size / min(image.size)
    width, height = (max(size, round(side * factor)) for side in image.size)
    left, top = (width - size) // 2, (height - size) // 2
    return image.resize((width, height), resampling).crop((left, top, left + size, top + size))


def _pairs(folder: Path, split: str) -> list[tuple[Path, Path]]:
    pictures, annotations = folder / "images" / split, folder / "annotations" / split
    for part in (pictures, annotations):
        if not part.is_dir():
            raise BadInput(f"{part}: no such folder; give images/{split}/*.jpg and annotations/{split}/*.png")
    found = sorted(path for path in pictures.iterdir() if path.suffix.lower() in ENDINGS and path.is_file())
    if not found:
        raise BadInput(f"{pictures}: no picture in it; known endings are {' '.join(ENDINGS)}")
    pairs = [(path, annotations / f"{path.stem}.png") for path in found]
    missing = [path for _, path in pairs if not path.is_file()]
    if missing:
        raise BadInput(f"{missing[0]}: no such annotation ({len(missing)} of {len(pairs)} pictures have none)")
    return pairs


def _readable(folder: Path, split: str, pairs: list[tuple[Path, Path]], form: SceneFormat) -> list[tuple[Path, Path]]:
    whole, faults = [], []
    for pair in pairs:
        try:
            read_scene(*pair, form)
            whole.append(pair)
        except UnreadablePicture as error:
            faults.append(error)
    tell_left_out(faults, len(pairs), f"pictures in {split}", folder)
    return whole
