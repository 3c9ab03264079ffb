"""ARL, gradients scaled by reliability in multimodal training (Wei, Luo and Luo, ICCV 2025, arXiv 2507.10203).

On halves of the bundled digits as two modalities, one in noise of 0.2 and one in 0.6, and the other way round. Every
way of training has the same first weights, samples and noise, and the learning rate of four that is best for it on
samples which are neither trained on nor measured with: unimodal losses make gradients up to nine times larger.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from ..estimate import estimate_of, share_of
from ..models.imbalanced_multimodal_arl import VIEWS, Arl, modes
from ..models.late_fusion import TwoSensors
from ..models.modality_balance import Balanced
from . import Claim, Study, Table
from ._artifacts import Key, run_on, ship, side_by_side
from ._paired import above
from ._trainings import two_at_a_time
from ._two_views import NOISES, RATES, Found, Views, draw_views, read_digits, train

_CLEAR = (0, 1)  # the view with less noise, by setting
_SETTINGS = ("upper half clear, lower half noisy", "lower half clear, upper half noisy")
_EPOCHS = 30
_MEMORISED = 2  # place of the rate, 0.02, at which networks with unimodal losses come to know their samples by heart
_MUCH = 0.10  # 10 points
_WAYS = {
    "joint": "joint",
    "balanced": "balanced",
    "balanced_ur": "balanced, unimodal losses",
    "ur": "unimodal losses",
    "code": "unimodal losses, equal scale",
    "arl": "ARL",
    "held_out": "ARL, coefficients from held-out batches",
}
_CODE = (
    "the first release of the authors' code computes the coefficients and never uses them, which is the equal scale "
    "here; a later one uses those of the batch before; trained networks have factors of {:.2f} for the clear view and "
    "{:.2f} for the noisy one"
)


def reproduce(study: Study) -> list[Claim]:
    """All comparisons."""
    views = draw_views(*read_digits(study.data), NOISES, study.seeds).repeated(len(RATES))
    ways = modes(VIEWS) | {"balanced_ur": Arl(VIEWS, Balanced())}
    jobs = {name: (mode, False) for name, mode in ways.items()} | {"held_out": (ways["arl"], True)}

    def trained(name: str) -> Found:
        study.say(f"training: {_WAYS[name]}")
        mode, judge_held_out = jobs[name]
        return train(mode, views, study.seeds, study.epochs(_EPOCHS), judge_held_out)

    found = dict(zip(jobs, two_at_a_time(trained, jobs)))
    return [
        *_fused(found),
        *_alone(found),
        *_reliability(found),
        _inverse_variance_is_best(study.seeds),
        _missing_sensor(found, views, study),
    ]


def _fused(found: dict[str, Found]) -> list[Claim]:
    claims: list[Claim] = []
    rivals = {
        "joint": "joint training",
        "balanced": "gradients modulated towards balance (OGM, arXiv 2203.15332)",
        "balanced_ur": "gradients modulated towards balance, with unimodal losses as ARL has them",
        "code": "an equal scale of both gradients, with unimodal losses as ARL has them",
    }
    for setting, words in enumerate(_SETTINGS):
        for name, rival in rivals.items():
            shown = _accuracy_table(found) if not claims else None
            claims.append(
                above(
                    f"{words}: ARL's fused accuracy is above that of {rival} (paired differences, 95 % interval)",
                    "accuracy",
                    found[name].accuracy(setting),
                    found["arl"].accuracy(setting),
                    note=_CODE.format(*_factors(found["arl"], setting)) if name == "code" else "",
                    table=shown,
                )
            )
    return claims


def _factors(arl: Found, setting: int) -> tuple[float, float]:
    """At the best rate, of the clear and of the noisy view."""
    factors, clear = arl.factors[arl.rate(setting), setting].mean(0), _CLEAR[setting]
    return factors[clear].item(), factors[1 - clear].item()


def _alone(found: dict[str, Found]) -> list[Claim]:
    """Not a matter of scaling: `ur` has the losses and no scaling."""
    claims = []
    for setting, words in enumerate(_SETTINGS):
        baseline, ours = found["joint"].alone(setting), found["arl"].alone(setting)
        plain = estimate_of(found["ur"].alone(setting)).mean
        claims.append(
            _claim(
                f"{words}: with ARL a single view is right at least 10 points more often than after joint training",
                baseline,
                ours,
                _mean_gain(baseline, ours) >= _MUCH,
                f"mean of both views alone; unimodal losses without scaling give {plain:.1%}",
            )
        )
    return claims


def _reliability(found: dict[str, Found]) -> list[Claim]:
    arl = found["arl"]
    batches, held_out = (_clear_share(shares[_MEMORISED]) for shares in (arl.batch_shares, arl.held_out_shares))
    half = [0.5] * len(batches)
    at = f"at a learning rate of {RATES[_MEMORISED]:g}"
    where = f"{at}, the clear view's share of the inverse variance is above one half"
    metric = "share of the inverse variance"
    own, other = (each.test[_MEMORISED, ..., 0].mean(0).tolist() for each in (arl, found["held_out"]))
    return [
        above(f"{where}, by the entropies of the training batches, which ARL uses", metric, half, batches),
        above(f"{where}, by the entropies of held-out samples", metric, half, held_out, table=_share_table(arl)),
        above(
            f"{at}, coefficients from held-out batches raise ARL's fused accuracy (paired differences, 95 % interval)",
            "accuracy",
            own,
            other,
            note="mean of both settings",
        ),
    ]


def _clear_share(shares: Tensor) -> list[float]:
    """(N, S, 2) to the mean over settings, by seed."""
    return torch.stack([shares[setting, :, clear] for setting, clear in enumerate(_CLEAR)]).mean(0).tolist()


def _inverse_variance_is_best(seeds: Sequence[int], variances: tuple[float, float] = (0.25, 1.0)) -> Claim:
    best = variances[1] / sum(variances)
    weights = torch.linspace(0, 1, 101).unsqueeze(1)
    equal, inverse, places, correlated = [], [], [], []
    for seed in seeds:
        noise = torch.randn(2, 40_000, generator=torch.Generator().manual_seed(seed))
        first, second = (v**0.5 * n for v, n in zip(variances, noise))
        errors = (weights * first + (1 - weights) * second).square().mean(1)
        equal.append(errors[50].item())
        inverse.append((best * first + (1 - best) * second).square().mean().item())
        places.append(weights[errors.argmin()].item())
        mixed = variances[1] ** 0.5 * (0.5 * noise[0] + 0.75**0.5 * noise[1])  # correlated by one half with the first
        correlated.append(weights[(weights * first + (1 - weights) * mixed).square().mean(1).argmin()].item())
    return _claim(
        f"of two predictions with error variances {variances[0]:g} and {variances[1]:g}, the best weight of a sweep in "
        f"steps of 0.01 is within 0.02 of the inverse variances' {best:.2f}",
        equal,
        inverse,
        all(abs(place - best) <= 0.02 for place in places),
        f"best weights {min(places):.2f} to {max(places):.2f}; baseline: equal weights; with errors correlated by one "
        f"half the best is {estimate_of(correlated).mean:.2f}, which the paper leaves out",
        metric="mean squared error",
    )


def _missing_sensor(found: dict[str, Found], views: Views, study: Study) -> Claim:
    study.say("one view missing at run time, int8 in ONNX Runtime")
    setting, compared, results, rows, agreements = 0, ("joint", "arl"), {}, [], []
    places = {name: [found[name].place(setting, seed) for seed in range(len(study.seeds))] for name in compared}
    networks = {name: [found[name].stack.network(place) for place in places[name]] for name in compared}
    with TemporaryDirectory() as folder:
        writings = [
            _writing(f"{name}_{place}", network, views, place, Path(folder))
            for name in compared
            for network, place in zip(networks[name], places[name])
        ]
        files = iter(side_by_side(writings))
        for name in compared:
            runs = [_missing(*each, views, next(files)["onnx", "int8"]) for each in zip(networks[name], places[name])]
            results[name] = [sum(hits) / 2 for hits, _ in runs]
            agreements += [agreement for _, agreement in runs]
            alone = (estimate_of([hits[view] for hits, _ in runs]).mean for view in (0, 1))
            rows.append([_WAYS[name], *(f"{share:.1%}" for share in alone)])
    table: Table = {
        "title": "Accuracy with one view missing, int8 ONNX",
        "columns": ["trained", "upper half only", "lower half only"],
        "rows": rows,
    }
    return _claim(
        f"{_SETTINGS[setting]}: with either view missing at run time, the int8 artifact of ARL is right at least 10 "
        "points more often than that of joint training",
        results["joint"],
        results["arl"],
        _mean_gain(results["joint"], results["arl"]) >= _MUCH,
        "mean of both cases; artifacts name the class of the float network's single view in at least "
        f"{min(agreements):.1%} of the samples",
        table,
    )


def _missing(network: TwoSensors, place: int, views: Views, path: Path) -> tuple[list[float], float]:
    """An int8 file's accuracy with the first and with the second view alone, and the least agreement with the float
    network's own.
    """
    test = {name: views.test[view][place] for view, name in enumerate(VIEWS)}
    labels = views.test[2][place].numpy()
    hits, agreements = [], []
    for view in (0, 1):
        present = torch.zeros(len(labels), 2)
        present[:, view] = 1
        inputs = test | {"present": present}
        fused = run_on(path, {name: tensor.numpy() for name, tensor in inputs.items()})["output_0"]
        with torch.no_grad():
            alone = network(*test.values(), torch.ones(len(labels), 2))[1 + view].numpy()
        hits.append(float((fused.argmax(1) == labels).mean()))
        agreements.append(float((fused.argmax(1) == alone.argmax(1)).mean()))
    return hits, min(agreements)


def _writing(
    name: str, network: TwoSensors, views: Views, place: int, folder: Path, count: int = 64
) -> partial[dict[Key, Path]]:
    """The call that writes a network's int8 ONNX file, calibrated with both views and with either."""
    cases = torch.tensor([[1.0, 1.0], [1.0, 0.0], [0.0, 1.0]]).repeat(-(-count // 3), 1)[:count]
    samples = {name: views.train[view][place][:count] for view, name in enumerate(VIEWS)} | {"present": cases}
    first = {name: tensor[:1].clone() for name, tensor in samples.items()}
    arrays = {name: tensor.numpy() for name, tensor in samples.items()}
    return partial(ship, name, network, first, arrays, folder, ("onnx",), ("int8",))


def _accuracy_table(found: dict[str, Found]) -> Table:
    columns = ["setting", "trained", "rate", "fused", "clear view alone", "noisy view alone"]
    columns += [f"fused at {rate:g}" for rate in RATES]
    rows = []
    for setting, words in enumerate(_SETTINGS):
        clear = _CLEAR[setting]
        for name, each in found.items():
            figures = [each.accuracy(setting), each.accuracy(setting, clear), each.accuracy(setting, 1 - clear)]
            figures += each.test[:, setting, :, 0].tolist()
            rows.append(
                [words, _WAYS[name], _rate(each, setting), *(f"{estimate_of(values).mean:.1%}" for values in figures)]
            )
    return {"title": "Accuracy, each at its own best rate, then by rate", "columns": columns, "rows": rows}


def _share_table(arl: Found) -> Table:
    columns = ["setting", "rate", "by training batches", "by held-out samples", "by the spread over seeds"]
    columns += ["noisy view alone, trained on", "noisy view alone, held out"]
    rows = []
    for setting, words in enumerate(_SETTINGS):
        clear, noisy = _CLEAR[setting], 1 - _CLEAR[setting]
        for place, rate in enumerate(RATES):
            shares = (shares[place, setting, :, clear].mean() for shares in (arl.batch_shares, arl.held_out_shares))
            hits = (each[place, setting, :, 1 + noisy].mean() for each in (arl.train, arl.test))
            spread = arl.seed_shares[place, setting, clear]
            row = [f"{share:.2f}" for share in (*shares, spread)] + [f"{share:.1%}" for share in hits]
            rows.append([words, f"{rate:g}", *row])
    return {"title": "The clear view's share of the inverse variance under ARL", "columns": columns, "rows": rows}


def _rate(found: Found, setting: int) -> str:
    return f"{RATES[found.rate(setting)]:g}"


def _mean_gain(baseline: Sequence[float], ours: Sequence[float]) -> float:
    return estimate_of(ours).mean - estimate_of(baseline).mean


def _claim(
    claim: str,
    baseline: Sequence[float],
    ours: Sequence[float],
    holds: bool,
    note: str = "",
    table: Table | None = None,
    metric: str = "accuracy",
) -> Claim:
    return Claim(claim, metric, share_of(baseline), share_of(ours), holds, note, table)
