"""Arrays of cells: figures from device to device, noise from pulse to pulse, and one result however it is computed."""

import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from offramp.devices.synapse import native
from offramp.devices.synapse.cells import Cells
from offramp.devices.synapse.draws import Draws, Purpose
from offramp.devices.synapse.pulse_trains import line_trains
from scipy import stats

sys.path.append(str(Path(__file__).parent))
from small_synapses import BUILDS, kernels_of, plausible, synapse

SPREADS = {
    **{"high_spread": 0.05, "low_spread": 0.04, "nonlinearity_spread": 0.3, "nonlinearity_correlation": 0.6},
    **{"step_spread": 0.1, "asymmetry_spread": 0.07},
}
NOISES = {"cycle_noise": 0.01, "cycle_step_noise": 0.3}
CURVED = {"nonlinearity_up": 2.4, "nonlinearity_down": -4.88}
RESPONSES = ("linear", "constant-step", "soft-bounds", "exponential")


def cells_of(device, rows=100, columns=100, seed=1, layer=0, **how):
    return Cells([device], rows, columns, [Draws(seed, layer)], **how)


def pulsed(cells, counts, step=0):
    """The states after pulses, of one count for all or of one for each cell."""
    cells.pulse(torch.as_tensor(counts, dtype=torch.int32).expand(cells.state.shape), step)
    return cells.state.clone()


def within(found, wanted, error):
    """Four standard errors: missed by chance for one seed in 16,000."""
    return abs(found - wanted) < 4 * error


# From device to device


@pytest.mark.parametrize(
    ("figure", "mean", "deviation"),
    [
        (lambda f: f.high, 1.0, 0.05),
        (lambda f: f.low, 0.0, 0.04),
        (lambda f: f.label_up, 2.4, 0.3),
        (lambda f: f.label_down, -4.88, 0.3),
        (lambda f: f.gain_up, 1.0, math.hypot(0.1, 0.07)),
        (lambda f: f.gain_down, 1.0, math.hypot(0.1, 0.07)),
        (lambda f: (f.gain_up + f.gain_down) / 2, 1.0, 0.1),
        (lambda f: (f.gain_up - f.gain_down) / 2, 0.0, 0.07),
    ],
)
def test_figures_of_cells_are_normal_and_independent(figure, mean, deviation):
    device = synapse("exponential", **CURVED, **SPREADS)
    drawn = [figure(cells_of(device, layer=layer).figures)[0] for layer in (0, 1)]

    def p_value(seed):
        return stats.kstest(figure(cells_of(device, seed=seed).figures).flatten(), "norm", (mean, deviation)).pvalue

    assert plausible(p_value)
    pairs = [(drawn[0][:, :-1], drawn[0][:, 1:]), (drawn[0][:-1], drawn[0][1:]), tuple(drawn)]
    for one, other in pairs:  # a neighbour in the row, one in the column, the same cell of another array
        assert abs(np.corrcoef(one.flatten(), other.flatten())[0, 1]) < 4 / math.sqrt(one.numel())


def test_no_two_cells_are_alike():
    figures = cells_of(synapse("exponential", **CURVED, **SPREADS), 32, 32).figures
    for name, values in vars(figures).items():
        assert len(torch.unique(values)) == 1024, name


def test_the_figures_of_a_cell_tell_nothing_of_each_other():
    figures = cells_of(synapse("exponential", **CURVED, **{**SPREADS, "nonlinearity_correlation": 0.0})).figures
    gains = (figures.gain_up + figures.gain_down, figures.gain_up - figures.gain_down)
    drawn = torch.stack([figures.high, figures.low, figures.label_up, figures.label_down, *gains]).flatten(1)
    assert float((torch.corrcoef(drawn) - torch.eye(6)).abs().max()) < 4 / math.sqrt(10_000)


