"""The symmetry of faces: the gate at its limits, every way to present a half, and the distance with its collapse."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from offramp.errors import BadInput
from offramp.models.data import load
from offramp.models.facial_symmetry import (
    PRESENTATIONS,
    Symmetry,
    blank,
    chimera,
    distance,
    flip,
    frontality,
    middle_of_eyes,
    mirror,
    resize,
)
from torch.nn.functional import normalize

ROW = torch.tensor([1.0, 2.0, 3.0, 4.0]).reshape(1, 1, 1, 4)
MIDDLE = torch.tensor([1.5])


def rows(views):
    return [view.flatten().tolist() for view in views]


@pytest.mark.parametrize(
    ("landmarks", "rho"),
    [
        ((4.0, 12.0, 8.0), 1.0),  # nose in the middle
        ((4.0, 12.0, 4.0), 0.0),  # under an eye
        ((4.0, 12.0, 20.0), 0.0),  # beyond both
        ((4.0, 12.0, 9.0), 0.75),
        ((7.0, 7.0, 7.0), 0.0),  # eyes in one place: a profile
    ],
)
def test_rho_is_one_ahead_and_zero_under_an_eye(landmarks, rho):
    assert frontality(torch.tensor([landmarks])).item() == pytest.approx(rho)


@settings(deadline=None)
@given(st.floats(-50, 50), st.floats(1, 80), st.floats(-1.5, 1.5), st.floats(-30, 30), st.floats(0.1, 5))
def test_rho_does_not_see_shifts_scales_and_mirrors(middle, width, turn, moved, scale):
    face = torch.tensor([[middle - width / 2, middle + width / 2, middle + turn * width / 2]], dtype=torch.float64)
    rho = frontality(face).item()
    assert rho == pytest.approx(max(0.0, 1 - abs(turn)), abs=1e-9)
    assert frontality(face * scale + moved).item() == pytest.approx(rho, abs=1e-9)
    assert frontality(-face[:, [1, 0, 2]]).item() == pytest.approx(rho, abs=1e-9)


def test_each_presentation_shows_halves_in_its_way():
    assert rows(blank(ROW, MIDDLE)) == [[1, 2, 0, 0], [0, 0, 3, 4]]
    assert rows(mirror(ROW, MIDDLE)) == [[1, 2, 0, 0], [4, 3, 0, 0]]
    assert rows(chimera(ROW, MIDDLE)) == [[1, 2, 2, 1], [4, 3, 3, 4]]
    assert rows(resize(ROW, MIDDLE)) == [[1, 1.25, 1.75, 2.0], [3, 3.25, 3.75, 4.0]]
    assert rows(flip(ROW, MIDDLE)) == [[4, 3, 2, 1]]


def test_each_face_is_cut_at_its_own_middle():
    faces = ROW.repeat(2, 3, 2, 1)
    middles = middle_of_eyes(torch.tensor([[0.0, 1.0, 0.5], [2.0, 3.0, 2.5]]))
    left, right = blank(faces, middles)
    assert left[0, 0, 0].tolist() == [1, 0, 0, 0] and right[1, 2, 1].tolist() == [0, 0, 0, 4]
    assert torch.equal(left + right, faces)
    # A mirror image that reaches over the border goes on with the border's column.
    assert chimera(faces, middles)[0][0, 0, 0].tolist() == [1, 1, 1, 1]
    assert chimera(faces, middles)[1][0, 0, 0].tolist() == [2, 2, 3, 4]


def test_a_middle_outside_of_the_picture_leaves_a_column_to_either_half():
    for middle, kept in ((-9.0, 1), (99.0, 3)):
        left, right = blank(ROW, torch.tensor([middle]))
        assert (left != 0).sum() == kept and (right != 0).sum() == 4 - kept
        for present in PRESENTATIONS.values():
            assert all(
                view.shape == ROW.shape and view.isfinite().all() for view in present(ROW, torch.tensor([middle]))
            )


@pytest.mark.parametrize("name", ["mirror", "chimera", "resize", "flip"])
def test_what_is_symmetric_has_equal_views(name):
    face = torch.randn(1, 2, 5, 3, generator=torch.Generator().manual_seed(0))
    face = torch.cat([face, face.flip(3)], 3)
    views = PRESENTATIONS[name](face, torch.tensor([2.5]))
    if name == "resize":  # the right half is the left one mirrored
        views = views[0], views[1].flip(3)
    first, second = views if len(views) == 2 else (face, views[0])
    torch.testing.assert_close(first, second)


def test_halves_of_symmetric_digits_lie_nearer_than_those_of_others():
    digits = load("digits", 1, 16).test
    images, labels = digits.batch(range(len(digits)))
    left, right = mirror(images, torch.full((len(images),), 7.5))
    gap = distance(*(normalize(half.flatten(1), dim=1) for half in (left, right)))
    symmetric, other = (gap[(labels == a) | (labels == b)].mean() for a, b in ((0, 8), (4, 7)))
    assert symmetric < 0.7 * other


def test_the_distance_is_that_of_unit_vectors_and_nothing_where_all_collapse():
    angles = torch.tensor([0.0, 0.5, 3.14159265])
    first, second = torch.tensor([[1.0, 0.0]]), torch.stack([angles.cos(), angles.sin()], 1)
    torch.testing.assert_close(distance(first, second), 2 - 2 * angles.cos())
    constant = torch.ones(3, 4, requires_grad=True)
    collapsed = distance(normalize(constant, dim=1), normalize(torch.ones(3, 4), dim=1)).sum()
    collapsed.backward()
    assert collapsed == 0 and constant.grad.abs().max() == 0


def test_only_faces_that_look_ahead_have_views():
    landmarks = torch.tensor([[0.0, 3.0, 1.5], [0.0, 3.0, 0.1], [0.0, 3.0, 1.8]])
    faces = ROW.repeat(3, 1, 1, 1) * torch.tensor([1.0, 10, 100]).reshape(3, 1, 1, 1)
    ahead, (left, right) = Symmetry(threshold=0.8).views(faces, landmarks)
    assert ahead.tolist() == [0, 2] and left[1].flatten().tolist() == [100, 200, 0, 0] and right.shape == (2, 1, 1, 4)
    ahead, (left, _) = Symmetry(threshold=1.0).views(faces[1:], landmarks[1:])
    assert ahead.tolist() == [] and left.shape == (0, 1, 1, 4)


def test_lambda_grows_along_its_ramp():
    assert [Symmetry(weight=0.4, ramp_steps=4).weight_at(step) for step in (0, 1, 4, 9)] == [0, 0.1, 0.4, 0.4]
    assert Symmetry(weight=0.4).weight_at(0) == 0.4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"presentation": "thirds"}, r"presentation must be one of blank, mirror, .*, got thirds"),
        ({"weight": -1.0}, r"weight must be 0 or more, got -1"),
        ({"labelled": -0.5}, r"labelled must be 0 or more, got -0\.5"),
        ({"threshold": 1.5}, r"threshold must be from 0 to 1, got 1\.5"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(BadInput, match=message):
        Symmetry(**options)
