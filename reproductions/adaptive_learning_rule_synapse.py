"""Training in arrays of synapse devices (S. Lim et al., arXiv 1707.06381), on handwritten digits.

Of the paper only the abstract was at hand: it orders methods and names no figure. The three-layer perceptron, the
pulse responses and the update schemes are reconstructed. Every condition has the same seeds, orders and first weights.
"""

from collections.abc import Sequence
from dataclasses import replace

from ..devices.synapse.catalogue import catalogue, published_accuracies
from ..devices.synapse.device import SynapseDevice
from ..devices.synapse.perceptron import Learning
from ..estimate import estimate_of, exactly, percent_cell, share_of
from . import Claim, Study, Table
from ._in_arrays import Digits, Training, read_digits, software, trained, written

_POINT = 0.01
_LABELS = (0.0, 2.0, 3.0, 4.0, 5.0, 6.0)
_PULSES = (16, 32, 64, 128, 256)
_FINE = (8, 16, 64, 256, 1024)
_ON_OFF = (1.5, 2.0, 5.0, 10.0, 50.0)
_SPREADS = (0.0, 0.1, 0.2, 0.3)
_SCHEMES = ("unidirectional", "bidirectional", "single")


def device(nonlinearity: float = 0.0, pulses: int = 64, on_off: float = 1000.0, spread: float = 0.0) -> SynapseDevice:
    """A device as the study varies it; labels are symmetric, the spread is that of each end of the range."""
    return SynapseDevice(
        name=f"label {nonlinearity:g}, {pulses} pulses, on/off {on_off:g}, spread {spread:g}",
        title="varied in the study",
        source="none",
        g_min=1e-4 / on_off,
        g_max=1e-4,
        response="exponential" if nonlinearity else "linear",
        pulses_up=pulses,
        pulses_down=pulses,
        nonlinearity_up=nonlinearity,
        nonlinearity_down=-nonlinearity,
        high_spread=spread,
        low_spread=spread / on_off,
    )


def reproduce(study: Study) -> list[Claim]:
    """All comparisons; a few minutes on two cores."""
    digits = read_digits(study.data)
    plain = Training(Learning(rates=(0.1,)), 32, study.epochs(20), 10, (1.0, 2.0))
    return [
        *_dynamic_range(digits, plain, study),
        *_nonlinearity(digits, plain, study),
        *_states(digits, plain, study),
        *_rules(digits, plain, study),
        *_spreads(digits, plain, study),
        *_classes(digits.binary(), study),
    ]


def _dynamic_range(digits: Digits, plain: Training, study: Study) -> list[Claim]:
    study.say("software, and linear devices of growing dynamic range")
    baseline, _ = software(digits, study.seeds, plain)
    devices = [*(device(pulses=pulses) for pulses in _FINE), *(device(on_off=ratio) for ratio in _ON_OFF)]
    found, _ = trained(digits, devices, study.seeds, plain)
    by_pulses, by_ratio = found[: len(_FINE)], found[len(_FINE) :]
    rows = [["software", percent_cell(baseline)]]
    rows += [[f"{pulses:,} pulses, on/off 1,000", percent_cell(values)] for pulses, values in zip(_FINE, by_pulses)]
    rows += [[f"64 pulses, on/off {ratio:g}", percent_cell(values)] for ratio, values in zip(_ON_OFF, by_ratio)]
    table: Table = {"title": "Linear devices", "columns": ["device", "accuracy"], "rows": rows}
    return [
        _claim(
            "a linear response with a high dynamic range (1,024 pulses, on/off 1,000) comes within 1 point of software",
            baseline,
            by_pulses[-1],
            -_POINT,
            note="on/off alone matters little: a pair cancels what both devices conduct at least",
            table=table,
        ),
        _claim("a high dynamic range is better: 1,024 pulses against 8, linear", by_pulses[0], by_pulses[-1], 0.0),
    ]


