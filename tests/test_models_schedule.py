"""The learning rate at every step, and what weight decay spares."""

import pytest
from offramp.models.optimizers import make_optimizer
from offramp.models.recipe import Recipe
from offramp.models.schedule import learning_rate_at
from offramp.models.system import find_system

EVERYTHING = Recipe(epochs=4, batch_size=8, mixup=0.4, ema=0.9, shift_pixels=1, flip=True, threads=1)
PLAIN = Recipe(epochs=2, batch_size=8, threads=1)


def test_the_learning_rate_warms_up_and_ends_where_the_recipe_says():
    recipe = Recipe(learning_rate=0.5, epochs=10, warmup_epochs=2, final_learning_rate=0.1)
    rates = [learning_rate_at(step, 7, recipe) for step in range(70)]
    assert rates[0] == pytest.approx(0.005)
    assert rates[7] == pytest.approx(0.005 + 0.495 / 2)
    assert rates[14] == max(rates) == pytest.approx(0.5)
    assert rates[-1] == pytest.approx(0.05)
    middle = 14 + (69 - 14) / 2
    assert (rates[int(middle)] + rates[int(middle) + 1]) / 2 == pytest.approx((0.5 + 0.05) / 2, rel=1e-3)
    assert rates[14:] == sorted(rates[14:], reverse=True)


def test_a_recipe_shorter_than_its_warmup_has_finite_rates():
    recipe = Recipe(epochs=1, warmup_epochs=2)
    assert 0 < learning_rate_at(0, 1, recipe) < learning_rate_at(1, 1, recipe) <= recipe.learning_rate


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_weight_decay_spares_vectors(optimizer):
    module = find_system("care_xxs").build()
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    decayed, spared = make_optimizer(module, Recipe(optimizer, weight_decay=0.3)).param_groups
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.3, 0.0)
    assert all(names[id(p)].endswith("weight") and p.dim() > 1 for p in decayed["params"])
    assert {names[id(p)].rpartition(".")[2] for p in spared["params"]} == {"weight", "bias", "gamma"}
    assert len(decayed["params"]) + len(spared["params"]) == len(names)
