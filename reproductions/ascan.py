"""AsCAN (Kag et al., NeurIPS 2024, arXiv 2411.04967): where blocks stand, and what that brings.

The paper trains on ImageNet and measures on GPUs; here layouts of the same blocks at the same small widths learn
generated pictures of digits, and their exported artifacts are timed on this machine. Its generators make photographs;
here one makes digits of the class asked for, and its artifacts are sampled.
"""

import timeit
from collections.abc import Mapping
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from ..estimate import estimate_of, exactly, percent_cell
from ..models.ascan import Ascan
from . import Claim, Study, Table
from ._artifacts import Key, latencies, run_on, ship, side_by_side
from ._ascan_drawing import drawings, train_generator, writing_of_generator
from ._ascan_training import (
    LAYOUTS,
    SIZE,
    Trained,
    config_of,
    draw_digits,
    fresh,
    fresh_layouts,
    held_out,
    train_layouts,
)
from ._paired import above
from ._same_different import prepared
from ._trainings import two_threads

_DIGIT_STEPS, _PAIR_STEPS = 50, 150
_ON_PAIRS = ("asymmetric", "all C")
_SYMMETRIC = ("CoAtNet-like", "alternating")
_EARLY = ("reversed", "alternating")
_SIZES = (32, 64, 96)
_POINT = 0.01
_PRECISIONS = ("float32", "int8")
_CALIBRATION, _HELD_OUT = 16, 300
Case = tuple[str, str]  # layout, precision


def reproduce(study: Study) -> list[Claim]:
    """All claims.

    Raises:
        BadInput: the study has data of its own.
    """
    study.refuse_data("draws its pictures from the bundled digits")
    study.say(f"training {len(LAYOUTS)} layouts with {len(study.seeds)} seeds on digits, two of them then on pairs")
    study.say("training a generator of digits beside them")
    steps = study.epochs(_DIGIT_STEPS), study.epochs(_PAIR_STEPS)
    networks = fresh_layouts(study.seeds)  # before the generator draws its own first weights
    with two_threads() as pool:
        generator = pool.submit(train_generator, study)
        trained = train_layouts(pool, networks, *steps, _ON_PAIRS)
        run = generator.result()
    study.say("writing two layouts and the generator for ONNX Runtime")
    compared = (_best_symmetric(trained), "asymmetric")
    with TemporaryDirectory() as folder:
        writings = [_writing(name, trained[name].network, Path(folder)) for name in compared]
        *layouts, drawn = side_by_side([*writings, writing_of_generator(run, Path(folder))])
        return [
            *trade_offs(study, dict(zip(compared, layouts))),
            *accuracies(trained),
            *costs(),
            scaling(study),
            *drawings(study, run, drawn["onnx", "int8"]),
        ]


def _best_symmetric(trained: Mapping[str, Trained]) -> str:
    return max(_SYMMETRIC, key=lambda name: estimate_of(trained[name].digits).mean)


def costs() -> list[Claim]:
    """Counted, the same with every seed."""
    counted = {layout: _counted(layout, SIZE) for layout in LAYOUTS}
    rows = [[name, "/".join(LAYOUTS[name]), f"{p:,}", f"{m / 1e6:.2f}"] for name, (p, m) in counted.items()]
    table: Table = {
        "title": f"Layouts at widths 8, 16, 32, 64, pictures of {SIZE} x {SIZE}",
        "columns": ["layout", "stages", "parameters", "million MACs"],
        "rows": rows,
    }
    claims: list[Claim] = []
    for place, what in enumerate(("parameters", "multiplications")):
        ours = counted["asymmetric"][place]
        least = min(values[place] for name, values in counted.items() if name != "asymmetric")
        claims.append(
            Claim(
                f"at equal widths and depths, the asymmetric layout has fewer {what} than any of four others",
                what,
                exactly(least),
                exactly(ours),
                ours < least,
                "the baseline is the least of the others",
                None if claims else table,
            )
        )
    return claims


def accuracies(trained: Mapping[str, Trained]) -> list[Claim]:
    """On single digits beside the best symmetric layout, and on pairs beside convolutions alone."""
    rows = [[name, percent_cell(found.digits), percent_cell(found.pairs)] for name, found in trained.items()]
    table: Table = {
        "title": "Accuracy in float, %",
        "columns": ["layout", "digits", "same or different"],
        "rows": rows,
    }
    best, asymmetric = _best_symmetric(trained), trained["asymmetric"]
    return [
        above(
            "on digits the asymmetric layout comes within 1 point of the more accurate symmetric one",
            "accuracy",
            trained[best].digits,
            asymmetric.digits,
            -_POINT,
            f"that is the {best} layout",
            table,
        ),
        above(
            "on whether two digits are of one class, the asymmetric layout is more accurate than convolutions alone",
            "accuracy",
            trained["all C"].pairs,
            asymmetric.pairs,
            note="trained on single digits first, then equally long on pairs",
        ),
    ]


