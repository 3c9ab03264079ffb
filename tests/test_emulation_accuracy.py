"""Networks on sampled chips: shares that were right, as many chips as seeds, and the interval of their mean."""

import math
import sys
from pathlib import Path

import pytest
import torch
from offramp.devices.synapse.design import ArrayDesign
from offramp.emulation.accuracy import emulate, inputs_of, task_of
from offramp.estimate import estimate_of, share_of
from offramp.quant.integer.evaluate import evaluate_many
from offramp.quant.integer.lowering import integer_program
from offramp.runtime.samples import Samples
from torch import nn

sys.path.append(str(Path(__file__).parent))
from small_networks import noise, quantized
from small_synapses import synapse


@pytest.fixture(scope="module")
def task():
    """Forty samples, of which the digital program is right about three in four."""
    torch.manual_seed(1)
    found = quantized(nn.Sequential(nn.Linear(20, 33), nn.ReLU(), nn.Linear(33, 5)), (1, 20), correct_bias=False)
    program = integer_program(found.program, found.input_names, found.output_names)
    inputs = noise((40, 20)).numpy()
    labels = evaluate_many(program, [inputs[:, None]])[0][:, 0].argmax(1)
    labels[:10] = (labels[:10] + 1) % 5
    held_out = Samples({program.input_names[0]: inputs}, labels, "held out")
    return task_of(program, held_out.first(8), held_out)


def test_the_digital_program_is_run_in_batches(task):
    assert task.digital.shape == (40, 5)
    assert task.digital_accuracy == 0.75
    assert inputs_of(task.program, task.held_out)[0].shape == (40, 1, 20)


def test_ideal_chips_are_as_good_as_the_digital_program(task):
    told = []
    found = emulate(task, synapse(levels=0), ArrayDesign(), [1, 2], told.append)
    assert found.accuracies == (0.75, 0.75)
    assert (found.agreement.low, found.agreement.mean, found.agreement.high) == (1.0, 1.0, 1.0)
    assert told == ["chip 1 of 2: accuracy 75.0%", "chip 2 of 2: accuracy 75.0%"]


def test_noisy_chips_differ_and_their_mean_has_an_interval(task):
    found = emulate(task, synapse(levels=0, program_error=0.3), ArrayDesign(), [1, 2, 3])
    again = emulate(task, synapse(levels=0, program_error=0.3), ArrayDesign(), [3])
    assert found.agreement.mean < 1.0
    assert len(set(found.accuracies)) > 1
    assert found.accuracy == share_of(found.accuracies)
    assert again.accuracies == found.accuracies[2:]
    document = found.to_json()
    assert document["accuracies"] == list(found.accuracies)
    assert (document["arrays"], document["energy_joules"]) == (4, found.cost.joules)
    assert document["accuracy"]["low"] < found.accuracy.mean < document["accuracy"]["high"]


def test_without_labels_chips_are_held_to_the_digital_program(task):
    drawn = Samples(task.held_out.inputs, None, "drawn", drawn=True)
    unlabelled, told = task_of(task.program, drawn.first(8), drawn), []
    found = emulate(unlabelled, synapse(levels=0), ArrayDesign(), [1], told.append)
    assert (unlabelled.digital_accuracy, found.accuracy, found.accuracies) == (None, None, ())
    assert found.agreement.mean == 1.0
    assert told == ["chip 1 of 1: agreement 100.0%"]
    assert found.to_json()["accuracy"] is None


def test_the_interval_of_a_mean_is_students():
    # Mean 0.5, deviation 0.1, four values; Student's factor for 3 degrees of freedom is 3.182446.
    found = estimate_of([0.5 - 0.1 * math.sqrt(0.75), 0.5 + 0.1 * math.sqrt(0.75)] * 2)
    assert (found.mean, found.high - 0.5, 0.5 - found.low) == pytest.approx((0.5, 0.1591223, 0.1591223), abs=1e-6)
    assert (estimate_of([0.7]).low, estimate_of([0.7]).mean, estimate_of([0.7]).high) == (0.7, 0.7, 0.7)


def test_the_interval_of_shares_is_cut_at_0_and_1():
    assert (share_of([0.0, 1.0]).low, share_of([0.0, 1.0]).mean, share_of([0.0, 1.0]).high) == (0.0, 0.5, 1.0)
    assert estimate_of([0.0, 1.0]).low < 0.0
