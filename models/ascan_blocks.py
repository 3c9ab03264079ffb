"""The blocks of AsCAN, and its sizes: C is a Fused-MBConv, T a plain pre-norm transformer block.

Kag et al., NeurIPS 2024, arXiv 2411.04967. Both are chosen for plain dense operators, which every engine runs fast. T
blocks in a row keep their values as tokens, so that layouts change twice a row and not twice a block.
"""

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional

from ..errors import BadInput
from .blocks import conv_bn


@dataclass(frozen=True)
class AscanConfig:
    """Sizes of an AsCAN.

    Attributes:
        layout: blocks of each stage in order, for example `("CC", "CCT", "CTT", "TT")`.
        widths: channels of each stage.
        strides: of each stage, taken by its first block.
        stem: channels of the stem's convolutions; the first has stride 2.
        head_dim: channels of an attention head.
        expansion: hidden channels of a block over the channels it reads (C) or has (T).
        squeeze: input channels of a C block over the width of its squeeze-and-excitation; 0 leaves that out.
        pools: side of the squares of positions that share one key and value, by stage; 1 keeps every position.
        most_keys: positions that a T block attends to at most; a map with more is refused, for its cost is quadratic.
        num_classes: outputs.
        in_channels: of the image.
        activation: of convolutions; SiLU is Fused-MBConv's own, in C a table of 256 entries.
    """

    layout: tuple[str, ...]
    widths: tuple[int, ...]
    strides: tuple[int, ...] = (2, 2, 2, 2)
    stem: tuple[int, ...] = (64, 64)
    head_dim: int = 32
    expansion: int = 4
    squeeze: int = 4
    pools: tuple[int, ...] = (1, 1, 1, 1)
    most_keys: int = 1024
    num_classes: int = 1000
    in_channels: int = 3
    activation: type[nn.Module] = nn.SiLU

    def __post_init__(self) -> None:
        faults = []
        for name in ("widths", "strides", "pools"):
            if len(getattr(self, name)) != len(self.layout):
                faults.append(f"{name} must have one entry a stage ({len(self.layout)}), got {getattr(self, name)}")
        for blocks in self.layout:
            if not blocks or set(blocks) - set("CT"):
                faults.append(f"a stage must be a word of C and T, got {blocks!r}")
        for blocks, width in zip(self.layout, self.widths):
            if "T" in blocks and width % self.head_dim:
                faults.append(f"the width {width} of {blocks} must be a multiple of head_dim {self.head_dim}")
        if faults:
            raise BadInput("AsCAN: " + "; ".join(faults))


class SqueezeExcitation(nn.Module):
    """Scales each channel by a gate computed from all channels' means, (B, C, H, W) to the same shape.

    Hu et al., "Squeeze-and-Excitation Networks", CVPR 2018, arXiv 1709.01507.
    """

    def __init__(self, channels: int, hidden: int, activation: type[nn.Module]):
        super().__init__()
        self.gate = nn.Sequential(
            nn.Conv2d(channels, hidden, 1), activation(), nn.Conv2d(hidden, channels, 1), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(x.mean((2, 3), keepdim=True))


class FusedMBConv(nn.Module):
    """C: `project(excite(act(BN(conv3x3(x))))) + shortcut(x)`.

    (B, inputs, H, W) to (B, outputs, H / stride, W / stride). Where the shape changes, the shortcut is an average over
    stride x stride pixels and a 1x1 convolution. Tan and Le, "EfficientNetV2", ICML 2021, arXiv 2104.00298.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, config: AscanConfig):
        super().__init__()
        hidden = config.expansion * inputs
        self.expand = conv_bn(inputs, hidden, 3, stride, activation=config.activation)
        self.excite = (
            SqueezeExcitation(hidden, max(1, inputs // config.squeeze), config.activation)
            if config.squeeze
            else nn.Identity()
        )
        self.project = conv_bn(hidden, outputs, 1, activation=None)
        self.shortcut = nn.Sequential()
        if stride > 1:
            self.shortcut.append(nn.AvgPool2d(stride))
        if stride > 1 or inputs != outputs:
            self.shortcut.append(nn.Conv2d(inputs, outputs, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.project(self.excite(self.expand(x))) + self.shortcut(x)


class Attention(nn.Module):
    """Full multi-head attention, `softmax(q k^T / sqrt(d)) v`; queries (B, N, C), what they read (B, M, C)."""

    def __init__(self, channels: int, head_dim: int):
        super().__init__()
        self.heads, self.head_dim = channels // head_dim, head_dim
        self.query = nn.Linear(channels, channels)
        self.key_value = nn.Linear(channels, 2 * channels)
        self.project = nn.Linear(channels, channels)

    def forward(self, x: Tensor, read: Tensor) -> Tensor:
        query = self._heads(self.query(x) * self.head_dim**-0.5)
        key, value = map(self._heads, self.key_value(read).chunk(2, dim=-1))  # (B, h, M, d)
        weights = (query @ key.transpose(-1, -2)).softmax(-1)  # (B, h, N, M)
        return self.project((weights @ value).transpose(1, 2).flatten(2))

    def _heads(self, x: Tensor) -> Tensor:
        """(B, N, C) to (B, h, N, d)."""
        return x.unflatten(2, (self.heads, self.head_dim)).transpose(1, 2)


class TransformerBlock(nn.Module):
    """T: `x += attention(LN(x)); x += MLP(LN(x))` on tokens (B, H W, C)."""

    def __init__(self, channels: int, pool: int, config: AscanConfig):
        super().__init__()
        self.pool = pool
        self.attention_norm = nn.LayerNorm(channels, eps=1e-6)
        self.attention = Attention(channels, config.head_dim)
        self.mlp_norm = nn.LayerNorm(channels, eps=1e-6)
        self.mlp = nn.Sequential(
            nn.Linear(channels, config.expansion * channels),
            nn.GELU(),
            nn.Linear(config.expansion * channels, channels),
        )

    def forward(self, x: Tensor, side: tuple[int, int]) -> Tensor:
        normed = self.attention_norm(x)
        read = normed if self.pool == 1 else _as_tokens(functional.avg_pool2d(_as_map(normed, side), self.pool))
        x = x + self.attention(normed, read)
        return x + self.mlp(self.mlp_norm(x))


class TransformerRun(nn.Module):
    """T blocks in a row, (B, C, H, W) to the same shape; between them values stay tokens, so layouts change twice."""

    def __init__(self, channels: int, depth: int, pool: int, config: AscanConfig):
        super().__init__()
        self.pool, self.most_keys = pool, config.most_keys
        self.blocks = nn.ModuleList(TransformerBlock(channels, pool, config) for _ in range(depth))

    def forward(self, x: Tensor) -> Tensor:
        height, width = side = (x.shape[2], x.shape[3])
        keys = (height // self.pool) * (width // self.pool)
        if not 1 <= keys <= self.most_keys:
            raise BadInput(
                f"AsCAN: attention over a map of {height} x {width} with pool {self.pool} reads {keys} positions, and "
                f"may read 1 to {self.most_keys}; change the image's size, or this stage's entry in pools"
            )
        tokens = _as_tokens(x)
        for block in self.blocks:
            tokens = block(tokens, side)
        return _as_map(tokens, side)


def _as_tokens(x: Tensor) -> Tensor:
    return x.flatten(2).transpose(1, 2)  # (B, C, H, W) -> (B, H W, C)


def _as_map(tokens: Tensor, side: tuple[int, int]) -> Tensor:
    return tokens.transpose(1, 2).unflatten(2, side)  # (B, H W, C) -> (B, C, H, W)
