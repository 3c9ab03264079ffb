"""Tables of ±1 for networks of signs: circuits, codes, cellular automata and networks of random gates.

Elser and Lal, "Learning with Boolean threshold functions", arXiv 2602.17493. True is +1 and False is -1. Where the
table is all there is, it is trained on and measured on; what can be generalised has other items held out.
"""

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

from .data import Data, InMemory, Preprocessing

HELD_OUT = 2000
_COUNTABLE = 20  # of up to so many bits, items are drawn without repetition


def bits_of(numbers: Tensor, count: int) -> Tensor:
    """(N,) whole numbers as (N, count) float32 of ±1, the lowest bit first."""
    return (numbers[:, None] >> torch.arange(count) & 1) * 2.0 - 1


def numbers_of(bits: Tensor) -> Tensor:
    """(N,) int64 from (N, count) of ±1, the lowest bit first."""
    return ((bits > 0).long() << torch.arange(bits.shape[1])).sum(1)


def full_adder() -> tuple[Tensor, Tensor]:
    """(8, 3) of a, b and carry, to (8, 2) of sum and carry."""
    numbers = torch.arange(8)
    inputs = bits_of(numbers, 3)
    return inputs, bits_of((inputs > 0).sum(1), 2)


def multiplier(bits: int) -> tuple[Tensor, Tensor]:
    """(4^bits, 2 bits), two factors, to (4^bits, 2 bits), their product."""
    numbers = torch.arange(1 << 2 * bits)
    return bits_of(numbers, 2 * bits), bits_of((numbers & (1 << bits) - 1) * (numbers >> bits), 2 * bits)


def random_items(count: int, width: int, draws: torch.Generator) -> Tensor:
    """(count, width) of ±1, no two of them equal as long as the width is at most 20 bits and there are so many."""
    if width <= _COUNTABLE and count <= 1 << width:
        return bits_of(torch.randperm(1 << width, generator=draws)[:count], width)
    return torch.randint(0, 2, (count, width), generator=draws) * 2.0 - 1


def codes(count: int, width: int, draws: torch.Generator) -> tuple[Tensor, Tensor]:
    """(count, width) of different random codes, to themselves."""
    items = random_items(count, width, draws)
    return items, items


def automaton(rule: int, cells: Tensor, steps: int = 1, periodic: bool = True) -> Tensor:
    """Cells (N, n) of ±1 some steps later, by the elementary rule of a number from 0 to 255.

    Args:
        periodic: whether the last cell is the first one's left neighbour; else -1 lies beyond both ends.
    """
    for _ in range(steps):
        padded = torch.cat([cells[:, -1:], cells, cells[:, :1]], 1)
        if not periodic:
            padded[:, [0, -1]] = -1
        left, own, right = ((padded[:, k : k + cells.shape[1]] > 0).long() for k in range(3))
        cells = (rule >> 4 * left + 2 * own + right & 1) * 2.0 - 1
    return cells


def random_gates(widths: tuple[int, ...], share: float, majority: bool, draws: torch.Generator) -> list[Tensor]:
    """Layers of random gates, (out, in + 1) float32 of -1, 0 and 1 each; the last column is for the constant -1.

    Args:
        share: of neurons that are gates; the others are wires and inverters.
        majority: whether gates are majorities of three; else they are ANDs and ORs of two.
    """
    layers = []
    for before, after in pairwise(widths):
        rows = torch.zeros(after, before + 1)
        unread: list[int] = []
        for row in rows:
            is_gate = float(torch.rand((), generator=draws)) < share
            read = _chosen(unread, before, (3 if majority else 2) if is_gate else 1, draws)
            row[read] = _random_signs(len(read), draws)
            if is_gate and not majority:
                row[-1] = _random_signs(1, draws)[0]
        layers.append(rows)
    return layers


def _chosen(unread: list[int], inputs: int, count: int, draws: torch.Generator) -> list[int]:
    """Different inputs, first of those that nothing reads yet; all are unread again when all were read."""
    chosen: list[int] = []
    while len(chosen) < count:
        if not unread:
            unread += torch.randperm(inputs, generator=draws).tolist()
        nearest = next((number for number in unread if number not in chosen), None)
        if nearest is None:
            unread.clear()
            continue
        unread.remove(nearest)
        chosen.append(nearest)
    return chosen


def _random_signs(count: int, draws: torch.Generator) -> Tensor:
    return torch.randint(0, 2, (count,), generator=draws) * 2.0 - 1


def through_gates(layers: list[Tensor], inputs: Tensor) -> Tensor:
    """(N, outputs) of ±1 from (N, inputs) of ±1."""
    for rows in layers:
        inputs = torch.where(inputs @ rows[:, :-1].T - rows[:, -1] >= 0, 1.0, -1.0)
    return inputs


def whole_table(name: str, table: tuple[Tensor, Tensor]) -> Data:
    """A table that is trained on and measured on."""
    part = InMemory(*table)
    return Data(name, part, part, (), Preprocessing())


def sampled(name: str, width: int, items: int, function: Callable[[Tensor], Tensor], draws: torch.Generator) -> Data:
    """Random items to train on, and others to measure on."""
    inputs = random_items(items + HELD_OUT, width, draws)
    outputs = function(inputs)
    train, test = (InMemory(inputs[part], outputs[part]) for part in (slice(items), slice(items, None)))
    return Data(name, train, test, (), Preprocessing())


def automaton_data(seed: int = 0, rule: int = 30, cells: int = 16, steps: int = 1, items: int = 256) -> Data:
    """Random cells and what a rule makes of them."""
    draws = torch.Generator().manual_seed(seed)
    return sampled(f"rule-{rule}", cells, items, lambda inputs: automaton(rule, inputs, steps), draws)


def automaton_ring(rule: int = 30, cells: int = 8) -> Data:
    """Every state of a small ring, and what a rule makes of it."""
    inputs = bits_of(torch.arange(1 << cells), cells)
    return whole_table(f"rule-{rule}-ring-{cells}", (inputs, automaton(rule, inputs)))


def gates_data(
    seed: int = 0,
    widths: tuple[int, ...] = (16, 16, 16),
    share: float = 0.7,
    majority: bool = True,
    items: int = 128,
) -> Data:
    """Random inputs and what a network of random gates makes of them, both drawn from the seed."""
    draws = torch.Generator().manual_seed(seed)
    layers = random_gates(widths, share, majority, draws)
    name = "majority-logic" if majority else "and-or-logic"
    return sampled(name, widths[0], items, lambda inputs: through_gates(layers, inputs), draws)


TASKS: dict[str, Callable[[int], Data]] = {
    "full-adder": lambda seed: whole_table("full-adder", full_adder()),
    "multiplier-2": lambda seed: whole_table("multiplier-2", multiplier(2)),
    "multiplier-3": lambda seed: whole_table("multiplier-3", multiplier(3)),
    "codes-16": lambda seed: whole_table("codes-16", codes(16, 16, torch.Generator().manual_seed(seed))),
    "rule-30": automaton_data,
    "rule-30-ring-6": lambda seed: automaton_ring(cells=6),
    "rule-30-ring-8": lambda seed: automaton_ring(cells=8),
    "majority-logic": gates_data,
    "and-or-logic": lambda seed: gates_data(seed, majority=False),
}
"""Tables by name, with the seed of what is drawn."""
