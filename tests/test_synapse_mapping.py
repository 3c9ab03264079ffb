"""How weights lie on arrays: digits and states, arrays, devices and energy that they take, and what cannot be held."""

import math
import sys
from pathlib import Path

import pytest
import torch
from offramp.devices.synapse.crossbar import Crossbar, Usage
from offramp.devices.synapse.design import ArrayDesign
from offramp.devices.synapse.draws import Draws
from offramp.devices.synapse.mapping import array_count, column_range, pair_states, sliced

sys.path.append(str(Path(__file__).parent))
from small_synapses import line_of, synapse


def whole(*shape):
    return torch.randint(-127, 128, shape, generator=torch.Generator().manual_seed(0)).double()


@pytest.mark.parametrize("bits", range(1, 9))
def test_slices_add_up_to_the_weights(bits):
    weights = whole(2, 11, 5)
    found = sliced(weights, ArrayDesign(slice_bits=bits), "layer")
    held = min(bits, 7)  # magnitudes of codes have no more
    codes = found.digits * ((1 << held) - 1)
    assert len(found.factors) == math.ceil(7 / bits)
    assert float(found.digits[0].abs().max()) == 1.0
    assert torch.equal(codes.round(), codes)
    assert torch.equal(sum(part * (1 << held * place) for place, part in enumerate(codes)), weights)
    added = sum(digits * factor for digits, factor in zip(found.digits, found.factors))
    torch.testing.assert_close(added, weights, rtol=1e-15, atol=0.0)


def test_states_of_pairs_and_columns_stand_for_digits():
    digits = torch.tensor([-1.0, -0.25, 0.0, 0.5, 1.0])
    assert pair_states(digits).tolist() == [[0, 0, 0, 0.5, 1], [1, 0.25, 0, 0, 0]]


@pytest.mark.parametrize(("states", "middle"), [(0, 0.5), (3, 0.5), (5, 0.5), (64, 31 / 63), (4, 1 / 3)])
def test_references_stand_on_a_level_with_as_many_above_as_below(states, middle):
    found, reach = column_range(states)
    assert found == reach == middle
    assert found + reach <= 1
    if states:
        levels = torch.tensor([found - reach, found, found + reach], dtype=torch.float64) * (states - 1)
        assert torch.equal(levels, levels.round())


def test_two_states_leave_no_room_for_a_reference():
    assert line_of(column_range, 2).startswith("levels 2: a reference column needs 3 or more")


def test_what_is_beyond_the_share_that_is_kept_is_clipped():
    weights = torch.arange(-50.0, 51.0)[None, None]
    for bits in (0, 3):
        design = ArrayDesign(clip_share=0.8, slice_bits=bits)
        found = sliced(weights, design, "layer")
        added = sum(digits * factor for digits, factor in zip(found.digits, found.factors))
        torch.testing.assert_close(added, weights.clamp(-40, 40), rtol=1e-12, atol=0.0)
    assert torch.equal(sliced(weights * 0, design, "layer").digits, weights[None] * 0)


# How many arrays


@pytest.mark.parametrize(
    ("groups", "inputs", "outputs", "slices", "design", "arrays"),
    [
        (1, 256, 256, 1, {}, 2),  # one array that adds and one that subtracts
        (1, 257, 256, 1, {}, 4),
        (1, 512, 600, 3, {}, 2 * 3 * 3 * 2),
        (1, 256, 256, 1, {"reference": "column"}, 2),  # 255 columns of weights in the first
        (1, 256, 255, 4, {"reference": "column"}, 4),
        (32, 9, 1, 1, {}, 2 * 2),  # depthwise: 28 groups of 9 rows lie along the diagonal of an array
        (28, 9, 1, 1, {}, 2),
        (10, 10, 100, 1, {}, 5 * 2),  # two groups of 100 columns in an array
        (10, 10, 100, 1, {"reference": "column"}, 5),
        (3, 300, 10, 1, {}, 3 * 2 * 2),  # groups that take several arrays share none
        (1, 7, 3, 2, {"rows": 2, "columns": 2}, 4 * 2 * 2 * 2),
    ],
)
def test_arrays_are_counted_as_by_hand(groups, inputs, outputs, slices, design, arrays):
    assert array_count(groups, inputs, outputs, slices, ArrayDesign(**design)) == arrays


# What they take


def usage(weights, device, **design):
    return Crossbar(weights, (-1.0, 1.0), device, ArrayDesign(**design), Draws(1)).usage


