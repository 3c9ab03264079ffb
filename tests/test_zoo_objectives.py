"""Every system's objective, on a network that shows nothing but its outputs, as one that is trained for a precision."""

import sys
from math import isfinite
from pathlib import Path

import pytest
import torch
from offramp.models.objectives import in_tuple, objective_of
from offramp.models.system import find_system
from offramp.sources import find_source, load_data
from torch import nn

sys.path.append(str(Path(__file__).parent))
from small_systems import SMALL, batch_of


class Opaque(nn.Module):
    """A network behind which nobody sees."""

    def __init__(self, network):
        super().__init__()
        self._network = [network]
        self.weights = nn.ParameterList(network.parameters())

    def forward(self, *inputs):
        return self._network[0](*inputs)


@pytest.mark.parametrize("name", SMALL)
def test_the_loss_and_what_a_teacher_is_compared_with_need_outputs_alone(name):
    system, data = find_system(name), load_data(find_source(name, 0), None)
    objective = system.objective or objective_of(system.task)
    torch.manual_seed(0)
    trained = system.build().eval()
    network = Opaque(system.ship(trained) if system.ship else trained)
    outcome = objective.loss(network, objective.companion(network, data), batch_of(system, data))
    assert isfinite(outcome.loss.item())
    with torch.no_grad():
        wanted = in_tuple(network(*outcome.inputs))[0]
    assert outcome.outputs.shape == wanted.shape
    assert isfinite(objective.distance(outcome.outputs, wanted, system.recipe.temperature).item())