@pytest.mark.parametrize("correlation", [-1.0, -0.5, 0.0, 0.6, 1.0])
def test_both_labels_of_a_cell_are_as_correlated_as_is_declared(correlation):
    device = synapse("exponential", nonlinearity_spread=0.3, nonlinearity_correlation=correlation)
    figures = cells_of(device, 200, 200).figures
    found = np.corrcoef(figures.label_up.flatten(), figures.label_down.flatten())[0, 1]
    assert found == pytest.approx(correlation, abs=4 / math.sqrt(40_000))
    assert within(float(figures.label_down.std()), 0.3, 0.3 / math.sqrt(80_000))


def test_ends_that_would_cross_are_reflected_at_the_middle():
    figures = cells_of(synapse(high_spread=2.0, low_spread=2.0, step_spread=2.0)).figures
    assert float(figures.high.min()) >= 0.5 >= float(figures.low.max())
    assert float(figures.gain_up.min()) >= 0


@pytest.mark.parametrize("place", ["low", "high", "any"])
def test_stuck_cells_stay_where_they_are(place):
    device = synapse("soft-bounds", stuck=0.2, stuck_at=place, **NOISES, high_spread=0.02)
    cells = cells_of(device, state=0.5)
    first = cells.state.clone()
    assert stats.binomtest(int(cells.is_stuck.sum()), 10_000, 0.2).pvalue > 1e-3
    moved = (pulsed(cells, 3) != first, pulsed(cells, -9, 1) != first)
    cells.jump(torch.full((1, 100, 100), 5), 2)
    for each in (*moved, cells.state != first):
        assert torch.equal(each, ~cells.is_stuck)
    stuck = first[cells.is_stuck]
    if place == "any":
        assert stats.kstest(stuck, "uniform").pvalue > 1e-3
    else:
        assert float(stuck.std()) < 0.03 and float(stuck.median()) == pytest.approx(float(place == "high"), abs=0.01)


# From pulse to pulse


@pytest.mark.parametrize("way", ["pulse", "jump"])
@pytest.mark.parametrize(
    ("pulses", "noise", "of_one"),
    [*((n, {"cycle_noise": 0.005}, 0.005) for n in (25, -7, 1)), (16, {"cycle_step_noise": 0.5}, 0.0005)],
)
def test_noise_of_a_linear_device_adds_up(way, pulses, noise, of_one):
    device = synapse(pulses_up=1000, pulses_down=1000, **noise)

    def p_value(seed):
        cells = cells_of(device, seed=seed, state=0.5)
        getattr(cells, way)(torch.full((1, 100, 100), pulses), 0)
        law = (pulses / 1000, of_one * math.sqrt(abs(pulses)))
        return stats.kstest(cells.state.flatten() - 0.5, "norm", law).pvalue

    assert plausible(p_value)


@pytest.mark.parametrize("label", [0.01, 5.0])
def test_noise_along_the_curve_and_noise_at_the_end_differ_where_the_curve_bends(label):
    """Along a concave curve each pulse shrinks what the noise of those before has left: by r = 1 + slope."""
    device = synapse("exponential", nonlinearity_up=label, cycle_noise=0.01)
    r = 1 + float(cells_of(device, 1, 1).response.slope_up)
    start, pulses = 0.1, 16
    end = float(pulsed(cells_of(synapse("exponential", nonlinearity_up=label), 1, 1, state=start), pulses))
    along = 0.01 * math.sqrt(sum(r ** (2 * n) for n in range(pulses)))
    at_end = 0.01 * math.sqrt(pulses)
    assert (along / at_end > 0.99) is (label < 1)

    def p_value(way, deviation):
        def of(seed):
            cells = cells_of(device, seed=seed, state=start)
            getattr(cells, way)(torch.full((1, 100, 100), pulses), 0)
            return stats.kstest(cells.state.flatten(), "norm", (end, deviation)).pvalue

        return of

    assert plausible(p_value("pulse", along)) and plausible(p_value("jump", at_end))
    for way, deviation in (("pulse", at_end), ("jump", along)):
        assert plausible(p_value(way, deviation)) is (label < 1)


