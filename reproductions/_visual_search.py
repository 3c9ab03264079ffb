"""What the study of visual search runs: encoders of several environments, and searches with them."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..models.search_fixations import Attend, Looking, asymmetry_index, look, slope_ms
from ..models.search_stimuli import Condition, Item, Task, draw_items, draw_trials
from ..models.visual_search_asymmetry import XS, EccNet, EccNetConfig
from ..models.visual_search_training import CLASSES, Environment

PICTURES, BATCH, RATE = 1536, 64, 8e-3
LEAST_MS = 1.0  # a smaller slope is none
UPRIGHT, TILTED = -10.0, 10.0
"""Degrees of the pair that is searched for: 20 apart, and each as oblique to the rows of pixels as the other."""

PAIR = Task(
    "orientation", 11.3, 4, 2.0, (1, 12),
    Condition("tilted among upright", (((Item("bar", TILTED),), (Item("bar", UPRIGHT),)),)),
    Condition("upright among tilted", (((Item("bar", UPRIGHT),), (Item("bar", TILTED),)),)),
)  # fmt: skip


def train_encoder(environment: Environment, seed: int, epochs: int) -> EccNet:
    """A network whose encoder has learned to tell the environment's orientations."""
    torch.manual_seed(seed)
    draws = torch.Generator().manual_seed(seed)
    pictures, classes = environment.draw(PICTURES, XS.target_side, XS.pixels_per_degree, draws)
    network = EccNet(XS)
    head = nn.Linear(network.target_features(pictures[:1])[-1].numel(), CLASSES)
    optimizer = torch.optim.AdamW([*network.parameters(), *head.parameters()], RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=epochs * (PICTURES // BATCH))
    for _ in range(epochs):
        for chosen in torch.randperm(PICTURES, generator=draws).split(BATCH):
            logits = head(network.target_features(pictures[chosen])[-1].flatten(1))
            optimizer.zero_grad()
            functional.cross_entropy(logits, classes[chosen]).backward()
            optimizer.step()
            schedule.step()
    return network.eval()


def with_config(network: EccNet, config: EccNetConfig) -> EccNet:
    """Equal weights under other poolings."""
    other = EccNet(config)
    other.load_state_dict(network.state_dict())
    return other.eval()


@dataclass(frozen=True)
class Direction:
    """What a task gave: mean fixations by number of items, easy and hard for humans, and the index."""

    easy: dict[int, float]
    hard: dict[int, float]

    @property
    def index(self) -> float:
        easy, hard = (slope_ms(list(each), list(each.values())) for each in (self.easy, self.hard))
        return asymmetry_index(easy, hard, LEAST_MS)


@torch.inference_mode()
def searched(
    attend: Attend, task: Task, pixels_per_degree: float, count: int, noise: float, seed: int, window: int = 96
) -> Direction:
    """Both conditions of a task at its smallest and largest number of items, `count` searches each."""
    draws = torch.Generator().manual_seed(seed)
    looking = Looking(window, reach=max(1, round(pixels_per_degree / 3)))
    found: list[dict[int, float]] = []
    for condition in (task.easy, task.hard):
        by_size = {}
        for size in (task.sizes[0], task.sizes[-1]):
            trials = draw_trials(task, condition, size, count, pixels_per_degree, XS.target_side, draws, noise)
            by_size[size] = look(attend, trials, looking).counts.float().mean().item()
        found.append(by_size)
    return Direction(*found)


# The second model: whitened principal directions of an environment, in place of a network.

_SIDE, _SCALE, _DIRECTIONS, _SMALL = 15, 6.0, 40, 0.05


def principal_directions(environment: Environment, seed: int) -> Callable[[Tensor], Tensor]:
    """Features of items (N, 225): what lies along each whitened direction, rectified on either side, (N, 80)."""
    draws = torch.Generator().manual_seed(seed)
    pictures, _ = environment.draw(2500, _SIDE, _SCALE, draws)
    flat = pictures.flatten(1)
    middle = flat.mean(0)
    values, directions = torch.linalg.eigh((flat - middle).T @ (flat - middle) / len(flat))
    whitening = directions[:, -_DIRECTIONS:] / (values[-_DIRECTIONS:] + _SMALL * values[-1]).sqrt()

    def features(items: Tensor) -> Tensor:
        along = (items - middle) @ whitening
        return torch.cat([along.relu(), (-along).relu()], -1)

    return features


def ranked(features: Callable[[Tensor], Tensor], seed: int, count: int = 300, noise: float = 0.5) -> Direction:
    """Searches in which items are looked at in the order of the product of their features and the target's."""
    draws = torch.Generator().manual_seed(seed)
    bars = draw_items([Item("bar", UPRIGHT), Item("bar", TILTED)], torch.zeros(2, 2), _SIDE, _SCALE).flatten(1)
    found: list[dict[int, float]] = []
    for target, other in ((bars[1], bars[0]), (bars[0], bars[1])):
        by_size = {}
        for size in (2, 4, 8, 12):
            items = torch.stack([target, *[other] * (size - 1)]).expand(count, -1, -1)
            items = items + noise * torch.randn(items.shape, generator=draws)
            priority = features(items) @ features(target)
            by_size[size] = (1 + (priority > priority[:, :1]).sum(1)).float().mean().item()
        found.append(by_size)
    return Direction(*found)
