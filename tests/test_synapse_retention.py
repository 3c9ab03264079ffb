"""Retention: the law of drift, the published figures of each model, and what one factor can undo."""

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from offramp.devices.synapse.retention import (
    DAY,
    TEN_YEARS,
    FilamentSpread,
    OxideRelaxation,
    PhaseChange,
    compensation,
    drifted,
)
from offramp.errors import BadInput

PCM, RRAM, OXIDE = PhaseChange(), FilamentSpread(), OxideRelaxation()


def shares(*values):
    return torch.tensor(values, dtype=torch.float64)


def normals(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@settings(deadline=None)
@given(st.floats(0, 0.3), st.floats(1e-3, 100), st.floats(1.01, 1e6), st.floats(1.01, 1e3))
def test_the_slope_of_drift_in_logarithms_is_the_exponent(nu, start, first, ratio):
    g = shares(1e-6, 0.3, 25.0)
    early, late = drifted(g, start * first, start, nu), drifted(g, start * first * ratio, start, nu)
    slope = (late.log() - early.log()) / math.log(ratio)
    torch.testing.assert_close(slope, torch.full_like(slope, -nu), rtol=1e-9, atol=1e-9)


def test_every_device_drifts_by_its_own_exponent():
    nu = shares(0.0, 0.05, -0.1)
    found = drifted(torch.ones(3, dtype=torch.float64), 2000.0, 20.0, nu)
    assert found.tolist() == pytest.approx([1.0, 100**-0.05, 100**0.1])


@pytest.mark.parametrize("seconds", [0.0, 1.0, 20.0])
def test_until_drift_starts_no_bit_changes(seconds):
    g = torch.rand(50, generator=torch.Generator().manual_seed(1))
    assert torch.equal(drifted(g, seconds, 20.0, torch.full((50,), 0.07)), g)
    assert float(drifted(g, 20.001, 20.0, 0.07)[0]) < float(g[0])


def test_programming_noise_of_phase_change_is_the_published_polynomial():
    sigma = PCM.program_sigma(shares(0.0, 0.5, 1.0))
    microsiemens = [0.2635, 0.2635 + 1.965 / 2 - 1.1731 / 4, 0.2635 + 1.965 - 1.1731]
    assert (sigma * 25).tolist() == pytest.approx(microsiemens, abs=5e-5)
    assert float(sigma[2]) == pytest.approx(0.042, abs=5e-4)
    noise = normals(3)
    assert torch.equal(PCM.programmed(shares(0.3, 0.5, 1.0), noise * 0), shares(0.3, 0.5, 1.0))
    assert PCM.programmed(shares(0.0), shares(-1.0)).tolist() == [0.0]
    torch.testing.assert_close(PCM.programmed(shares(0.5), shares(2.0)), 0.5 + 2 * sigma[1:2])


def test_drift_exponents_of_phase_change_are_the_published_ones():
    mean, deviation = PCM.exponent_figures(shares(0.0, 0.01, 0.1, 1.0))
    assert mean.tolist() == pytest.approx([0.1, 0.0957809, 0.0600901, 0.049], abs=1e-6)
    assert deviation.tolist() == pytest.approx([0.045, 0.045, 0.0228823, 0.008], abs=1e-6)
    # At 0.01 the normal number takes the exponent below 0, and it counts without its sign.
    nu = PCM.exponents(shares(0.01, 1.0), shares(-3.0, 1.0))
    assert nu.tolist() == pytest.approx([0.135 - 0.0957809, 0.057], abs=1e-6)


@pytest.mark.parametrize(
    ("seconds", "factors"), [(DAY, (0.664, 0.605, 0.449)), (365 * DAY, (0.497, 0.424, 0.255))], ids=["day", "year"]
)
def test_what_a_device_of_mean_exponent_keeps_of_its_conductance(seconds, factors):
    g = shares(1.0, 0.1, 0.01)
    kept = drifted(g, seconds, PCM.start_seconds, PCM.exponents(g, torch.zeros_like(g))) / g
    assert kept.tolist() == pytest.approx(factors, abs=6e-4)


def test_the_mean_over_devices_is_above_the_device_of_mean_exponent():
    g = torch.full((200_000,), 0.1, dtype=torch.float64)
    kept = drifted(g, DAY, PCM.start_seconds, PCM.exponents(g, normals(200_000))) / g
    mean, deviation = 0.0600901, 0.0228823
    decay = math.log(DAY / 20)
    log_normal = math.exp(-mean * decay + (deviation * decay) ** 2 / 2)  # but for signs, at 2.6 deviations
    assert log_normal == pytest.approx(0.616, abs=1e-3)
    assert float(kept.mean()) == pytest.approx(log_normal, abs=2e-3)


def test_read_noise_of_phase_change_grows_with_the_root_of_log_time():
    sigma = PCM.read_sigma(shares(0.0, 0.5, 1.0), DAY)
    growth = math.sqrt(math.log(DAY / 500e-9))
    assert sigma.tolist() == pytest.approx([0.2 * growth, 0.0088 / 0.5**0.65 * growth, 0.0088 * growth])
    assert float(sigma[2]) == pytest.approx(0.045, abs=5e-4)
    assert PCM.read_sigma(shares(1.0), 250e-9).tolist() == [0.0]


def test_aged_phase_change_memory_is_its_three_parts():
    g, (program, exponent, read) = shares(0.0, 0.2, 1.0), normals(3, 3)
    programmed = PCM.programmed(g, program)
    now = drifted(programmed, 3600.0, 20.0, PCM.exponents(g, exponent))
    noise = now * PCM.read_sigma(programmed, 3600.0) * read
    torch.testing.assert_close(PCM.aged(g, 3600.0, program, exponent, read), (now + noise).clamp(min=0))
    later = PhaseChange(start_seconds=1.0, read_seconds=1e-6)
    assert float(later.aged(g, 3600.0, program, exponent, 0 * read)[2]) < float(now[2])
    assert float(later.read_sigma(g, DAY)[2]) == pytest.approx(0.0088 * math.sqrt(math.log(DAY / 2e-6)))


PUBLISHED = {  # microsiemens per power of g, by seconds
    1.0: (0.348, 16.030, -43.853, 45.393, -16.815),
    DAY: (0.701, 22.086, -50.773, 47.095, -16.458),
    2 * DAY: (0.782, 20.274, -43.507, 37.062, -11.934),
}


@pytest.mark.parametrize(("seconds", "microsiemens"), PUBLISHED.items())
def test_spread_of_filaments_is_the_published_polynomial(seconds, microsiemens):
    sigma = RRAM.sigma(shares(0.0, 0.5, 1.0), seconds) * 40
    middle = sum(each / 2**power for power, each in enumerate(microsiemens))
    assert sigma.tolist() == pytest.approx([microsiemens[0], middle, sum(microsiemens)])
    found = RRAM.aged(shares(0.5, 0.0), seconds, shares(-2.0, -1.0))
    assert found.tolist() == pytest.approx([0.5 - 2 * middle / 40, 0.0])


def test_filaments_spread_most_in_the_middle():
    g = torch.linspace(0, 1, 101, dtype=torch.float64)
    for seconds in PUBLISHED:
        sigma = RRAM.sigma(g, seconds)
        assert 0.25 <= float(g[sigma.argmax()]) <= 0.5
        assert float(sigma.min()) == float(sigma[0]) > 0.008
        assert float(sigma[-1]) < 0.7 * float(sigma.max()) < 0.071


def test_between_published_times_the_spread_is_linear_in_log_time():
    g = shares(0.0, 0.3, 1.0)
    for before, after in pairwise(PUBLISHED):
        halfway = RRAM.sigma(g, math.sqrt(before * after))
        torch.testing.assert_close(halfway, (RRAM.sigma(g, before) + RRAM.sigma(g, after)) / 2)


def test_oxide_sinks_alike_in_every_state():
    mean, deviation = OXIDE.shift_figures(3600.0)
    assert mean == pytest.approx(-0.089e-6 * math.log(3600), rel=1e-3)
    assert deviation == pytest.approx((0.042 * math.log(3600) + 0.412) * 1e-6, rel=1e-3)
    siemens = shares(8e-6, 50e-6, 90e-6)
    found = OXIDE.aged(siemens, 3600.0, shares(0.0, 1.0, -1.0))
    expected = siemens + mean + deviation * shares(0.0, 1.0, -1.0)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0.0)
    assert OXIDE.shift_figures(1.0) == (0.0, 0.41183342e-6)
    assert OXIDE.aged(shares(8e-6), TEN_YEARS, shares(-6.0)).tolist() == [0.0]


