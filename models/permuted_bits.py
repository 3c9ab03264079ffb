"""Permuted bits as data: the basis vectors with labels, all nonzero inputs held out, or a user's own file.

The task of Giapitzakis, Back de Luca and Fountoulakis, arXiv 2502.16763. What a network is trained on are the k basis
vectors alone; the training split also has inputs without labels (targets of -1), which trainings pass over and from
which the ranges of a quantized network are chosen: with several ones, values are larger than any on the basis.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..errors import BadInput
from .data import Data, InMemory, Preprocessing, load_arrays

BITS = "permuted-bits"
MOST_BITS = 12  # all inputs are checked: 4,095 of them
UNLABELLED = 247


def every_input(k: int) -> Tensor:
    """(2^k - 1, k): all inputs but zero.

    Raises:
        BadInput: there are too many to check.
    """
    if not 2 <= k <= MOST_BITS:
        raise BadInput(f"{BITS} of {k} bits: all 2^k - 1 inputs are checked; give 2 to {MOST_BITS} bits")
    return torch.from_numpy((np.arange(1, 2**k)[:, None] >> np.arange(k)) & 1).float()


def bits_of(permutation: Tensor, draws: torch.Generator) -> Data:
    """Basis vectors with labels, others without, and all nonzero inputs held out; output i is bit `permutation[i]`."""
    k = len(permutation)
    inputs, basis = every_input(k), torch.eye(k)
    others = inputs[inputs.sum(1) > 1]
    others = others[torch.randperm(len(others), generator=draws)[:UNLABELLED]]
    targets = torch.cat([basis[:, permutation], torch.full(others.shape, -1.0)])
    train = InMemory(torch.cat([basis, others]), targets)
    return Data(BITS, train, InMemory(inputs, inputs[:, permutation]), (), Preprocessing())


def read_bits(name: str, seed: int, k: int) -> Data:
    """Drawn by name, as `permuted-bits` or with the permutation itself, or the user's `.npz`.

    Args:
        name: `permuted-bits`, `permuted-bits:2-0-1`, or an `.npz` with `inputs` and `outputs`, (N, k) of 0 and 1.

    Raises:
        BadInput: it is none of these, is no permutation, or has another number of bits than the network.
    """
    draws = torch.Generator().manual_seed(seed)
    kind, _, order = name.partition(":")
    if kind == BITS:
        permutation = order_named(name, order) if order else torch.randperm(k, generator=draws)
        if len(permutation) != k:
            raise BadInput(f"{name}: permutes {len(permutation)} bits; the network takes {k}: give as many")
        return bits_of(permutation, draws)
    if Path(name).suffix == ".npz":
        return load_bits(Path(name), k)
    raise BadInput(f"{name}: no such data; give {BITS}, {BITS}:2-0-1 or an .npz with inputs and outputs")


def read_eight(name: str, seed: int) -> Data:
    """`read_bits` for eight bits."""
    return read_bits(name, seed, 8)


def order_named(name: str, order: str) -> Tensor:
    """The permutation in a name, as 2-0-1.

    Raises:
        BadInput: it is none.
    """
    parts = order.split("-")
    if not all(part.isdecimal() for part in parts) or sorted(map(int, parts)) != list(range(len(parts))):
        raise BadInput(f"{name}: {order} is no permutation; give each of 0 to {len(parts) - 1} once, as {BITS}:2-0-1")
    return torch.tensor(list(map(int, parts)))


def load_bits(path: Path, k: int) -> Data:
    """The user's examples to train on, and all nonzero inputs held out under the permutation that they show.

    Raises:
        BadInput: the file cannot be read, holds other values than 0 and 1 or a row of zeros, or shows no permutation.
    """
    arrays, labels = load_arrays(path)
    if set(arrays) != {"inputs", "outputs"} or labels is not None:
        raise BadInput(f"{path}: expected inputs and outputs, found {', '.join(sorted(arrays))}")
    inputs, outputs = arrays["inputs"], arrays["outputs"]
    for name, values in arrays.items():
        if values.ndim != 2 or values.shape[1] != k:
            raise BadInput(f"{path}: {name} has shape {values.shape}; expected (N, {k}), bits of the network")
        wrong = ~np.isin(values, (0, 1))
        if wrong.any():
            row, column = np.argwhere(wrong)[0]
            raise BadInput(f"{path}: {name}[{row}, {column}] is {values[row, column]:g}; expected bits, 0 or 1")
    empty = np.flatnonzero(~inputs.any(1))
    if len(empty):
        raise BadInput(f"{path}: inputs[{empty[0]}] is all zeros, for which every output is 0; leave it out")
    permutation = _shown_by(path, inputs, outputs)
    data = bits_of(permutation, torch.Generator().manual_seed(0))
    assert isinstance(data.train, InMemory) and isinstance(data.train.samples, Tensor)
    unlabelled = data.train.labels[:, 0] < 0
    samples = torch.cat([torch.from_numpy(inputs).float(), data.train.samples[unlabelled]])
    targets = torch.cat([torch.from_numpy(outputs).float(), data.train.labels[unlabelled]])
    return Data(path.stem, InMemory(samples, targets), data.test, (), Preprocessing())


def _shown_by(path: Path, inputs: np.ndarray, outputs: np.ndarray) -> Tensor:
    """The permutation that each output column is the copy of one input column by."""
    same = (outputs[:, :, None] == inputs[:, None, :]).all(0)  # (outputs, inputs)
    for column, count in enumerate(same.sum(1)):
        if count != 1:
            found = "of no input" if count == 0 else f"of {count} inputs alike"
            raise BadInput(
                f"{path}: output {column} is the copy {found}, so the rows show no one permutation; "
                "give rows that tell the bits apart, as the basis vectors do"
            )
    order = same.argmax(1)
    if len(set(order.tolist())) != len(order):
        raise BadInput(f"{path}: two outputs copy the same input; a permutation uses each once")
    return torch.from_numpy(order)
