"""The optimizers of recipes: what Muon takes, its step on a kernel, and what they keep between steps."""

import copy
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from offramp.models.optimizers import (
    MuonAndAdamW,
    hidden_matrices,
    make_optimizer,
    optimizer_tensors,
    restore_optimizer,
)
from offramp.models.recipe import OPTIMIZERS
from torch import nn

sys.path.append(str(Path(__file__).parent))
from small_chains import RECIPE, images, perceptron


def test_muon_takes_hidden_matrices_and_kernels_and_no_others():
    module = nn.Sequential(
        nn.Embedding(5, 4), nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3, groups=4), nn.Linear(4, 6), nn.LayerNorm(6),
        nn.Linear(6, 3),
    )  # fmt: skip
    taken = {id(parameter) for parameter in hidden_matrices(module)}
    assert taken == {id(module[3].weight)}
    deeper = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 8, 3), nn.Linear(8, 3))
    assert {id(p) for p in hidden_matrices(deeper)} == {id(deeper[0].weight), id(deeper[1].weight)}


def test_a_muon_step_on_a_kernel_is_torchs_on_the_kernel_as_a_matrix():
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4, 3))
    recipe = replace(RECIPE, optimizer="muon", weight_decay=0.1)
    matrix = nn.Parameter(module[0].weight.detach().reshape(4, 27).clone())
    alone = torch.optim.Muon([matrix], lr=0.1, weight_decay=0.1, momentum=0.95, adjust_lr_fn="match_rms_adamw")
    optimizer = make_optimizer(module, recipe)
    assert isinstance(optimizer, MuonAndAdamW)
    for step in range(3):
        optimizer.zero_grad()
        module(torch.rand(5, 3, 3, 3, generator=torch.Generator().manual_seed(step))).square().sum().backward()
        matrix.grad = module[0].weight.grad.reshape(4, 27).clone()
        optimizer.step()
        alone.step()
        assert torch.equal(module[0].weight.reshape(4, 27), matrix)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_what_an_optimizer_keeps_comes_back_and_goes_on_to_the_same_bits(name):
    def stepped(optimizer, module, count):
        for _ in range(count):
            optimizer.zero_grad()
            module(images()).square().sum().backward()
            optimizer.step()

    recipe = replace(RECIPE, optimizer=name, learning_rate=1e-3)
    torch.manual_seed(0)
    module = perceptron()
    optimizer = make_optimizer(module, recipe)
    stepped(optimizer, module, 2)
    other = copy.deepcopy(module)
    resumed = make_optimizer(other, recipe)
    restore_optimizer(resumed, {slot: tensor.clone() for slot, tensor in optimizer_tensors(optimizer).items()})
    stepped(optimizer, module, 2)
    stepped(resumed, other, 2)
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(module.parameters(), other.parameters()))


def test_a_network_without_hidden_matrices_is_adamws():
    assert isinstance(make_optimizer(nn.Linear(4, 3), replace(RECIPE, optimizer="muon")), torch.optim.AdamW)


def test_the_first_moment_is_adamws_alone():
    for name in ("adamw", "muon"):
        optimizer = make_optimizer(perceptron(), replace(RECIPE, optimizer=name), first_moment=0.5)
        moments = {group["betas"] for group in optimizer.param_groups if "betas" in group}
        assert moments == {(0.5, 0.999)}
