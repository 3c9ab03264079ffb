"""The CARE Transformer as a backbone: the maps of its four stages, for detection and segmentation.

Zhou et al., CVPR 2025, arXiv 2411.16170, use it under Mask R-CNN and Semantic FPN; those settings were not released.
The weights are the classifier's, name by name, without its heads.
"""

from torch import Tensor, nn

from .care_transformer import S0, SOURCE, CareConfig, CareTransformer, fold, stage_maps
from .system import System

LEVELS = ("c2", "c3", "c4", "c5")  # named by the logarithm of their stride, as feature pyramids are


class CarePyramid(nn.Module):
    """An image (B, C, H, W) to one map a stage, at strides 4, 8, 16 and 32 under a stem of stride 4.

    Maps are what a stage's last block gives: 4g channels each, but `class_dim` in the last stage, whose last block has
    no projection and no skip. That one is the very map that the classifier pools, so that its mean over positions is
    what the heads' GELU takes. Where a side is no multiple of the last stride, maps are cut at its end.

    Args:
        classifier: whose modules these are; both share their weights.
    """

    def __init__(self, classifier: CareTransformer):
        super().__init__()
        self.stem, self.downsample, self.stages = classifier.stem, classifier.downsample, classifier.stages

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        return tuple(stage_maps(self.stem, self.downsample, self.stages, image))


def widths(config: CareConfig) -> tuple[int, ...]:
    """Channels of each map."""
    return (*(4 * g for g in config.memory_dims[:-1]), config.class_dim)


def strides(config: CareConfig) -> tuple[int, ...]:
    """Pixels of the image from one position of each map to the next."""
    return tuple(config.stem * 2**stage for stage in range(len(config.memory_dims)))


SYSTEMS = (
    System(
        name="care_s0_pyramid",
        paper="care-transformer",
        task="feature-pyramid",
        build=lambda: CarePyramid(CareTransformer(S0)),
        input_shapes={"image": (1, 3, 256, 256)},
        output_names=LEVELS,
        ship=fold,
        source=SOURCE,
    ),
)
