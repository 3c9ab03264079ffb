"""Wire resistance: held to a sparse solve of all nodes at once, to closed forms, and to the laws of circuits."""

import numpy as np
import pytest
import scipy.sparse
import scipy.sparse.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from offramp.devices.synapse.wires import dissipated, effective_conductance, solve_nodes
from offramp.errors import BadInput

SHAPES = [(2, 2), (3, 5), (8, 8), (16, 4), (4, 16), (16, 16)]
OHMS = [(1.0, 1.0), (0.01, 20.0), (50.0, 0.2), (1e-6, 1e-6)]


def cells(*shape, seed=0):
    """Conductances of 1 to 100 µS, evenly spread on a logarithmic scale."""
    generator = torch.Generator().manual_seed(seed)
    return 10.0 ** (-6 + 2 * torch.rand(shape, generator=generator, dtype=torch.float64))


def volts_of(*shape, seed=1):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) - 0.3


def nodal_solve(g, volts, row_ohms, column_ohms):
    """Row volts, column volts (N, R, C) and currents (N, C) of inputs (N, R): Kirchhoff's law of every node at once."""
    rows, columns = g.shape
    number = np.arange(2 * rows * columns).reshape(2, rows, columns)
    entries, injected = [], np.zeros((number.size, len(volts)))

    def join(first, second, siemens):
        entries.extend([(first, first, siemens), (second, second, siemens)])
        entries.extend([(first, second, -siemens), (second, first, -siemens)])

    for i in range(rows):
        for j in range(columns):
            join(number[0, i, j], number[1, i, j], g[i, j])
            if j + 1 < columns:
                join(number[0, i, j], number[0, i, j + 1], 1 / row_ohms)
            if i + 1 < rows:
                join(number[1, i, j], number[1, i + 1, j], 1 / column_ohms)
        entries.append((number[0, i, 0], number[0, i, 0], 1 / row_ohms))
        injected[number[0, i, 0]] = volts[:, i] / row_ohms
    entries.extend((bottom, bottom, 1 / column_ohms) for bottom in number[1, -1])
    row, column, siemens = zip(*entries)
    system = scipy.sparse.coo_array((siemens, (row, column))).tocsc()  # sums the entries of one place
    found = scipy.sparse.linalg.splu(system).solve(injected)
    row_volts, column_volts = found.T.reshape(len(volts), 2, rows, columns).swapaxes(0, 1)
    return row_volts, column_volts, column_volts[:, -1] / column_ohms


def nodal_matrix(g, row_ohms, column_ohms):
    return nodal_solve(g.numpy(), np.eye(len(g)), row_ohms, column_ohms)[2]


@pytest.mark.parametrize("ohms", OHMS)
@pytest.mark.parametrize("shape", SHAPES)
def test_the_matrix_is_that_of_a_sparse_solve_of_all_nodes(shape, ohms):
    g = cells(*shape)
    np.testing.assert_allclose(effective_conductance(g, *ohms), nodal_matrix(g, *ohms), rtol=1e-9)


@pytest.mark.parametrize("ohms", OHMS)
@pytest.mark.parametrize("shape", SHAPES)
def test_nodes_are_those_of_a_sparse_solve(shape, ohms):
    g, volts = cells(*shape), volts_of(1, shape[0])
    nodes = solve_nodes(g, volts, *ohms)
    row_volts, column_volts, currents = nodal_solve(g.numpy(), volts.numpy(), *ohms)
    np.testing.assert_allclose(nodes.row_volts, row_volts, rtol=1e-9)
    np.testing.assert_allclose(nodes.column_volts, column_volts, rtol=1e-9)
    np.testing.assert_allclose(nodes.currents, currents, rtol=1e-9)
    torch.testing.assert_close(nodes.currents, volts @ effective_conductance(g, *ohms), rtol=1e-11, atol=0.0)


@settings(deadline=None)
@given(st.integers(1, 5), st.integers(1, 5), st.floats(-6, 3), st.floats(-6, 3), st.integers(0, 10**6))
def test_small_arrays_of_any_resistance(rows, columns, row_decade, column_decade, seed):
    g, ohms = cells(rows, columns, seed=seed), (10**row_decade, 10**column_decade)
    np.testing.assert_allclose(effective_conductance(g, *ohms), nodal_matrix(g, *ohms), rtol=1e-9)


