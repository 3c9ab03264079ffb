"""AsCAN as a generator: a U-Net of convolution and transformer blocks that tells a noisy image from its noise.

Kag et al., "AsCAN: Asymmetric Convolution-Attention Networks for Efficient Recognition and Generation", NeurIPS 2024,
arXiv 2411.04967. Blocks of the down path are mirrored in the up path, C before T where maps are large, more T where
they are small. The paper's widths, layouts and the inside of its blocks were not at hand. Both blocks here are
reconstructed: group norms and adaptive layer norms whose scale and shift come from time step and class. The
text-to-image variant adds cross-attention to a frozen text encoder and is left out: a class is one vector, which leaves
nothing to attend to.
"""

import math
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ..errors import BadInput
from .ascan_blocks import Attention
from .data import Data, Preprocessing, load
from .diffusion import NoisePrediction, Sampler, Schedule, in_batches, noise_by, with_clean_targets
from .picture import Picture, RunArtifact, png_of
from .recipe import Recipe
from .system import System

_LONGEST_PERIOD = 10_000.0  # of the time step's sinusoids, as in Vaswani et al., arXiv 1706.03762
_ROWS = 3  # of drawn digits in a report


@dataclass(frozen=True)
class AscanUnetConfig:
    """Sizes of a generator.

    Attributes:
        layout: blocks of each stage of the down path; the up path has them in reverse.
        middle: blocks between the paths.
        widths: channels of each stage; each but the first has half the side of the one before.
        patch: side of the squares of pixels that become one position, where the paper has an autoencoder's latents.
        classes: that can be asked for; one more input of `label` stands for none.
        in_channels: of the image.
        embedding: width of the vector that time step and class become.
        groups: of channels, for the group norms.
        head_dim: channels of an attention head.
        schedule: of the noise.
    """

    layout: tuple[str, ...] = ("CC", "CT")
    middle: str = "T"
    widths: tuple[int, ...] = (16, 32)
    patch: int = 2
    classes: int = 10
    in_channels: int = 1
    embedding: int = 64
    groups: int = 8
    head_dim: int = 16
    schedule: Schedule = field(default_factory=Schedule)

    def __post_init__(self) -> None:
        if len(self.layout) != len(self.widths):
            raise BadInput(f"AsCAN U-Net: {len(self.layout)} stages and {len(self.widths)} widths; give one of each")
        if words := [blocks for blocks in (*self.layout, self.middle) if not blocks or set(blocks) - set("CT")]:
            raise BadInput(f"AsCAN U-Net: a stage must be a word of C and T, got {words[0]!r}")
        for blocks, width in zip((*self.layout, self.middle), (*self.widths, self.widths[-1])):
            if width % self.groups or ("T" in blocks and width % self.head_dim):
                raise BadInput(
                    f"AsCAN U-Net: the width {width} of {blocks} must be a multiple of groups {self.groups}"
                    f" and head_dim {self.head_dim}"
                )


