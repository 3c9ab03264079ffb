"""Whether two netlists can differ, asked of a SAT solver.

Both stand on the same inputs. Random inputs tell which signals may be equal, or inverse, to one that came before; from
the inputs on, the solver proves it, or finds an input that tells them apart, which is tried on all from then on. A
signal that is proved equal is replaced, so that in the end most outputs are one signal and only the others are hard.
"""

import numpy as np

from .netlist import Netlist, levels, pack, signal_planes, unpack
from .tables import TRUE, implicants

_WORDS = 64  # of random inputs, 64 in each
_MOST_TOLD_APART = 256  # inputs that are added to them, a word each
_MOST_WORDS = 1 << 22  # of all signals on all that was tried; 32 MiB
_SHARE = 100  # of the conflicts, what one inner signal may take
_ALL = ~np.uint64(0)


class Miter:
    """Two netlists with as many inputs and outputs each.

    A literal is a variable's number, or its negative for the inverse, as solvers have it.

    Args:
        conflicts: of the solver, in all; when they are spent, nothing more is proved.
        seed: of the random inputs.
    """

    def __init__(self, first: Netlist, second: Netlist, conflicts: int, seed: int = 0):
        from pysat.solvers import Glucose4

        self._pair, self._conflicts = (first, second), conflicts
        self._random = np.random.default_rng(seed)
        self._solver = Glucose4()
        self._solver.add_clause([1])  # the constant 1
        self._inputs = list(range(2, first.inputs + 2))
        self._variables = first.inputs + 1
        self._literals = [[-1, *self._inputs, *[0] * netlist.gates] for netlist in self._pair]
        self._known: dict[tuple[int, tuple[int, ...]], int] = {}
        # Signals that are equal to none before them, and the literal of each by its values for what was tried.
        self._firsts = [(0, signal, literal) for signal, literal in enumerate(self._literals[0][: first.first_gate])]
        self._classes: dict[bytes, int] = {}
        signals = first.signals + second.signals
        self._left = max(min(_MOST_TOLD_APART, _MOST_WORDS // signals - _WORDS), 8)  # inputs still to be added
        self._planes = np.zeros((first.inputs, 0), np.uint64)
        self._values = [np.zeros((netlist.signals, 0), np.uint64) for netlist in self._pair]
        self._try(np.frombuffer(self._random.bytes(8 * first.inputs * _WORDS), np.uint64).reshape(-1, _WORDS))

    def __enter__(self) -> "Miter":
        return self

    def __exit__(self, *_: object) -> None:
        self._solver.delete()

    @property
    def spent(self) -> int:
        """Conflicts so far."""
        return int(self._solver.accum_stats()["conflicts"])

    def difference(self) -> tuple[bool | None, np.ndarray | None]:
        """False and an input, (inputs,) bool, for which an output differs; True where there is none, None undecided."""
        if (found := self._differing()) is not None:
            return False, found
        gates = sorted(
            (level, side, netlist.first_gate + gate)
            for side, netlist in enumerate(self._pair)
            for gate, level in enumerate(levels(netlist)[netlist.first_gate :].tolist())
        )
        for _, side, signal in gates:
            self._literals[side][signal] = self._literal(side, signal)
        decided = True
        for left, right in zip(self._outputs(0), self._outputs(1)):
            equal = self._equal(left, right, self._conflicts)
            if equal is False:
                return False, self._model()
            decided &= equal is not None
        return (True if decided else None), None

    def _outputs(self, side: int) -> list[int]:
        netlist, literals = self._pair[side], self._literals[side]
        pairs = zip(netlist.outputs.tolist(), netlist.inverted.tolist())
        return [-literals[signal] if inverse else literals[signal] for signal, inverse in pairs]

    def _literal(self, side: int, signal: int) -> int:
        netlist, literals = self._pair[side], self._literals[side]
        gate = signal - netlist.first_gate
        table, operands = int(netlist.tables[gate]), tuple(literals[s] for s in netlist.operands[gate].tolist())
        if (table, operands) not in self._known:
            self._known[table, operands] = self._first_equal(side, signal, self._encoded(table, operands))
        return self._known[table, operands]

    def _encoded(self, table: int, operands: tuple[int, ...]) -> int:
        """A new variable that is the gate's value."""
        self._variables += 1
        for made, value in ((table, self._variables), (table ^ TRUE, -self._variables)):
            for cube in implicants(made):
                wrong = [-operand if bit else operand for operand, bit in zip(operands, cube) if bit is not None]
                self._solver.add_clause([*wrong, value])
        return self._variables

    def _first_equal(self, side: int, signal: int, literal: int) -> int:
        """The literal of a signal before this one that is proved to be equal or inverse to it; else its own."""
        while True:
            key, inverse = self._behaviour(side, signal)
            if key not in self._classes:
                self._classes[key] = -literal if inverse else literal
                self._firsts.append((side, signal, literal))
                return literal
            candidate = -self._classes[key] if inverse else self._classes[key]
            equal = self._equal(literal, candidate, self._conflicts // _SHARE + 1)
            if equal is not False or not self._left:
                return candidate if equal else literal
            self._left -= 1
            self._try(self._near(self._model()))

    def _equal(self, left: int, right: int, conflicts: int) -> bool | None:
        if left == right:
            return True
        decided = True
        for one, other in ((left, -right), (-left, right)):
            budget = min(conflicts, self._conflicts - self.spent)
            if budget <= 0:
                return None
            self._solver.conf_budget(budget)
            differs = self._solver.solve_limited(assumptions=[one, other])
            if differs:
                return False
            decided &= differs is not None
        if not decided:
            return None
        self._solver.add_clause([left, -right])
        self._solver.add_clause([-left, right])
        return True

    def _model(self) -> np.ndarray:
        """The input that the solver has found, (inputs,) bool."""
        true = {literal for literal in self._solver.get_model() if literal > 0}
        return np.array([variable in true for variable in self._inputs])

    def _near(self, bits: np.ndarray) -> np.ndarray:
        """An input, and 63 that are like it but for a few bits, in one word."""
        flips = self._random.random((64, len(bits))) < min(2 / len(bits), 0.5)
        flips[0] = False
        return pack(bits ^ flips)

    def _try(self, planes: np.ndarray) -> None:
        """Evaluates all signals on more inputs, (inputs, words)."""
        self._planes = np.concatenate([self._planes, planes], axis=1)
        self._values = [
            np.concatenate([values, signal_planes(netlist, planes)], axis=1)
            for netlist, values in zip(self._pair, self._values)
        ]
        self._classes = {}
        for side, signal, literal in self._firsts:
            key, inverse = self._behaviour(side, signal)
            self._classes[key] = -literal if inverse else literal

    def _behaviour(self, side: int, signal: int) -> tuple[bytes, bool]:
        """What a signal, or its inverse, is on what was tried: the one of both that is 0 on the first input."""
        values = self._values[side][signal]
        inverse = bool(values[0] & np.uint64(1))
        return (values ^ _ALL if inverse else values).tobytes(), inverse

    def _differing(self) -> np.ndarray | None:
        """One of the inputs that were tried, (inputs,) bool, for which an output differs."""
        results = [
            values[netlist.outputs] ^ np.where(netlist.inverted, _ALL, np.uint64(0))[:, None]
            for netlist, values in zip(self._pair, self._values)
        ]
        differ = np.bitwise_or.reduce(results[0] ^ results[1], axis=0)[None]
        samples = 64 * differ.shape[1]
        found = np.flatnonzero(unpack(differ, samples))
        return unpack(self._planes, samples)[found[0]] if found.size else None
