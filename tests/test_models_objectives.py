"""The weight average, the sharing out of samples, objectives, and measuring."""

import pytest
import torch
from offramp.errors import BadInput
from offramp.models.average import WeightAverage
from offramp.models.batches import in_order, shuffled
from offramp.models.data import InMemory, Preprocessing
from offramp.models.objectives import evaluate
from offramp.models.recipe import Recipe
from torch import nn

EVERYTHING = Recipe(epochs=4, batch_size=8, mixup=0.4, ema=0.9, shift_pixels=1, flip=True, threads=1)
PLAIN = Recipe(epochs=2, batch_size=8, threads=1)


def test_the_average_follows_its_formula():
    module = nn.Linear(1, 1, bias=False)
    values, expected = [1.0, 2.0, 4.0], 0.0
    nn.init.zeros_(module.weight)
    average = WeightAverage(module, 0.15)
    for step, value in enumerate(values):
        nn.init.constant_(module.weight, value)
        average.update(module)
        decay = min(0.15, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * value
    assert average.module.weight.item() == pytest.approx(expected)


def test_shuffled_batches_share_the_samples_out():
    dataset = InMemory(torch.zeros(22, 1), torch.zeros(22))
    halves = [shuffled(dataset, 4, seed=1, epoch=0, rank=rank, world=2) for rank in (0, 1)]
    assert [len(batch) for half in halves for batch in half] == [4] * 4
    assert len({index for half in halves for batch in half for index in batch}) == 16
    assert shuffled(dataset, 4, 1, 0, 0, 1) != shuffled(dataset, 4, 1, 1, 0, 1)
    assert shuffled(dataset, 4, 0, 1, 0, 1) != shuffled(dataset, 4, 1, 0, 0, 1)
    assert [len(batch) for batch in shuffled(dataset, 64, 0, 0, 0, 1)] == [22]


def test_measuring_takes_every_sample_once():
    dataset = InMemory(torch.zeros(23, 1), torch.zeros(23))
    taken = [i for rank in range(3) for batch in in_order(dataset, 4, rank, 3) for i in batch]
    assert sorted(taken) == list(range(23))


def test_accuracy_is_the_share_of_hits_and_the_mode_is_put_back():
    logits = torch.tensor([[2.0, 0.0], [0.0, 2.0], [2.0, 0.0]])
    dataset = InMemory(logits, torch.tensor([0, 1, 1]))
    module = nn.Dropout(0.5).train()  # the identity, in evaluation mode
    metrics = evaluate(module, dataset, Preprocessing(), batch_size=2)
    assert metrics["accuracy"] == pytest.approx(2 / 3)
    assert metrics["loss"] == pytest.approx(nn.functional.cross_entropy(logits, dataset.labels).item())
    assert module.training
    with pytest.raises(BadInput, match="held-out split is empty"):
        evaluate(module, InMemory(torch.zeros(0, 2), torch.zeros(0)), Preprocessing())
