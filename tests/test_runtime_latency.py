"""The latency protocol on calls whose cost is known, and its statistics on samples written out here."""

import os
import time

import pytest
from offramp.runtime.latency import Latency, load_time_ms, measure_latency, pinned_to_one_core, ratio_of


def latency(*samples_ms):
    return Latency(samples_ms, samples_ms[0], 0.0, 0.0, True)


def busy(seconds):
    """Works for `seconds` of processor time, so that a slow machine does not shorten it."""

    def call():
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            pass

    return call


def test_percentiles_minimum_and_deviation_of_known_samples():
    known = latency(*(float(sample) for sample in range(1, 102)))
    assert (known.p50_ms, known.p90_ms, known.p99_ms, known.min_ms, known.count) == (51, 91, 100, 1, 101)
    assert latency(1.0, 2.0, 3.0, 4.0, 100.0).mad_ms == 1.0


def test_noisy_is_a_median_above_1_3_minima():
    assert not latency(1.0, 1.29, 1.29).noisy
    assert latency(1.0, 1.31, 1.31).noisy


def test_a_call_takes_at_least_what_it_works():
    (found,) = measure_latency({"one": busy(0.002)}, runs=8, seconds=0.01, warmup_runs=1, warmup_seconds=0.0).values()
    assert found.min_ms >= 2.0
    assert found.first_ms >= 2.0
    assert found.p50_ms >= found.min_ms


def test_runs_and_seconds_are_both_lower_bounds():
    calls = {"short": lambda: None}
    assert measure_latency(calls, runs=50, seconds=0.0, warmup_runs=0, warmup_seconds=0.0)["short"].count >= 50
    long = measure_latency({"long": busy(0.001)}, runs=1, seconds=0.05, warmup_runs=0, warmup_seconds=0.0)["long"]
    assert sum(long.samples_ms) >= 50.0


def test_variants_take_turns():
    order = []
    calls = {name: (lambda name=name: order.append(name)) for name in "AB"}
    measure_latency(calls, runs=24, seconds=0.0, warmup_runs=0, warmup_seconds=0.0)
    turns = [name for place, name in enumerate(order[2:]) if place == 0 or order[2:][place - 1] != name]
    assert turns == ["A", "B", "A", "B", "A", "B"]


def test_a_warmed_up_variant_was_called_before_it_was_timed():
    calls = []
    found = measure_latency({"x": lambda: calls.append(0)}, runs=8, seconds=0.0, warmup_runs=16, warmup_seconds=0.0)
    assert len(calls) - found["x"].count == 1 + 16


def test_no_runs_is_refused():
    with pytest.raises(ValueError, match="runs must be at least 1, got 0"):
        measure_latency({}, runs=0)


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system does not pin threads to cores")
def test_the_thread_is_pinned_while_measuring_and_released_after():
    before, inside = os.sched_getaffinity(0), []
    found = measure_latency({"x": lambda: inside.append(os.sched_getaffinity(0))}, runs=1, seconds=0.0)
    assert found["x"].pinned
    assert all(len(cores) == 1 for cores in inside)
    assert os.sched_getaffinity(0) == before
    with pytest.raises(RuntimeError, match="broken"), pinned_to_one_core():
        raise RuntimeError("broken")
    assert os.sched_getaffinity(0) == before


@pytest.mark.parametrize(("statistic", "value"), [("min", 2.0), ("median", 4.0)])
def test_ratio_of_minima_or_medians(statistic, value):
    ratio = ratio_of(latency(2.0, 4.0, 4.0, 4.0), latency(1.0, 1.0, 1.0), statistic)
    assert ratio.value == value
    assert ratio.low <= value <= ratio.high


def test_equal_distributions_have_one_in_their_interval_and_different_ones_do_not():
    near = [latency(*(1.0 + 0.01 * ((7 * i + shift) % 10) for i in range(60))) for shift in (0, 3)]
    assert ratio_of(*near, "median").low <= 1.0 <= ratio_of(*near, "median").high
    far = latency(*(1.5 * sample for sample in near[0].samples_ms))
    assert ratio_of(far, near[1], "median").low > 1.3


def test_an_unknown_statistic_is_refused():
    with pytest.raises(ValueError, match="statistic must be one of min, median, got mean"):
        ratio_of(latency(1.0), latency(1.0), "mean")


def test_summary_holds_the_percentiles_a_report_shows():
    shown = latency(1.0, 2.0, 3.0).summary()
    assert (shown["p50"], shown["min"], shown["count"], shown["noisy"]) == (2.0, 1.0, 3, True)


def test_load_time_is_the_median_opening():
    assert load_time_ms(busy(0.002), times=3) >= 2.0