def test_a_single_cell_is_in_series_with_its_two_segments():
    g = torch.tensor([[2e-3]])
    assert float(effective_conductance(g, 30.0, 70.0)) == pytest.approx(1 / (1 / 2e-3 + 100), rel=1e-7)
    nodes = solve_nodes(g, torch.tensor([0.6]), 30.0, 70.0)
    assert float(nodes.currents) == pytest.approx(0.6 / 600, rel=1e-7)
    assert float(nodes.row_volts) == pytest.approx(0.6 - 30 * 1e-3, rel=1e-7)
    assert float(nodes.column_volts) == pytest.approx(70 * 1e-3, rel=1e-7)


def test_two_cells_of_a_column_share_its_last_segment():
    first, second, ohms = 1e-3, 4e-3, 100.0
    above = 1 / (1 / first + ohms)  # the upper cell with its own segment
    below = 1 / (1 + ohms * (above + second))  # divider of the shared one
    found = effective_conductance(torch.tensor([[first], [second]], dtype=torch.float64), 0.0, ohms)
    assert found.flatten().tolist() == pytest.approx([above * below, second * below], rel=1e-14)


def test_without_resistance_the_matrix_is_the_conductance_itself():
    g = cells(5, 7)
    assert torch.equal(effective_conductance(g, 0.0, 0.0), g)
    volts = volts_of(5)
    nodes = solve_nodes(g, volts, 0.0, 0.0)
    assert torch.equal(nodes.row_volts, volts[:, None].expand(5, 7))
    assert not nodes.column_volts.any()
    torch.testing.assert_close(nodes.currents, volts @ g, rtol=1e-14, atol=0.0)


@pytest.mark.parametrize("ohms", [(0.0, 3.0), (3.0, 0.0), (0.0, 0.0)])
@pytest.mark.parametrize("shape", [(6, 4), (4, 6)])
def test_resistance_is_continuous_at_zero(shape, ohms):
    g, volts = cells(*shape), volts_of(shape[0])
    nearly = tuple(max(each, 1e-9) for each in ohms)
    near = solve_nodes(g, volts, *nearly)
    exact = solve_nodes(g, volts, *ohms)
    torch.testing.assert_close(effective_conductance(g, *ohms), effective_conductance(g, *nearly), rtol=1e-11, atol=0.0)
    torch.testing.assert_close(exact.row_volts, near.row_volts, rtol=0.0, atol=1e-12)
    torch.testing.assert_close(exact.column_volts, near.column_volts, rtol=0.0, atol=1e-12)
    torch.testing.assert_close(volts @ effective_conductance(g, *ohms), exact.currents, rtol=1e-12, atol=0.0)


@pytest.mark.parametrize("ohms", [*OHMS, (0.0, 5.0), (5.0, 0.0), (0.0, 0.0)])
def test_energy_is_conserved(ohms):
    g, volts = cells(3, 12, 9), volts_of(3, 12)
    watts = dissipated(g, solve_nodes(g, volts, *ohms), volts, *ohms)
    spent = watts.cells + watts.row_wires + watts.column_wires
    torch.testing.assert_close(spent, watts.delivered, rtol=1e-10, atol=0.0)
    assert bool((watts.cells > 0).all())
    assert bool((watts.row_wires > 0).all()) == (ohms[0] > 0)
    assert bool((watts.column_wires > 0).all()) == (ohms[1] > 0)


def test_currents_superpose():
    g, one, other = cells(9, 6), volts_of(9), volts_of(9, seed=2)
    together = solve_nodes(g, one - 2 * other, 2.0, 3.0)
    apart, twice = solve_nodes(g, one, 2.0, 3.0), solve_nodes(g, other, 2.0, 3.0)
    torch.testing.assert_close(together.row_volts, apart.row_volts - 2 * twice.row_volts)
    torch.testing.assert_close(together.currents, apart.currents - 2 * twice.currents)


@pytest.mark.parametrize("shape", [(9, 6), (6, 9), (7, 7)])
def test_sources_and_grounds_may_change_places(shape):
    g = cells(*shape)
    read_from_columns = effective_conductance(g.flip(0, 1).T, 3.0, 2.0).T.flip(0, 1)
    torch.testing.assert_close(read_from_columns, effective_conductance(g, 2.0, 3.0), rtol=1e-12, atol=0.0)


