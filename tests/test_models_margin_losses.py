"""Margin losses: each margin is its formula and has that formula's gradient; AdaFace's statistics follow theirs."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from offramp.models.margin_losses import (
    AdaFace,
    AdditiveCosine,
    ArcFace,
    adaptive_margin,
    additive_angle,
    additive_cosine,
)

ANGLES = st.floats(0.01, math.pi - 0.01)


def true_logit(margin, angle, *arguments):
    """What becomes of the cosine of an angle to the true class, and its slope in that cosine; another class beside."""
    cosine = torch.tensor(math.cos(angle), dtype=torch.float64, requires_grad=True)
    cosines = torch.stack([torch.zeros_like(cosine), cosine])[None]
    moved = margin(cosines, torch.tensor([1]), *arguments)
    assert moved[0, 0] == 0
    moved[0, 1].backward()
    return moved[0, 1].item(), cosine.grad.item()


@settings(deadline=None)
@given(ANGLES, st.floats(0.0, 1.0))
def test_arcface_adds_to_the_angle_until_pi(angle, margin):
    value, slope = true_logit(additive_angle, angle, margin)
    if angle + margin < math.pi - 1e-3:
        sine = max(math.sin(angle), 1e-3)  # the slope of an angle has no limit, so sines are kept from zero
        assert value == pytest.approx(math.cos(angle) * math.cos(margin) - sine * math.sin(margin), abs=1e-9)
        assert value == pytest.approx(math.cos(angle + margin), abs=1e-9)
        assert slope == pytest.approx(math.sin(angle + margin) / math.sin(angle), rel=1e-6, abs=1e-6)
    elif angle + margin > math.pi + 1e-3:
        assert value == pytest.approx(math.cos(angle) - margin * math.sin(margin), abs=1e-9)
        assert slope == pytest.approx(1.0)


@settings(deadline=None)
@given(ANGLES, ANGLES, st.floats(0.05, 1.0))
def test_arcface_falls_wherever_the_angle_grows(first, second, margin):
    near, far = sorted((first, second))
    if far - near > 1e-3:
        assert true_logit(additive_angle, near, margin)[0] >= true_logit(additive_angle, far, margin)[0] - 1e-9


@settings(deadline=None)
@given(ANGLES, st.floats(0.0, 1.0))
def test_the_cosine_margin_is_taken_off(angle, margin):
    assert true_logit(additive_cosine, angle, margin) == pytest.approx((math.cos(angle) - margin, 1.0))


@settings(deadline=None)
@given(ANGLES, st.floats(-1, 1), st.floats(0.0, 0.5))
def test_adaface_is_its_formula(angle, quality, margin):
    value, slope = true_logit(adaptive_margin, angle, torch.tensor([quality], dtype=torch.float64), margin)
    moved = angle - margin * quality
    if 0.01 < moved < math.pi - 0.01:
        assert value == pytest.approx(math.cos(moved) - (margin * quality + margin), abs=1e-6)
        assert slope == pytest.approx(math.sin(moved) / math.sin(angle), rel=1e-4, abs=1e-6)


def test_the_faintest_picture_has_arcfaces_margin_and_the_usual_one_cosfaces():
    cosines = torch.tensor([[0.3, -0.2], [0.9, 0.1]])
    labels = torch.tensor([0, 1])
    faintest, usual = (adaptive_margin(cosines, labels, torch.full((2,), z), 0.4) for z in (-1.0, 0.0))
    torch.testing.assert_close(faintest, additive_angle(cosines, labels, 0.4))
    torch.testing.assert_close(usual, additive_cosine(cosines, labels, 0.4), rtol=0, atol=1e-6)


def test_the_loss_is_cross_entropy_of_scaled_cosines():
    torch.manual_seed(0)
    loss = AdditiveCosine(3, 2, margin=0.1, scale=10.0)
    with torch.no_grad():
        loss.vectors.copy_(torch.tensor([[5.0, 0.0], [0.0, 0.1], [-1.0, 0.0]]))  # lengths have no effect
    logits = loss.logits(torch.tensor([[3.0, 4.0]]), torch.tensor([1]))
    assert logits.tolist() == [pytest.approx([6.0, 7.0, -6.0], abs=1e-5)]
    expected = math.log(math.exp(6) + math.exp(7) + math.exp(-6)) - 7
    assert loss(torch.tensor([[3.0, 4.0]]), torch.tensor([1])).item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("make", [AdditiveCosine, ArcFace, AdaFace])
def test_gradients_are_finite_on_a_class_vector_and_opposite_to_it(make):
    loss = make(2, 3)
    features = torch.stack([loss.vectors[0], -loss.vectors[1]]).detach().requires_grad_()
    loss(features, torch.tensor([0, 1])).backward()
    assert torch.isfinite(features.grad).all() and torch.isfinite(loss.vectors.grad).all()
    assert loss.vectors.grad.abs().sum() > 0


def test_the_length_of_features_matters_to_adaface_alone():
    torch.manual_seed(0)
    features, labels = torch.randn(4, 8), torch.tensor([0, 1, 2, 0])
    for make in (AdditiveCosine, ArcFace):
        loss = make(3, 8)
        assert not loss.reads_norms
        torch.testing.assert_close(loss(3 * features, labels), loss(features, labels))
    loss = AdaFace(3, 8)
    loss.observe(features.norm(dim=1))
    assert loss.reads_norms and loss(3 * features, labels) != loss(features, labels)


def test_adafaces_statistics_are_moving_averages_that_begin_with_the_first_batch():
    loss = AdaFace(2, 2, momentum=0.9, concentration=0.5)
    first, second = torch.tensor([1.0, 3.0]), torch.tensor([4.0, 10.0])
    loss.observe(first)
    assert (loss.mean.item(), loss.deviation.item()) == (2.0, 1.0)
    loss.observe(second)
    assert loss.mean.item() == pytest.approx(0.9 * 2 + 0.1 * 7)
    assert loss.deviation.item() == pytest.approx(0.9 * 1 + 0.1 * 3)
    assert loss.batches == 2 and {"mean", "deviation", "batches"} <= loss.state_dict().keys()
    quality = loss.quality(torch.tensor([2.5, 3.7, 100.0, 0.0]))
    assert quality.tolist() == pytest.approx([0.0, 0.5, 1.0, -1.0], abs=1e-3)


def test_no_gradient_passes_through_the_quality():
    loss = AdaFace(2, 2)
    norms = torch.tensor([1.0, 2.0], requires_grad=True)
    loss.observe(norms)
    assert not loss.quality(norms).requires_grad
    assert not any(buffer.requires_grad for buffer in loss.buffers())
