"""Watching values over samples: the same statistics however the samples are taken, and faults named."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from offramp.errors import BadInput
from offramp.quant import observe as watching
from offramp.quant.capture import capture
from offramp.quant.observe import BINS, observe
from torch import nn
from torch.nn import functional

sys.path.append(str(Path(__file__).parent))
from small_networks import noise, samples_of


@pytest.fixture(scope="module")
def module():
    torch.manual_seed(0)
    return capture(nn.Sequential(nn.Linear(6, 5), nn.GELU()), (noise((1, 6)),)).module


SAMPLES = samples_of((1, 6), count=40)
NAMES = {"input_1", "linear", "gelu"}


def test_ranges_and_counts_are_those_of_all_values_together(module):
    seen = observe(module, SAMPLES, NAMES)
    with torch.no_grad():
        values = torch.cat([functional.linear(x, *_weights(module)) for (x,) in SAMPLES])
    spot = seen["linear"]
    assert (spot.low, spot.high) == (float(values.min()), float(values.max()))
    wanted = torch.histc(values.flatten(), BINS, spot.low, spot.high)
    assert np.array_equal(spot.histogram, wanted.long().numpy())
    counted = {name: int(found.histogram.sum()) for name, found in seen.items()}
    assert counted == {"input_1": 6 * len(SAMPLES), "linear": 5 * len(SAMPLES), "gelu": 5 * len(SAMPLES)}


def _weights(module):
    return [parameter.detach() for _, parameter in sorted(module.named_parameters(), reverse=True)]


@pytest.mark.parametrize("held_bytes", [0, 100, 1000, 1 << 30])
def test_any_chunking_gives_the_same_statistics(module, held_bytes, monkeypatch):
    at_once = observe(module, SAMPLES, NAMES)
    monkeypatch.setattr(watching, "_HELD_BYTES", held_bytes)
    streamed = observe(module, SAMPLES, NAMES)
    for name in NAMES:
        assert (streamed[name].low, streamed[name].high) == (at_once[name].low, at_once[name].high)
        assert np.array_equal(streamed[name].histogram, at_once[name].histogram)


def test_the_order_of_samples_does_not_matter(module):
    forward, backward = observe(module, SAMPLES, NAMES), observe(module, SAMPLES[::-1], NAMES)
    for name in NAMES:
        assert np.array_equal(forward[name].histogram, backward[name].histogram)


def test_ranges_alone_cost_no_histogram(module):
    seen = observe(module, SAMPLES, NAMES, histograms=False)
    assert not any(spot.histogram.any() for spot in seen.values())
    assert seen["gelu"].low < 0 < seen["gelu"].high


def test_no_samples_are_refused(module):
    with pytest.raises(BadInput, match="calibration: no samples; give at least one"):
        observe(module, [], NAMES)


def test_a_sample_of_another_shape_is_named(module):
    samples = [*SAMPLES[:3], (noise((1, 7)),)]
    with pytest.raises(BadInput, match=r"calibration sample 3: shapes \[\(1, 7\)\] do not fit the inputs \[\(1, 6\)\]"):
        observe(module, samples, NAMES)
    with pytest.raises(BadInput, match="calibration sample 0: shapes"):
        observe(module, [(noise((1, 6)), noise((1, 6)))], NAMES)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_sample_that_is_not_finite_is_named(module, value):
    broken = noise((1, 6))
    broken[0, 2] = value
    with pytest.raises(BadInput, match="calibration sample 2: holds NaN or infinite values; mend the data"):
        observe(module, [*SAMPLES[:2], (broken,)], NAMES)


def test_the_first_value_that_overflows_is_named():
    big = nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 5), nn.GELU())
    module = capture(big, (noise((1, 6)),)).module
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.fill_(1e30)
    with pytest.raises(BadInput, match=r"^linear_1: NaN or infinite during calibration; check the calibration samples"):
        observe(module, SAMPLES, {"gelu", "linear_1", "linear", "input_1"})


def test_the_network_is_left_as_it_was(module):
    before = module.code
    observe(module, SAMPLES, NAMES)
    assert module.code == before
    assert len(module(noise((1, 6)))) == 1
