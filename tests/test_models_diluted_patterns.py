"""Patterns with blanks: what is drawn has the shares that were asked for, and each fault has its line."""

import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from offramp.errors import BadInput
from offramp.models.diluted_patterns import (
    DIGITS,
    PATTERNS,
    PatternRecipe,
    digit_archetypes,
    draw_archetypes,
    draw_examples,
    filled,
    read_patterns,
    recipe_named,
)

SMALL = PatternRecipe(n=20, k=2, d=0.5, m=5, cues=4)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@settings(deadline=None)
@given(st.integers(4, 60), st.integers(1, 4), st.floats(0, 0.8))
def test_archetypes_have_exactly_the_share_of_blanks_that_was_asked_for(spins, count, dilution):
    patterns = draw_archetypes(PatternRecipe(n=spins, k=count, d=dilution), generator())
    assert patterns.shape == (count, spins) and set(patterns.unique().tolist()) <= {-1.0, 0.0, 1.0}
    assert (patterns == 0).sum(1).tolist() == [round(dilution * spins)] * count


def test_examples_keep_blanks_and_turn_signs_over_as_often_as_their_quality_says():
    patterns = draw_archetypes(PatternRecipe(n=500, k=2, d=0.4), generator())
    examples, labels = draw_examples(patterns, 40, 0.6, generator(1))
    assert labels.bincount().tolist() == [40, 40]
    assert torch.equal(examples == 0, patterns[labels] == 0)
    right = (examples * patterns[labels]).sum() / patterns[labels].abs().sum()
    assert right.item() == pytest.approx(0.6, abs=4 * (0.64 / (80 * 300)) ** 0.5)


def test_cues_have_a_sign_for_every_spin_and_keep_those_of_the_example():
    examples = torch.tensor([[1.0, 0.0, -1.0] * 40])
    cues = filled(examples, generator())
    assert set(cues.unique().tolist()) == {-1.0, 1.0} and torch.equal(cues[examples != 0], examples[examples != 0])


def test_data_follow_the_seed_and_the_changes_in_the_name():
    first, again, other = (read_patterns(PATTERNS, seed, SMALL) for seed in (0, 0, 1))
    assert torch.equal(first.train.samples, again.train.samples)
    assert not torch.equal(first.train.samples, other.train.samples)
    data = read_patterns(f"{PATTERNS}:d=0.2,m=3", 0, SMALL)
    assert len(data.train) == 2 * 3 and len(data.test) == 2 * 4
    assert (data.test.labels[:, 1:] == 0).sum(1).tolist() == [4] * 8
    assert recipe_named(PATTERNS, SMALL) == SMALL


def test_archetypes_of_digits_tell_the_classes_apart():
    patterns = digit_archetypes(PatternRecipe(n=64, k=3, d=0.4))
    assert (patterns == 0).sum(1).tolist() == [26] * 3
    middle = 4 * 8 + 3  # a zero is empty in the middle, a one is not
    assert patterns[0, middle] < 0 < patterns[1, middle]
    data = read_patterns(DIGITS, 0, PatternRecipe(n=64, k=3, d=0.4))
    assert torch.equal(data.test.labels[:3, 1:], patterns)


def test_own_patterns_and_own_examples_are_read(tmp_path):
    patterns = np.array([[1, 0, -1, 1], [0, 1, 1, -1]], np.int8)
    default = PatternRecipe(n=4, k=2, m=3, cues=2)
    np.savez(tmp_path / "patterns.npz", patterns=patterns)
    data = read_patterns(str(tmp_path / "patterns.npz"), 0, default)
    assert len(data.train) == 6 and np.array_equal(data.test.labels[:2, 1:].numpy(), patterns)
    noisy = np.array([[1, 0, -1, -1], [1, 0, -1, 1], [1, 0, 1, 1], [0, 1, 1, -1]], np.int8)
    np.savez(tmp_path / "examples.npz", examples=noisy, labels=np.array([0, 0, 0, 1]))
    data = read_patterns(str(tmp_path / "examples.npz"), 0, default)
    assert np.array_equal(data.train.labels[2:, 1:].numpy(), patterns)
    assert data.train.labels[:, 0].tolist() == [0, 0, 0, 1]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"patterns": [[1.0, 0.5]]}, "patterns[0, 1] is 0.5; expected -1, 0 (blank) or +1: take signs first"),
        ({"patterns": [[1, 1], [0, 0]]}, "patterns[1] is all blank (dilution 1), so nothing can be recalled; leave it"),
        ({"patterns": [1, 1]}, "patterns has shape (2,); expected (number of patterns, spins)"),
        ({"images": [[1, 1]]}, "expected patterns, or examples and labels; found images"),
        ({"examples": [[1, 1]], "labels": [1]}, "the examples of label 0 are missing or cancel out; give it others"),
        ({"patterns": [[1, 1]]}, "1 patterns of 2 entries; the network has room for 2 of 20: choose such patterns, or"),
    ],
)
def test_faults_of_a_file_are_named(tmp_path, arrays, message):
    np.savez(tmp_path / "mine.npz", **{name: np.array(values) for name, values in arrays.items()})
    with pytest.raises(BadInput, match=re.escape(message)):
        read_patterns(str(tmp_path / "mine.npz"), 0, SMALL)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mine", "mine: no such patterns; give diluted-patterns or diluted-digits, or an .npz with patterns, or with"),
        (f"{PATTERNS}:depth=3", "depth=3 is no change of the patterns; write n, k, d, r, m, cues as d=0.3,m=20"),
        (f"{PATTERNS}:d=much", "d=much is no change of the patterns"),
        (f"{PATTERNS}:d=1", "d must leave an entry that is not blank, got d 1 of 20 entries; lower it"),
        (f"{PATTERNS}:r=1.5,m=0", "m must be a whole number above 0, got 0; r must be from 0 to 1, got 1.5"),
        (f"{PATTERNS}:n=30", "2 patterns of 30 entries; the network has room for 2 of 20"),
        (f"{DIGITS}:k=11", "have 64 pixels and 10 classes, got n 20 and k 11; leave out n"),
    ],
)
def test_faults_of_a_name_are_named(name, message):
    with pytest.raises(BadInput, match=re.escape(message)):
        read_patterns(name, 0, SMALL)
