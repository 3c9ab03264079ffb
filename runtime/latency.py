"""Latency as a distribution: interleaved, pinned to a core, with what the machine was doing meanwhile.

Protocol: at least `warmup_runs` runs and `warmup_seconds` of warm-up per variant; then at least `runs` runs and
`seconds` each, in the order A B A B, so that a slow spell of the machine hits all variants alike. Minima are the
steadiest figure of a shared machine, and a median far above its minimum marks the run as noisy.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median
from time import perf_counter_ns

import numpy as np

NOISY_ABOVE = 1.3  # p50 / min
_CHUNK = 8  # runs in a row before the next variant's turn, so that each starts from its own warm caches
_RESAMPLES = 2000


@dataclass(frozen=True)
class Latency:
    """The distribution of one variant's run time.

    Attributes:
        samples_ms: every timed run in milliseconds, in order.
        first_ms: the very first call, before any warm-up.
        load_before, load_after: 1-minute load average of the machine, None where the system has none.
        pinned: whether the thread was held to one core.
    """

    samples_ms: tuple[float, ...] = field(repr=False)
    first_ms: float
    load_before: float | None
    load_after: float | None
    pinned: bool

    @property
    def count(self) -> int:
        return len(self.samples_ms)

    @property
    def p50_ms(self) -> float:
        return self._percentile(50)

    @property
    def p90_ms(self) -> float:
        return self._percentile(90)

    @property
    def p99_ms(self) -> float:
        return self._percentile(99)

    @property
    def min_ms(self) -> float:
        return min(self.samples_ms)

    @property
    def mad_ms(self) -> float:
        """Median absolute deviation from the median."""
        middle = median(self.samples_ms)
        return median(abs(sample - middle) for sample in self.samples_ms)

    @property
    def noisy(self) -> bool:
        """Whether other work disturbed the run: p50 above 1.3 minima."""
        return self.p50_ms > NOISY_ABOVE * self.min_ms

    def summary(self) -> dict[str, float | int | bool | None]:
        """What a report shows, in milliseconds rounded to 0.1 microseconds."""
        figures = {name: round(getattr(self, f"{name}_ms"), 4) for name in ("p50", "p90", "p99", "min", "mad", "first")}
        return {
            **figures,
            "count": self.count,
            "noisy": self.noisy,
            "pinned": self.pinned,
            "load_before": self.load_before,
            "load_after": self.load_after,
        }

    def _percentile(self, percent: float) -> float:
        return float(np.percentile(self.samples_ms, percent))


@dataclass(frozen=True)
class Ratio:
    """How many times longer `a` takes than `b`, with a 95 % bootstrap interval."""

    value: float
    low: float
    high: float


def measure_latency(
    calls: Mapping[str, Callable[[], object]],
    runs: int = 50,
    seconds: float = 1.0,
    warmup_runs: int = 10,
    warmup_seconds: float = 0.5,
) -> dict[str, Latency]:
    """Times every variant; see the head of this file.

    Args:
        calls: name -> one inference.
        runs, seconds: at least so many timed runs, and so long, for each variant.
        warmup_runs, warmup_seconds: likewise before timing.

    Returns:
        name -> its distribution.

    Raises:
        ValueError: `runs` is below one.
    """
    if runs < 1:
        raise ValueError(f"runs must be at least 1, got {runs}")
    with pinned_to_one_core() as pinned:
        load_before = load_average()
        first = {name: _timed_ms(call) for name, call in calls.items()}
        _interleave(calls, warmup_runs, warmup_seconds)
        samples = _interleave(calls, runs, seconds)
        load_after = load_average()
    return {name: Latency(tuple(samples[name]), first[name], load_before, load_after, pinned) for name in calls}


def load_time_ms(load: Callable[[], object], times: int = 5) -> float:
    """Median milliseconds of opening an artifact, of `times` openings; the first pays the disk and is among them."""
    return median(_timed_ms(load) for _ in range(times))


def ratio_of(a: Latency, b: Latency, statistic: str = "min", seed: int = 0) -> Ratio:
    """Time of `a` over time of `b`.

    Args:
        a, b: measured in one `measure_latency` call, or noise that hit one alone shows as a difference.
        statistic: `min` or `median`.
        seed: of the bootstrap's resampling.

    Raises:
        ValueError: another statistic.
    """
    if statistic not in _STATISTICS:
        raise ValueError(f"statistic must be one of {', '.join(_STATISTICS)}, got {statistic}")
    of = _STATISTICS[statistic]
    generator = np.random.default_rng(seed)
    top, bottom = (_resampled(latency.samples_ms, of, generator) for latency in (a, b))
    low, high = np.percentile(top / bottom, (2.5, 97.5))
    return Ratio(float(of(np.array(a.samples_ms)) / of(np.array(b.samples_ms))), float(low), float(high))


@contextmanager
def pinned_to_one_core() -> Iterator[bool]:
    """Holds this thread to its last allowed core and gives its cores back after; False where the system cannot."""
    if not hasattr(os, "sched_setaffinity"):
        yield False
        return
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {max(allowed)})  # core 0 serves most interrupts
    except OSError:
        yield False
        return
    try:
        yield True
    finally:
        os.sched_setaffinity(0, allowed)


def load_average() -> float | None:
    """1-minute load average, None where the system has none."""
    try:
        return round(os.getloadavg()[0], 2)
    except (AttributeError, OSError):
        return None


_STATISTICS: dict[str, Callable[..., np.ndarray]] = {"min": np.min, "median": np.median}


def _resampled(samples: tuple[float, ...], of: Callable[..., np.ndarray], generator: np.random.Generator) -> np.ndarray:
    """The statistic of `_RESAMPLES` samples drawn with replacement."""
    values = np.array(samples)
    return of(values[generator.integers(0, len(values), (_RESAMPLES, len(values)))], axis=1)


def _interleave(calls: Mapping[str, Callable[[], object]], runs: int, seconds: float) -> dict[str, list[float]]:
    """Runs the variants in turn until each has had `runs` runs and `seconds`; milliseconds by name."""
    samples: dict[str, list[float]] = {name: [] for name in calls}
    spent_ms = dict.fromkeys(calls, 0.0)
    waiting = [name for name in calls if runs > 0 or seconds > 0]
    while waiting:
        for name in waiting:
            turn = [_timed_ms(calls[name]) for _ in range(_CHUNK)]
            samples[name] += turn
            spent_ms[name] += sum(turn)
        waiting = [name for name in waiting if len(samples[name]) < runs or spent_ms[name] < seconds * 1e3]
    return samples


def _timed_ms(call: Callable[[], object]) -> float:
    start = perf_counter_ns()
    call()
    return (perf_counter_ns() - start) / 1e6
