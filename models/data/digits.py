"""The 1797 handwritten digits that come with scikit-learn, 8x8 pixels in 17 grey levels: no download.

E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository, 1998.
"""

import torch

from .dataset import Data, InMemory
from .preprocessing import Preprocessing

HELD_OUT = 500
SPLIT_SEED = 0
# Mean and spread of the train split's pixels, in 0..1.
MEAN, STD = 0.305, 0.376


def load_digits(channels: int, size: int) -> Data:
    """1297 images to train on and 500 held out, stratified.

    The split is the same whatever the training seed, so that no run is measured on an image it was trained on.
    """
    from sklearn.datasets import load_digits as bundled
    from sklearn.model_selection import train_test_split

    digits = bundled()
    images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) * (255 / 16)  # (1797, 1, 8, 8)
    labels = torch.tensor(digits.target)
    train, test = train_test_split(
        range(len(labels)), test_size=HELD_OUT, stratify=digits.target, random_state=SPLIT_SEED
    )
    return Data(
        name="digits",
        train=InMemory(images[train], labels[train], channels, size),
        test=InMemory(images[test], labels[test], channels, size),
        labels=tuple(str(digit) for digit in range(10)),
        preprocessing=Preprocessing(1 / 255, (MEAN,) * channels, (STD,) * channels),
    )
