"""Permuted bits: which inputs have labels, and the faults of names and files."""

import re

import numpy as np
import pytest
import torch
from offramp.errors import BadInput
from offramp.models.permuted_bits import BITS, every_input, read_bits


def test_every_input_but_zero_stands_once():
    inputs = every_input(4)
    assert inputs.shape == (15, 4) and len({tuple(row) for row in inputs.tolist()}) == 15 and inputs.any(1).all()


def test_only_the_basis_has_labels_and_all_inputs_are_held_out():
    data = read_bits(f"{BITS}:2-0-1", 0, 3)
    known = data.train.labels[:, 0] >= 0
    assert torch.equal(data.train.samples[known], torch.eye(3))
    assert torch.equal(data.train.labels[known], torch.eye(3)[:, [2, 0, 1]])
    assert (data.train.samples[~known].sum(1) > 1).all() and (data.train.labels[~known] == -1).all()
    assert torch.equal(data.test.labels, data.test.samples[:, [2, 0, 1]]) and len(data.test) == 7


def test_permutations_follow_the_seed():
    first, again, other = (read_bits(BITS, seed, 8).test.labels for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_own_examples_are_read_and_extended_by_their_permutation(tmp_path):
    inputs = np.eye(3, dtype=np.int8)
    np.savez(tmp_path / "mine.npz", inputs=inputs, outputs=inputs[:, [1, 2, 0]])
    data = read_bits(str(tmp_path / "mine.npz"), 0, 3)
    assert torch.equal(data.test.labels, data.test.samples[:, [1, 2, 0]])
    assert torch.equal(data.train.labels[:3], torch.eye(3)[:, [1, 2, 0]])


@pytest.mark.parametrize(
    ("name", "k", "message"),
    [
        ("mine", 3, "mine: no such data; give permuted-bits, permuted-bits:2-0-1 or an .npz with inputs and outputs"),
        (f"{BITS}:0-0-1", 3, "0-0-1 is no permutation; give each of 0 to 2 once, as permuted-bits:2-0-1"),
        (f"{BITS}:a-b", 2, "a-b is no permutation"),
        (f"{BITS}:1-0", 3, "permutes 2 bits; the network takes 3: give as many"),
        (BITS, 13, "permuted-bits of 13 bits: all 2^k - 1 inputs are checked; give 2 to 12 bits"),
    ],
)
def test_faults_of_a_name_are_named(name, k, message):
    with pytest.raises(BadInput, match=re.escape(message)):
        read_bits(name, 0, k)


EYE = np.eye(3).tolist()


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"inputs": EYE}, "expected inputs and outputs, found inputs"),
        (
            {"inputs": EYE, "outputs": np.eye(3)[:, :2]},
            "outputs has shape (3, 2); expected (N, 3), bits of the network",
        ),
        ({"inputs": [[2, 0, 1]], "outputs": [[1, 0, 0]]}, "inputs[0, 0] is 2; expected bits, 0 or 1"),
        ({"inputs": [*EYE, [0, 0, 0]], "outputs": [*EYE, [0, 0, 0]]}, "inputs[3] is all zeros, for which every output"),
        (
            {"inputs": EYE, "outputs": [[1, 1, 0], [0, 0, 1], [0, 0, 0]]},
            "two outputs copy the same input; a permutation",
        ),
        ({"inputs": EYE, "outputs": np.ones((3, 3))}, "output 0 is the copy of no input, so the rows show no one"),
        (
            {"inputs": [[1, 1, 0]], "outputs": [[1, 1, 0]]},
            "output 0 is the copy of 2 inputs alike, so the rows show no",
        ),
    ],
)
def test_faults_of_a_file_are_named(tmp_path, arrays, message):
    np.savez(tmp_path / "mine.npz", **{name: np.array(values) for name, values in arrays.items()})
    with pytest.raises(BadInput, match=re.escape(message)):
        read_bits(str(tmp_path / "mine.npz"), 0, 3)
