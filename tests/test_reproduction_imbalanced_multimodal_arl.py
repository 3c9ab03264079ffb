"""The study of ARL: networks side by side train as they do alone, and each claim holds by the rule that it states."""

import pytest
import torch
from offramp.models.imbalanced_multimodal_arl import VIEWS, Arl, modes
from offramp.models.late_fusion import perceptrons
from offramp.models.modality_balance import Balanced, inverse_variance, scale_gradient
from offramp.reproductions import Study, claims_of, reproductions
from offramp.reproductions import _two_views as two_views
from offramp.reproductions import imbalanced_multimodal_arl as study_of_arl
from offramp.reproductions._two_views import CHOOSE, TRAIN, Stack, draw_views, read_digits, train_stack

SLUG = "imbalanced-multimodal-arl"
NOISES = ((0.2, 0.6), (0.6, 0.2))


@pytest.fixture(scope="module")
def digits():
    return read_digits(None)


@pytest.fixture(scope="module")
def claims():
    """Of one seed and one epoch."""
    return claims_of(SLUG, Study((0,), effort=0.01))


def test_the_digits_are_those_of_the_bundle(digits):
    images, labels = digits
    assert images.shape == (1797, 64) and labels.shape == (1797,)
    assert (images.min(), images.max()) == (0, 1)


def test_seeds_share_what_measures_and_differ_in_what_trains(digits):
    views = draw_views(*digits, NOISES, (0, 1))
    assert views.train[0].shape == (4, TRAIN, 32) and views.choose[1].shape == (4, CHOOSE, 32)
    assert views.test[2].shape == (4, 1797 - TRAIN - CHOOSE)
    for part in views.test:
        assert torch.equal(part[0], part[1]) and torch.equal(part[2], part[3])
    assert not torch.equal(views.train[2][0], views.train[2][1])
    assert torch.equal(views.train[2][0], views.train[2][2])


def test_no_sample_both_trains_and_measures(digits):
    images, labels = torch.arange(1797.0).reshape(-1, 1).expand(-1, 64), digits[1]
    views = draw_views(images, labels, [(0.0, 0.0)], (3,))
    found = torch.cat([part[0][0, :, 0] for part in (views.train, views.choose, views.test)])
    assert sorted(found.tolist()) == list(range(1797))


def test_views_have_the_noise_of_their_setting(digits):
    clean, noisy = draw_views(*digits, [(0.0, 0.0)], (0,)), draw_views(*digits, NOISES, (0,))
    for setting, noise in enumerate(NOISES):
        spread = [(noisy.train[m][setting] - clean.train[m][0]).std().item() for m in (0, 1)]
        assert spread == pytest.approx(noise, rel=0.03)


def train_alone(seed, part, choose, mode, rate, epochs, judge_held_out):
    """The same in plain PyTorch: one network, one optimizer."""
    torch.manual_seed(seed)
    network = perceptrons()
    optimizer = torch.optim.SGD(network.parameters(), lr=rate, momentum=0.9)
    draws = torch.Generator().manual_seed(0)
    for epoch in range(epochs):
        for batch in torch.randperm(TRAIN, generator=draws).split(60):
            first, second, labels = (tensor[batch] for tensor in part)
            present = torch.ones(len(batch), 2)
            features = network.first(first), network.second(second)
            judged, wanted = features, labels
            if judge_held_out:
                places = torch.randperm(CHOOSE, generator=draws)[:60]
                judged, wanted = (
                    (network.first(choose[0][places]), network.second(choose[1][places])),
                    choose[2][places],
                )
            if epoch >= mode.warmup_epochs:
                factors = mode.factors([o.detach() for o in network.fuse(*judged, present)[1:]], wanted)
                features = tuple(map(scale_gradient, features, factors))
            losses = [torch.nn.functional.cross_entropy(o, labels) for o in network.fuse(*features, present)]
            gamma = mode.gamma if epoch >= mode.warmup_epochs else min(1.0, mode.gamma)
            optimizer.zero_grad()
            (losses[0] + gamma * (losses[1] + losses[2])).backward()
            optimizer.step()
    return network