# What follows in terms of weights w = 2 g - 1 are the laws of constant and of soft-bounded steps; benchmarks.synapse
# holds both to the peer that they come from, where that is installed.
@pytest.mark.parametrize("pulses", [1, 10, 100])
@pytest.mark.parametrize("response", ["constant-step", "soft-bounds"])
def test_mean_and_variance_of_the_laws_for_training(response, pulses):
    step, noise, count = 2 / 1000, 0.3, 40_000
    device = synapse(response, pulses_up=1000, pulses_down=1000, cycle_step_noise=noise)
    weights = 2 * pulsed(cells_of(device, 200, 200, state=0.5), pulses).double() - 1
    if response == "constant-step":
        mean, variance = pulses * step, pulses * (step * noise) ** 2
    else:  # the distance from the bound is multiplied by 1 - step (1 + noise z) each time
        mean = 1 - (1 - step) ** pulses
        variance = ((1 - step) ** 2 + (step * noise) ** 2) ** pulses - (1 - step) ** (2 * pulses)
    assert within(float(weights.mean()), mean, math.sqrt(variance / count))
    assert within(float(weights.var()), variance, variance * math.sqrt(2 / count))


def test_noise_leads_no_cell_beyond_its_ends():
    cells = cells_of(synapse("exponential", **CURVED, **SPREADS, cycle_noise=0.5), state=0.5)
    for step in range(4):
        pulsed(cells, (-1) ** step * 3, step)
        assert bool(((cells.response.low <= cells.state) & (cells.state <= cells.response.high)).all())


# One result, however it is computed


def kinds(response, more):
    curved = CURVED if response == "exponential" else {}
    return synapse(response, pulses_up=20, pulses_down=30, stuck=0.1, **curved, **SPREADS, **more)


@pytest.mark.parametrize(("compiler", "kernels"), BUILDS)
def test_kernels_pulse_as_pytorch_does_to_the_bit(compiler, kernels):
    library = kernels_of(compiler, kernels)
    noises = [{}, {"cycle_noise": 0.05}, {"cycle_step_noise": 0.5}, {"cycle_noise": 0.02, "cycle_step_noise": 0.3}]

    @settings(max_examples=20, deadline=None)
    @given(
        *(st.sampled_from(RESPONSES), st.sampled_from(noises), st.integers(1, 2), st.integers(1, 5)),
        *(st.sampled_from([1, 2, 15, 16, 17, 33]), st.integers(0, 2**24 - 1), st.sampled_from([0.1, 0.5, 1.0])),
    )
    def check(response, noise, stack, rows, columns, seed, share):
        generator = torch.Generator().manual_seed(seed)
        counts = torch.randint(-8, 9, (stack, rows, columns), generator=generator, dtype=torch.int32)
        counts *= torch.rand(counts.shape, generator=generator) < share
        trains = [torch.rand(3, lines, generator=generator) - 0.5 for lines in (rows, columns)]
        lines = [line_trains(each, 9, Draws(seed), Purpose.ROW_TRAIN, 0) for each in trains]
        found = []
        for chosen in (library, None):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(native, "library", lambda chosen=chosen: chosen)
                cells = Cells(
                    [kinds(response, noise)] * stack, rows, columns, [Draws(seed, i) for i in range(stack)], 0.4
                )
                cells.pulse(counts, seed)
                if stack == 1:
                    cells.pulse_trains(*lines, seed)
                found.append(cells.state)
        assert torch.equal(found[0].view(torch.int32), found[1].view(torch.int32))

    check()


@pytest.mark.parametrize("response", RESPONSES)
def test_long_trains_draw_in_rounds_the_same_everywhere(response, monkeypatch):
    counts = torch.tensor([[[600, -600, 513, 512, 1, 0, -37]]], dtype=torch.int32)
    device = kinds(response, {"cycle_noise": 0.002, "cycle_step_noise": 0.3})
    by_kernel = pulsed(cells_of(device, 1, 7, state=0.5), counts, 2**24 - 1)
    monkeypatch.setattr(native, "library", lambda: None)
    assert torch.equal(by_kernel, pulsed(cells_of(device, 1, 7, state=0.5), counts, 2**24 - 1))


