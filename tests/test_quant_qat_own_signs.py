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
from torch.nn import functional

sys.path.append(str(Path(__file__).parent))
from small_chains import batch, setup
from small_networks import Recurrent, noise, samples_of

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


class Mirrored(nn.Module):
    """One kernel forth and back: its channels are of another axis each way."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.kernel = nn.Conv2d(2, 3, 1), nn.Parameter(torch.randn(4, 3, 3, 3) / 5)
        self.last = nn.Conv2d(3, 2, 1)

    def forward(self, x):
        hidden = functional.conv2d(self.first(x).relu(), self.kernel, padding=1).relu()
        return self.last(functional.conv_transpose2d(hidden, self.kernel, padding=1))


def started(network, shape=ROW):
    captured = capture(network.eval(), (noise(shape),))
    scheme = Scheme(*bits_named("w4a8"), calibration="minmax")
    return captured, scheme, trainable(network, captured, samples_of(shape), scheme, 8, Stages(10**6), "plain")


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


@pytest.mark.parametrize(
    ("build", "shape", "kernel", "held"),
    # Of 8 bits where the input is read or the output given, of 4 elsewhere; codes of either axis.
    [(lambda: Recurrent(6, 5), ROW, (6, 6), 2), (Mirrored, (1, 2, 5, 5), (4, 3, 3, 3), 2)],
    ids=["recurrent", "mirrored"],
)
def test_layers_of_one_weight_are_trained_as_one(build, shape, kernel, held):
    captured, scheme, training = started(build(), shape=shape)
    assert [tuple(parameter.shape) for parameter in training.parameters()].count(kernel) == 1
    optimizer = torch.optim.SGD(training.parameters(), lr=0.05)
    for seed in range(3):
        optimizer.zero_grad()
        training.train()(noise((8, *shape[1:]), seed)).square().mean().backward()
        optimizer.step()
    program = lower_trained(training.eval(), captured, scheme)
    assert [tuple(tensor.shape) for _, tensor in program.program.named_buffers()].count(kernel) == held
    alone = trainable(build().eval(), captured, samples_of(shape), scheme, 1, Stages(0))
    alone.load_state_dict(training.state_dict())
    for seed in range(5):
        with torch.no_grad():
            assert torch.equal(alone.eval()(noise(shape, 50 + seed)), program(noise(shape, 50 + seed))[0])


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