def test_compensation_undoes_a_drift_that_all_devices_share():
    weights, seconds = normals(6, 4), 7 * DAY
    before = weights.sum(0)
    after = drifted(weights, seconds, 20.0, 0.06).sum(0)
    factor = compensation(before, after)
    assert factor.dim() == 0
    torch.testing.assert_close(after * factor, before)
    assert float(compensation(before, before)) == 1.0
    assert float(compensation(shares(1.0, -3.0), shares(-1.0, 1.0))) == 2.0


@pytest.mark.parametrize("share", [-0.01, 1.01, math.nan])
def test_shares_have_bounds(share):
    g, zero = shares(0.5, share), torch.zeros(2, dtype=torch.float64)
    calls = [
        lambda: PCM.program_sigma(g),
        lambda: PCM.exponents(g, zero),
        lambda: PCM.aged(g, DAY, zero, zero, zero),
        lambda: RRAM.aged(g, DAY, zero),
    ]
    for call in calls:
        with pytest.raises(BadInput, match=f"^conductance {share:g}: must be from 0 to 1$"):
            call()


def test_a_programmed_conductance_may_exceed_one_but_not_fall_below_zero():
    assert float(PCM.read_sigma(shares(1.1), DAY)) < float(PCM.read_sigma(shares(1.0), DAY))
    with pytest.raises(BadInput, match=r"^conductance -0\.1: must be finite and 0 or more$"):
        PCM.read_sigma(shares(-0.1), DAY)