def _nonlinearity(digits: Digits, plain: Training, study: Study) -> list[Claim]:
    devices = [device(label) for label in _LABELS]
    found = _by_scheme(digits, devices, plain, study, "nonlinear devices")
    table = _scheme_table("Nonlinearity, 64 pulses", "label", [f"{label:g}" for label in _LABELS], found)
    at = [f"at nonlinearity {label:g}" for label in _LABELS]
    return _unidirectional(at[1:], {scheme: values[1:] for scheme, values in found.items()}, table)


def _states(digits: Digits, plain: Training, study: Study) -> list[Claim]:
    devices = [device(3.0, pulses) for pulses in _PULSES]
    found = _by_scheme(digits, devices, plain, study, "finite numbers of states")
    table = _scheme_table("States at nonlinearity 3", "pulses", [str(pulses) for pulses in _PULSES], found)
    return _unidirectional([f"with {pulses} pulses at nonlinearity 3" for pulses in _PULSES], found, table)


def _unidirectional(conditions: list[str], found: dict[str, list[list[float]]], table: Table) -> list[Claim]:
    """One claim for each condition; the first has the table."""
    pairs = zip(conditions, found["bidirectional"], found["unidirectional"], [table, *[None] * len(conditions)])
    return [
        _claim(f"{at}, raising one device of a pair is at least as good as moving both", both, one, 0.0, table=shown)
        for at, both, one, shown in pairs
    ]


def _rules(digits: Digits, plain: Training, study: Study) -> list[Claim]:
    study.say("single pulses by the adaptive rule, and no resets")
    devices = [device(), device(3.0)]
    scaled, scaled_arrays = trained(digits, devices, study.seeds, plain)
    adaptive = replace(plain, learning=replace(plain.learning, counts="adaptive", pulsed_share=0.1, final=0.02))
    single, single_arrays = trained(digits, devices, study.seeds, adaptive)
    never = replace(plain, learning=replace(plain.learning, refresh_every=0))
    frozen, _ = trained(digits, [devices[1]], study.seeds, never)
    pulses = [float(sum(layer.pulses.sum() for layer in each.layers)) for each in (scaled_arrays, single_arrays)]
    note = f"{pulses[1] / pulses[0]:.2f} times the update pulses of back-propagation scaled to pulses"
    return [
        _claim(
            f"one pulse where the change exceeds the adaptive threshold comes within 2 points of scaled pulses, {name}",
            scaled[place],
            single[place],
            -2 * _POINT,
            note=note,
        )
        for place, name in enumerate(("linear", "nonlinearity 3"))
    ] + [_claim("resets of nearly full pairs are worth 5 points at nonlinearity 3", frozen[0], scaled[1], 5 * _POINT)]


def _spreads(digits: Digits, plain: Training, study: Study) -> list[Claim]:
    study.say("devices that differ, trained in place and written from software")
    devices = [device(2.0, spread=spread) for spread in _SPREADS]
    found, _ = trained(digits, devices, study.seeds, plain)
    _, layers = software(digits, study.seeds, plain)
    moved = {
        scheme: [written(digits, layers, each, study.seeds, _with(plain, scheme)) for each in devices]
        for scheme in ("unidirectional", "bidirectional")
    }
    rows = [
        [
            f"{spread:g}",
            percent_cell(found[i]),
            percent_cell(moved["unidirectional"][i]),
            percent_cell(moved["bidirectional"][i]),
        ]
        for i, spread in enumerate(_SPREADS)
    ]
    columns = [
        "spread of g_max",
        "trained in place",
        "written, one device of a pair idle",
        "written, both at mid range",
    ]
    table: Table = {
        "title": "Spread from device to device, nonlinearity 2, 64 pulses",
        "columns": columns,
        "rows": rows,
    }
    return [
        _claim(
            "training in place tolerates devices that differ: a spread of 0.3 of g_max costs at most 4 points",
            found[0],
            found[-1],
            -4 * _POINT,
            table=table,
        ),
        _claim(
            "at that spread it beats software's weights written into pairs at mid range",
            moved["bidirectional"][-1],
            found[-1],
            0.0,
        ),
        _claim(
            "at that spread it beats software's weights written into pairs of which one device is idle",
            moved["unidirectional"][-1],
            found[-1],
            0.0,
            note="devices written once are off in proportion to each weight, and most weights are small; learning "
            "passes through devices that differ at every update and reset",
        ),
    ]


