"""What a learning rule asks of hardware: multiplications, state, and which weights are read backward, as measured."""

import sys
from pathlib import Path

import pytest
from offramp.models.learning import Learner
from offramp.models.learning.back_propagation import BackPropagation
from offramp.models.learning.counter_current import CounterCurrent
from offramp.models.learning.feedback_alignment import FeedbackAlignment
from offramp.models.learning.footprint import footprint
from offramp.models.learning.target_propagation import TargetPropagation

sys.path.append(str(Path(__file__).parent))
from small_chains import batch, perceptron, setup


def measured(rule, module=None):
    module = module or perceptron()
    return footprint(module, rule.learner(setup(module)), batch(), 0.1)


def test_macs_of_back_propagation_are_those_of_its_matrices():
    """Forward 16 12 + 12 9 + 9 3; each gradient of weights as much again; of values for all but the first."""
    found = measured(BackPropagation())
    forward = 16 * 12 + 12 * 9 + 9 * 3
    assert found.forward_macs == forward
    assert found.matrix_macs == 2 * forward + 12 * 9 + 9 * 3
    assert found.weights == 16 * 12 + 12 * 9 + 9 + 9 * 3 + 3


def test_state_is_the_weights_and_what_the_optimizer_keeps_of_them():
    assert measured(BackPropagation()).state_bits == pytest.approx(64, rel=0.01)  # and a count of steps
    opposite = 3 * 9 + 9 * 12 + 12 * 16
    weights = 16 * 12 + 12 * 9 + 9 + 9 * 3 + 3
    assert measured(CounterCurrent()).state_bits == pytest.approx(64 * (1 + opposite / weights), rel=0.01)


@pytest.mark.parametrize(
    ("rule", "reads"),
    [(BackPropagation(), True), (FeedbackAlignment(), False), (CounterCurrent(), False), (TargetPropagation(), True)],
    ids=lambda value: getattr(value, "name", value),
)
def test_whether_the_networks_own_weights_are_read_backward(rule, reads):
    """Target propagation reads the last layer's, for the target of the last hidden value."""
    assert measured(rule).reads_weights_back is reads


class Counting(Learner):
    """Multiplies once, and runs nothing backward."""

    def learn(self, batch, rate):
        batch.samples * 2
        return 1.0

    def tensors(self):
        return {}

    def restore(self, tensors):
        pass


def test_a_rule_that_runs_nothing_backward_says_so():
    found = footprint(perceptron(), Counting(), batch(), 0.1)
    assert found.reads_weights_back is None
    assert (found.matrix_macs, found.other_macs, found.state_bits) == (0, 16, 32)
