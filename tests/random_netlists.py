"""Netlists for tests of whatever reads, writes or compares them, with names."""

import numpy as np
from hypothesis import strategies as st
from offramp.export.logic import Circuit, Netlist


@st.composite
def netlists(draw, most_inputs=6, most_gates=25):
    """Any gates at all: every table, constants and repeated signals among operands, outputs straight and inverse."""
    inputs, gates = draw(st.integers(1, most_inputs)), draw(st.integers(0, most_gates))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    operands = [generator.integers(0, 1 + inputs + gate, 3) for gate in range(gates)]
    outputs = generator.integers(0, 1 + inputs + gates, draw(st.integers(1, 4)))
    tables = generator.integers(0, 256, gates)
    return Netlist(inputs, tables, np.array(operands).reshape(-1, 3), outputs, generator.random(len(outputs)) < 0.5)


def named(netlist: Netlist, inputs="x{}", outputs="y{}", name="net") -> Circuit:
    """A netlist with numbered names."""
    return Circuit(
        name,
        netlist,
        tuple(inputs.format(k) for k in range(netlist.inputs)),
        tuple(outputs.format(k) for k in range(len(netlist.outputs))),
    )


def all_bits(count: int) -> np.ndarray:
    """(2^count, count) bool."""
    return (np.arange(1 << count)[:, None] >> np.arange(count) & 1) > 0
