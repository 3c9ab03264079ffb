"""CARE Transformer (Zhou et al., CVPR 2025, arXiv 2411.16170): what decoupling costs and brings, and how fast it is.

The paper trains on ImageNet with a teacher; here its block is taken apart on generated pictures of digits, at equal
multiplications. Costs are counted at the paper's own sizes. Its latencies are an iPhone's; here one block of each width
is timed in ONNX Runtime and LiteRT beside MobileNetV2's.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..estimate import exactly, percent_cell
from ..models.care_blocks import LinearAttention
from ..models.care_transformer import S0, S1, CareTransformer, fold
from ..models.care_variants import VARIANTS, Decoupled, macs
from ..models.mobilenet_v2 import IMAGENET, MobileNetV2
from ..quant.scheme import Scheme
from ..runtime.macs import count_file
from . import Claim, Study, Table
from ._artifacts import Key, latencies, ship, side_by_side
from ._care_training import SCHEDULE, Trained, train_variants
from ._paired import above
from ._trainings import seeded

_VARIANTS = {variant.name: variant for variant in VARIANTS}
_COSTED = ("asymmetric", "symmetric", "stacked")
_COMPARED = (*_COSTED, "no memory", "second interaction only")
_POINT = 0.01
_CLAIMED = (  # against which variant, by which margin, and in words
    ("symmetric", -_POINT, "thin slices in attention come within 1 point of as many channels as in convolutions"),
    ("stacked", -_POINT, "thin slices come within 1 point of every channel in both convolutions and attention"),
    ("no memory", 0.0, "with a memory it is more accurate than without"),
    ("second interaction only", 0.0, "with two interactions it is more accurate than with the second alone"),
)
_SIDES = (14, 28, 56)  # positions across
_LINEAR_AT_MOST = 1.5
_PRECISIONS = ("float32", "int8")
Case = tuple[str, str, str]  # network, target, precision
_ENGINES = {"onnx": "ONNX Runtime", "tflite": "LiteRT"}
_SHALLOW: dict[str, Callable[[], nn.Module]] = {  # the baseline first
    "mobilenet_v2": lambda: MobileNetV2(replace(IMAGENET, stages=tuple((*s[:2], 1, s[3]) for s in IMAGENET.stages))),
    "care_s0": lambda: fold(CareTransformer(replace(S0, depths=(1,) * 4))),
}


def reproduce(study: Study) -> list[Claim]:
    """All claims.

    Raises:
        BadInput: the study has data of its own.
    """
    study.refuse_data("draws its pictures from the bundled digits")
    return [*ablations(study), *costs(study), *scaling(study), *speeds(study)]


def costs(study: Study) -> list[Claim]:
    """What token mixing multiplies at the sizes of CARE-S1."""
    study.say("counting multiplications of token mixing")
    counted = {name: macs(_VARIANTS[name], S1, 224) for name in _COSTED}
    rows = [[name, f"{cost.mixers / 1e6:.1f}", f"{cost.total / 1e9:.3f}"] for name, cost in counted.items()]
    columns = ["token mixing", "its million MACs", "GMACs of the network"]
    table: Table = {"title": "CARE-S1 at 224 x 224, equal widths", "columns": columns, "rows": rows}
    said = {
        "symmetric": "with as many channels in attention as in convolutions",
        "stacked": "with every channel in both convolutions and attention",
    }
    return [
        Claim(
            f"at equal width, token mixing by thin slices takes fewer multiplications than {how}",
            "million MACs of token mixing",
            exactly(counted[name].mixers / 1e6),
            exactly(counted["asymmetric"].mixers / 1e6),
            counted["asymmetric"].mixers < counted[name].mixers,
            "counted, the same with every seed",
            table if name == "symmetric" else None,
        )
        for name, how in said.items()
    ]


def ablations(study: Study) -> list[Claim]:
    """Accuracies at equal multiplications, after digits and after pairs."""
    schedule = replace(
        SCHEDULE, digit_epochs=study.epochs(SCHEDULE.digit_epochs), pair_epochs=study.epochs(SCHEDULE.pair_epochs)
    )
    study.say(f"training {len(_COMPARED)} variants with {len(study.seeds)} seeds on digits, then on pairs")
    found = dict(zip(_COMPARED, train_variants([_VARIANTS[name] for name in _COMPARED], study.seeds, schedule)))
    claims: list[Claim] = []
    for task, of in (("digits", "digits"), ("same or different", "pairs")):
        values = {name: getattr(trained, of) for name, trained in found.items()}
        for against, margin, said in _CLAIMED:
            table = None if claims else _accuracy_table(found)
            claim = f"{task}: {said}, at equal multiplications"
            claims.append(above(claim, "accuracy", values[against], values["asymmetric"], margin, table=table))
    return claims


def _accuracy_table(found: dict[str, Trained]) -> Table:
    rows = [
        [
            name,
            f"{trained.variant.widening:.2f}",
            f"{trained.macs / 1e3:.0f}",
            f"{trained.parameters:,}",
            *(percent_cell(values) for values in (trained.digits, trained.pairs)),
        ]
        for name, trained in found.items()
    ]
    columns = ["block", "hidden channels", "thousand MACs", "parameters", "digits, %", "same or different, %"]
    return {"title": "Blocks at equal multiplications, 24 x 24 pictures", "columns": columns, "rows": rows}


class _SoftmaxMixer(Decoupled):
    """The same slices with softmax attention in place of linear attention."""

    def forward(self, x: Tensor) -> Tensor:
        attended, near, far = x.split(self.widths, dim=1)
        linear = self.attention
        assert isinstance(linear, LinearAttention)
        query, key, value = (
            part.flatten(2).unflatten(1, (linear.heads, linear.head_dim)).transpose(2, 3)  # (B, h, N, D)
            for part in (*linear.query_key(attended).chunk(2, dim=1), attended)
        )
        mixed = functional.scaled_dot_product_attention(query, key, value).transpose(2, 3).reshape(attended.shape)
        return torch.cat([mixed, self.conv3(near), self.conv7(far)], dim=1)


def scaling(study: Study) -> list[Claim]:
    """Time of stage 3's token mixing as the picture grows."""
    study.say("timing token mixing on growing maps")
    mixers = {"softmax": _SoftmaxMixer(32, 32, 32, 16).eval(), "linear": Decoupled(32, 32, 32, 16).eval()}
    times = {
        (name, side): _seconds(mixer, torch.randn(1, 96, side, side, generator=torch.Generator().manual_seed(side)))
        for (name, mixer), side in product(mixers.items(), _SIDES)
    }
    least, most = _SIDES[0], _SIDES[-1]
    growth = {name: times[name, most] / times[name, least] / (most / least) ** 2 for name in mixers}
    rows = [
        [f"{side} x {side}", *(f"{times[name, side] * 1e3:.2f}" for name in ("linear", "softmax"))] for side in _SIDES
    ]
    table: Table = {
        "title": "Stage 3's token mixing, one thread, PyTorch",
        "columns": ["positions", "linear, ms", "softmax, ms"],
        "rows": rows,
    }
    return [
        Claim(
            f"token mixing takes time linear in the number of positions: per position at {most} x {most} at most "
            f"{_LINEAR_AT_MOST:g} times that at {least} x {least}, and less than with softmax attention",
            "growth of the time per position",
            exactly(growth["softmax"]),
            exactly(growth["linear"]),
            growth["linear"] <= _LINEAR_AT_MOST and growth["linear"] < growth["softmax"],
            "the shortest of several runs; on small maps the calls themselves take most of the linear mixer's time",
            table,
        )
    ]


