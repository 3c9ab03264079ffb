"""Netlists of neurons: exactly sgn(w·x), simplified, read from layers and from PyTorch programs, or refused by name."""

import ast
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from offramp.benchmarks.logic import CIRCUITS, random_netlist, weights_of
from offramp.errors import BadInput, UnsupportedOperator
from offramp.export.logic import (
    Builder,
    Netlist,
    evaluate,
    from_layers,
    from_program,
    integer_rows,
    pack,
    simplified,
    unpack,
)
from offramp.export.logic.tables import calls, canonical_orders, formulas, operators, used_operands
from offramp.export.logic.threshold import counted, decided_in_turn
from torch import nn


def all_inputs(count: int) -> np.ndarray:
    """(2^count, count) int8, every input of ±1."""
    return ((np.arange(1 << count)[:, None] >> np.arange(count) & 1) * 2 - 1).astype(np.int8)


def signs(layers: list[np.ndarray], x: np.ndarray, zero: int) -> np.ndarray:
    """`sgn(w·x)` layer by layer; the constant node is -1 and comes last."""
    y = x.astype(np.int64)
    for layer in layers:
        sums = np.column_stack([y, -np.ones(len(y), np.int64)]) @ layer.T
        y = np.where(sums == 0, zero, np.sign(sums))
    return y


@st.composite
def networks(draw):
    widths = [draw(st.integers(1, 12)), draw(st.integers(1, 3)), draw(st.integers(1, 3))]
    sizes = st.integers(-4, 4)
    layers = []
    for read, made in pairwise(widths):
        rows = draw(st.lists(st.lists(sizes, min_size=read + 1, max_size=read + 1), min_size=made, max_size=made))
        layers.append(np.array(rows, np.int64))
    return layers


@settings(max_examples=60, deadline=None, derandomize=True)
@given(networks(), st.sampled_from([1, -1]))
def test_a_netlist_computes_the_signs_of_its_sums_on_every_input(layers, zero) -> None:
    netlist = from_layers(layers, "plus" if zero > 0 else "minus")
    x = all_inputs(layers[0].shape[1] - 1)
    np.testing.assert_array_equal(evaluate(netlist, x), signs(layers, x, zero))
    np.testing.assert_array_equal(evaluate(netlist, x > 0), signs(layers, x, zero) > 0)


@pytest.mark.parametrize("weights", [(1,) * 9, (4, 3, 3, 2, 1, 1), (7, 1, 1, 1, 1, 1, 1), (1, 1, 1, 1)])
def test_counting_and_deciding_give_every_threshold_function(weights) -> None:
    x = all_inputs(len(weights)) > 0
    for threshold in range(1, sum(weights) + 1):
        wanted = x @ np.array(weights) >= threshold
        decided = decided_in_turn(weights, threshold, 1000)
        assert decided is not None
        for form in (counted(weights, threshold), decided):
            np.testing.assert_array_equal(evaluate(form, x)[:, 0], wanted)


def test_wide_neurons_are_counted_in_about_two_gates_for_each_input() -> None:
    x = np.random.default_rng(0).integers(0, 2, (500, 301)) * 2 - 1
    layer = np.ones((1, 302), np.int64)
    layer[0, -1] = 0
    netlist = from_layers([layer])
    np.testing.assert_array_equal(evaluate(netlist, x), signs([layer], x, 1))
    assert netlist.gates < 2 * 301


