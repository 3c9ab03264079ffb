"""Pictures of sparse coding: kernels, crops with their reconstruction, and curves that lie where their points are."""

from io import BytesIO

import numpy as np
import torch
from offramp.models.kernel_heterogeneity import Strided
from offramp.models.kernel_pictures import CUTOFFS, draw_curves, illustrate, mosaic, trade_off
from offramp.models.log_gabor import LogGabors
from offramp.models.sparse_coding import fista, psnr, sparseness
from PIL import Image

BANK = LogGabors(4, (0.2, 0.5), size=6)
OPERATOR = Strided(BANK.kernels().float(), 2)


def drawn(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def artifact(inputs):
    """What an artifact that is exact would give: the outputs, as arrays by name."""
    found = fista(OPERATOR, torch.from_numpy(inputs["image"]), 0.05, 20)
    return {"code": found.code.numpy(), "reconstruction": found.reconstruction.numpy()}


def test_pictures_show_what_the_artifact_made():
    images = drawn(8, 1, 16, 16)
    shown = illustrate(BANK, OPERATOR, artifact, {"image": images.numpy()})
    assert [picture.title for picture in shown] == [
        "Dictionary",
        "Crops and their reconstruction",
        "Fewer coefficients",
    ]
    sizes = [Image.open(BytesIO(picture.png)).size for picture in shown]
    # 4 orientations by 2 bandwidths by 2 phases, and two rows of 6 crops, each with a border, 3 times as large.
    assert sizes == [(3 * 4 * 8, 3 * 4 * 8), (3 * 6 * 18, 3 * 2 * 18), (480, 320)]
    found = fista(OPERATOR, images[:6], 0.05, 20)
    ratio, zeros = psnr(images[:6], found.reconstruction).mean().item(), sparseness(found.code).mean().item()
    assert f"{ratio:.1f} dB from codes that are {zeros:.1%} zeros" in shown[1].caption


def test_fewer_coefficients_give_fewer_decibels():
    images = drawn(2, 1, 16, 16)
    points = trade_off(OPERATOR, images, fista(OPERATOR, images, 0.05, 50).code)
    kept, decibels = zip(*points)
    assert len(points) == len(CUTOFFS) and list(kept) == sorted(kept, reverse=True) and kept[0] > kept[-1]
    assert decibels[0] > decibels[-1]


def test_curves_are_drawn_where_their_points_are():
    pixels = draw_curves({"one": [(0.0, 0.0), (10.0, 5.0)], "two": [(0.0, 5.0), (10.0, 5.0)]}, "x", "y", (200, 100))
    assert pixels.shape == (100, 200, 3)
    blue, orange = (
        np.all(np.isclose(pixels, np.array(colour) / 255), axis=2) for colour in ((0, 90, 160), (200, 80, 0))
    )
    assert blue[60, 48] and orange[24, 100] and not blue[24, 100]  # ends of the first, middle of the second
    assert draw_curves({"flat": [(1.0, 1.0)]}, "x", "y").min() == 0


def test_a_dictionary_of_one_bandwidth_fills_its_mosaic():
    assert mosaic(LogGabors(6, (0.2,), size=5)).shape == (7, 12 * 7)
    assert mosaic(LogGabors(5, (0.2, 0.3), size=5)).shape == (5 * 7, 4 * 7)
