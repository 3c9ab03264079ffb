"""The study of the CARE Transformer: its pictures, its trainings, and the rules by which its claims hold."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from offramp.errors import BadInput
from offramp.models.care_variants import ASYMMETRIC, VARIANTS, Decoupled
from offramp.models.data.digits import load_digits
from offramp.reproductions import Study, _same_different, reproductions
from offramp.reproductions import care_transformer as study_of_care
from offramp.reproductions._care_training import SCHEDULE, train_variants
from offramp.reproductions._same_different import CLASSES, GLYPH, one_digit, same_different
from torch import nn

QUICK = replace(SCHEDULE, digit_epochs=1, pair_epochs=1, digits=64, pairs=64, batch=32)


def classes_by_pixels(split):
    """Class of each digit of a split, by its 64 pixels."""
    data = load_digits(1, GLYPH)
    part = data.train if split == "train" else data.test
    images, labels = part.batch(range(len(part)))
    return {tuple(image.flatten().round().int().tolist()): int(label) for image, label in zip(images, labels)}


def cells(image):
    """The glyphs of a picture of cells, (1, H, W), each as its pixels."""
    parts = image[0].unfold(0, GLYPH, GLYPH).unfold(1, GLYPH, GLYPH).reshape(-1, GLYPH * GLYPH)
    return [tuple(cell.tolist()) for cell in parts if cell.any()]


# Pictures


@pytest.mark.parametrize("split", ["train", "test"])
def test_pairs_are_same_where_their_digits_are_of_one_class(split):
    known = classes_by_pixels(split)
    images, labels = same_different(60, 3, 24, split=split, grid=GLYPH)
    assert images.shape == (60, 1, 24, 24) and images.dtype == torch.uint8 and labels.dtype == torch.int64
    for image, label in zip(images, labels):
        first, second = (known[cell] for cell in cells(image))
        assert int(label) == (first == second)
    assert int(labels.sum()) == 30


def test_single_digits_have_their_class():
    known = classes_by_pixels("train")
    images, labels = one_digit(60, 3, 24, grid=GLYPH)
    assert [known[cell] for image in images for cell in cells(image)] == labels.tolist()
    assert set(labels.tolist()) == set(range(CLASSES))


def test_no_digit_is_in_both_splits():
    assert not set(classes_by_pixels("train")) & set(classes_by_pixels("test"))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 9), st.integers(0, 10**6), st.integers(0, 20), st.integers(1, 3), st.integers(1, 8))
def test_digits_never_overlap_and_begin_on_the_grid(count, seed, more, channels, grid):
    """Glyphs of full white: each picture has twice 64 white pixels."""
    size = 2 * GLYPH + grid - 1 + more
    with pytest.MonkeyPatch.context() as patch:
        white = torch.full((count, GLYPH, GLYPH), 255, dtype=torch.uint8)
        patch.setattr(_same_different, "_glyphs", lambda *_: white)
        images, labels = same_different(count, seed, size, channels, grid=grid)
    assert images.shape == (count, channels, size, size)
    assert (images > 0).sum((2, 3)).eq(2 * GLYPH * GLYPH).all()
    rows = images.any(1).any(2).int()  # (count, size)
    first = rows.argmax(1)
    assert (first % grid == 0).all() and abs(int(labels.sum()) * 2 - count) <= 1


def test_pictures_follow_the_seed():
    (first, labels), (again, _), (other, _) = (same_different(8, seed) for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert not torch.equal(labels, labels.sort().values)  # shuffled
    state = torch.random.get_rng_state()
    one_digit(4, 1)
    assert torch.equal(state, torch.random.get_rng_state())


@pytest.mark.parametrize(
    ("draw", "arguments", "said"),
    [
        (same_different, {"size": 15}, "15 pixels hold no two digits on a grid of 1; give a larger size"),
        (same_different, {"size": 23, "grid": 16}, "23 pixels hold no two digits on a grid of 16"),
        (same_different, {"split": "valid"}, "split must be train or test, got valid"),
        (same_different, {"channels": 0}, "count, channels, grid must be 1 or more, got 4, 0, 1"),
        (one_digit, {"grid": 0}, "count, channels, grid must be 1 or more, got 4, 1, 0"),
        (one_digit, {"size": 7}, "a digit needs 8 pixels, got a size of 7"),
    ],
)
def test_pictures_that_cannot_be_drawn_are_refused(draw, arguments, said):
    with pytest.raises(BadInput, match=said):
        draw(4, 0, **arguments)


# Trainings


@pytest.fixture(scope="module")
def trained():
    return train_variants([ASYMMETRIC, VARIANTS[-1]], (0, 1), QUICK)


def test_variants_train_at_equal_cost_from_seeds_of_their_own(trained):
    first, second = trained
    assert second.macs == pytest.approx(first.macs, rel=0.02)
    assert len(first.digits) == len(first.pairs) == 2
    assert (first.digits[0], first.pairs[0]) != (first.digits[1], first.pairs[1])
    assert all(0 <= accuracy <= 1 for each in trained for accuracy in (*each.digits, *each.pairs))


def test_what_trains_beside_it_changes_no_bit(trained):
    (alone,) = train_variants([ASYMMETRIC], (1,), QUICK)
    assert (alone.digits, alone.pairs) == (trained[0].digits[1:], trained[0].pairs[1:])


def test_training_leaves_torch_as_it_was():
    threads, state = torch.get_num_threads(), torch.random.get_rng_state()
    train_variants([ASYMMETRIC], (0,), replace(QUICK, digits=32, pairs=32))
    assert torch.get_num_threads() == threads and torch.equal(state, torch.random.get_rng_state())


def test_digits_are_learnt():
    """Ten classes, and a network that saw 4 x 640 pictures."""
    longer = replace(SCHEDULE, digit_epochs=4, pair_epochs=1, digits=640, pairs=64, batch=64)
    (found,) = train_variants([ASYMMETRIC], (0,), longer)
    assert found.digits[0] > 0.6


# Claims


def test_the_study_is_found_and_takes_no_other_data():
    assert "care-transformer" in reproductions()
    with pytest.raises(BadInput, match=r"^mine\.npz: this study draws its pictures from the bundled digits"):
        study_of_care.reproduce(Study((0,), "mine.npz"))


def test_costs_are_the_counts_of_the_blocks():
    symmetric, stacked = study_of_care.costs(Study((0,)))
    assert symmetric.holds and stacked.holds
    assert symmetric.ours == stacked.ours
    assert (symmetric.ours.mean, symmetric.baseline.mean, stacked.baseline.mean) == pytest.approx(
        (26.5, 34.5, 118.0), rel=0.003
    )


def test_ablations_claim_each_part_on_both_tasks(monkeypatch):
    monkeypatch.setattr(study_of_care, "SCHEDULE", QUICK)
    claims = study_of_care.ablations(Study((0,), effort=0.01))
    assert len(claims) == len({claim.claim for claim in claims}) == 8
    table = claims[0].table
    assert [row[0] for row in table["rows"]] == list(study_of_care._COMPARED)
    assert all(len(row) == len(table["columns"]) for row in table["rows"])


def test_softmax_mixing_differs_in_attention_alone():
    torch.manual_seed(0)
    linear, softmax = Decoupled(8, 4, 4, 4), study_of_care._SoftmaxMixer(8, 4, 4, 4)
    softmax.load_state_dict(linear.state_dict())
    x = torch.randn(2, 16, 5, 3)
    found = softmax(x)
    assert torch.equal(found[:, 8:], linear(x)[:, 8:])
    query, key = (part.reshape(2, 2, 4, 15) for part in softmax.attention.query_key(x[:, :8]).chunk(2, 1))
    weights = (torch.einsum("bhdn,bhdm->bhnm", query, key) / 4**0.5).softmax(-1)
    expected = torch.einsum("bhnm,bhdm->bhdn", weights, x[:, :8].reshape(2, 2, 4, 15)).reshape(2, 8, 5, 3)
    torch.testing.assert_close(found[:, :8], expected)


@pytest.mark.parametrize(("linear", "holds"), [(4, True), (6, True), (7, False)])
def test_time_is_linear_where_a_position_costs_at_most_half_as_much_again(monkeypatch, linear, holds):
    """Four times the positions across two sides: by 4 each is linear, by 6 half as much again."""
    monkeypatch.setattr(study_of_care, "_SIDES", (4, 8))
    growth = {Decoupled: linear, study_of_care._SoftmaxMixer: 16}
    monkeypatch.setattr(study_of_care, "_seconds", lambda mixer, x: growth[type(mixer)] ** (x.shape[-1] == 8))
    (claim,) = study_of_care.scaling(Study((0,)))
    assert (claim.ours.mean, claim.baseline.mean, claim.holds) == (linear / 4, 4, holds)


def test_speeds_compare_artifacts_by_multiplications(monkeypatch):
    def tiny(channels):
        layers = nn.Conv2d(3, channels, 8, stride=8), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 4)
        return lambda: nn.Sequential(*layers)

    monkeypatch.setattr(study_of_care, "_SHALLOW", {"mobilenet_v2": tiny(4), "care_s0": tiny(8)})
    monkeypatch.setattr(study_of_care, "_ENGINES", {"onnx": "ONNX Runtime"})
    times = {"care_s0/onnx/float32": 1.9, "care_s0/onnx/int8": 2.1}
    monkeypatch.setattr(study_of_care, "latencies", lambda paths: {name: times.get(name, 1.0) for name in paths})
    claims = study_of_care.speeds(Study((0,)))
    per_image = 28 * 28 * 3 * 64 + 4  # multiplications of one channel
    assert [claim.holds for claim in claims] == [True, False]
    assert claims[0].baseline.mean == pytest.approx(1e9 / (4 * per_image))
    assert claims[0].ours.mean == pytest.approx(1.9e9 / (8 * per_image))
    assert claims[0].table["rows"][1] == ["care_s0", "0.001", "1.90", "2.10"]
