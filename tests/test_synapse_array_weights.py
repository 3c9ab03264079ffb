"""Weights in devices alone: what they conduct, what a pulse does, resets of nearly full pairs, and putting back."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from offramp.devices.synapse.array_weights import SCHEMES, ArrayWeights
from offramp.devices.synapse.draws import Draws
from offramp.devices.synapse.programming import write

sys.path.append(str(Path(__file__).parent))
from small_synapses import line_of, synapse

ROWS, COLUMNS = 6, 5
PLAIN = synapse(pulses_up=100, pulses_down=100)
NARROW = synapse(g_min=0.2, pulses_up=100, pulses_down=100)  # on/off 5
PAIRED = ("unidirectional", "bidirectional")


def wanted(scale=1.0, count=1, seed=0):
    """Weights within the range that a scale gives."""
    generator = torch.Generator().manual_seed(seed)
    return scale * (1.6 * torch.rand(count, ROWS, COLUMNS, generator=generator) - 0.8)


def arrays(scheme, weights=None, device=PLAIN, scale=1.0, **named):
    weights = wanted() if weights is None else weights
    count = len(weights)
    draws = [Draws(seed) for seed in range(count)]
    return ArrayWeights([device] * count, weights, [scale] * count, scheme, draws, **named)


def states(subject):
    return [subject.tensors()[f"state.{place}"].clone() for place in range(1 if subject.scheme == "single" else 2)]


def siemens(subject, device):
    return [device.g_min + (device.g_max - device.g_min) * state.double() for state in states(subject)]


def set_states(subject, *values):
    for place, state in enumerate(values):
        subject.tensors()[f"state.{place}"].copy_(torch.as_tensor(state, dtype=torch.float32).expand(1, ROWS, COLUMNS))


# What they conduct


@pytest.mark.parametrize("device", [PLAIN, NARROW], ids=["on/off without end", "on/off 5"])
@pytest.mark.parametrize("scheme", PAIRED)
def test_a_weight_is_its_scale_times_the_difference_of_a_pair_over_the_largest(scheme, device):
    subject = arrays(scheme, wanted(0.5), device, scale=2.0)
    high, low = siemens(subject, device)
    assert torch.allclose(subject.weights().double(), 2.0 * (high - low) / device.g_max, atol=1e-6)
    assert torch.allclose(subject.weights(), wanted(0.5), atol=1e-6)


@pytest.mark.parametrize("device", [PLAIN, NARROW], ids=["on/off without end", "on/off 5"])
def test_a_single_device_is_held_against_the_middle_of_its_range(device):
    subject = arrays("single", wanted(0.5), device, scale=2.0)
    (conductance,) = siemens(subject, device)
    middle = (device.g_min + device.g_max) / 2
    assert torch.allclose(subject.weights().double(), 2 * 2.0 * (conductance - middle) / device.g_max, atol=1e-6)
    assert torch.allclose(subject.weights(), wanted(0.5), atol=1e-6)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_small_on_off_ratio_leaves_less_of_the_range(scheme):
    ends = torch.tensor([-9.0, 9.0]).repeat(ROWS * COLUMNS // 2).reshape(1, ROWS, COLUMNS)
    for device, reach in ((PLAIN, 1.0), (NARROW, 0.8)):
        assert torch.allclose(arrays(scheme, ends, device, 2.0).weights(), 2 * reach * ends.sign(), atol=1e-6)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_both_passes_go_through_one_matrix(scheme):
    generator = torch.Generator().manual_seed(1)
    subject = arrays(scheme, wanted(count=2))
    inputs = torch.randn(2, 3, ROWS, generator=generator)
    errors = torch.randn(2, 3, COLUMNS, generator=generator)
    matrix = subject.weights()
    assert torch.allclose(subject.forward(inputs), torch.einsum("sbr,src->sbc", inputs, matrix), atol=1e-6)
    assert torch.allclose(subject.backward(errors), torch.einsum("sbc,src->sbr", errors, matrix), atol=1e-6)


def test_each_matrix_of_a_stack_has_its_own_scale_and_range():
    both = [PLAIN, NARROW]
    ends = torch.full((2, ROWS, COLUMNS), 9.0)
    subject = ArrayWeights(both, ends, [1.0, 3.0], "unidirectional", [Draws(0), Draws(0)])
    assert subject.weights()[:, 0, 0].tolist() == pytest.approx([1.0, 2.4])


def test_first_weights_can_be_written_as_devices_take_them():
    few = synapse(levels=5, pulses_up=4, pulses_down=4)
    subject = arrays("unidirectional", device=few, write_with=write)
    assert torch.allclose(subject.weights(), torch.round(wanted() * 4) / 4, atol=1e-6)
    assert not torch.allclose(arrays("unidirectional", device=few).weights(), subject.weights(), atol=1e-2)


def test_an_unknown_scheme_is_one_line():
    line = line_of(arrays, "both")
    assert line == "update both: unknown; choose from unidirectional, bidirectional, single"


# What a pulse does


@pytest.mark.parametrize(
    ("scheme", "sign", "moved"),
    [
        ("unidirectional", 1, (1, 0)),
        ("unidirectional", -1, (0, 1)),
        ("bidirectional", 1, (1, -1)),
        ("bidirectional", -1, (-1, 1)),
        ("single", 1, (1,)),
        ("single", -1, (-1,)),
    ],
)
def test_which_devices_a_pulse_goes_to(scheme, sign, moved):
    subject = arrays(scheme)
    before = states(subject)
    counts = torch.zeros(1, ROWS, COLUMNS, dtype=torch.int32)
    counts[0, 2, 3] = 3 * sign
    subject.pulse(counts, 0)
    for old, new, direction in zip(before, states(subject), moved, strict=True):
        assert float((new - old)[0, 2, 3]) == pytest.approx(direction * 3 / 100, abs=1e-6)
        left = counts == 0
        assert torch.equal(new[left], old[left])
    assert int(subject.pulses) == 3 * sum(map(abs, moved))


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("device", [PLAIN, NARROW], ids=["on/off without end", "on/off 5"])
def test_a_pulse_moves_a_linear_weight_by_the_step_size(scheme, device):
    subject = arrays(scheme, wanted(0.5), device, scale=2.0)
    for sign in (1, -1):
        before = subject.weights()
        subject.pulse(torch.full((1, ROWS, COLUMNS), sign, dtype=torch.int32), 0)
        moved = subject.weights() - before
        assert torch.allclose(moved, sign * subject.step_sizes.expand_as(moved), atol=1e-6)


def test_where_directions_differ_the_step_size_is_of_their_mean_number():
    uneven = synapse(pulses_up=50, pulses_down=150)
    sizes = {scheme: float(arrays(scheme, device=uneven, scale=3.0).step_sizes) for scheme in SCHEMES}
    assert sizes == pytest.approx({"unidirectional": 3 / 100, "bidirectional": 6 / 100, "single": 6 / 100})


@pytest.mark.parametrize("jumps", [False, True])
def test_noise_of_several_pulses_is_drawn_for_each_or_once(jumps):
    subject = arrays("single", torch.zeros(1, ROWS, COLUMNS), replace(PLAIN, cycle_noise=0.01))
    subject.pulse(torch.full((1, ROWS, COLUMNS), 4, dtype=torch.int32), 7, jumps)
    deviation = (subject.weights() / 2 - 4 / 100) / 0.01
    numbers = Draws(0).normal(8, ROWS * COLUMNS, 7).reshape(1, ROWS, COLUMNS)  # one of standard size, for a jump
    assert torch.allclose(deviation, 2 * numbers, atol=1e-4) == jumps
    assert 1.0 < float(deviation.std()) < 3.0  # of four pulses: 2


# Resets of nearly full pairs


def test_a_reset_takes_the_nearly_full_pairs_and_keeps_what_they_say():
    subject = arrays("unidirectional", torch.zeros(1, ROWS, COLUMNS))
    up, down = torch.rand(2, 1, ROWS, COLUMNS, generator=torch.Generator().manual_seed(3)).mul(0.7)
    up[0, 0], down[0, 0] = torch.tensor([0.9, 0.8, 0.76, 0.3, 0.06]), torch.tensor([0.3, 0.9, 0.06, 0.9, 0.8])
    up[0, 1], down[0, 1] = torch.tensor([0.9, 0.74, 0.01, 1.0, 0.5]), torch.tensor([0.04, 0.74, 0.99, 0.0, 0.5])
    set_states(subject, up, down)
    before, old = subject.weights().clone(), states(subject)
    subject.refresh(0)
    is_full = torch.zeros(1, ROWS, COLUMNS, dtype=torch.bool)
    is_full[0, 0] = True
    new = states(subject)
    assert int(subject.resets) == 5
    assert torch.equal(torch.minimum(*new)[is_full], torch.zeros(5))
    assert torch.equal(torch.maximum(*new)[is_full] > 0, torch.ones(5, dtype=torch.bool))
    step = float(subject.step_sizes)
    assert float((subject.weights() - before).abs().max()) <= step / 2 + 1e-6
    for earlier, later in zip(old, new):
        assert torch.equal(earlier[~is_full], later[~is_full])
    subject.refresh(1)
    assert int(subject.resets) == 5


def test_a_stack_counts_its_resets_apart():
    subject = arrays("unidirectional", torch.zeros(2, ROWS, COLUMNS))
    for state in subject.tensors().values():
        if state.ndim == 3:
            state[1, :2] = 0.8
    subject.refresh(0)
    assert subject.resets.tolist() == [0, 2 * COLUMNS]
    assert torch.equal(subject.weights(), torch.zeros(2, ROWS, COLUMNS))


@pytest.mark.parametrize("scheme", ["bidirectional", "single"])
def test_other_schemes_have_no_resets(scheme):
    subject = arrays(scheme)
    set_states(subject, *[0.95] * len(states(subject)))
    before = states(subject)
    subject.refresh(0)
    assert int(subject.resets) == 0
    assert all(torch.equal(old, new) for old, new in zip(before, states(subject)))


# Putting back


@pytest.mark.parametrize("scheme", SCHEMES)
def test_what_was_kept_goes_on_as_if_nothing_had_been(scheme):
    noisy = replace(PLAIN, cycle_noise=0.02, high_spread=0.1)
    counts = torch.randint(-9, 10, (4, 1, ROWS, COLUMNS), generator=torch.Generator().manual_seed(5), dtype=torch.int32)
    whole = arrays(scheme, device=noisy)
    for step in (0, 1):
        whole.pulse(counts[step] * 5, step)
    whole.refresh(2)
    kept = {name: tensor.clone() for name, tensor in whole.tensors().items()}
    again = arrays(scheme, torch.zeros(1, ROWS, COLUMNS), noisy)
    assert not torch.equal(again.weights(), whole.weights())
    again.restore(kept)
    for subject in (whole, again):
        for step in (2, 3):
            subject.pulse(counts[step], step)
    assert torch.equal(again.weights(), whole.weights())
    assert {"pulses", "resets"} < kept.keys()
    assert all(torch.equal(again.tensors()[name], tensor) for name, tensor in whole.tensors().items())


# Noise of reads


@pytest.mark.parametrize("scheme", SCHEMES)
def test_both_passes_see_the_noise_of_every_device(scheme):
    """The variance is that of each device's conductance, whatever its pair leaves of the weight."""
    noisy = replace(NARROW, read_noise=0.05)
    subject = arrays(scheme, device=noisy)
    factor = 2.0 if scheme == "single" else 1.0
    squares = sum((factor * 0.05 * each / noisy.g_max) ** 2 for each in siemens(subject, noisy))[0]
    for read, width, across in ((subject.forward, ROWS, 0), (subject.backward, COLUMNS, 1)):
        found, variances = read(torch.ones(1, 20_000, width))[0].double(), squares.sum(across)
        exact = subject.weights()[0].double().sum(across)
        torch.testing.assert_close(found.mean(0), exact, rtol=0.0, atol=5 * float(variances.max() / 20_000) ** 0.5)
        torch.testing.assert_close(found.var(0), variances, rtol=0.06, atol=0.0)


def test_each_pass_draws_anew_and_goes_on_where_it_was():
    noisy, ones = replace(PLAIN, read_noise=0.05), torch.ones(1, 1, ROWS)
    first, second = (arrays("bidirectional", device=noisy) for _ in range(2))
    found = [first.forward(ones) for _ in range(3)]
    assert not torch.equal(found[0], found[1])
    second.forward(ones)
    resumed = arrays("bidirectional", device=noisy)
    resumed.restore({name: tensor.clone() for name, tensor in second.tensors().items()})
    assert torch.equal(resumed.forward(ones), found[1])
    assert torch.equal(resumed.forward(ones), found[2])
