"""Pictures in one folder per class, ImageNet's layout: `train/CLASS/*.jpg` and `val/CLASS/*.jpg` (or `test/`).

The shorter side is resized (bicubic) so that the centre crop keeps 87.5% of it.
"""

from pathlib import Path

from torch import Tensor
from torch.utils.data import Dataset

from ...errors import BadInput
from .dataset import Data
from .pictures import mode_of, open_picture, planes_of
from .preprocessing import Preprocessing

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
GREY_MEAN, GREY_STD = (0.449,), (0.226,)
ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".ppm", ".pgm", ".tif", ".tiff")
CROP = 0.875


class ImageFolder(Dataset):
    """Image files with their labels, decoded when asked for."""

    def __init__(self, files: list[tuple[Path, int]], channels: int, size: int):
        self.files, self.channels, self.size = files, channels, size

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        path, label = self.files[index]
        return read_image(path, self.channels, self.size), label


def find_image_folders(folder: Path) -> tuple[Path, Path] | None:
    """The train and the held-out folder, or None."""
    for held_out in ("val", "test"):
        if all(_classes(folder / part) for part in ("train", held_out)):
            return folder / "train", folder / held_out
    return None


def load_image_folder(folder: Path, channels: int, size: int) -> Data:
    """The data set in `folder`; its labels are the names of the folders in `train/`, sorted.

    Raises:
        BadInput: a class has no picture, or the held-out part has a class that `train/` lacks.
    """
    parts = find_image_folders(folder)
    if parts is None:
        raise BadInput(f"{folder}: no class folders; looked for train/CLASS/ and val/CLASS/ (or test/CLASS/)")
    if channels not in (1, 3):
        raise BadInput(f"{folder}: pictures come with 1 or 3 channels and the network wants {channels}")
    labels = _classes(parts[0])
    unknown = sorted(set(_classes(parts[1])) - set(labels))
    if unknown:
        raise BadInput(f"{parts[1]}: classes that {parts[0]} does not have: {', '.join(unknown)}")
    mean, std = (MEAN, STD) if channels == 3 else (GREY_MEAN, GREY_STD)
    train, test = (ImageFolder(_files(part, labels), channels, size) for part in parts)
    return Data(folder.resolve().name, train, test, tuple(labels), Preprocessing(1 / 255, mean, std))


def read_image(path: Path, channels: int, size: int) -> Tensor:
    """A picture as raw float32 (channels, size, size) in 0..255.

    Raises:
        UnreadablePicture: the file is no picture, or is cut short.
    """
    from PIL.Image import Resampling

    image = open_picture(path, mode_of(channels))
    factor = size / CROP / min(image.size)
    width, height = (max(size, round(side * factor)) for side in image.size)
    left, top = (width - size) // 2, (height - size) // 2
    image = image.resize((width, height), Resampling.BICUBIC).crop((left, top, left + size, top + size))
    return planes_of(image)


def _classes(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    return sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


def _files(part: Path, labels: list[str]) -> list[tuple[Path, int]]:
    files, empty = [], []
    for label, name in enumerate(labels):
        if not (part / name).is_dir():
            continue
        pictures = sorted(p for p in (part / name).rglob("*") if p.suffix.lower() in ENDINGS and p.is_file())
        if not pictures:
            empty.append(name)
        files += [(path, label) for path in pictures]
    if empty:
        raise BadInput(f"{part}: no picture in {', '.join(empty)}; known endings are {' '.join(ENDINGS)}")
    return files