def test_more_resistance_never_gives_more_current():
    g = cells(10, 8)
    for which in (0, 1):
        totals = []
        for ohms in (0.0, 1e-3, 0.1, 1.0, 10.0, 1e3):
            pair = (ohms, 2.0) if which == 0 else (2.0, ohms)
            totals.append(float(effective_conductance(g, *pair).sum()))
        assert totals == sorted(totals, reverse=True)
        assert totals[-1] < 0.9 * totals[0]
        assert totals[-1] > 0


def test_cells_of_no_conductance_draw_nothing():
    g = cells(6, 5)
    g[2], g[:, 3] = 0.0, 0.0
    found = effective_conductance(g, 5.0, 7.0)
    assert not found[2].any() and not found[:, 3].any()
    assert bool((found[:2, :3] > 0).all())


@pytest.mark.parametrize("ohms", [(1.0, 2.0), (0.0, 2.0), (1.0, 0.0)])
def test_a_batch_is_its_arrays_one_by_one(ohms):
    g, volts = cells(2, 3, 6, 5), volts_of(2, 3, 6)
    matrices, nodes = effective_conductance(g, *ohms), solve_nodes(g, volts, *ohms)
    for place in np.ndindex(2, 3):
        alone = solve_nodes(g[place], volts[place], *ohms)
        matrix = effective_conductance(g[place], *ohms)
        torch.testing.assert_close(matrices[place], matrix, rtol=1e-13, atol=0.0)
        torch.testing.assert_close(nodes.row_volts[place], alone.row_volts, rtol=1e-13, atol=0.0)
        torch.testing.assert_close(nodes.column_volts[place], alone.column_volts, rtol=1e-12, atol=1e-18)


def test_many_inputs_of_one_array_are_solved_together():
    g, volts = cells(6, 5), volts_of(4, 6)
    nodes = solve_nodes(g, volts, 1.0, 2.0)
    assert nodes.row_volts.shape == nodes.column_volts.shape == (4, 6, 5)
    torch.testing.assert_close(nodes.currents, volts @ effective_conductance(g, 1.0, 2.0), rtol=1e-12, atol=0.0)
    assert dissipated(g, nodes, volts, 1.0, 2.0).delivered.shape == (4,)


def test_the_result_is_float64_without_gradient():
    g = torch.full((3, 2), 1e-4, requires_grad=True)
    found = effective_conductance(g, 1.0, 1.0)
    assert found.dtype == torch.float64 and not found.requires_grad


@pytest.mark.parametrize("ohms", [-1.0, float("nan"), float("inf")])
def test_resistances_must_be_finite_and_not_negative(ohms):
    with pytest.raises(BadInput, match=f"^row_ohms {ohms:g}: must be a finite resistance of 0 ohm or more$"):
        effective_conductance(cells(2, 2), ohms, 1.0)
    with pytest.raises(BadInput, match=f"^column_ohms {ohms:g}: "):
        solve_nodes(cells(2, 2), volts_of(2), 1.0, ohms)


@pytest.mark.parametrize("siemens", [-1e-6, float("nan"), float("inf")])
def test_conductances_must_be_finite_and_not_negative(siemens):
    g = cells(2, 3)
    g[1, 2] = siemens
    with pytest.raises(BadInput, match=f"^conductance {siemens:g}: must be finite and 0 siemens or more$"):
        effective_conductance(g, 1.0, 1.0)


def test_shapes_and_volts_are_checked():
    with pytest.raises(BadInput, match=r"^conductance of shape \(3,\): must be \(\.\.\., rows, columns\)"):
        effective_conductance(torch.ones(3), 1.0, 1.0)
    with pytest.raises(BadInput, match=r"^volts of shape \(3,\): must end in 2, one for each row$"):
        solve_nodes(cells(2, 3), volts_of(3), 1.0, 1.0)
    with pytest.raises(BadInput, match=r"^volts nan: must be finite$"):
        solve_nodes(cells(2, 3), torch.tensor([0.1, float("nan")]), 1.0, 1.0)
