"""Projections of Boolean threshold networks: nearest points of both sets, and what a step leaves alone."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from offramp.models.boolean_tasks import full_adder, multiplier
from offramp.models.learning.boolean_projections import (
    agreed_rows,
    agreed_values,
    bilinear_roots,
    consistent,
    start,
    step,
    table_of,
)
from scipy.optimize import minimize

SIGMA = 3.0


def pair(seed, inputs, scale=1.0):
    draws = torch.Generator().manual_seed(seed)
    return scale * (2 * torch.rand(2, inputs, dtype=torch.float64, generator=draws) - 1)


def projected(weights, inputs, value, margin):
    """Projection A of one neuron."""
    larger, smaller = (weights + inputs).square().sum(), (weights - inputs).square().sum()
    sign, u = consistent(larger, smaller, torch.tensor(float(value), dtype=torch.float64), torch.as_tensor(margin))
    return (weights + u * inputs) / (1 - u**2), (inputs + u * weights) / (1 - u**2), float(sign)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**6), st.integers(2, 65), st.floats(-1.5, 1.5), st.floats(0.05, 4.0))
def test_a_consistent_neuron_has_its_margin(seed, inputs, value, scale):
    margin = torch.tensor((inputs / SIGMA) ** 0.5, dtype=torch.float64)
    weights, copies = pair(seed, inputs, scale)
    new_weights, new_copies, sign = projected(weights, copies, value, margin)
    assert sign in (-1.0, 1.0)
    reached = sign * float(new_weights @ new_copies)
    assert reached >= margin - 1e-8
    if sign * float(weights @ copies) < margin:  # it moves no further than it must
        assert reached == pytest.approx(float(margin), abs=1e-8)
    else:
        assert torch.equal(new_weights, weights) and torch.equal(new_copies, copies)


@pytest.mark.parametrize("seed", range(6))
def test_no_other_pair_is_nearer(seed):
    margin = (5 / SIGMA) ** 0.5
    weights, copies = pair(seed, 5, 1.5)
    value = float(pair(seed + 100, 1)[0, 0])
    new_weights, new_copies, sign = projected(weights, copies, value, margin)
    found = float((new_weights - weights).square().sum() + (new_copies - copies).square().sum()) + (value - sign) ** 2
    at = torch.cat([weights, copies]).numpy()
    others = []
    for other in (-1.0, 1.0):
        bound = {"type": "ineq", "fun": lambda v, other=other: other * v[:5] @ v[5:] - margin}
        for begin in (at, at + 0.3 * np.sin(np.arange(10)), np.concatenate([other * at[5:], at[5:]])):
            result = minimize(lambda v: ((v - at) ** 2).sum(), begin, constraints=bound, options={"maxiter": 300})
            if result.success:
                others.append(result.fun + (value - other) ** 2)
    assert others and found <= min(others) + 1e-5


@settings(deadline=None, max_examples=60)
@given(st.floats(0.01, 200), st.floats(0, 200), st.floats(0.1, 5))
def test_roots_solve_their_equation(larger, smaller, margin):
    if larger - smaller >= 4 * margin:
        return
    values = (torch.tensor([v], dtype=torch.float64) for v in (larger, smaller, margin))
    u = float(bilinear_roots(*values))
    assert 0 <= u < 1
    scale = max(1.0, larger, smaller) / (1 - u) ** 2
    assert larger / (1 - u) ** 2 - smaller / (1 + u) ** 2 == pytest.approx(4 * margin, abs=1e-10 * scale)


def test_weights_opposite_to_inputs_stay_finite():
    """No single pair is nearest then."""
    u = bilinear_roots(*(torch.tensor([v], dtype=torch.float64) for v in (0.0, 3.0, 1.0)))
    assert 0 < float(u) < 1


def test_a_neuron_that_agrees_with_its_sum_keeps_its_sign():
    draws = torch.Generator().manual_seed(0)
    weights, copies = 2 * torch.rand(2, 500, 4, dtype=torch.float64, generator=draws) - 1
    sums = (weights * copies).sum(1)
    larger, smaller = (weights + copies).square().sum(1), (weights - copies).square().sum(1)
    values = sums.sign() * torch.rand(500, dtype=torch.float64, generator=draws)
    signs, _ = consistent(larger, smaller, values, torch.tensor(1.2, dtype=torch.float64))
    assert torch.equal(signs, sums.sign())


@pytest.fixture
def adder():
    table = table_of(*full_adder(), (4, 3), SIGMA)
    return table, start(table, [torch.Generator().manual_seed(seed) for seed in (0, 1)])


def buffers(at):
    return torch.empty_like(at.sums), torch.empty_like(at.sums)


def test_a_table_has_the_margins_and_norms_of_each_layer(adder):
    table, at = adder
    assert table.widths == (3, 4, 3, 2) and (table.padded, table.items) == (4, 8)
    assert table.margins.flatten().tolist() == pytest.approx([(d / 3) ** 0.5 for d in (4, 5, 4)])
    assert table.norms.square().flatten().tolist() == pytest.approx([4, 5, 4])
    assert int(table.edges.sum()) == 4 * 4 + 3 * 5 + 2 * 4
    assert at.sums.shape == (2, 3, 4, 5, 8)


def test_agreed_rows_have_norm_root_d(adder):
    table, at = adder
    step(table, at, 0.2, 1e-3, buffers(at))
    norms = at.rows.norm(dim=3)
    torch.testing.assert_close(norms, (table.norms * table.neurons)[..., 0].expand_as(norms), rtol=0, atol=1e-12)
    random = torch.randn(2, 3, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    rows = agreed_rows(table, random)
    torch.testing.assert_close(rows.norm(dim=3), table.norms[..., 0].expand(2, 3, 4))
    torch.testing.assert_close(rows / rows.norm(dim=3, keepdim=True), random / random.norm(dim=3, keepdim=True))


def test_padding_stays_empty(adder):
    table, at = adder
    for _ in range(20):
        step(table, at, 0.2, 1e-2, buffers(at))
    outside = table.edges == 0
    for tensor in (at.sums, at.differences):
        assert not tensor.masked_select(outside).any() and tensor.isfinite().all()
    assert not at.metric.masked_select(table.neurons == 0).any()
    assert not at.rows.masked_select(outside[..., 0]).any()


def test_an_agreed_value_is_the_mean_of_a_node_and_its_readers():
    """Node j: (g y + sum over readers of g x) / (g + sum of g); the constant's readers are of all layers."""
    table = table_of(*multiplier(1), (2,), SIGMA)
    draws = torch.Generator().manual_seed(0)
    metric = torch.rand(1, 2, 2, 4, dtype=torch.float64, generator=draws) + 0.5
    values = torch.randn(1, 3, 2, 4, dtype=torch.float64, generator=draws)
    copies = torch.randn(1, 2, 2, 3, 4, dtype=torch.float64, generator=draws)
    constant = torch.randn(1, 4, dtype=torch.float64, generator=draws)
    summed = (metric[:, :, :, None] * copies).sum(2)
    found, one = agreed_values(table, metric, values, constant, summed)
    for item in range(4):
        g = metric[0, 1, :, item]  # of the outputs, which read hidden node 0
        own = metric[0, 0, 0, item]
        expected = (own * values[0, 1, 0, item] + g @ copies[0, 1, :, 0, item]) / (own + g.sum())
        assert float(found[0, 1, 0, item]) == pytest.approx(float(expected))
        g, x = metric[0, :, :, item].flatten(), copies[0, :, :, 2, item].flatten()
        assert float(one[0, item]) == pytest.approx(float((constant[0, item] + g @ x) / (1 + g.sum())))
    assert torch.equal(found[0, -1], table.outputs)


