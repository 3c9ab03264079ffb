"""`Preprocessing`: how a raw input becomes what the network was trained on; kept with the run and every artifact."""

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import BadInput


@dataclass(frozen=True)
class Preprocessing:
    """`(raw * scale - mean) / std`, with one mean and std per channel.

    Channels are dimension 1 of a 4-D input (N, C, H, W) and the last dimension of any other. A single mean and std
    serve every channel.

    Attributes:
        scale: brings raw values to the range that `mean` and `std` are given in, for example 1/255.
        mean: per channel, after scaling.
        std: per channel, after scaling.
    """

    scale: float = 1.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        if len(self.mean) != len(self.std) or not self.mean:
            raise BadInput(
                f"preprocessing: {len(self.mean)} means and {len(self.std)} stds; give one of each a channel"
            )
        if not all(value > 0 for value in (self.scale, *self.std)):
            raise BadInput(f"preprocessing: scale and std must be above 0, got scale {self.scale} and std {self.std}")

    def apply(self, raw: Tensor) -> Tensor:
        """The network's input, of the same shape as `raw` and float32."""
        mean, std = (torch.tensor(values, device=raw.device) for values in (self.mean, self.std))
        return _normalise(raw.float(), self.scale, mean, std)

    def scaled(self, samples: Tensor) -> Tensor:
        """Back from the network's input to `raw * scale`: `x std + mean`."""
        mean, std = _by_channel(samples, *(torch.tensor(v, device=samples.device) for v in (self.mean, self.std)))
        return samples * std + mean

    def to_json(self) -> dict[str, Any]:
        """Plain values; `from_json` gives the equal preprocessing back."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "Preprocessing":
        """Reads what `to_json` gave.

        Raises:
            BadInput: a field is missing, or is not a number.
        """
        try:
            return cls(float(value["scale"]), *(tuple(float(v) for v in value[name]) for name in ("mean", "std")))
        except (KeyError, TypeError, ValueError) as error:
            raise BadInput(f"preprocessing: expected scale, mean and std, got {value!r}") from error


class Preprocessed(nn.Module):
    """A network with its preprocessing baked in front: it takes raw values."""

    mean: Tensor
    std: Tensor

    def __init__(self, module: nn.Module, preprocessing: Preprocessing):
        super().__init__()
        self.module = module
        self.scale = preprocessing.scale
        self.register_buffer("mean", torch.tensor(preprocessing.mean))
        self.register_buffer("std", torch.tensor(preprocessing.std))

    def forward(self, raw: Tensor) -> Any:
        return self.module(_normalise(raw, self.scale, self.mean, self.std))


def _normalise(raw: Tensor, scale: float, mean: Tensor, std: Tensor) -> Tensor:
    mean, std = _by_channel(raw, mean, std)
    return (raw * scale - mean) / std


def _by_channel(samples: Tensor, mean: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
    """In the shape that goes with samples."""
    if samples.dim() == 4:
        return mean.reshape(1, -1, 1, 1), std.reshape(1, -1, 1, 1)
    return mean, std
