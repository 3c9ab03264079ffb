"""Random small networks for fuzzing: chains of blocks over images."""

import torch
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

ACTIVATIONS = (
    nn.ReLU,
    nn.ReLU6,
    nn.Hardtanh,
    nn.GELU,
    nn.SiLU,
    nn.Hardswish,
    nn.Sigmoid,
    nn.Tanh,
    nn.LeakyReLU,
    nn.ELU,
    nn.Identity,
)


class Block(nn.Module):
    """One block: (N, C, H, W) to (N, C', H', W'); `channels` and `size` say what comes out."""

    def __init__(self, kind: str, channels: int, size: int, width: int, choice: int):
        super().__init__()
        self.kind, self.choice = kind, choice
        self.channels, self.size = channels, size
        self.activation = ACTIVATIONS[choice % len(ACTIVATIONS)]()
        getattr(self, f"_make_{kind}")(channels, size, width)

    def _make_conv(self, channels, size, width):
        kernel, stride = 1 + 2 * (self.choice % 2), 1 + (self.choice // 2) % 2
        padding, dilation = self.choice % 3 if kernel > 1 else 0, 1 + (self.choice // 5) % 2
        if size + 2 * padding < dilation * (kernel - 1) + 1:
            padding = dilation
        self.conv = nn.Conv2d(channels, width, kernel, stride, padding, dilation, bias=self.choice % 4 != 0)
        self.channels, self.size = width, (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1

    def _make_depthwise(self, channels, size, width):
        self.conv = nn.Conv2d(channels, channels, 3, 1 + self.choice % 2, 1, groups=channels)
        self.size = (size - 1) // (1 + self.choice % 2) + 1

    def _make_grouped(self, channels, size, width):
        groups = next(g for g in (4, 3, 2, 1) if channels % g == 0)
        self.conv = nn.Conv2d(channels, groups * -(-width // groups), 3, 1, 1, groups=groups)
        self.channels = self.conv.out_channels

    def _make_residual(self, channels, size, width):
        self.conv = nn.Conv2d(channels, channels, 3, 1, 1)

    def _make_gate(self, channels, size, width):
        self.conv = nn.Conv2d(channels, channels, 1)

    def _make_fork(self, channels, size, width):
        self.conv, self.other = nn.Conv2d(channels, width, 1), nn.Conv2d(channels, channels, 3, padding=1)
        self.channels = width + channels

    def _make_half(self, channels, size, width):
        self.conv = nn.Conv2d(channels, 2 * width, 1)
        self.channels = width

    def _make_prelu(self, channels, size, width):
        self.slopes = nn.PReLU(channels)
        nn.init.uniform_(self.slopes.weight, -0.3, 1.2)

    def _make_max_pool(self, channels, size, width):
        padding = self.choice % 2 if size > 1 else 0
        self.pool = nn.MaxPool2d(2 + self.choice % 2, 1 + self.choice % 2, padding, ceil_mode=self.choice % 3 == 0)
        self._pooled(channels, size)

    def _make_average_pool(self, channels, size, width):
        kernel = 2 + self.choice % 2
        self.pool = nn.AvgPool2d(
            kernel, 1 + self.choice % 2, self.choice % 2, self.choice % 3 == 0, count_include_pad=self.choice % 4 < 2
        )
        self._pooled(channels, size)

    def _pooled(self, channels, size):
        if size < 3:
            self.pool = nn.Identity()
        self.size = self.pool(torch.zeros(1, channels, size, size)).shape[-1]

    def _make_pad(self, channels, size, width):
        self.size = size + 1

    def _make_upsample(self, channels, size, width):
        self.size = 2 * size if size < 6 else size

    def _make_attention(self, channels, size, width):
        self.query, self.key = nn.Linear(channels, 8), nn.Linear(channels, 8)
        self.norm = nn.LayerNorm(channels) if self.choice % 4 == 0 else nn.Identity()

    def forward(self, x):
        return getattr(self, f"_run_{self.kind}")(x)

    def _run_conv(self, x):
        return self.activation(self.conv(x))

    _run_depthwise = _run_grouped = _run_conv

    def _run_residual(self, x):
        return self.activation(self.conv(x) + x if self.choice % 2 else x - self.conv(x))

    def _run_gate(self, x):
        return torch.sigmoid(self.conv(x)) * x

    def _run_fork(self, x):
        return torch.cat([self.activation(self.conv(x)), self.other(x)], 1)

    def _run_half(self, x):
        first, second = self.conv(x).chunk(2, 1)
        return first + self.activation(second)

    def _run_prelu(self, x):
        return self.slopes(x)

    def _run_max_pool(self, x):
        return self.pool(x)

    _run_average_pool = _run_max_pool

    def _run_pad(self, x):
        return functional.pad(x, (0, 1, 1, 0))

    def _run_upsample(self, x):
        return functional.interpolate(x, scale_factor=2, mode="nearest") if self.size > x.shape[-1] else x

    def _run_attention(self, x):
        tokens = x.flatten(2).transpose(1, 2)
        named = self.norm(tokens)
        scores = self.query(named) @ self.key(named).transpose(1, 2) * 0.35
        mixed = functional.softmax(scores, -1) @ tokens
        return (mixed + tokens).transpose(1, 2).reshape(x.shape)


KINDS = tuple(name.removeprefix("_make_") for name in dir(Block) if name.startswith("_make_"))


class RandomNetwork(nn.Module):
    """Blocks, then a mean or a flattening, and a linear layer of `classes`."""

    def __init__(self, channels: int, size: int, plan: list[tuple[str, int, int]], flat: bool, classes: int):
        super().__init__()
        blocks = []
        for kind, width, choice in plan:
            blocks.append(Block(kind, channels, size, width, choice))
            channels, size = blocks[-1].channels, blocks[-1].size
        self.blocks = nn.Sequential(*blocks)
        self.flat = flat
        self.classify = nn.Linear(channels * size * size if flat else channels, classes)

    def forward(self, image):
        x = self.blocks(image)
        return self.classify(x.flatten(1) if self.flat else x.mean((2, 3)))


@st.composite
def networks(draw) -> tuple[RandomNetwork, tuple[int, ...]]:
    """A network with random weights and the shape of its input."""
    channels, size = draw(st.integers(1, 4)), draw(st.integers(3, 8))
    widths = st.one_of(st.integers(1, 20), st.sampled_from([32, 40, 64]))
    plan = draw(st.lists(st.tuples(st.sampled_from(KINDS), widths, st.integers(0, 59)), min_size=1, max_size=5))
    torch.manual_seed(draw(st.integers(0, 2**16)))
    network = RandomNetwork(channels, size, plan, draw(st.booleans()), draw(st.integers(2, 12)))
    return network.eval(), (1, channels, size, size)