@pytest.mark.parametrize(
    ("mode", "judge_held_out"),
    [
        (modes(VIEWS)["joint"], False),
        (Arl(VIEWS, modes(VIEWS)["arl"].factors, 4.0, 1), False),
        (Arl(VIEWS, modes(VIEWS)["arl"].factors, 4.0, 1), True),
        (Arl(VIEWS, Balanced(), 1.0, 0), False),
    ],
)
def test_networks_side_by_side_train_as_they_do_alone(digits, mode, judge_held_out):
    seeds, rates = (0, 5), (0.01, 0.002)
    views = draw_views(*digits, NOISES[:1], seeds)
    stack = Stack(seeds)
    train_stack(stack, views, mode, torch.tensor(rates), 2, judge_held_out)
    for place, (seed, rate) in enumerate(zip(seeds, rates)):
        parts = ([tensor[place] for tensor in part] for part in (views.train, views.choose))
        alone = train_alone(seed, *parts, mode, rate, 2, judge_held_out)
        for name, tensor in stack.network(place).state_dict().items():
            torch.testing.assert_close(tensor, alone.state_dict()[name], rtol=1e-3, atol=1e-5)


def test_shares_are_of_the_last_epochs_batches(digits):
    views = draw_views(*digits, NOISES[:1], (0,))
    still = torch.zeros(1)  # the network stays as it is
    found = train_stack(Stack((0,)), views, modes(VIEWS)["joint"], still, 1)
    torch.manual_seed(0)
    with torch.no_grad():
        alone = perceptrons()(views.train[0][0], views.train[1][0], torch.ones(TRAIN, 2))[1:]
    torch.testing.assert_close(found[0], inverse_variance(alone), rtol=0, atol=1e-3)


def test_the_rate_is_the_one_that_is_best_on_samples_which_do_not_measure(digits):
    views = draw_views(*digits, NOISES, (0,)).repeated(len(two_views.RATES))
    found = two_views.train(modes(VIEWS)["joint"], views, (0,), 3)
    for setting in (0, 1):
        place = found.rate(setting)
        assert found.choose[place, setting, 0] == found.choose[:, setting, 0].max()
        assert found.accuracy(setting) == found.test[place, setting, :, 0].tolist()
        network = found.stack.network(found.place(setting, 0))
        first, second, labels = (part[setting] for part in views.test)
        hits = network(first, second, torch.ones(len(labels), 2))[0].argmax(1) == labels
        assert hits.float().mean().item() == pytest.approx(found.accuracy(setting)[0])


def test_the_best_weight_is_that_of_the_inverse_variances():
    found = study_of_arl._inverse_variance_is_best((0, 1, 2))
    assert found.holds
    assert found.ours.mean == pytest.approx(0.25 * 1 / (0.25 + 1), rel=0.02)
    assert found.baseline.mean == pytest.approx((0.25 + 1) / 4, rel=0.02)
    # Correlated by one half: (V1 - c) / (V0 + V1 - 2c) with c = sqrt(V0 V1) / 2 is 1.
    assert "the best is 1.00" in found.note or "the best is 0.99" in found.note


def test_each_claim_has_both_figures_and_its_rule(claims):
    assert SLUG in reproductions()
    assert len(claims) == 15 and len({row["claim"] for row in claims}) == 15
    for row in claims:
        assert isinstance(row["holds"], bool) and row["metric"] and row["note"]
        for side in (row["baseline"], row["ours"]):
            assert 0 <= side["low"] == side["mean"] == side["high"] <= 1


def test_tables_have_their_columns(claims):
    tables = [row["table"] for row in claims if row["table"]]
    assert len(tables) == 3
    for table in tables:
        assert all(len(row) == len(table["columns"]) for row in table["rows"])
        assert all(isinstance(cell, str) for row in table["rows"] for cell in row)
    assert [len(table["rows"]) for table in tables] == [2 * 7, 2 * 4, 2]


def test_artifacts_with_a_view_missing_agree_with_the_single_view(claims):
    (row,) = (row for row in claims if "missing at run time" in row["claim"])
    assert float(row["note"].split("at least ")[1].split("%")[0]) > 80
