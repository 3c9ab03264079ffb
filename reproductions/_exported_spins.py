"""A network of spins as an int8 ONNX file of one step, called until it rests; and asynchronous dynamics beside it."""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from ..models.diluted_patterns import draw_archetypes, draw_examples, filled
from ..models.multitasking_hebbian import DRAWN, Multitasking, parts_of, ship
from ..quant.scheme import Scheme
from ._artifacts import Run, run_file
from ._artifacts import ship as write
from ._spins import Spins, relax

QUALITIES, CUES = (0.6, 0.3), 39  # of cues, and how many of each
STEPS, CALIBRATED = 20, 6  # calls of the step; every sixth cue chooses ranges
SWEEPS = 20  # of asynchronous dynamics at most
EXACT = Scheme(rounding="nearest", correct_bias=False)  # nothing is rounded that learning could mend


@dataclass(frozen=True)
class Exported:
    """What a seed's int8 file comes to.

    Attributes:
        resting: share of its states in which asynchronous dynamics with its couplings turns over no spin.
        step: by quality of the cues, the mean overlap of its states with the cue's archetype.
        asynchronous: the same of asynchronous dynamics with all couplings.
    """

    resting: float
    step: list[float]
    asynchronous: list[float]


def exported_step(seed: int) -> Exported:
    """Writes the file, calls it from cues of each quality, and lets asynchronous dynamics go on from there."""
    draws = torch.Generator().manual_seed(seed)
    patterns = draw_archetypes(DRAWN, draws)
    drawn = [draw_examples(patterns, -(-CUES // DRAWN.k), quality, draws) for quality in QUALITIES]
    cues, labels = (torch.cat(parts) for parts in zip(*drawn))
    cues, wanted = filled(cues, draws), patterns[labels].numpy()
    network = ship(Multitasking(patterns, 1).eval())
    with TemporaryDirectory() as folder:
        calibration, example = {"spins": cues[::CALIBRATED].numpy()}, {"spins": cues[:1]}
        paths = write("step", network, example, calibration, Path(folder), ("onnx",), ("int8",), EXACT)
        run = run_file(paths["onnx", "int8"])
        states = np.concatenate([_called(run, cue[None]) for cue in cues.numpy()])
    rows, rng = patterns.numpy().astype(float), np.random.default_rng(seed)
    fields = sum((states * (1 - own)) @ rows.T @ rows * own for own in parts_of(DRAWN.n).numpy())
    every = np.repeat(rows[None], len(cues), 0)
    free = relax(Spins(every, np.ones(len(every))), cues.numpy().astype(float), SWEEPS, rng)
    ours, theirs = (((s * wanted).sum(1) / np.abs(wanted).sum(1)).reshape(len(QUALITIES), -1) for s in (states, free))
    return Exported(float((fields * states >= 0).all(1).mean()), ours.mean(1).tolist(), theirs.mean(1).tolist())


def _called(run: Run, state: np.ndarray) -> np.ndarray:
    """A file's state after so many calls, each on what the one before returned; the state is its first output."""
    for _ in range(STEPS):
        state = next(iter(run({"spins": state}).values()))
    return state