def test_and_or_majority_and_wires_are_one_gate_or_none() -> None:
    rows = np.array([[1, 1, 0, 1], [1, -1, 0, -1], [1, 1, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
    netlist = from_layers([rows])
    assert netlist.gates == 3  # AND, OR of an inverse, majority; the inverter and the constant are none
    a, b, c = (all_inputs(3) > 0).T
    wanted = np.stack([a & b, a | ~b, (a & b) | (c & (a | b)), ~b, np.zeros(8, bool)], axis=1)
    np.testing.assert_array_equal(evaluate(netlist, all_inputs(3) > 0), wanted)


def test_equal_and_opposite_neurons_share_a_gate_and_unread_ones_are_dropped() -> None:
    first = np.array([[1, 1, 1, 0], [-1, -1, -1, 0], [1, 1, 1, 0], [1, 0, 1, 1]])
    second = np.array([[1, 1, 1, 0, 0]])  # m, not m, m: the majority is m
    netlist = from_layers([first, second])
    assert (netlist.gates, netlist.depth) == (1, 1)


def test_simplifying_keeps_the_function_of_any_netlist() -> None:
    generator = np.random.default_rng(1)
    for _ in range(20):
        operands = np.stack([generator.integers(0, 6 + g, 3) for g in range(40)])
        made = Netlist(5, generator.integers(0, 256, 40), operands, [45, 44, 0, 3], [True, False, True, False])
        small = simplified(made)
        np.testing.assert_array_equal(evaluate(made, all_inputs(5)), evaluate(small, all_inputs(5)))
        assert small.gates <= made.gates
        assert not (small.tables & 1).any()
        again = simplified(small)
        assert again.gates == small.gates


def test_every_table_is_written_in_at_most_four_steps() -> None:
    words = {"a": 0xAA, "b": 0xCC, "c": 0xF0}
    for table in formulas():
        text = operators(table, "abc")
        assert _value(text, words) == table
        assert calls(table).count("(") <= 4
    tables = {canonical_orders(t)[0] for t in range(2, 256, 2) if len(used_operands(t)) > 1}
    assert len(tables) == 38


def _value(text: str, words: dict[str, int]) -> int:
    """Follows an expression of C, which is one of Python too."""

    def follow(node: ast.expr) -> int:
        if isinstance(node, ast.Name):
            return words[node.id]
        if isinstance(node, ast.UnaryOp):
            return ~follow(node.operand) & 255
        assert isinstance(node, ast.BinOp)
        left, right = follow(node.left), follow(node.right)
        steps = {ast.BitAnd: left & right, ast.BitOr: left | right, ast.BitXor: left ^ right}
        return steps[type(node.op)]

    return follow(ast.parse(text, mode="eval").body)


def test_packing_puts_sample_64_w_plus_s_into_bit_s_of_word_w() -> None:
    bits = np.random.default_rng(2).integers(0, 2, (130, 3)).astype(bool)
    planes = pack(bits)
    assert planes.shape == (3, 3)
    for sample, column in ((0, 0), (63, 1), (64, 2), (129, 0)):
        assert int(planes[column, sample // 64]) >> sample % 64 & 1 == bits[sample, column]
    np.testing.assert_array_equal(unpack(planes, 130), bits)


def test_trained_rows_become_the_whole_numbers_they_stand_for() -> None:
    d = 6
    rows = np.sqrt(d / 3) * np.array([[1, -1, 0, 0, 0, 1.0], [0, 0, 1, 0, 0, 0], [2, 1, 1, 0, 0, 1]])
    found = integer_rows(rows)
    np.testing.assert_array_equal(found, [[1, -1, 0, 0, 0, 1], [0, 0, 1, 0, 0, 0], [2, 1, 1, 0, 0, 1]])


def test_rows_that_rounding_would_change_get_larger_whole_numbers() -> None:
    row = np.array([[0.55, 0.5, 0.45, 1.02, 0.0]])  # (1, 1, 0, 1) would forget the third
    found = integer_rows(row)
    x = np.column_stack([all_inputs(4), -np.ones(16)])
    np.testing.assert_array_equal(np.sign(x @ found.T), np.sign(x @ row.T))
    assert np.abs(found).max() > 1
    held = integer_rows(row, inputs=np.array([[1, 1, 1, 1], [-1, -1, -1, -1]]))
    assert np.abs(held).max() == 1
    with pytest.raises(BadInput, match="layer, neuron 0: no weights of sizes up to 1 give the same signs"):
        integer_rows(row, largest=1)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([], "at least one layer"),
        ([np.array([[1, 1, 1], [1, 1, 2]])], "layer 0, neuron 1: its sum can be 0, which has no sign; make the sum"),
        ([np.array([[1.5, 0, 0]])], "layer 0: weights must be whole numbers; integer_rows"),
        ([np.ones(3)], r"layer 0: weights must have shape \(out, in \+ 1\), got \(3,\)"),
        ([np.array([[1, 1, 1, 0]]), np.array([[1, 1, 1]])], "layer 1: reads 2 values and the constant, got 1"),
        ([np.array([[1 << 31, 0]])], "less than 2\\^31"),
    ],
)
def test_layers_that_are_no_logic_network_are_refused(layers, message) -> None:
    with pytest.raises(BadInput, match=message):
        from_layers(layers)


def test_wrong_netlists_and_inputs_are_refused() -> None:
    with pytest.raises(BadInput, match="gate 0 reads a signal that is not known before it"):
        Netlist(2, [0x88], [[1, 3, 0]], [3], [False])
    with pytest.raises(BadInput, match="outputs must be signals from 0 to 3, got 4"):
        Netlist(2, [0x88], [[1, 2, 0]], [4], [False])
    with pytest.raises(BadInput, match="one table for each row"):
        Netlist(2, [0x88, 0x88], [[1, 2, 0]], [3], [False])
    with pytest.raises(BadInput, match="needs inputs and outputs, got 2 and 0"):
        Netlist(2, [], [], [], [])
    netlist = Netlist(2, [0x88], [[1, 2, 0]], [3], [False])
    with pytest.raises(BadInput, match=r"inputs must have shape \(N, 2\), got \(4, 3\)"):
        evaluate(netlist, np.ones((4, 3)))
    with pytest.raises(BadInput, match="all \\+1 or -1"):
        evaluate(netlist, np.array([[0, 1]]))
    with pytest.raises(BadInput, match="ties up: unknown; choose from refuse, plus, minus"):
        from_layers([np.array([[1, 0]])], ties="up")
    with pytest.raises(BadInput, match="neuron 1: all its weights are 0"):
        integer_rows(np.array([[1.0, 0], [0, 0]]))
    with pytest.raises(BadInput, match="must be finite"):
        integer_rows(np.array([[np.nan, 0]]))


class Sign(nn.Module):
    """One of the ways to write a sign."""

    def __init__(self, write):
        super().__init__()
        self.write = write

    def forward(self, x):
        return self.write(x)


WAYS = {
    "sign": (torch.sign, 0),
    "where": (lambda x: torch.where(x >= 0, 1.0, -1.0), 1),
    "where of tensors": (lambda x: torch.where(x < 0, -torch.ones_like(x), torch.tensor(1.0)), 1),
    "where the other way": (lambda x: torch.where(x <= 0, -1.0, 1.0), -1),
    "of a float": (lambda x: 2 * (x > 0).float() - 1, -1),
    "less from one": (lambda x: 1 - 2 * (x < 0).to(x.dtype), 1),
    "halves": (lambda x: ((x >= 0).float() - 0.5) / 0.5, 1),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_pytorch_network_and_its_netlist_agree_on_every_input(way) -> None:
    write, zero = WAYS[way]
    generator = torch.Generator().manual_seed(3)
    network = nn.Sequential(
        nn.Flatten(), nn.Linear(6, 5), Sign(write), nn.Dropout(), nn.Linear(5, 3, bias=False), Sign(write)
    )
    scale = 0.25 if zero else 2**-0.5  # sums of 0 are computed as 0 only where the products are exact
    with torch.no_grad():
        for layer in (network[1], network[4]):
            whole = torch.randint(-2, 3, layer.weight.shape, generator=generator)
            if zero == 0:  # odd sums have no ties
                whole[:, 0] += 1 - whole.sum(dim=1).abs() % 2
            layer.weight.copy_(whole * scale)
            if layer.bias is not None:
                layer.bias.copy_(torch.tensor([0, 2, -2, 0, 0]) * scale)
    network.eval()
    x = all_inputs(6)
    images = torch.tensor(x, dtype=torch.float32).reshape(-1, 1, 2, 3)
    netlist = from_program(torch.export.export(network, (images[:1],)))
    np.testing.assert_array_equal(evaluate(netlist, x), network(images).detach().numpy())


def exported(*layers: nn.Module) -> torch.export.ExportedProgram:
    return torch.export.export(nn.Sequential(*layers).eval(), (torch.ones(1, 4),))


def test_programs_that_are_no_logic_network_are_refused_by_the_name_of_the_layer() -> None:
    def linear() -> nn.Linear:
        made = nn.Linear(4, 4)
        with torch.no_grad():
            made.weight.copy_(torch.eye(4))
            made.bias.zero_()
        return made

    with pytest.raises(UnsupportedOperator, match=r"^1: a netlist has no form of aten.relu.default; a logic network"):
        from_program(exported(linear(), nn.ReLU()))
    with pytest.raises(BadInput, match=r"^1: the network ends in sums; end it in a sign"):
        from_program(exported(nn.Identity(), linear()))
    with pytest.raises(UnsupportedOperator, match=r"^1: a netlist has no form of aten.linear.default"):
        from_program(exported(linear(), linear()))
    tied = linear()
    with torch.no_grad():
        tied.weight[2, 0] = 1
    with pytest.raises(BadInput, match=r"^1, neuron 2: its sum can be 0"):
        from_program(exported(tied, Sign(torch.sign)))
    assert from_program(exported(tied, Sign(WAYS["where"][0]))).gates == 1

    class Two(nn.Module):
        def forward(self, x, y):
            return torch.sign(x + y)

    two = torch.export.export(Two(), (torch.ones(1, 4), torch.ones(1, 4)))
    with pytest.raises(BadInput, match="one input and one output, got 2 and 1"):
        from_program(two)


def test_a_builder_takes_in_what_it_reads_where_three_operands_suffice() -> None:
    builder = Builder(3)
    a, b, c = (builder.input(k) for k in range(3))
    either = builder.gate(0xEE, a, b)
    netlist = builder.netlist([builder.gate(0x88, either, c)])
    assert netlist.gates == 1
    x = all_inputs(3) > 0
    np.testing.assert_array_equal(evaluate(netlist, x)[:, 0], (x[:, 0] | x[:, 1]) & x[:, 2])


@pytest.mark.parametrize("name", CIRCUITS)
def test_circuits_built_by_hand_do_their_arithmetic(name) -> None:
    layers, (x, wanted) = CIRCUITS[name]
    assert all(np.abs(layer).max() == 1 for layer in layers)
    netlist = from_layers(layers)
    np.testing.assert_array_equal(evaluate(netlist, x), wanted)
    assert netlist.gates < sum(len(layer) for layer in layers)


def test_the_networks_of_the_benchmark_are_what_their_weights_say() -> None:
    netlist = random_netlist(24, 3)
    layers = weights_of(netlist, 24)
    x = np.random.default_rng(4).integers(0, 2, (200, 24)) * 2 - 1
    np.testing.assert_array_equal(evaluate(netlist, x), signs(layers, x, 0))
    np.testing.assert_array_equal(evaluate(from_layers(layers), x), signs(layers, x, 0))
