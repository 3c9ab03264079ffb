"""The blocks of a CARE Transformer: token mixing by slices of channels, and two interactions between them.

Zhou et al., "CARE Transformer: Mobile-Friendly Linear Visual Transformer via Decoupled Dual Interaction", CVPR 2025,
arXiv 2411.16170.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional


class LinearAttention(nn.Module):
    """Attention whose cost is linear in the number of positions.

    With phi(u) = ELU(u) + 1 and N positions per image:
    `out = phi(q) (phi(k)^T v / N) / (phi(q) . mean(phi(k)) + 1e-6)`. Values are the input itself.
    """

    def __init__(self, channels: int, head_dim: int):
        super().__init__()
        self.heads, self.head_dim = channels // head_dim, head_dim
        self.query_key = nn.Conv2d(channels, 2 * channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        positions = height * width
        per_head = (batch, self.heads, self.head_dim, positions)
        query, key = self.query_key(x).chunk(2, dim=1)
        query = functional.elu(query.reshape(per_head)) + 1  # (B, h, D, N)
        key = functional.elu(key.reshape(per_head)) + 1
        value = x.reshape(per_head)
        summary = value @ key.transpose(-1, -2) * (1 / positions)  # (B, h, D, D)
        norm = key.mean(-1, keepdim=True).transpose(-1, -2) @ query  # (B, h, 1, N)
        return (summary @ query / (norm + 1e-6)).reshape(batch, channels, height, width)


class StripConvolution(nn.Module):
    """The sum of an 11x1 and a 1x11 depthwise convolution, the early stages' stand-in for attention."""

    def __init__(self, channels: int):
        super().__init__()
        self.vertical = nn.Conv2d(channels, channels, (11, 1), padding=(5, 0), groups=channels)
        self.horizontal = nn.Conv2d(channels, channels, (1, 11), padding=(0, 5), groups=channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.vertical(x) + self.horizontal(x)


class Interaction(nn.Module):
    """Channel mixing: `x + fc2(DW3x3(GELU(fc1(BN(x)))))`; without `project` it ends at the depthwise convolution."""

    def __init__(self, channels: int, hidden: int, project: bool = True):
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.fc1 = nn.Conv2d(channels, hidden, 1)
        self.depthwise = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)
        self.fc2: nn.Conv2d | None = nn.Conv2d(hidden, channels, 1) if project else None
        self.scale: nn.Parameter | None = None  # of the skip, (1, channels, 1, 1), once a gamma is folded into fc2

    def hidden(self, x: Tensor) -> Tensor:
        """(B, channels, H, W) to (B, hidden, H, W)."""
        return self.depthwise(functional.gelu(self.fc1(self.norm(x))))

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.hidden(x)
        if self.fc2 is None:
            return hidden
        return (x if self.scale is None else self.scale * x) + self.fc2(hidden)


class CareBlock(nn.Module):
    """Decoupled token mixing and dual interaction, (B, 4g, H, W) to the same shape.

    The `last` block of the network has no skip: it returns the second interaction's hidden features, (B, 4g*r2, H, W).
    """

    def __init__(self, memory_dim: int, ratios: tuple[int, int], head_dim: int, gamma: float, last: bool):
        super().__init__()
        g = memory_dim
        self.attention = LinearAttention(g, head_dim) if head_dim else StripConvolution(g)
        self.conv3 = nn.Conv2d(g, g, 3, padding=1, groups=g)
        self.conv7 = nn.Conv2d(g, g, 7, padding=3, groups=g)
        self.features = Interaction(3 * g, 3 * g * ratios[0])
        self.memory = Interaction(4 * g, 4 * g * ratios[1], project=not last)
        self.has_skip = not last
        self.gamma = nn.Parameter(torch.full((1, 4 * g, 1, 1), gamma)) if self.has_skip else None

    def forward(self, x: Tensor) -> Tensor:
        memory, attended, near, far = x.chunk(4, dim=1)
        mixed = torch.cat([self.attention(attended), self.conv3(near), self.conv7(far)], dim=1)
        y = self.memory(torch.cat([memory, self.features(mixed)], dim=1))
        if self.gamma is not None:
            y = self.gamma * y
        return x + y if self.has_skip else y


class Head(nn.Module):
    """Layer norm and linear classifier on pooled features, (B, class_dim) to (B, num_classes)."""

    def __init__(self, class_dim: int, num_classes: int, affine: bool = True):
        super().__init__()
        self.norm = nn.LayerNorm(class_dim, eps=1e-6, elementwise_affine=affine)
        self.classify = nn.Linear(class_dim, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classify(self.norm(x))
