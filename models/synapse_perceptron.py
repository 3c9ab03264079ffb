"""Three-layer perceptrons for training in arrays of synapse devices: 8x8 digits, and MNIST's 28x28.

S. Lim et al., "Adaptive learning rule for hardware-based deep neural networks using electronic synapse devices", Neural
Computing and Applications 31, 2019 (arXiv 1707.06381). The abstract names three layers; sizes and the hidden units'
clip to [0, 1], a bounded amplifier, are choices of ours.
"""

from functools import partial

from torch import Tensor, nn

from .data import Preprocessing
from .recipe import Recipe
from .system import System


class SynapsePerceptron(nn.Module):
    """(B, 1, size, size) pixels from 0 to 1 to logits (B, 10)."""

    def __init__(self, size: int, hidden: int):
        super().__init__()
        self.flatten = nn.Flatten()
        self.hidden = nn.Linear(size * size, hidden)
        self.clip = nn.Hardtanh(0.0, 1.0)
        self.output = nn.Linear(hidden, 10)

    def forward(self, image: Tensor) -> Tensor:
        return self.output(self.clip(self.hidden(self.flatten(image))))


_SOURCE = "Lim et al., Adaptive learning rule for hardware DNNs, NCAA 31 (2019), arXiv 1707.06381"
_RECIPE = Recipe(
    optimizer="sgd",
    learning_rate=0.1,
    final_learning_rate=0.1,
    weight_decay=0.0,
    epochs=20,
    batch_size=10,
    warmup_epochs=0.0,
    label_smoothing=0.0,
    gradient_clip=0.0,
    threads=1,
)
SYSTEMS = tuple(
    System(
        name=name,
        paper="adaptive-learning-rule-synapse",
        task="image-classification",
        build=partial(SynapsePerceptron, size, hidden),
        input_shapes={"image": (1, 1, size, size)},
        dataset=dataset,
        recipe=_RECIPE,
        source=_SOURCE,
        preprocessing=Preprocessing(1 / 255),
    )
    for name, size, hidden, dataset in (("synapse_mlp", 8, 32, "digits"), ("synapse_mlp_28", 28, 100, None))
)