def _writing(name: str, network: Ascan, folder: Path) -> partial[dict[Key, Path]]:
    """The call that writes a layout's ONNX files."""
    calibration = prepared(draw_digits(_CALIBRATION, 0, "train")[0])
    example, inputs = {"x": calibration[:1]}, {"x": calibration.numpy()}
    return partial(ship, name.replace("-", "_"), network.eval(), example, inputs, folder, ("onnx",))


def trade_offs(study: Study, layouts: Mapping[str, Mapping[Key, Path]]) -> list[Claim]:
    """Latency and accuracy of the first seed's artifacts: of the symmetric layout more accurate in float, then ours."""
    best, images, labels = next(iter(layouts)), *held_out(_HELD_OUT)
    paths = {(name, precision): path for name, files in layouts.items() for (_, precision), path in files.items()}
    study.say("timing them")
    timed = latencies({"/".join(case): path for case, path in paths.items()})
    times = {case: timed["/".join(case)] for case in paths}
    right = {case: _share_right(path, images.numpy(), labels.numpy()) for case, path in paths.items()}
    return [_trade_off(best, precision, times, right) for precision in _PRECISIONS]


def _trade_off(best: str, precision: str, times: Mapping[Case, float], right: Mapping[Case, float]) -> Claim:
    ours, before = ("asymmetric", precision), (best, precision)
    return Claim(
        f"in ONNX Runtime in {precision}, the asymmetric layout is faster than the more accurate symmetric one, and at "
        "most 1 point less accurate",
        "ms, one picture, one thread",
        exactly(times[before]),
        exactly(times[ours]),
        times[ours] < times[before] and right[ours] >= right[before] - _POINT,
        f"beside the {best} layout: {right[ours]:.1%} of {_HELD_OUT} digits right against {right[before]:.1%}, with "
        "the first seed; medians of one interleaved run on this machine",
    )


def scaling(study: Study) -> Claim:
    """How the time grows with the picture."""
    study.say("timing layouts on growing pictures")
    image = torch.randn(1, 1, max(_SIZES), max(_SIZES), generator=torch.Generator().manual_seed(0))
    times = {}
    for name in LAYOUTS:
        network = fresh(name, 0).eval()
        times[name] = [_least_ms(network, image[..., :size, :size].contiguous()) for size in _SIZES]
    growth = {name: values[-1] / values[0] for name, values in times.items()}
    early = min(growth[name] for name in _EARLY)
    late = max(value for name, value in growth.items() if name not in _EARLY)
    macs = {name: [_counted(name, size)[1] for size in _SIZES] for name in LAYOUTS}
    rows = [
        [name, *(f"{ms:.2f}" for ms in times[name]), f"{growth[name]:.1f}", f"{macs[name][-1] / macs[name][0]:.1f}"]
        for name in LAYOUTS
    ]
    columns = ["layout", *(f"{size} x {size}, ms" for size in _SIZES), "growth of ms", "growth of MACs"]
    return Claim(
        f"time grows faster from {_SIZES[0]} to {_SIZES[-1]} pixels across where attention stands in the first stage "
        f"({' and '.join(_EARLY)}) than in any other layout",
        "growth of the time",
        exactly(late),
        exactly(early),
        early > late,
        "the slower-growing of those two against the fastest-growing of the others; PyTorch, one thread, the least of "
        "several runs",
        {"title": "Time and the size of the picture", "columns": columns, "rows": rows},
    )


@torch.no_grad()
def _least_ms(network: Ascan, image: Tensor, runs: int = 12) -> float:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return min(timeit.repeat(lambda: network(image), number=1, repeat=runs)) * 1e3
    finally:
        torch.set_num_threads(threads)


@cache
def _counted(layout: str, size: int) -> tuple[int, int]:
    """Parameters and multiplications."""
    with torch.device("meta"):
        network, image = Ascan(config_of(layout)).eval(), torch.empty(1, 1, size, size)
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        network(image)
    return sum(parameter.numel() for parameter in network.parameters()), counter.get_total_flops() // 2


def _share_right(path: Path, images: np.ndarray, labels: np.ndarray) -> float:
    (outputs,) = run_on(path, {"x": images}).values()
    return float((outputs.reshape(len(labels), -1).argmax(1) == labels).mean())
