"""Crossbars: exact where all is ideal, and held to plain arithmetic in each thing that is not."""

import math
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from offramp.devices.synapse.converters import Converter
from offramp.devices.synapse.crossbar import Crossbar
from offramp.devices.synapse.design import ArrayDesign
from offramp.devices.synapse.draws import Draws
from offramp.devices.synapse.mapping import pair_states, sliced
from offramp.devices.synapse.wires import effective_conductance
from scipy import stats

sys.path.append(str(Path(__file__).parent))
from small_synapses import plausible, synapse

IDEAL = synapse(levels=0, g_min=1e-6, g_max=2e-5)
REFERENCES = pytest.mark.parametrize("reference", ["pair", "column"])


def whole(*shape, seed=0, largest=127):
    return torch.randint(-largest, largest + 1, shape, generator=torch.Generator().manual_seed(seed)).double()


def real(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def crossbar(weights, device=IDEAL, seed=1, **design):
    return Crossbar(weights, (-128.0, 127.0), device, ArrayDesign(**design), Draws(seed))


def read(found, inputs):
    return found.read(found.drive(inputs))


def product(inputs, weights):
    return torch.einsum("bgi,gio->bgo", inputs, weights)


# Ideal devices and converters


@settings(max_examples=50, deadline=None)
@given(
    *(st.integers(1, 3), st.integers(1, 40), st.integers(1, 20), st.integers(0, 10**6)),
    *(st.sampled_from(["pair", "column"]), st.integers(2, 50), st.integers(2, 30), st.integers(0, 9)),
)
def test_an_ideal_array_multiplies_exactly(groups, rows, columns, seed, reference, tall, wide, slice_bits):
    weights, inputs = whole(groups, rows, columns, seed=seed), whole(5, groups, rows, seed=seed + 1)
    design = {"reference": reference, "rows": tall, "columns": wide, "slice_bits": slice_bits, "dac_bits": 8}
    found = read(crossbar(weights, **design), inputs)
    assert torch.equal(found.round(), product(inputs, weights))
    torch.testing.assert_close(found, product(inputs, weights), rtol=0.0, atol=1e-7)


@REFERENCES
def test_real_weights_are_multiplied_to_the_rounding_of_float64(reference):
    weights, inputs = real(1, 300, 20), real(50, 1, 300, seed=1)
    wanted = product(inputs, weights)
    whole_array, tiled = (crossbar(weights, reference=reference, rows=rows, columns=7) for rows in (300, 64))
    for found in (whole_array, tiled):
        error = (read(found, inputs) - wanted).abs() / product(inputs.abs(), weights.abs())
        assert float(error.max()) < 1e-12


@pytest.mark.parametrize("rows", [256, 1100])
def test_float32_is_computed_in_where_it_holds_every_sum(rows):
    weights, inputs = torch.full((1, 1100, 2), 127.0), torch.full((1, 1, 1100), -128.0)
    weights[0, ::2, 1], inputs[0, 0, -1] = -126.0, 127.0
    found = crossbar(weights, rows=rows)
    assert found.matrices.dtype == (torch.float32 if rows == 256 else torch.float64)
    assert torch.equal(read(found, inputs).round(), product(inputs.double(), weights.double()))
    assert crossbar(weights / 2).matrices.dtype == torch.float64


def test_groups_are_the_blocks_of_one_matrix():
    weights, inputs = whole(4, 9, 3), whole(6, 4, 9, seed=1)
    together = read(crossbar(torch.block_diag(*weights)[None]), inputs.reshape(6, 1, 36))
    torch.testing.assert_close(read(crossbar(weights), inputs), together.reshape(6, 4, 3), rtol=1e-12, atol=1e-9)


# Converters


@REFERENCES
@pytest.mark.parametrize(("bits", "rows"), [(4, 256), (8, 256), (8, 16), (12, 10)])
def test_an_adc_adds_half_a_step_for_each_array(reference, bits, rows):
    weights, inputs = real(1, 40, 12), whole(200, 1, 40, seed=1)
    found = crossbar(weights, reference=reference, rows=rows, adc_bits=bits)
    found.calibrate(found.drive(inputs))
    partial = [product(inputs[..., at : at + rows], weights[:, at : at + rows]) for at in range(0, 40, rows)]
    largest = max(float(each.abs().max()) for each in partial)
    half = Converter(bits).step(-largest, largest) / 2
    error = (read(found, inputs) - sum(partial)).abs()
    assert half * len(partial) * 0.5 < float(error.max()) <= half * len(partial) * (1 + 1e-9)


def test_an_adc_clips_what_its_share_leaves_out():
    weights, inputs = whole(1, 40, 12), whole(200, 1, 40, seed=1)
    found = crossbar(weights, adc_bits=14, adc_share=0.9)
    found.calibrate(found.drive(inputs))
    wanted = product(inputs, weights)
    limit = float(wanted.abs().flatten().kthvalue(2160).values)
    torch.testing.assert_close(read(found, inputs), wanted.clamp(-limit, limit), rtol=0.0, atol=limit * 2**-13)


def test_each_slice_has_a_range_of_its_own():
    """The high slice of small weights is nearly empty, and its steps are as much finer."""
    weights, inputs = whole(1, 40, 12, largest=5), whole(200, 1, 40, seed=1)
    found = crossbar(weights, adc_bits=8, slice_bits=2)
    found.calibrate(found.drive(inputs))
    low = torch.sign(weights) * (weights.abs() % 4)
    limits = [float(product(inputs, each).abs().max()) for each in (low, weights - low)]
    half = sum(Converter(8).step(-limit, limit) / 2 for limit in limits)
    assert float((read(found, inputs) - product(inputs, weights)).abs().max()) <= half * (1 + 1e-9)


def test_a_dac_drives_its_nearest_level():
    inputs = whole(20, 1, 30)
    driven = Converter(3).around_zero(inputs, -128.0, 127.0)
    weights = real(1, 30, 4, seed=1)
    found = read(crossbar(weights, dac_bits=3), inputs)
    torch.testing.assert_close(found, product(driven, weights), rtol=1e-12, atol=1e-9)


def test_an_adc_needs_a_range_first():
    with pytest.raises(RuntimeError, match=r"^calibrate\(\) sets the ADC's range; call it before read\(\)$"):
        read(crossbar(whole(1, 3, 2), adc_bits=8), whole(1, 1, 3))


# Noise of reads


def cell_by_cell(weights, device, reference, reads, seed):
    """Outputs (reads, outputs) for an input of ones: each cell's conductance drawn anew at each read."""
    digits, draw = weights / weights.abs().max(), torch.Generator().manual_seed(seed)
    if reference == "pair":
        parts = list(pair_states(digits))
    else:
        parts = [(digits + 1) / 2, torch.full_like(digits[:, :1], 0.5)]
    span, total = device.g_max - device.g_min, 0.0
    for sign, states in zip((1, -1), parts):
        siemens = device.g_min + span * states
        noise = torch.randn(reads, *siemens.shape, generator=draw, dtype=torch.float64)
        total = total + sign * (siemens * (1 + device.read_noise * noise)).sum(1)
    return total / span * weights.abs().max() * (1 if reference == "pair" else 2)


@REFERENCES
def test_read_noise_has_the_variance_of_noisy_cells(reference):
    device, weights, reads = replace(IDEAL, read_noise=0.05), whole(1, 12, 3), 4000
    inputs = torch.ones(reads, 1, 12)

    def p_value(seed):
        found = read(crossbar(weights, device, seed, reference=reference), inputs)[:, 0]
        wanted = cell_by_cell(weights[0], device, reference, reads, seed)
        return min(stats.ks_2samp(found[:, each], wanted[:, each]).pvalue for each in range(3)) * 3

    assert plausible(p_value)


@pytest.mark.parametrize("slice_bits", [0, 3])
def test_noise_of_tiles_and_slices_adds_up(slice_bits):
    device, weights, inputs = replace(IDEAL, read_noise=0.05), whole(2, 12, 3), real(1, 2, 12).expand(4000, -1, -1)
    slices, span = sliced(weights, ArrayDesign(slice_bits=slice_bits), ""), IDEAL.g_max - IDEAL.g_min
    factor = torch.tensor(slices.factors)[:, None, None, None] * 0.05 / span
    squares = (factor * (IDEAL.g_min + span * slices.digits.abs())) ** 2 + (factor * IDEAL.g_min) ** 2
    variance = product(inputs[:1].square(), squares.sum(0))[0]

    def p_value(seed):
        found = read(crossbar(weights, device, seed, rows=5, slice_bits=slice_bits), inputs)
        return stats.kstest(((found - product(inputs, weights)) / variance.sqrt()).flatten(), "norm").pvalue

    assert plausible(p_value)


@pytest.mark.parametrize("parts", [[1] * 6, [5, 1], [2, 4]])
def test_reads_are_the_same_in_batches_of_any_size(parts):
    device = replace(IDEAL, read_noise=0.05)
    weights, inputs = whole(2, 12, 3), whole(6, 2, 12, seed=1)
    design = {"rows": 5, "slice_bits": 3}
    split = crossbar(weights, device, **design)
    found = torch.cat([read(split, part) for part in inputs.split(parts)])
    torch.testing.assert_close(found, read(crossbar(weights, device, **design), inputs), rtol=1e-5, atol=0.05)
    assert split.vectors == 6
    assert not torch.equal(read(split, inputs), found)  # the next reads have noise of their own


# Age, and what can be subtracted


@REFERENCES
def test_outputs_drift_with_the_exponent(reference):
    device, weights = replace(IDEAL, drift=0.07, drift_start=20.0), real(1, 8, 4)

    def sums(seconds):
        return crossbar(weights, device, reference=reference, seconds=seconds).matrices.sum((0, 1, 2))

    for early, late in ((20.0, 1e3), (1e3, 1e6)):
        slope = (sums(late) / sums(early)).log() / math.log(late / early)
        torch.testing.assert_close(slope, torch.full_like(slope, -0.07), rtol=1e-9, atol=0.0)
    assert torch.equal(sums(0.0), sums(19.9))


@REFERENCES
def test_compensation_undoes_a_drift_that_is_common(reference):
    device, weights, inputs = replace(IDEAL, drift=0.05), real(1, 8, 4), whole(9, 1, 8, seed=1)
    aged = {"reference": reference, "seconds": 1e6}
    found = read(crossbar(weights, device, compensates_drift=True, **aged), inputs)
    torch.testing.assert_close(found, product(inputs, weights), rtol=1e-12, atol=1e-9)
    drifted = read(crossbar(weights, device, **aged), inputs)
    torch.testing.assert_close(drifted, product(inputs, weights) * 1e6**-0.05, rtol=1e-12, atol=1e-9)


def test_every_device_has_an_exponent_of_its_own():
    device = replace(IDEAL, drift=0.5, drift_spread=0.02, g_min=0.0)
    found = crossbar(torch.ones(1, 50, 200), device, seconds=1e4, reference="pair").matrices[0, 0]
    exponents = -found.log() / math.log(1e4)
    assert stats.kstest(exponents.flatten(), "norm", (0.5, 0.02)).pvalue > 1e-3


def test_correction_removes_an_offset_that_all_columns_share():
    """Devices whose conductance sinks leave less of each weight, and of a sum of weights that is not zero."""
    device, weights, inputs = replace(IDEAL, drift=0.1), whole(1, 30, 8).abs(), torch.ones(1, 1, 30).double()
    found = [read(crossbar(weights, device, seconds=1e4, corrects_offset=each), inputs) for each in (False, True)]
    wanted = product(inputs, weights)
    assert bool((found[0] < 0.5 * wanted).all())
    torch.testing.assert_close(found[1], wanted, rtol=1e-6, atol=1e-6)


# Wires


@REFERENCES
@pytest.mark.parametrize("columns", [5, 8])
def test_wires_lower_what_each_array_conducts(reference, columns):
    weights, ohms, rows = real(2, 9, 7), 30.0, 6
    found = crossbar(weights, reference=reference, rows=rows, columns=columns, wire_ohms=ohms).matrices[0]
    span, largest, width = IDEAL.g_max - IDEAL.g_min, float(weights.abs().max()), columns - (reference == "column")
    for group in range(2):
        for top in range(0, 9, rows):
            for left in range(0, 7, width):
                tile = weights[group, top : top + rows, left : left + width] / largest
                if reference == "pair":
                    parts = [effective_conductance(IDEAL.g_min + span * each, ohms, ohms) for each in pair_states(tile)]
                    wanted = (parts[0] - parts[1]) * largest / span
                else:
                    states = torch.cat([(tile + 1) / 2, torch.full_like(tile[:, :1], 0.5)], 1)
                    seen = effective_conductance(IDEAL.g_min + span * states, ohms, ohms)
                    wanted = (seen[:, :-1] - seen[:, -1:]) * 2 * largest / span
                part = found[group, top : top + rows, left : left + width]
                torch.testing.assert_close(part, wanted, rtol=1e-9, atol=1e-12)


def test_the_longer_the_wire_the_less_is_read():
    weights, ones = whole(1, 40, 20).abs(), torch.ones(1, 1, 40)
    found = [float(read(crossbar(weights, wire_ohms=ohms), ones).sum()) for ohms in (0.0, 1.0, 10.0, 100.0)]
    assert found[0] == pytest.approx(float(weights.sum()), rel=1e-12)
    assert found == sorted(found, reverse=True) and found[-1] < 0.9 * found[0]
    small = crossbar(weights, wire_ohms=100.0, rows=5, columns=5)
    assert float(read(small, ones).sum()) > found[-1]  # short wires lose less


def test_a_seed_is_a_chip():
    device = synapse(levels=0, program_error=0.05, high_spread=0.1)
    same, again, other = (crossbar(whole(1, 6, 5), device, seed).matrices for seed in (1, 1, 2))
    assert torch.equal(same, again)
    assert not torch.allclose(same, other, atol=0.1)
    sliced_weights = crossbar(torch.full((1, 30, 30), 5.0), device, slice_bits=2).matrices
    assert abs(torch.corrcoef(sliced_weights.flatten(1))[0, 1]) < 4 / 30  # each slice has devices of its own
