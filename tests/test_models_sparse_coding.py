"""Convolutional sparse coding: operators against matrices, solvers against optimality and scikit-learn, metrics."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from offramp.errors import BadInput
from offramp.models import sparse_coding
from offramp.models.sparse_coding import (
    Circular,
    admm,
    code_bits,
    duality_gap,
    fista,
    ista,
    learn_dictionary,
    objective,
    psnr,
    soft,
    sparseness,
    without_small,
)
from torch.nn import functional

WEIGHT = 0.2
VALUES = st.floats(-10, 10, width=32)


def drawn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def kernels(count=4, size=3, seed=0):
    return functional.normalize(drawn(count, size * size, seed=seed), dim=1).reshape(count, size, size)


def small(seed=0, batch=2):
    """Four random kernels of 3x3 on images of 8x6."""
    return Circular(kernels(seed=seed), 8, 6), drawn(batch, 1, 8, 6, seed=seed + 1)


def matrix_of(operator):
    """(48, 192): each column the image of one coefficient."""
    units = torch.eye(4 * 48, dtype=torch.float64).reshape(-1, 4, 8, 6)
    return operator.synthesise(units).flatten(1).T


# Operators


def test_a_single_coefficient_puts_its_kernel_round_its_place():
    bank = kernels(2)
    code = torch.zeros(1, 2, 8, 6, dtype=torch.float64)
    code[0, 1, 4, 3] = 2.0
    image = Circular(bank, 8, 6).synthesise(code)[0, 0]
    torch.testing.assert_close(image[3:6, 2:5], 2 * bank[1])
    assert image.square().sum() == pytest.approx(4.0)


def test_analysis_is_the_adjoint_and_the_constant_is_the_largest_eigenvalue():
    operator, images = small()
    matrix = matrix_of(operator)
    torch.testing.assert_close(operator.analyse(images).flatten(1), images.flatten(1) @ matrix)
    assert operator.lipschitz == pytest.approx(torch.linalg.matrix_norm(matrix, 2).item() ** 2)


def test_the_nearest_code_solves_its_normal_equations():
    operator, images = small()
    code = drawn(2, 4, 8, 6, seed=5)
    found = operator.nearest(images, code, 0.3)
    slope = operator.analyse(operator.synthesise(found) - images) + 0.3 * (found - code)
    assert slope.abs().max() < 1e-12


def test_the_gradient_by_the_kernels_is_that_of_autograd():
    bank = kernels(4).requires_grad_()
    _, images = small()
    code = drawn(2, 4, 8, 6, seed=5)
    operator = Circular(bank, 8, 6)
    residual = images - operator.synthesise(code)
    (expected,) = torch.autograd.grad(residual.square().sum() / 2, bank)
    torch.testing.assert_close(operator.kernel_gradient(code, residual.detach()).detach(), expected)


def test_kernels_larger_than_the_image_are_refused():
    with pytest.raises(BadInput, match="kernels of 3x3 do not fit images of 8x2; give larger images"):
        Circular(kernels(), 8, 2)


# Solvers


@settings(max_examples=200, deadline=None)
@given(value=VALUES, threshold=st.floats(0, 5, width=32))
def test_the_soft_threshold_is_the_proximal_map_of_the_absolute_value(value, threshold):
    found = float(soft(torch.tensor(value), threshold))
    assert found == math.copysign(max(abs(value) - torch.tensor(threshold).item(), 0), value) or (
        found == pytest.approx(math.copysign(max(abs(value) - threshold, 0), value), rel=1e-5, abs=1e-6)
    )
    assert (found == 0) == (abs(value) <= threshold)
    # 0 is in the subdifferential of (x - value)^2 / 2 + threshold |x| at what was found.
    slope = value - found
    assert abs(slope) <= threshold + 1e-6 and (
        found == 0 or slope == pytest.approx(math.copysign(threshold, found), abs=1e-5)
    )


@settings(max_examples=50, deadline=None)
@given(first=VALUES, second=VALUES, threshold=st.floats(0, 5, width=32))
def test_the_soft_threshold_brings_no_two_values_further_apart(first, second, threshold):
    values = soft(torch.tensor([first, second], dtype=torch.float64), threshold)
    assert abs(float(values[0] - values[1])) <= abs(first - second) + 1e-12


def optimal(solution, operator, images, weight):
    """The conditions of Karush, Kuhn and Tucker, to within a thousandth of the weight."""
    slope = operator.analyse(images - solution.reconstruction)
    active = solution.code != 0
    assert slope.abs().max() <= weight * 1.001
    torch.testing.assert_close(slope[active], weight * solution.code[active].sign(), rtol=0, atol=1e-3 * weight)
    assert 0 < active.double().mean() < 0.5


@pytest.mark.parametrize("solve", [fista, admm])
def test_the_solution_is_optimal(solve):
    operator, images = small()
    found = solve(operator, images, WEIGHT, 4000, tolerance=1e-7)
    assert (found.gap <= 1e-7).all() and found.iterations < 4000
    optimal(found, operator, images, WEIGHT)


@pytest.mark.parametrize("solve", [fista, admm])
def test_solvers_agree_with_coordinate_descent_of_scikit_learn(solve):
    from sklearn.linear_model import Lasso

    operator, images = small(seed=3, batch=1)
    lasso = Lasso(alpha=WEIGHT / 48, fit_intercept=False, tol=1e-12, max_iter=100_000)  # its loss is a mean of 48
    lasso.fit(matrix_of(operator).numpy(), images.flatten().numpy())
    found = solve(operator, images, WEIGHT, 4000, tolerance=1e-8)
    torch.testing.assert_close(found.code.flatten(), torch.from_numpy(lasso.coef_), rtol=0, atol=2e-3)


def test_fista_never_raises_an_objective_and_needs_fewer_steps_than_ista():
    operator, images = small(batch=3)
    values = torch.stack([fista(operator, images, WEIGHT, steps).objective for steps in range(1, 31)])
    assert (values.diff(dim=0) <= 1e-12 * values[0]).all()
    least, fast, plain = (
        solve(operator, images, WEIGHT, steps).objective for solve, steps in ((fista, 1000), (fista, 60), (ista, 60))
    )
    assert (fast - least < 0.1 * (plain - least)).all()


def test_a_step_that_would_raise_the_objective_is_not_taken():
    operator, images = small()
    operator.lipschitz /= 8  # steps eight times too long, so that most raise it
    start = fista(*small(), WEIGHT, 200).code
    before = objective(images, operator.synthesise(start), start, WEIGHT)
    after = fista(operator, images, WEIGHT, 5, start=start).objective
    assert (after <= before).all()


def test_the_gap_bounds_how_far_an_objective_is_above_the_least():
    operator, images = small()
    least = fista(operator, images, WEIGHT, 1000, tolerance=1e-9).objective
    for steps in (1, 3, 10, 30):
        for solve in (ista, fista, admm):
            found = solve(operator, images, WEIGHT, steps)
            assert (found.objective * (1 - found.gap) <= least + 1e-9).all()
            assert (found.gap < 1).all()
            expected = objective(images, operator.synthesise(found.code), found.code, WEIGHT)
            torch.testing.assert_close(found.objective, expected)


def test_an_image_of_zeros_has_the_code_of_zeros_and_no_gap():
    operator, _ = small()
    for solve in (fista, admm):
        found = solve(operator, torch.zeros(1, 1, 8, 6), WEIGHT, 50, tolerance=1e-6)
        assert not found.code.any() and found.gap.item() == 0 and found.iterations == 50


def test_a_warm_start_goes_on_where_it_was():
    operator, images = small()
    found = fista(operator, images, WEIGHT, 1000, tolerance=1e-9)
    again = fista(operator, images, WEIGHT, 1, start=found.code)
    torch.testing.assert_close(again.code, found.code, rtol=0, atol=1e-5)


# Learning


def test_learning_keeps_kernels_on_the_sphere_and_lowers_the_objective():
    true, first = kernels(4, 3, seed=1), kernels(4, 3, seed=2)
    code = torch.where(drawn(12, 4, 12, 12, seed=3).abs() > 2, drawn(12, 4, 12, 12, seed=4), 0)
    crops = Circular(true, 12, 12).synthesise(code)
    learned = learn_dictionary(first, crops, WEIGHT, 40, torch.Generator().manual_seed(0))
    torch.testing.assert_close(learned.flatten(1).norm(dim=1), torch.ones(4, dtype=torch.float64))
    before, after, best = (
        fista(Circular(bank, 12, 12), crops, WEIGHT, 300).objective.mean() for bank in (first, learned, true)
    )
    assert after - best < 0.5 * (before - best)
    again = learn_dictionary(first, crops, WEIGHT, 40, torch.Generator().manual_seed(0))
    assert torch.equal(learned, again)


# Metrics


def test_decibels_are_of_the_images_own_range():
    image = torch.tensor([[-1.0, 0.0, 0.0, 3.0]]).reshape(1, 1, 2, 2)
    assert psnr(image, image + 0.4).item() == pytest.approx(20.0)  # (4 / 0.4)^2 is 100
    assert torch.isfinite(psnr(torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 2, 2))).all()
    assert torch.isfinite(psnr(image, image)).all()


def test_sparseness_counts_exact_zeros_and_bits_count_the_others():
    code = torch.tensor([[0.0, 1e-30, -2.0, 0.0]]).reshape(1, 4, 1, 1)
    assert sparseness(code).tolist() == [0.5]
    assert code_bits(code).tolist() == [2 * (math.log2(4) + 8)]
    kept = without_small(code, 1e-3)
    assert sparseness(kept).tolist() == [0.75] and kept.flatten()[2] == -2.0
    assert torch.equal(without_small(code, 2.0), kept)  # what is as large as the cut-off stays


def test_the_objective_is_written_out():
    image, made, code = torch.tensor([1.0, 2.0]), torch.tensor([1.0, 4.0]), torch.tensor([-1.0, 0.5, 0.0])
    assert objective(image.reshape(1, 1, 1, 2), made.reshape(1, 1, 1, 2), code.reshape(1, 3, 1, 1), 0.5).tolist() == [
        2.0 + 0.75
    ]


def test_a_residual_that_says_nothing_bounds_nothing():
    operator, images = small(batch=1)
    value = torch.tensor([5.0], dtype=torch.float64)
    assert duality_gap(operator, images, -images, value, WEIGHT).tolist() == [1.0]
    assert sparse_coding.RELAXATION < 2  # where ADMM's relaxation ends to converge