def solved():
    """An iterate where both projections agree: AND of two, weights sqrt(d / 3) (1, 1, 1)."""
    inputs = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]])
    table = table_of(inputs, inputs.amin(1, keepdim=True), (), SIGMA)
    at = start(table, [torch.Generator()])
    x = torch.zeros(1, 1, 2, 3, 4, dtype=torch.float64)
    x[0, 0, 0, :2], x[0, 0, 0, 2] = inputs.T.double(), -1
    w = torch.zeros_like(x)
    w[0, 0, 0] = 1
    at.sums.copy_(w + x)
    at.differences.copy_(w - x)
    return table, at


def test_a_solution_stays_where_it_is():
    table, at = solved()
    before = {name: tensor.clone() for name, tensor in at.tensors().items()}
    gap = step(table, at, 0.2, 1e-3, buffers(at))
    assert float(gap) < 1e-28
    for name in ("sums", "differences", "values", "constant"):
        torch.testing.assert_close(at.tensors()[name], before[name], rtol=0, atol=1e-13)
    assert at.rows[0, 0, 0].tolist() == pytest.approx([1, 1, 1])


def plain_step(table, at, beta):
    """The same step written out, edge by edge, for one layer of one restart; new weights."""
    w, x = ((at.sums + sign * at.differences)[0, 0, 0] / 2 for sign in (1, -1))
    g, y = at.metric[0, 0, 0], at.values[0, 1, 0]
    a = [projected(w[:, m], x[:, m], float(y[m]), table.margins[0, 0, 0]) for m in range(table.items)]
    aw = torch.stack([each[0] for each in a], 1)
    mean = ((2 * aw - w) * g).sum(1) / g.sum()
    return w + beta * ((mean * table.norms.flatten()[0] / mean.norm())[:, None] - aw)