def test_the_rounds_of_a_long_train_draw_numbers_of_their_own():
    cells = cells_of(synapse(pulses_up=10**6, cycle_noise=1e-4), state=0.1)
    first = pulsed(cells, 512) - 0.1 - 512e-6
    whole = pulsed(cells_of(synapse(pulses_up=10**6, cycle_noise=1e-4), state=0.1), 1024) - 0.1 - 1024e-6
    assert abs(np.corrcoef(first.flatten(), (whole - first).flatten())[0, 1]) < 4 / math.sqrt(10_000)
    assert within(float(whole.std()), 1e-4 * 32, 1e-4 * 32 / math.sqrt(20_000))


def test_a_stack_computes_each_of_its_arrays_as_if_it_were_alone():
    devices = [kinds(response, {"cycle_noise": 0.01 * place}) for place, response in enumerate(RESPONSES)]
    draws = [Draws(place, 10 - place) for place in range(4)]
    counts = torch.randint(-5, 6, (4, 9, 21), generator=torch.Generator().manual_seed(0), dtype=torch.int32)
    together = Cells(devices, 9, 21, draws, 0.5)
    alone = [Cells([device], 9, 21, [each], 0.5) for device, each in zip(devices, draws)]
    for way in ("pulse", "jump"):
        getattr(together, way)(counts, 3)
        for place, cells in enumerate(alone):
            getattr(cells, way)(counts[place : place + 1], 3)
            assert torch.equal(together.state[place], cells.state[0])
            assert torch.equal(together.conductance()[place], cells.conductance()[0])


def test_a_batch_of_trains_is_its_samples_one_by_one():
    device, draws = kinds("soft-bounds", NOISES), Draws(4)
    values = [torch.rand(6, lines, generator=torch.Generator().manual_seed(lines)) - 0.5 for lines in (13, 18)]
    rows, columns = (line_trains(each, 31, draws, purpose, 0) for each, purpose in zip(values, Purpose))
    for parts in ([6], [1, 5], [1] * 6):
        cells, counted = (cells_of(device, 13, 18, counts_pulses=counts) for counts in (False, True))
        for start, size in zip(np.cumsum([0, *parts]), parts):
            for each in (cells, counted):
                each.pulse_trains(rows[start : start + size], columns[start : start + size], 100 + int(start))
        if parts == [6]:
            whole = cells.state
        assert torch.equal(cells.state, whole) and torch.equal(counted.state, whole)
    both = (rows[:, :, None] & columns[:, None, :] & 0x7FFFFFFF).numpy()
    assert torch.equal(counted.pulses[0], torch.from_numpy(np.bitwise_count(both).sum(0).astype(np.int64)))


@pytest.mark.parametrize("way", ["pulse", "jump"])
def test_an_update_can_be_replayed_and_others_differ(way):
    def after(seed=1, layer=0, step=5):
        cells = cells_of(kinds("exponential", NOISES), 8, 8, seed, layer, state=0.5)
        getattr(cells, way)(torch.full((1, 8, 8), 3), step)
        return cells.state

    assert torch.equal(after(), after())
    for other in ({"seed": 2}, {"layer": 1}, {"step": 6}):
        assert not torch.equal(after(), after(**other))


def test_pulses_are_counted_in_both_directions():
    cells, counts = cells_of(kinds("linear", {}), 2, 3, counts_pulses=True), torch.tensor([[[1, -2, 0], [700, 5, -1]]])
    cells.pulse(counts, 0)
    cells.jump(-counts, 1)
    assert torch.equal(cells.pulses, 2 * counts.abs().long())


def test_conductance_is_the_state_within_the_nominal_range():
    device = synapse(g_min=1e-6, g_max=5e-6, low_spread=3.0)
    cells = cells_of(device, state=-9.0)
    wanted = (1e-6 + 4e-6 * cells.state.double()).clamp(min=0)
    torch.testing.assert_close(cells.conductance().double(), wanted, rtol=1e-6, atol=1e-12)
    assert float(cells.conductance().min()) == 0.0 and float(cells.state.min()) < -0.25
