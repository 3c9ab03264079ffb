"""Proofs: equal netlists are proved equal, others are told apart by an input, and what is too hard is said to be."""

import sys
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from offramp.benchmarks.logic import random_netlist, weights_of
from offramp.errors import BadInput
from offramp.export.logic import Netlist, Proof, evaluate, from_layers, plain_netlist, prove, simplified
from offramp.export.logic.equivalence import every_input
from offramp.export.logic.netlist import unpack
from offramp.export.logic.plain import Neurons

sys.path.append(str(Path(__file__).parent))
from random_netlists import all_bits, netlists


def changed(netlist: Netlist, gate: int, table: int) -> Netlist:
    """The netlist with another table in one place."""
    tables = netlist.tables.copy()
    tables[gate] = table
    return Netlist(netlist.inputs, tables, netlist.operands, netlist.outputs, netlist.inverted)


def layers_of(rows: list[np.ndarray], tie: int = 0) -> list[Neurons]:
    return [Neurons(f"layer {k}", k - 1, layer, tie) for k, layer in enumerate(rows)]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(netlists(most_inputs=8), st.sampled_from([0, 20]))
def test_a_netlist_and_what_it_is_simplified_to_are_proved_equal_both_ways(netlist, most_inputs) -> None:
    proof = prove(netlist, simplified(netlist), most_inputs=most_inputs)
    assert (proof.equal, proof.proved, proof.counterexample) == (True, True, None)
    assert proof.method == ("all inputs" if most_inputs else "SAT")
    assert proof.tried == (1 << netlist.inputs if most_inputs else None)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(netlists(most_inputs=8), st.data())
def test_a_changed_gate_is_found_wherever_it_matters_with_an_input_that_shows_it(netlist, data) -> None:
    if not netlist.gates:
        return
    other = changed(netlist, data.draw(st.integers(0, netlist.gates - 1)), data.draw(st.integers(0, 255)))
    x = all_bits(netlist.inputs)
    equal = bool((evaluate(netlist, x) == evaluate(other, x)).all())
    for most_inputs in (0, 20):
        proof = prove(netlist, other, most_inputs=most_inputs)
        assert (proof.equal, proof.counterexample is None) == (equal, equal)
        if proof.counterexample is not None:
            given_ = np.array([proof.counterexample])
            assert (evaluate(netlist, given_) != evaluate(other, given_)).any()


def test_all_inputs_are_each_tried_once() -> None:
    for count in (6, 7, 9):
        numbers = unpack(every_input(count), 1 << count) @ (1 << np.arange(count))
        np.testing.assert_array_equal(numbers, np.arange(1 << count))
    parts = [every_input(9, start, 2) for start in range(0, 8, 2)]
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), every_input(9))
    np.testing.assert_array_equal(unpack(every_input(2), 4) @ [1, 2], np.arange(4))


def test_the_one_input_of_a_million_that_differs_is_found_by_trying_all() -> None:
    rows = np.ones((1, 21), np.int64)
    rows[0, -1] = 19  # AND of 20
    proof = prove(from_layers([rows]), Netlist(20, [], [], [0], [False]))
    assert (proof.method, proof.equal, proof.counterexample) == ("all inputs", False, (1,) * 20)
    assert proof.tried == 1 << 20


def test_the_one_input_of_a_trillion_that_differs_is_found_by_the_solver() -> None:
    rows = np.ones((1, 41), np.int64)
    rows[0, -1] = 39  # AND of 40
    proof = prove(from_layers([rows]), Netlist(40, [], [], [0], [False]))
    assert (proof.method, proof.equal, proof.counterexample, proof.tried) == ("SAT", False, (1,) * 40, None)


def test_thousands_of_gates_are_proved_equal_to_their_neurons_in_seconds() -> None:
    netlist = random_netlist(500, 6)
    plain = plain_netlist(500, layers_of(weights_of(netlist, 500)))
    assert plain is not None and plain.gates == netlist.gates == 3000
    begun = time.perf_counter()
    proof = prove(simplified(netlist), plain)
    assert (proof.method, proof.equal) == ("SAT", True)
    assert time.perf_counter() - begun < 20
    wrong = changed(plain, 1500, int(plain.tables[1500]) ^ 0xFF)
    assert prove(simplified(netlist), wrong).equal is False


def test_what_takes_more_conflicts_than_allowed_is_not_decided() -> None:
    rows = np.ones((1, 46), np.int64)
    rows[0, -1] = 0  # a majority of 45
    plain = plain_netlist(45, layers_of([rows]))
    assert plain is not None
    proof = prove(from_layers([rows]), plain, conflicts=50)
    assert (proof.equal, proof.proved, proof.counterexample) == (None, False, None)
    assert proof.conflicts is not None and 50 <= proof.conflicts < 200


def test_netlists_of_other_ports_are_not_compared() -> None:
    first, second = Netlist(2, [], [], [1], [False]), Netlist(2, [], [], [1, 2], [False, False])
    with pytest.raises(BadInput, match="netlists of 2 inputs and 1 outputs and of 2 inputs and 2 outputs cannot"):
        prove(first, second)


def test_what_was_only_tried_is_no_proof() -> None:
    assert not Proof("random inputs", True, 64, 1000).proved
    assert Proof("all inputs", True, 6, 64).proved
    assert Proof("SAT", False, 64, counterexample=(1, -1)).to_json() == {
        "method": "SAT",
        "equal": False,
        "proved": False,
        "inputs": 64,
        "tried": None,
        "counterexample": [1, -1],
        "conflicts": None,
    }


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.data(), st.sampled_from([1, -1]), st.booleans())
def test_neurons_spelled_out_are_the_signs_of_their_sums_on_every_input(data, tie, inverse) -> None:
    widths = [data.draw(st.integers(1, 9)), data.draw(st.integers(1, 3)), data.draw(st.integers(1, 3))]
    generator = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    rows = [generator.integers(-4, 5, (after, before + 1)) for before, after in pairwise(widths)]
    netlist = plain_netlist(widths[0], layers_of(rows, tie), inverse)
    assert netlist is not None
    bits = all_bits(widths[0])
    y = np.where(bits, 1, -1)
    for layer in rows:
        sums = np.column_stack([y, -np.ones(len(y), int)]) @ layer.T
        y = np.where(sums == 0, tie, np.sign(sums))
    np.testing.assert_array_equal(evaluate(netlist, bits), (y > 0) ^ inverse)
    assert prove(netlist, from_layers(rows, "plus" if tie > 0 else "minus")).equal is not inverse


def test_neurons_of_too_many_weights_are_not_spelled_out() -> None:
    rows = np.ones((10, 801), np.int64)
    assert plain_netlist(800, layers_of([rows])) is None
    heavy = (1 << np.arange(25))[None]
    assert plain_netlist(24, layers_of([heavy])) is None