def test_a_step_is_reflect_reflect_relax():
    table, _ = solved()
    at = start(table, [torch.Generator().manual_seed(3)])
    at.metric[:, :, 0] += torch.rand(4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    expected = plain_step(table, at, 0.3)
    step(table, at, 0.3, 0.0, buffers(at))
    torch.testing.assert_close((at.sums + at.differences)[0, 0, 0] / 2, expected)


def test_the_metric_follows_what_stays_apart(adder):
    table, at = adder
    before = at.metric.clone()
    gap = step(table, at, 0.2, 0.1, buffers(at))
    # Of the mean over neurons and items, g + gamma (gap / mean - g) has mean 1 where all were 1.
    means = at.metric.sum((1, 2, 3)) / (9 * 8)
    torch.testing.assert_close(means, torch.ones(2, dtype=torch.float64))
    assert not torch.equal(before, at.metric) and (gap > 0).all()
    assert torch.equal(at.best, gap) and at.taken.tolist() == [1, 1]


def test_a_start_does_not_depend_on_what_it_is_batched_with():
    table = table_of(*multiplier(2), (4, 4), SIGMA)
    together = start(table, [torch.Generator().manual_seed(seed) for seed in (5, 6, 7)])
    alone = start(table, [torch.Generator().manual_seed(6)])
    for name, tensor in alone.tensors().items():
        assert torch.equal(tensor[0], together.tensors()[name][1]), name
    chosen = together.only(torch.tensor([1]))
    assert all(torch.equal(tensor, alone.tensors()[name]) for name, tensor in chosen.tensors().items())


def test_starts_are_uniform_and_hold_the_items():
    inputs, outputs = multiplier(2)
    table = table_of(inputs, outputs, (4, 4), SIGMA)
    at = start(table, [torch.Generator().manual_seed(0)])
    weights = (at.sums + at.differences) / 2
    assert weights.abs().max() <= 1 and abs(float(weights.mean())) < 0.05
    assert float(weights.square().mean()) == pytest.approx(1 / 3, rel=0.1)
    assert torch.equal(at.values[0, 0], inputs.T.double()) and torch.equal(at.values[0, -1], outputs.T.double())
    assert (at.constant == -1).all()
