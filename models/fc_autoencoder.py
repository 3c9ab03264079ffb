"""Fully connected autoencoder, anomaly detection of MLPerf Tiny v1: five frames of 128 mel bands, reconstructed.

Banbury et al., "MLPerf Tiny Benchmark", NeurIPS 2021, arXiv 2106.07597. The anomaly score is the mean squared error
between input and reconstruction.
"""

from itertools import pairwise

from torch import Tensor, nn

from .recipe import Recipe
from .system import System

WIDTHS = (640, 128, 128, 128, 128, 8, 128, 128, 128, 128)


class FcAutoencoder(nn.Module):
    """(B, 640) to its reconstruction (B, 640); batch norm and ReLU after every layer but the last."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in pairwise(WIDTHS):
            layers += [nn.Linear(before, after), nn.BatchNorm1d(after), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Linear(WIDTHS[-1], WIDTHS[0]))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


SYSTEMS = (
    System(
        name="fc_autoencoder",
        paper="",
        task="anomaly-detection",
        build=FcAutoencoder,
        input_shapes={"spectrogram": (1, 640)},
        output_names=("reconstruction",),
        recipe=Recipe(learning_rate=1e-3, epochs=100, batch_size=512, weight_decay=0.0),
        source="Banbury et al., MLPerf Tiny Benchmark, NeurIPS 2021, arXiv 2106.07597",
    ),
)