def test_siemens_have_bounds():
    with pytest.raises(BadInput, match=r"^siemens 9\.1e-05: must be from 8e-06 to 9e-05$"):
        OXIDE.aged(shares(5e-5, 9.1e-5), DAY, shares(0.0, 0.0))
    assert OxideRelaxation(high_siemens=1e-4).aged(shares(9.1e-5), 1.0, shares(0.0)).tolist() == [9.1e-5]
    with pytest.raises(BadInput, match=r"^siemens 8e-06: must be from 9e-06 to 9e-05$"):
        OxideRelaxation(low_siemens=9e-6).aged(shares(8e-6), 1.0, shares(0.0))


def test_times_have_bounds():
    g = shares(0.5)
    cases = [
        (lambda t: drifted(g, t, 1.0, 0.1), -1.0, "finite and 0 or more"),
        (lambda t: drifted(g, t, 1.0, 0.1), math.nan, "finite and 0 or more"),
        (lambda t: drifted(g, t, 1.0, 0.1), math.inf, "finite and 0 or more"),
        (lambda t: PCM.read_sigma(g, t), 1e-7, r"from 2\.5e-07 to 3\.15576e\+08"),
        (lambda t: PCM.aged(g, t, g, g, g), 4e8, r"from 2\.5e-07 to 3\.15576e\+08"),
        (lambda t: RRAM.sigma(g, t), 0.5, "from 1 to 172800"),
        (lambda t: RRAM.aged(g, t, g), 3 * DAY, "from 1 to 172800"),
        (lambda t: OXIDE.aged(shares(5e-5), t, g), 0.0, r"from 1 to 3\.15576e\+08"),
        (lambda t: OXIDE.shift_figures(t), 4e8, r"from 1 to 3\.15576e\+08"),
    ]
    for call, seconds, bound in cases:
        with pytest.raises(BadInput, match=rf"^seconds {seconds:g}: must be {bound}$".replace("e+08:", r"e\+08:")):
            call(seconds)
    with pytest.raises(BadInput, match=r"^start 0: must be above 0 seconds and finite$"):
        drifted(g, 5.0, 0.0, 0.1)


def test_what_cannot_be_compensated_is_said():
    with pytest.raises(BadInput, match=r"^outputs to compensate: all are 0 now, which no factor can undo$"):
        compensation(shares(1.0), shares(0.0))
    with pytest.raises(BadInput, match=r"^outputs to compensate: must be finite$"):
        compensation(shares(math.nan), shares(1.0))