@torch.no_grad()
def _seconds(mixer: nn.Module, x: Tensor, least_runs: int = 3, least_seconds: float = 0.2) -> float:
    """The shortest of several runs on one thread, after one that does not count."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    mixer(x)
    runs: list[float] = []
    while len(runs) < least_runs or sum(runs) < least_seconds:
        began = perf_counter()
        mixer(x)
        runs.append(perf_counter() - began)
    torch.set_num_threads(threads)
    return min(runs)


def speeds(study: Study) -> list[Claim]:
    """Artifacts of CARE-S0 beside those of MobileNetV2, by the time that a multiplication takes.

    Both have one block of each width: that takes a third of the time to write, and a block costs what it costs.
    """
    with TemporaryDirectory() as folder:
        study.say(f"writing {' and '.join(_SHALLOW)} for {' and '.join(_ENGINES.values())}")
        written = side_by_side([_writing(name, Path(folder)) for name in _SHALLOW])
        paths: dict[Case, Path] = {
            (name, *key): path for name, files in zip(_SHALLOW, written) for key, path in files.items()
        }
        study.say("timing them")
        found = latencies({"/".join(case): path for case, path in paths.items()})
        times = {case: found["/".join(case)] for case in paths}
        giga_macs = {name: count_file(paths[name, "onnx", "float32"]).total / 1e9 for name in _SHALLOW}
    table = _speed_table(times, giga_macs)
    cases = list(product(_ENGINES, _PRECISIONS))
    return [_speed(*case, times, giga_macs, table if case == cases[0] else None) for case in cases]


def _writing(name: str, folder: Path) -> partial[dict[Key, Path]]:
    """The call that writes a network untrained and quantized in the quickest way: its time does not depend on that."""
    network = seeded(_SHALLOW[name], 0).eval()
    image = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    scheme = Scheme(calibration="minmax", rounding="nearest", correct_bias=False)
    images, targets = {"image": image.numpy()}, tuple(_ENGINES)
    return partial(ship, name, network, {"image": image}, images, folder, targets, _PRECISIONS, scheme)


def _speed(
    target: str, precision: str, times: dict[Case, float], giga_macs: dict[str, float], table: Table | None
) -> Claim:
    before, now = (times[name, target, precision] / giga_macs[name] for name in _SHALLOW)
    return Claim(
        f"in {_ENGINES[target]} in {precision}, a multiplication of care_s0 takes no longer than one of mobilenet_v2, "
        "both with one block of each width",
        "ms per GMAC, one thread",
        exactly(before),
        exactly(now),
        now <= before,
        "medians of one interleaved run on this machine; the paper's are an iPhone's and cannot be compared",
        table,
    )


def _speed_table(times: dict[Case, float], giga_macs: dict[str, float]) -> Table:
    cases = list(product(_ENGINES, _PRECISIONS))
    rows = [
        [name, f"{giga_macs[name]:.3f}", *(f"{times[name, target, precision]:.2f}" for target, precision in cases)]
        for name in _SHALLOW
    ]
    columns = ["network", "GMACs", *(f"{_ENGINES[target]} {precision}, ms" for target, precision in cases)]
    return {"title": "One block of each width, one image of 224 x 224, one thread", "columns": columns, "rows": rows}
