"""The study of bidirectional learning: stacks are the rules, what is compared, and that claims hold by their rules."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from offramp.errors import BadInput
from offramp.models.data import Data, InMemory, Preprocessing
from offramp.models.learning import Setup
from offramp.models.learning.bidirectional import Bidirectional
from offramp.models.objectives import Batch
from offramp.models.objectives.classification import Classification
from offramp.models.recipe import Recipe
from offramp.quant.scheme import Scheme
from offramp.reproductions import Study, _artifacts, claims_of, reproductions
from offramp.reproductions import bidirectional_learning as study_of_ways
from offramp.reproductions._bidirectional_stacks import (
    ADVERSARIAL,
    ADVERSARY,
    BACK,
    BOTH,
    HALF,
    HALF_ADVERSARY,
    NOISY,
    Batches,
    Form,
    Schedule,
    attacked,
    stack_of,
    train_adversaries,
    train_two_ways,
)
from offramp.reproductions.bidirectional_learning import CLEAN, FGSM, NOISE, PGD, SIGNS, SURE, Digits, in_signs, seen
from torch import nn

SLUG = "bidirectional-learning"
FORM = Form((16, 12, 3))
WAYS = (BACK, BOTH, HALF, NOISY, ADVERSARIAL)


def in_this_process(call, values):
    return list(map(call, values))


def stripes(count: int = 60) -> tuple[torch.Tensor, torch.Tensor]:
    draws = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % 3
    return 0.7 * torch.rand(3, 16, generator=draws)[labels] + 0.3 * torch.rand(count, 16, generator=draws), labels


@pytest.fixture(scope="module")
def claims():
    """Of two seeds and a hundredth of the batches, in this process, with the plainest codes."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (study_of_ways, _artifacts):
            patch.setattr(module, "in_two_processes", in_this_process)
        patch.setattr(
            _artifacts, "Scheme", partial(Scheme, calibration="minmax", rounding="nearest", correct_bias=False)
        )
        patch.setattr(study_of_ways, "CALIBRATION", 4)
        patch.setattr(study_of_ways, "digits_of", lambda name: few(digits_of(name)))
        yield claims_of(SLUG, Study((0,), effort=0.005))


digits_of = study_of_ways.digits_of


def few(digits: Digits) -> Digits:
    return replace(digits, test_images=digits.test_images[:40], test_labels=digits.test_labels[:40])


# Stacks


def learnt(seed: int, steps: int, share: float) -> nn.Sequential:
    """By the rule of the zoo, on the stack's batches of a seed, at a constant rate."""
    images, labels = stripes()
    network = stack_of(FORM, [seed], 1).networks()[0].train()
    part = InMemory(255 * images, labels)
    data = Data("stripes", part, part, ("a", "b", "c"), Preprocessing(1 / 255))
    recipe = Recipe(weight_decay=0.0, label_smoothing=0.0, gradient_clip=0.0)
    setup = Setup("net", "image-classification", network, Classification(), data, recipe, seed, steps)
    learner = Bidirectional(share=share, biases=False).learner(setup)
    batches = Batches(images, labels, 3, [seed])
    for _ in range(steps):
        (samples,), (wanted,), _ = batches.next()
        learner.learn(Batch(samples, wanted, recipe, torch.Generator()), 0.01)
    return network


@pytest.mark.parametrize(("way", "share"), [(BACK, 0.0), (BOTH, 1.0), (HALF, 0.5)])
def test_every_network_of_a_stack_is_what_the_rule_makes_of_it(way, share):
    found = train_two_ways(FORM, *stripes(), (4, 7), Schedule(7, 0.01, 0.01), (BACK, BOTH, HALF))
    for network, seed in zip(found[way], (4, 7)):
        expected = learnt(seed, 7, share)
        for mine, theirs in zip(network.parameters(), expected.parameters()):
            assert torch.allclose(mine, theirs, atol=1e-5)


@pytest.mark.parametrize("train", [partial(train_two_ways, ways=WAYS), train_adversaries])
def test_a_seeds_networks_do_not_depend_on_the_other_seeds(train):
    both = train(FORM, *stripes(), (4, 7), Schedule(6, 0.01, 0.01))
    alone = train(FORM, *stripes(), (7,), Schedule(6, 0.01, 0.01))
    for way, networks in both.items():
        pairs = zip(networks[1].parameters(), alone[way][0].parameters())
        assert all(torch.allclose(mine, theirs, atol=1e-5) for mine, theirs in pairs)


