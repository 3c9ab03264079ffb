"""Perceptrons in arrays: both passes held against autograd, whole pulses only, stacks, and a training put back."""

import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from offramp.devices.synapse.array_weights import SCHEMES
from offramp.devices.synapse.draws import Draws
from offramp.devices.synapse.perceptron import COUNTS, UNITS, ArrayPerceptron, Learning, descent, first_weights, forward
from torch.nn import functional

sys.path.append(str(Path(__file__).parent))
from small_synapses import line_of, synapse

FINE = synapse(pulses_up=256, pulses_down=256)
CURVED = synapse("exponential", pulses_up=40, pulses_down=50, nonlinearity_up=2.0, nonlinearity_down=-1.0)
NOISY = replace(CURVED, cycle_noise=0.01, high_spread=0.05)
SIZES = (12, 10, 3)


def plain(values):
    """A stack of float matrices, which autograd differentiates."""
    return SimpleNamespace(forward=lambda x: x @ values, backward=lambda e: e @ values.transpose(1, 2))


def bars(count=60, stack=1, seed=0):
    """One of three bars of four pixels is bright, the others dim."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    inputs = 0.3 * torch.rand(count, 12, generator=generator)
    inputs = inputs + 0.6 * functional.one_hot(labels, 3).repeat_interleave(4, 1)
    return inputs.expand(stack, count, 12), labels.expand(stack, count)


def batches(steps, stack=1):
    """(inputs, labels) of each update."""
    inputs, labels = bars(stack=stack)
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        chosen = torch.randperm(60, generator=generator)[:6]
        yield inputs[:, chosen], labels[:, chosen]


def perceptron(devices=(FINE,), learning=None, seeds=(0,), steps=300):
    return ArrayPerceptron(devices, SIZES, (1.0, 2.0), learning or Learning(), seeds, steps)


def taught(subject, steps):
    """Learns from the first batches of all; returns the losses."""
    return torch.stack([subject.learn(*batch) for batch in batches(steps, len(subject.layers[0].pulses))])


def accuracy(subject):
    inputs, labels = bars(seed=9)
    return float((subject.logits(inputs).argmax(-1) == labels).float().mean())


# Both passes


@pytest.mark.parametrize("units", UNITS)
def test_descent_is_what_autograd_gives(units):
    generator = torch.Generator().manual_seed(2)
    sizes, batch, stack = (7, 6, 5, 4), 9, 2
    values = [
        torch.randn(stack, a + 1, b, generator=generator, dtype=torch.float64).mul(0.5).requires_grad_()
        for a, b in pairwise(sizes)
    ]
    inputs = torch.rand(stack, batch, sizes[0], generator=generator, dtype=torch.float64)
    labels = torch.randint(0, sizes[-1], (stack, batch), generator=generator)
    found, changes = descent([plain(v.detach()) for v in values], inputs, labels, units)
    logits = inputs
    for place, value in enumerate(values):
        if place:
            logits = logits.sigmoid() if units == "sigmoid" else logits.clamp(0, 1)
        logits = logits @ value[:, :-1] + value[:, -1:]
    if units == "sigmoid":
        wanted = functional.one_hot(labels, sizes[-1]).double()
        losses = torch.stack(
            [functional.mse_loss(a, b, reduction="sum") / 2 / batch for a, b in zip(logits.sigmoid(), wanted)]
        )
    else:
        losses = torch.stack([functional.cross_entropy(a, b) for a, b in zip(logits, labels)])
    losses.sum().backward()
    assert torch.allclose(found, losses.detach(), atol=1e-6)
    for value, change in zip(values, changes, strict=True):
        assert torch.allclose(change, -value.grad, atol=1e-6)
        assert float(value.grad.abs().max()) > 1e-3


@pytest.mark.parametrize("units", UNITS)
def test_arrays_compute_what_their_weights_say(units):
    subject = perceptron(learning=Learning(units=units))
    inputs, _ = bars()
    driven = forward([plain(layer.weights()) for layer in subject.layers], inputs, units)
    assert torch.allclose(subject.logits(inputs), driven[-1], atol=1e-6)
    assert [each.shape[-1] for each in driven] == [13, 11, 3]
    assert torch.equal(driven[0][..., -1], torch.ones(1, 60)) and torch.equal(driven[1][..., -1], torch.ones(1, 60))


def test_first_weights_are_normal_and_biases_are_none():
    weights = first_weights(400, 50, [Draws(0), Draws(1)])
    assert weights.shape == (2, 401, 50)
    assert torch.equal(weights[:, -1], torch.zeros(2, 50))
    assert float(weights[:, :-1].std()) * 20 == pytest.approx(1.0, abs=0.02)
    assert not torch.equal(weights[0], weights[1])


# Learning


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("counts", COUNTS)
def test_a_toy_task_is_learnt_by_each_rule_and_scheme(scheme, counts):
    learning = Learning(scheme, counts, rates=(0.3,), final=0.3, pulsed_share=0.1)
    subject = perceptron(learning=learning)
    losses = taught(subject, 300)
    assert accuracy(subject) > 0.9
    assert float(losses[-20:].mean()) < 0.7 * float(losses[:20].mean())
    assert subject.updates == 300


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("counts", COUNTS)
def test_weights_move_by_whole_pulses_and_nothing_else_is_kept(scheme, counts):
    learning = Learning(scheme, counts, rates=(0.5,), refresh_every=0, pulsed_share=0.2)
    subject, moved = perceptron(learning=learning, steps=10), torch.zeros(2)
    pair = 2 if scheme == "bidirectional" else 1  # one device of it may stand at an end
    for batch in batches(10):
        before = [(layer.weights().clone(), int(layer.pulses)) for layer in subject.layers]
        subject.learn(*batch)
        for place, (layer, (old, count)) in enumerate(zip(subject.layers, before)):
            pulses = (layer.weights() - old) / (layer.step_sizes / pair)
            whole = pulses.round()
            states = [state for name, state in layer.tensors().items() if name.startswith("state")]
            kept = torch.stack([(state < 1) & ((state > 0) | (scheme == "unidirectional")) for state in states]).all(0)
            assert float((pulses - whole)[kept].abs().max()) < 2e-3
            assert int(layer.pulses) - count >= int(whole[kept].abs().sum())
            moved[place] += whole[kept].abs().sum()
    assert float(moved.min()) > 20


def test_proportional_pulses_are_plain_gradient_descent_in_the_mean():
    """Sums over many seeds: the fraction is rounded at random."""
    count = 400
    subject = perceptron([FINE] * count, Learning("bidirectional", rates=(0.2,), refresh_every=0), range(count), 100)
    start = subject.layers[1].weights()[0].clone()
    for layer in subject.layers:  # all alike
        for name, tensor in layer.tensors().items():
            if name.startswith("state"):
                tensor.copy_(tensor[:1].expand_as(tensor).clone())
    inputs, labels = next(batches(1, count))
    _, changes = descent(subject.layers, inputs, labels, "clip")
    subject.learn(inputs, labels)
    moved = subject.layers[1].weights().double() - start
    step = float(subject.layers[1].step_sizes[0])
    wanted = 0.2 * changes[1][0].double()
    assert float((moved.mean(0) - wanted).abs().max()) < 5 * step * 0.5 / count**0.5
    assert float(moved.std(0).max()) > 0.1 * step


def test_rates_are_by_layer_and_fall_to_the_end():
    def pulses(rates, done):
        learning = Learning("bidirectional", "nearest", rates=rates, final=0.01, refresh_every=0)
        subject = perceptron(learning=learning, steps=100)
        subject.updates = done
        subject.learn(*next(batches(1)))
        return [int(layer.pulses) for layer in subject.layers]

    fast = pulses((5.0, 5.0), 0)
    assert pulses((5.0,), 0) == fast
    assert pulses((5.0, 1e-6), 0) == [fast[0], 0]
    assert pulses((500.0, 500.0), 100) == fast  # by then a hundredth is left


def test_adaptive_updates_pulse_about_the_wanted_share():
    learning = Learning("single", "adaptive", final=1.0, pulsed_share=0.1, refresh_every=0)
    subject = perceptron(learning=learning, steps=200)
    subject.learn(*next(batches(1)))  # of a first update the threshold is exact
    for layer in subject.layers:
        cells = layer.weights().numel()
        assert abs(int(layer.pulses) - 0.1 * cells) <= 1
    before = [int(layer.pulses) for layer in subject.layers]
    taught(subject, 200)
    for layer, count in zip(subject.layers, before):
        share = (int(layer.pulses) - count) / 200 / layer.weights().numel()
        assert 0.05 < share < 0.2


def test_the_adaptive_threshold_follows_the_errors_by_a_tenth_at_a_time_and_the_share_falls():
    subject = perceptron(learning=Learning("single", "adaptive", final=0.1, pulsed_share=0.5), steps=100)
    inputs, labels = next(batches(1))

    def threshold(inputs):
        subject.learn(inputs, labels)
        return float(subject.tensors()["thresholds.0"])

    first, pulses = threshold(inputs), int(subject.layers[0].pulses)
    assert [threshold(0 * inputs) / first for _ in range(2)] == pytest.approx([0.9, 0.81])
    assert threshold(inputs) / first == pytest.approx(0.891)
    later = perceptron(learning=subject.learning, steps=100)
    later.updates = 100
    later.learn(inputs, labels)
    assert 0 < int(later.layers[0].pulses) < pulses / 4


def test_an_adaptive_threshold_of_nothing_does_not_stay():
    subject = perceptron(learning=Learning("single", "adaptive", final=1.0, pulsed_share=0.1), steps=20)
    inputs, labels = next(batches(1))
    subject.learn(0 * inputs, labels)  # only biases have errors, fewer than the share
    before = int(subject.layers[0].pulses)
    subject.learn(inputs, labels)
    assert abs(int(subject.layers[0].pulses) - before - 0.1 * 13 * 10) <= 1


@pytest.mark.parametrize(("device", "counts"), [(FINE, "proportional"), (NOISY, "nearest")])
def test_rounding_and_noise_are_new_at_every_update(device, counts):
    def after(done):
        subject = perceptron((device,), Learning("single", counts, rates=(3.0,), final=1.0, refresh_every=0))
        subject.updates = done
        subject.learn(*next(batches(1)))
        return subject.layers[0].weights()

    assert torch.equal(after(0), after(0))
    assert not torch.equal(after(0), after(1))


def test_resets_come_at_the_stated_updates():
    full = perceptron(learning=Learning(refresh_every=3), steps=6)
    for layer in full.layers:
        for name, tensor in layer.tensors().items():
            if name.startswith("state"):
                tensor.fill_(0.9)
    resets = [int(full.layers[0].resets) for batch in batches(3) if full.learn(*batch).isfinite()]
    assert resets == [0, 0, 13 * 10]


# Stacks, and putting back


STACKED = (
    Learning(rates=(0.3,), refresh_every=5),
    Learning("bidirectional", "adaptive", pulsed_share=0.1),
    Learning("single", "nearest", rates=(5.0, 2.0), jumps=True, units="sigmoid"),
)


@pytest.mark.parametrize("learning", STACKED, ids=lambda each: each.counts)
def test_a_stack_learns_as_each_of_it_does_alone(learning):
    devices, seeds = (FINE, CURVED, NOISY, NOISY), (0, 1, 1, 2)
    together = perceptron(devices, learning, seeds, 30)
    taught(together, 30)
    for place, (device, seed) in enumerate(zip(devices, seeds)):
        alone = perceptron((device,), learning, (seed,), 30)
        taught(alone, 30)
        for one, all_of_them in zip(alone.layers, together.layers):
            assert torch.equal(one.weights()[0], all_of_them.weights()[place])
            assert int(one.pulses) == int(all_of_them.pulses[place])
    last = together.layers[1].weights()
    assert all(not torch.equal(last[place], last[place + 1]) for place in range(3))


@pytest.mark.parametrize("counts", COUNTS)
def test_a_training_put_back_has_the_bits_of_one_that_went_on(counts):
    learning = Learning(counts=counts, rates=(0.3,), refresh_every=4, pulsed_share=0.1)
    whole = perceptron((NOISY,), learning, (3,), 24)
    rest = list(batches(24))
    for batch in rest[:12]:
        whole.learn(*batch)
    kept = {name: tensor.clone() for name, tensor in whole.tensors().items()}
    again = perceptron((NOISY,), learning, (3,), 24)
    again.restore(kept)
    assert again.updates == 12
    for subject in (whole, again):
        for batch in rest[12:]:
            subject.learn(*batch)
    ended = again.tensors()
    assert all(torch.equal(ended.pop(name), tensor) for name, tensor in whole.tensors().items()) and not ended
    assert any(name.startswith("thresholds") for name in kept) == (counts == "adaptive")


NONE_SUCH = {
    "scheme both: unknown; choose from unidirectional, bidirectional, single": {"scheme": "both"},
    "counts all: unknown; choose from proportional, nearest, adaptive": {"counts": "all"},
    "units relu: unknown; choose from clip, sigmoid": {"units": "relu"},
    "rates must be above 0, got 0.1, 0": {"rates": (0.1, 0.0)},
    "refresh_every must be 0 or more, got -1": {"refresh_every": -1},
    "pulsed_share must be above 0 and at most 1, got 0": {"pulsed_share": 0.0},
    "pulsed_share must be above 0 and at most 1, got 1.5": {"pulsed_share": 1.5},
}


@pytest.mark.parametrize("line", NONE_SUCH)
def test_values_that_no_learning_has_are_one_line(line):
    assert line_of(Learning, **NONE_SUCH[line]) == line
