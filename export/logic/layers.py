"""Netlists of layers of neurons `y = sgn(w·x)`, x being ±1 and w whole numbers, and whole numbers for real weights."""

from collections.abc import Sequence

import numpy as np

from ...errors import BadInput
from .builder import Builder
from .netlist import Netlist
from .threshold import neuron

TIES = {"refuse": 0, "plus": 1, "minus": -1}
_ALL_INPUTS = 16  # up to so many, a row is held to all inputs
_LARGEST_SUM = 1 << 31
_ROUNDING = 1e-5  # of float32, in weights divided by the largest


def from_layers(layers: Sequence[np.ndarray], ties: str = "refuse") -> Netlist:
    """A netlist of layers that follow one another.

    Args:
        layers: (out, in + 1) each, whole numbers; the last column is the weight of the constant node, which is -1.
        ties: `refuse` a neuron whose sum can be 0, or let sgn(0) be `plus` 1 or `minus` 1. An odd sum of sizes of
            weights, as of three weights of ±1, is never 0.

    Raises:
        BadInput: shapes that do not fit, weights that are no whole numbers, or a neuron that can tie.
    """
    if ties not in TIES:
        raise BadInput(f"ties {ties}: unknown; choose from {', '.join(TIES)}")
    if not len(layers):
        raise BadInput("a netlist needs at least one layer of weights")
    whole = [_whole(layer, number) for number, layer in enumerate(layers)]
    builder = Builder(whole[0].shape[1] - 1)
    literals = [builder.input(k) for k in range(builder.inputs)]
    for number, rows in enumerate(whole):
        if rows.shape[1] != len(literals) + 1:
            raise BadInput(
                f"layer {number}: reads {rows.shape[1] - 1} values and the constant, got {len(literals)} from before it"
            )
        literals = sign_layer(builder, literals, rows, TIES[ties], f"layer {number}")
    return builder.netlist(literals)


def sign_layer(builder: Builder, literals: Sequence[int], rows: np.ndarray, tie: int, name: str) -> list[int]:
    """The literals of a layer's outputs.

    Args:
        rows: (out, in + 1) int64, the last column for the constant -1.
        tie: the sign of a sum of 0; 0 to refuse neurons whose sum can be that.
        name: of the layer, for errors.
    """
    found = []
    for number, row in enumerate(rows):
        used = np.flatnonzero(row[:-1]).tolist()
        weights, constant = row[used].tolist(), int(row[-1])
        if tie == 0 and _can_tie(weights, constant):
            raise BadInput(
                f"{name}, neuron {number}: its sum can be 0, which has no sign; make the sum of its weights' sizes "
                "odd, or say which sign 0 has"
            )
        found.append(neuron(builder, [literals[k] for k in used], weights, -constant, tie or 1))
    return found


def integer_rows(
    layer: np.ndarray, largest: int = 7, inputs: np.ndarray | None = None, seed: int = 0, name: str = "layer"
) -> np.ndarray:
    """Whole-number weights that give the same signs as a layer's real ones, as small as they can be.

    Each row is divided by its largest size, which leaves -1, 0 and +1 of a row that was trained to three equal
    weights; where rounding that changes a sign, it is tried times 2, 3, ... `largest`.

    Args:
        layer: (out, in + 1) real, the last column for the constant -1.
        largest: size of a weight.
        inputs: (N, in) of ±1 that the signs must agree on. Without them, all inputs of up to 16 weights that are not
            0, and 65536 random ones of more.
        seed: of the random inputs.

    Returns:
        (out, in + 1) int64.

    Raises:
        BadInput: a row that has no such weights, or holds numbers that are not finite.
    """
    rows = np.asarray(layer, np.float64)
    if rows.ndim != 2 or not np.isfinite(rows).all():
        raise BadInput(f"{name}: weights must be finite and of shape (out, in + 1), got {rows.shape}")
    return np.stack([_integer_row(row, largest, inputs, seed, f"{name}, neuron {k}") for k, row in enumerate(rows)])


def _integer_row(row: np.ndarray, largest: int, inputs: np.ndarray | None, seed: int, name: str) -> np.ndarray:
    used = np.flatnonzero(row[:-1])
    size = np.abs(row).max()
    if not size:
        raise BadInput(f"{name}: all its weights are 0, and a sum of 0 has no sign")
    if (row == np.rint(row)).all() and size < _LARGEST_SUM:
        whole = row.astype(np.int64)
        return whole // np.gcd.reduce(whole)
    scaled = [row / size * scale for scale in range(1, largest + 1)]
    for exact in scaled:
        if np.abs(exact - np.rint(exact)).max() < _ROUNDING:
            return np.rint(exact).astype(np.int64)
    samples = _samples(len(used), seed) if inputs is None else np.asarray(inputs)[:, used]
    samples = samples.astype(np.float64)
    wanted = np.sign(samples @ row[used] - row[-1])
    for near in map(np.rint, scaled):
        if (np.sign(samples @ near[used] - near[-1]) == wanted).all():
            return near.astype(np.int64)
    raise BadInput(
        f"{name}: no weights of sizes up to {largest} give the same signs; allow larger ones, or train it to fewer "
        "weights"
    )


def _samples(count: int, seed: int) -> np.ndarray:
    """(N, count) int8 of ±1: every input, or many random ones."""
    if count <= _ALL_INPUTS:
        return ((np.arange(1 << count)[:, None] >> np.arange(count) & 1) * 2 - 1).astype(np.int8)
    return np.random.default_rng(seed).integers(0, 2, (1 << _ALL_INPUTS, count), np.int8) * 2 - 1


def _whole(layer: np.ndarray, number: int) -> np.ndarray:
    rows = np.asarray(layer)
    if rows.ndim != 2 or rows.shape[0] < 1 or rows.shape[1] < 2:
        raise BadInput(f"layer {number}: weights must have shape (out, in + 1), got {rows.shape}")
    if not np.isfinite(rows).all() or (rows != np.rint(rows)).any():
        raise BadInput(f"layer {number}: weights must be whole numbers; integer_rows finds some for real ones")
    if np.abs(rows).astype(np.float64).sum(axis=1).max() >= _LARGEST_SUM:
        raise BadInput(f"layer {number}: weights of a neuron must sum to less than 2^31 in size")
    return rows.astype(np.int64)


def _can_tie(weights: Sequence[int], constant: int) -> bool:
    """Whether `sum of ±weights` can be the constant."""
    total = sum(map(abs, weights))
    wanted = total + constant
    if wanted % 2 or not 0 <= wanted <= 2 * total:
        return False
    sums = 1  # bit s: a choice of weights sums to s
    for weight in map(abs, weights):
        sums |= sums << weight
    return bool(sums >> (wanted // 2) & 1)