def test_ways_part_where_they_should():
    """No two ways come to the same network, and back-propagation is the same beside whatever else is trained."""
    found = train_two_ways(FORM, *stripes(), (1,), Schedule(8, 0.01, 0.01), WAYS)
    weights = {way: networks[0][1].weight for way, networks in found.items()}
    names = list(weights)
    assert not any(torch.equal(weights[a], weights[b]) for a in names for b in names if a < b)
    competing = train_adversaries(FORM, *stripes(), (1,), Schedule(8, 0.01, 0.01))
    assert list(competing) == [ADVERSARY, HALF_ADVERSARY, BACK]
    plain = train_two_ways(FORM, *stripes(), (1,), Schedule(1, 0.01, 0.01), (BACK, BOTH, HALF))[BACK][0]
    first = train_adversaries(FORM, *stripes(), (1,), Schedule(1, 0.01, 0.01))[BACK][0]
    assert torch.allclose(plain[1].weight, first[1].weight)


def test_attacked_batches_are_those_of_fgsm():
    stack = stack_of(FORM, (0, 1), 1)
    images, labels = (part.expand(2, *part.shape) for part in stripes(6))
    found = attacked(stack, images, labels)
    for place, network in enumerate(stack.networks()):
        assert torch.allclose(found[place], study_of_ways.fgsm(network, images[place], labels[place], 0.1))


# The study


def test_signs_keep_a_matrix_mean_size_and_nothing_else():
    network = stack_of(FORM, (3,), 1).networks()[0]
    signed = in_signs(network)
    for before, after in ((network[1], signed[1]), (network[3], signed[3])):
        assert torch.equal(after.weight.sign(), before.weight.sign())
        assert torch.allclose(after.weight.abs(), before.weight.abs().mean().expand_as(after.weight))


def test_attacks_lower_accuracy_and_the_stronger_one_more():
    images, labels = stripes()
    digits = Digits(images, labels, images, labels)
    network = train_two_ways(FORM, images, labels, (0,), Schedule(60, 0.01, 0.01), (BACK, BOTH, HALF))[BACK][0]
    by_condition = seen(network, digits, torch.Generator().manual_seed(0))
    found = {name: study_of_ways.accuracy(network, shown, digits) for name, shown in by_condition.items()}
    assert found[CLEAN] == 1.0 and found[PGD] <= found[FGSM] < 1.0


def test_every_claim_has_both_sides_and_says_its_rule(claims):
    assert SLUG in reproductions()
    assert len(claims) == 15 == len({row["claim"] for row in claims})
    assert all("the 95 % interval of the paired differences" in row["claim"] for row in claims)
    for row in claims:
        gain = row["ours"]["mean"] - row["baseline"]["mean"]
        is_share = row["metric"] == "accuracy"
        figure = f"{100 * gain:+.2f} points" if is_share else f"{gain:+.4f}"
        assert row["note"].replace("-0.00", "+0.00").startswith(f"difference {figure}".replace("-0.00", "+0.00"))


def test_claims_of_one_seed_hold_by_the_margins_they_state(claims):
    margins = {"above 5 points": 0.05, "above 8 points": 0.08, "above -1 point": -0.01, "above 0": 0.0}
    for row in claims:
        gain = row["ours"]["mean"] - row["baseline"]["mean"]
        if "below 0" in row["claim"]:
            assert row["holds"] == (gain < 0)
        else:
            margin = next(value for words, value in margins.items() if f"{words})" in row["claim"])
            assert row["holds"] == (gain > margin) or abs(gain - margin) < 1e-6


def test_tables_show_every_way_by_every_condition(claims):
    tables = [row["table"] for row in claims if row["table"]]
    assert [[row[0] for row in table["rows"]] for table in tables] == [
        list(WAYS), [BACK, BOTH, HALF], [ADVERSARY, HALF_ADVERSARY, BACK],
    ]  # fmt: skip
    for table in tables:
        assert table["columns"][1:4] == [CLEAN, "brighter noise", NOISE]
        assert all(len(row) == len(table["columns"]) for row in table["rows"])


def test_an_interval_that_holds_the_margin_does_not_hold():
    def figures(ours):
        flat = {name: [0.4, 0.41, 0.39] for name in (CLEAN, NOISE, PGD, SIGNS, SURE, "brighter noise", "zero slopes")}
        return flat | {FGSM: ours}

    found = {way: figures([0.40, 0.41, 0.39]) for way in WAYS}
    found[BOTH] = figures([0.46, 0.47, 0.455])
    assert study_of_ways._hidden(found)[0].holds
    found[BOTH] = figures([0.46, 0.47, 0.42])
    claim = study_of_ways._hidden(found)[0]
    assert not claim.holds and "do not tell" in claim.note


def test_data_of_other_than_ten_classes_are_refused(monkeypatch):
    part = InMemory(torch.zeros(3, 1, 8, 8), torch.arange(3))
    data = Data("three", part, part, ("a", "b", "c"), Preprocessing())
    monkeypatch.setattr(study_of_ways, "load", lambda name, channels, size: data)
    with pytest.raises(BadInput, match="three: this study's networks tell 10 classes, the data have 3; give others"):
        digits_of("three")


def test_digits_are_pixels_from_0_to_1():
    digits = digits_of("digits")
    assert digits.images.shape == (1297, 64) and digits.test_images.shape == (500, 64)
    assert digits.images.min() == 0 and digits.images.max() == 1
