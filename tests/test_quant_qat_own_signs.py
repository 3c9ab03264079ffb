"""Training for the precision of networks that compute signs themselves, or read one weight several times."""

import sys
from pathlib import Path

import pytest
import torch
from offramp.errors import BadInput
from offramp.models.learning.back_propagation import BackPropagation
from offramp.quant.capture import capture
from offramp.quant.qat.network import Stages
from offramp.quant.qat.own_signs import Jump, StraightThrough
from offramp.quant.qat.read import lower_trained
from offramp.quant.qat.start import trainable
from offramp.quant.scheme import Scheme, bits_named
from torch import nn

sys.path.append(str(Path(__file__).parent))
from small_chains import batch, setup
from small_networks import noise, samples_of

ROW = (1, 6)
FORMS = {
    "sign": torch.sign,
    "where": lambda x: torch.where(x >= 0, 1.0, -1.0),
    "where below": lambda x: torch.where(x < 0, -1.0, 1.0),
    "where of constants": lambda x: torch.where(x > 0, torch.tensor(1.0), torch.tensor(-1.0)),
    "shifted": lambda x: torch.where(x >= 0.25, 2.0, -1.0),
    "change of type": lambda x: 2 * (x > 0).float() - 1,
}


class Signs(nn.Module):
    def __init__(self, form):
        super().__init__()
        self.first, self.last, self.form = nn.Linear(6, 8), nn.Linear(8, 3), form

    def forward(self, x):
        return self.form(self.last(self.form(self.first(x))))


class Unrolled(nn.Module):
    def __init__(self, steps=4):
        super().__init__()
        self.own, self.last, self.steps = nn.Linear(6, 6), nn.Linear(6, 3), steps

    def forward(self, x):
        for _ in range(self.steps):
            x = torch.relu(self.own(x))
        return self.last(x)


def started(network, name="w4a8", estimator="plain"):
    captured = capture(network.eval(), (noise(ROW),))
    scheme = Scheme(*bits_named(name), calibration="minmax")
    return captured, scheme, trainable(network, captured, samples_of(ROW), scheme, 8, Stages(10**6), estimator)


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_gradients_pass_signs_of_every_form_and_their_values_stay(form):
    torch.manual_seed(0)
    network = Signs(form)
    _, _, training = started(network)
    through = [part for part in training.graph.children() if isinstance(part, StraightThrough)]
    assert len(through) == 2
    x = noise((8, 6), 1)
    (training.train()(x) - 0.5).square().sum().backward()
    for layer in training.layers.values():
        assert layer.weight.grad is not None and layer.weight.grad.abs().max() > 0
    values = training.eval()(x).unique().tolist()
    allowed = {torch.sign: {-1.0, 0.0, 1.0}, FORMS["shifted"]: {-1.0, 2.0}}.get(form, {-1.0, 1.0})
    assert all(min(abs(value - one) for one in allowed) < 0.02 for value in values)


@pytest.mark.parametrize("estimator", ["plain", "clipped", "approximate"])
def test_the_gradient_is_the_estimators_and_points_the_way_of_the_jump(estimator):
    for height in (1.5, -0.5):
        value = torch.tensor([0.1, 0.3, 9.0], requires_grad=True)
        part = StraightThrough(Jump(None, 0.2, height), 2.0, estimator)
        jumping = torch.tensor([3.0, 4.0, 5.0])
        found = part(jumping, value)
        assert torch.equal(found, jumping)
        found.sum().backward()
        near, far = value.grad[:2] / height, value.grad[2] / height
        assert (near > 0).all() and (far > 0) == (estimator == "plain")


def test_layers_of_one_weight_are_trained_as_one_and_held_once():
    torch.manual_seed(0)
    captured, scheme, training = started(Unrolled())
    assert sum(parameter.ndim == 2 and parameter.shape[1] == 6 for parameter in training.parameters()) == 2
    optimizer = torch.optim.SGD(training.parameters(), lr=0.05)
    for seed in range(3):
        optimizer.zero_grad()
        training.train()(noise((8, 6), seed)).square().sum().backward()
        optimizer.step()
    program = lower_trained(training.eval(), captured, scheme)
    weights = [name for name, tensor in program.program.named_buffers() if tuple(tensor.shape) == (6, 6)]
    assert len(weights) == 2  # of 8 bits where the input is read, of 4 elsewhere
    alone = trainable(Unrolled().eval(), captured, samples_of(ROW), scheme, 1, Stages(0))
    alone.load_state_dict(training.state_dict())
    for seed in range(5):
        with torch.no_grad():
            assert torch.equal(alone.eval()(noise(ROW, 50 + seed)), program(noise(ROW, 50 + seed))[0])


def test_a_network_that_no_gradient_gets_through_is_refused_in_one_line():
    class Steps(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(16, 3)

        def forward(self, x):
            return torch.where(self.layer(x.flatten(1)) > 0, 1.0, 0.0)

    learner = BackPropagation().learner(setup(Steps()))
    with pytest.raises(BadInput, match=r"^net: no gradient reaches its weights; give what its outputs pass through"):
        learner.learn(batch(), 0.1)
