"""DS-CNN, keyword spotting of MLPerf Tiny v1: 49 frames of 10 MFCCs to 12 words.

Banbury et al., "MLPerf Tiny Benchmark", NeurIPS 2021, arXiv 2106.07597; Zhang et al., "Hello Edge", arXiv 1711.07128.
"""

from torch import Tensor, nn

from .blocks import depthwise_separable
from .recipe import Recipe
from .system import System


class DsCnn(nn.Module):
    """(B, 1, 49, 10) to logits (B, num_classes).

    The first kernel is 10x4 at stride 2x2. "Same" padding to a 25x5 map wants 24*2 + 10 - 49 = 9 rows (4 above, 5
    below) and 4*2 + 4 - 10 = 2 columns (1 left, 1 right). The average is over the first 24 of the 25 rows, as
    published.
    """

    def __init__(self, num_classes: int = 12, width: int = 64):
        super().__init__()
        self.stem = nn.Sequential(
            nn.ZeroPad2d((1, 1, 4, 5)),
            nn.Conv2d(1, width, (10, 4), stride=2, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Dropout(0.2),
        )
        self.blocks = nn.Sequential(*(depthwise_separable(width, width) for _ in range(4)))
        self.dropout = nn.Dropout(0.4)
        self.pool = nn.AvgPool2d((24, 5))
        self.classify = nn.Linear(width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.dropout(self.blocks(self.stem(x))))  # (B, width, 25, 5) -> (B, width, 1, 1)
        return self.classify(x.flatten(1))


SYSTEMS = (
    System(
        name="ds_cnn",
        paper="",
        task="keyword-spotting",
        build=DsCnn,
        input_shapes={"mfcc": (1, 1, 49, 10)},
        recipe=Recipe(learning_rate=1e-3, epochs=36, batch_size=100),
        source="Banbury et al., MLPerf Tiny Benchmark, NeurIPS 2021, arXiv 2106.07597",
    ),
)