class Condition(nn.Module):
    """Time steps (B,) and one-hot classes (B, classes + 1) to the vector that blocks are told, (B, embedding).

    Sinusoids of the time step have periods of 2 pi to 2 pi * 10,000. They are written as a division by a tensor, which
    integer runtimes lack: so phases stay real numbers, where 8 bits for 0 to 1,000 would lose the short periods.
    """

    periods: Tensor

    def __init__(self, embedding: int, classes: int):
        super().__init__()
        self.register_buffer("periods", _LONGEST_PERIOD ** torch.linspace(0, 1, embedding // 2), persistent=False)
        self.time = nn.Sequential(nn.Linear(embedding, embedding), nn.SiLU(), nn.Linear(embedding, embedding))
        self.label = nn.Linear(classes + 1, embedding, bias=False)

    def forward(self, timestep: Tensor, label: Tensor) -> Tensor:
        phases = timestep.unsqueeze(1) / self.periods  # (B,) -> (B, embedding / 2)
        waves = torch.cat([phases.sin(), phases.cos()], 1)
        return functional.silu(self.time(waves) + self.label(label))


class ConvolutionBlock(nn.Module):
    """C: two 3x3 convolutions behind group norms, the second told the condition, (B, C, H, W) to the same shape."""

    def __init__(self, channels: int, config: AscanUnetConfig):
        super().__init__()
        self.first = nn.Sequential(
            nn.GroupNorm(config.groups, channels), nn.SiLU(), nn.Conv2d(channels, channels, 3, padding=1)
        )
        self.norm = nn.GroupNorm(config.groups, channels, affine=False)
        self.modulate = _faint(nn.Linear(config.embedding, 2 * channels))
        self.second = _faint(nn.Conv2d(channels, channels, 3, padding=1))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        scale, shift = self.modulate(condition)[:, :, None, None].chunk(2, 1)  # (B, 2 C) -> (B, C, 1, 1) each
        hidden = self.norm(self.first(x)) * (1 + scale) + shift
        return x + self.second(functional.silu(hidden))


class TransformerBlock(nn.Module):
    """T: full attention and an MLP behind layer norms that are told the condition, (B, C, H, W) to the same shape."""

    def __init__(self, channels: int, config: AscanUnetConfig):
        super().__init__()
        self.norm = nn.LayerNorm(channels, elementwise_affine=False)
        self.modulate = _faint(nn.Linear(config.embedding, 4 * channels))
        self.attention = Attention(channels, config.head_dim)
        _faint(self.attention.project)
        self.mlp = nn.Sequential(
            nn.Linear(channels, 4 * channels), nn.GELU(), _faint(nn.Linear(4 * channels, channels))
        )

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        tokens = x.flatten(2).transpose(1, 2)  # (B, C, H, W) -> (B, H W, C)
        scale, shift, mlp_scale, mlp_shift = self.modulate(condition).unsqueeze(1).chunk(4, 2)  # (B, 1, C) each
        normed = self.norm(tokens) * (1 + scale) + shift
        tokens = tokens + self.attention(normed, normed)
        tokens = tokens + self.mlp(self.norm(tokens) * (1 + mlp_scale) + mlp_shift)
        return tokens.transpose(1, 2).unflatten(2, x.shape[2:])


class Blocks(nn.ModuleList):
    """Blocks of one width in a row, each told the condition."""

    def __init__(self, layout: str, channels: int, config: AscanUnetConfig):
        kinds = {"C": ConvolutionBlock, "T": TransformerBlock}
        super().__init__(kinds[kind](channels, config) for kind in layout)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        for block in self:
            x = block(x, condition)
        return x


class AscanUnet(nn.Module):
    """Noisy images (B, in_channels, H, W), time steps (B,) and classes (B, classes + 1) to the clean images.

    H and W are multiples of `patch` times 2 to the number of stages less one. Each stage of the up path reads its
    mirror image's result beside the lower stage's, merged by a 1x1 convolution.

    With the schedule's angle, `cos(w_t) image - sin(w_t) f` is the clean image, and `sin(w_t) image + cos(w_t) f` the
    noise, of the blocks' result f (Salimans and Ho, ICLR 2022, arXiv 2202.00512): a small network that gave the noise
    itself would be busy repeating an image that is almost all noise.
    """

    turns: Tensor

    def __init__(self, config: AscanUnetConfig):
        super().__init__()
        self.schedule = config.schedule
        # w_t = (t + offset steps) / turns, a division by a tensor for the same reason as in `Condition`.
        turns = config.schedule.steps * (1 + config.schedule.offset) * 2 / math.pi
        self.register_buffer("turns", torch.tensor([turns]), persistent=False)
        self.condition = Condition(config.embedding, config.classes)
        steps = list(pairwise(config.widths))
        self.stem = nn.Conv2d(config.in_channels, config.widths[0], config.patch, config.patch)
        self.down = nn.ModuleList(Blocks(b, width, config) for b, width in zip(config.layout, config.widths))
        self.shrink = nn.ModuleList(nn.Conv2d(fine, coarse, 3, 2, 1) for fine, coarse in steps)
        self.middle = Blocks(config.middle, config.widths[-1], config)
        self.up = nn.ModuleList(Blocks(b[::-1], width, config) for b, width in zip(config.layout, config.widths))
        self.merge = nn.ModuleList(nn.Conv2d(2 * width, width, 1) for width in config.widths)
        self.grow = nn.ModuleList(
            nn.Sequential(nn.Upsample(scale_factor=2.0), nn.Conv2d(coarse, fine, 3, padding=1))
            for fine, coarse in steps
        )
        self.tell = nn.Sequential(
            nn.GroupNorm(config.groups, config.widths[0]),
            nn.SiLU(),
            _faint(nn.Conv2d(config.widths[0], config.in_channels * config.patch**2, 3, padding=1)),
            nn.PixelShuffle(config.patch),
        )

    def forward(self, image: Tensor, timestep: Tensor, label: Tensor) -> Tensor:
        angle = ((timestep + self.schedule.offset * self.schedule.steps) / self.turns).reshape(-1, 1, 1, 1)
        return angle.cos() * image - angle.sin() * self._walk(image, self.condition(timestep, label))

    def _walk(self, image: Tensor, condition: Tensor) -> Tensor:
        """Down, middle and up, (B, in_channels, H, W) to the same shape."""
        x, kept = self.stem(image), []
        for stage, blocks in enumerate(self.down):
            x = blocks(x if stage == 0 else self.shrink[stage - 1](x), condition)
            kept.append(x)
        x = self.middle(x, condition)
        for stage in reversed(range(len(kept))):
            x = self.up[stage](self.merge[stage](torch.cat([x, kept[stage]], 1)), condition)
            x = x if stage == 0 else self.grow[stage - 1](x)
        return self.tell(x)


def _faint(layer: nn.Module) -> nn.Module:
    """The last layer of a branch, which starts near 0, so that blocks start near the identity."""
    assert isinstance(layer, nn.Conv2d | nn.Linear) and layer.bias is not None
    nn.init.normal_(layer.weight, std=1e-3)
    nn.init.zeros_(layer.bias)
    return layer


def draw_digits(run: RunArtifact, inputs: dict[str, np.ndarray], targets: np.ndarray) -> tuple[Picture, ...]:
    """Digits drawn by an artifact, one column for each class, from noise that is the same in every report."""
    sampler = Sampler()
    count, side = inputs["label"].shape[1] - 1, inputs["image"].shape[-1]
    noise = torch.randn(_ROWS * count, 1, side, side, generator=torch.Generator().manual_seed(0))
    images = sampler(noise_by(in_batches(run), XS.schedule), noise, torch.arange(count).repeat(_ROWS), count)
    apart = functional.pad(images, (1, 1, 1, 1), value=0.0)  # grey lines between
    grid = apart.reshape(_ROWS, count, side + 2, side + 2).transpose(1, 2).reshape(_ROWS * (side + 2), -1)
    caption = (
        f"Drawn from noise by the artifact, in {sampler.steps} steps of DDIM with guidance {sampler.guidance:g}; "
        f"each column was asked for its class, 0 to {count - 1}."
    )
    return (Picture("Generated digits", caption, png_of((grid.numpy() + 1) / 2, scale=4)),)


def read_digits(name: str, seed: int) -> Data:
    """Grey images of 16 x 16 with their clean values as targets, from any data set with classes."""
    return with_clean_targets(load(name, 1, 16, seed), PIXELS)


XS = AscanUnetConfig()
PIXELS = Preprocessing(1 / 255, (0.5,), (0.5,))  # to -1 to 1, where the sampler clips

SYSTEMS = (
    System(
        name="ascan_unet_xs",
        paper="ascan",
        task="image-generation",
        build=lambda: AscanUnet(XS),
        input_shapes={"image": (1, 1, 16, 16), "timestep": (1,), "label": (1, XS.classes + 1)},
        output_names=("clean",),
        dataset="digits",
        recipe=Recipe(
            learning_rate=4e-3,
            weight_decay=0.01,
            epochs=45,
            warmup_epochs=2.5,
            label_smoothing=0.0,
            ema=0.995,
            threads=1,
        ),
        source="Kag et al., AsCAN, NeurIPS 2024, arXiv 2411.04967",
        preprocessing=PIXELS,
        objective=NoisePrediction(XS.classes, XS.schedule),
        read=read_digits,
        illustrate=draw_digits,
    ),
)