def _classes(digits: Digits, study: Study) -> list[Claim]:
    """The protocol of MLP+NeuroSim 3.0, whose accuracies on MNIST are published by device.

    Binary inputs, sigmoid units, one device a weight, sample after sample, noise drawn once for an update. Its rounding
    to the nearest pulse loses what is less than half of one; the million samples that it has make up for that, the
    13,000 here would not, so that fractions are rounded at random.
    """
    study.say("published devices")
    learning = Learning("single", rates=(0.4, 0.2), final=1.0, refresh_every=0, jumps=True, units="sigmoid")
    training = Training(learning, 100, study.epochs(10), 1, (1.0, 1.0))
    published = published_accuracies()
    names = sorted(published, key=lambda name: -published[name])
    found, _ = trained(digits, [catalogue()[name] for name in names], study.seeds, training)
    baseline, _ = software(digits, study.seeds, training)
    order = [published[name] for name in names]
    by_seed = [_rank_correlation(order, [values[place] for values in found]) for place in range(len(study.seeds))]
    rho = _rank_correlation(order, [estimate_of(values).mean for values in found])
    rows = [["software", "96–97 %", percent_cell(baseline)]]
    rows += [[name, f"{published[name]:.0%}", percent_cell(values)] for name, values in zip(names, found)]
    table: Table = {
        "title": "Published devices",
        "columns": ["device", "published, MNIST", "here, binary digits"],
        "rows": rows,
    }
    over = exactly(0.8)
    return [
        Claim(
            "devices come in the published order (rank correlation of mean accuracies at least 0.8)",
            "Spearman's rank correlation",
            over,
            estimate_of(by_seed),
            rho >= over.mean,
            f"{rho:.2f} for the mean accuracies; the baseline is the bound; other data than the published, so only the "
            "order is compared",
            table,
        ),
        _claim("EpiRAM comes within 5 points of software", baseline, found[names.index("epiram")], -5 * _POINT),
    ]


def _by_scheme(
    digits: Digits, devices: Sequence[SynapseDevice], plain: Training, study: Study, what: str
) -> dict[str, list[list[float]]]:
    found = {}
    for scheme in _SCHEMES:
        study.say(f"{what}, {scheme}")
        found[scheme], _ = trained(digits, devices, study.seeds, _with(plain, scheme))
    return found


def _with(training: Training, scheme: str) -> Training:
    return replace(training, learning=replace(training.learning, scheme=scheme))


def _scheme_table(title: str, name: str, values: list[str], found: dict[str, list[list[float]]]) -> Table:
    rows = [[value, *(percent_cell(found[scheme][place]) for scheme in _SCHEMES)] for place, value in enumerate(values)]
    return {"title": title, "columns": [name, *_SCHEMES], "rows": rows}


def _claim(
    claim: str,
    baseline: list[float],
    ours: list[float],
    margin: float,
    note: str = "",
    table: Table | None = None,
) -> Claim:
    """One that holds where our mean is at least the baseline's plus a margin."""
    before, now = share_of(baseline), share_of(ours)
    return Claim(claim, "accuracy", before, now, now.mean >= before.mean + margin, note, table)


def _rank_correlation(first: Sequence[float], second: Sequence[float]) -> float:
    from scipy.stats import spearmanr

    if len(set(second)) < 2:  # nothing to order by
        return 0.0
    return float(spearmanr(first, second).statistic)