def test_usage_counts_devices_conversions_and_pulses():
    device, weights = synapse(pulses_up=4, pulses_down=4), torch.tensor([[[4.0, -2.0, 0.0], [1.0, 1.0, 4.0]]])
    # 4 and -2 of 4 take 4 and 2 pulses, 1 takes 1; a pair's idle device takes none.
    assert usage(weights, device) == Usage(arrays=2, cells=12, conversions=3, write_pulses=12)
    # Around mid range 4, -2, 0 and 1 of 4 stand at 1, 1/4, 1/2 and, nearest to 5/8 of four steps, 1/2.
    found = usage(weights, device, reference="column", columns=3)
    assert found == Usage(arrays=2, cells=10, conversions=3, write_pulses=4 + 1 + 2 + 2 + 2 + 4 + 4 * 2)
    tiled = usage(weights, device, rows=1, slice_bits=2)
    assert (tiled.arrays, tiled.cells, tiled.conversions) == (2 * 2 * 2, 2 * 12, 2 * 2 * 3)


def test_the_energy_of_a_read_is_that_of_each_device():
    """Weights 1, -1 / 0.5, 0 on pairs of 1 to 11 siemens: rows conduct (11 + 1 + 1 + 11) and (6 + 1 + 1 + 1)."""
    device = synapse(levels=0, g_min=1.0, g_max=11.0)
    found = Crossbar(torch.tensor([[[1.0, -1.0], [0.5, 0.0]]]), (-4.0, 2.0), device, ArrayDesign(), Draws(1))
    assert found.row_siemens.tolist() == [[24.0, 9.0]]
    # The largest input, 4, is driven with 0.2 volts: an input of 1 with 0.05, of 3 with 0.15.
    squares = torch.tensor([[1.0, 9.0]], dtype=torch.float64)
    wanted = (0.05**2 * 24 + 0.15**2 * 9) * 1e-9
    assert found.read_joules(squares, 0.2, 1e-9) == pytest.approx(wanted, rel=1e-12)


# What cannot be


def test_a_reference_column_needs_a_column_beside_it():
    line = "arrays: columns must be 2 or more with a reference column, got 1"
    assert line_of(ArrayDesign, columns=1, reference="column") == line
    assert array_count(1, 2, 2, 1, ArrayDesign(columns=1)) == 4


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_weights_that_are_no_numbers_name_their_layer(value):
    weights = whole(1, 3, 2)
    weights[0, 1, 1] = value
    line = "blocks.3.conv: holds NaN or infinity, which no conductance stands for; train again"
    for bits in (0, 2):
        design = ArrayDesign(slice_bits=bits)
        assert line_of(sliced, weights, design, "blocks.3.conv") == line
    assert line_of(Crossbar, weights, (-1.0, 1.0), synapse(), design, Draws(1), "blocks.3.conv") == line


def test_only_whole_numbers_can_be_sliced():
    line = "head: slice_bits takes weights that are whole numbers; quantize the network first"
    assert line_of(sliced, whole(1, 3, 2) / 2, ArrayDesign(slice_bits=2), "head") == line


@pytest.mark.parametrize(
    ("field", "value", "bounds"),
    [
        ("rows", 0, "1 to 65536"),
        ("columns", 65537, "1 to 65536"),
        ("slice_bits", 17, "0 to 16"),
        ("slice_bits", -1, "0 to 16"),
        ("dac_bits", 17, "0 to 16"),
        ("adc_bits", -3, "0 to 16"),
        ("adc_share", 0.4, "0.5 to 1"),
        ("clip_share", 1.01, "0.5 to 1"),
        ("wire_ohms", -0.5, "0 to 1e+06"),
        ("wire_ohms", math.nan, "0 to 1e+06"),
        ("verify_rounds", 1001, "0 to 1000"),
        ("seconds", -1.0, "0 to 1e+10"),
        ("seconds", math.inf, "0 to 1e+10"),
    ],
)
def test_designs_have_bounds(field, value, bounds):
    assert line_of(ArrayDesign, **{field: value}) == f"arrays: {field} must be from {bounds}, got {value:g}"
    low, high = map(float, bounds.split(" to "))
    assert getattr(ArrayDesign(**{field: low}), field) == low
    assert getattr(ArrayDesign(**{field: high}), field) == high


def test_all_faults_of_a_design_stand_in_one_line():
    line = line_of(ArrayDesign, rows=0, seconds=-1, reference="both")
    assert line == (
        "arrays: rows must be from 1 to 65536, got 0; seconds must be from 0 to 1e+10, got -1"
        "; reference must be pair or column, got both"
    )
