"""`load`: one door to every data set, by name or by what lies in a folder."""

from pathlib import Path

from ...errors import BadInput
from .arrays import load_npz
from .cifar10 import find_cifar10, load_cifar10
from .dataset import Data
from .digits import load_digits
from .image_folder import find_image_folders, load_image_folder
from .mnist import find_mnist, load_mnist

_LOOKED_FOR = (
    "train-images-idx3-ubyte and companions (MNIST), data_batch_1(.bin) and test_batch(.bin) (CIFAR-10), "
    "train/CLASS/ and val/CLASS/ with pictures"
)


def load(name_or_path: str | Path, channels: int = 1, size: int = 32, seed: int = 0) -> Data:
    """The data set of that name (`digits`), or the one at that path.

    Args:
        name_or_path: `digits`, a folder (MNIST, CIFAR-10, or pictures in class folders), or an `.npz` file.
        channels: channels of the images given; grey is repeated, colour becomes grey. An `.npz` is taken as it is.
        size: height and width of the images given. An `.npz` is taken as it is.
        seed: of the split of data that come without a held-out part (`.npz`); keep it for training and measuring.

    Raises:
        BadInput: nothing known lies there; the message says what was looked for.
    """
    if str(name_or_path) == "digits":
        return load_digits(channels, size)
    path = Path(name_or_path)
    if path.suffix == ".npz":
        return load_npz(path, seed)
    if not path.is_dir():
        raise BadInput(f"{path}: no such data; give `digits`, a folder or an .npz file")
    for find, load_folder in (
        (find_mnist, load_mnist),
        (find_cifar10, load_cifar10),
        (find_image_folders, load_image_folder),
    ):
        if find(path):
            return load_folder(path, channels, size)
    raise BadInput(f"{path}: no data set that is known; looked in it for {_LOOKED_FOR}")
