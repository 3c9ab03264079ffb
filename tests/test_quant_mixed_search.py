"""Mixed precision on a small network: the emulation, the table, and what the search promises."""

import numpy as np
import pytest
import torch
from offramp.errors import BadInput
from offramp.quant.capture import capture
from offramp.quant.mixed.budget import Budget, meets, size_of
from offramp.quant.mixed.codings import Codings
from offramp.quant.mixed.layers import WIDE, uniform
from offramp.quant.mixed.outcome import outcome_of
from offramp.quant.mixed.search import Search, choices_for, front_of
from offramp.quant.quantize import quantize
from offramp.quant.scheme import Scheme
from offramp.runtime.macs import count_program
from torch import nn

BITS = ((2, 8), (3, 8), (4, 8), (4, 4), (8, 8))


class Net(nn.Module):
    """A branch, a depthwise and a transposed convolution, a concatenation of two scales, a linear layer."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.point = nn.Conv2d(8, 8, 1)
        self.up = nn.ConvTranspose2d(8, 4, 2, stride=2)
        self.head = nn.Linear(12, 4)

    def forward(self, image):
        x = self.norm(self.stem(image)).relu()
        x = x + self.point(self.depthwise(x).relu())
        both = torch.cat([x.mean((2, 3)), self.up(x).relu().mean((2, 3))], 1)
        return self.head(both * 3)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return Net().eval()


@pytest.fixture(scope="module")
def captured(network):
    return capture(network, (torch.zeros(1, 1, 8, 8),))


@pytest.fixture(scope="module")
def samples():
    generator = torch.Generator().manual_seed(1)
    return [(torch.randn(1, 1, 8, 8, generator=generator),) for _ in range(48)]


@pytest.fixture(scope="module")
def labels(network, samples):
    with torch.no_grad():
        return np.array([int(network(*sample).argmax()) for sample in samples])


@pytest.fixture(scope="module")
def search(network, captured, samples, labels):
    return Search(network, captured, samples, labels, Scheme(), BITS)


@pytest.mark.parametrize(
    ("bits", "rounding"), [((8, 8), "nearest"), ((4, 4), "nearest"), ((4, 8), "learned"), ((2, 8), "learned")]
)
def test_the_emulation_is_the_program(network, captured, samples, bits, rounding):
    scheme = Scheme(rounding=rounding, correct_bias=rounding == "learned")
    samples = samples[:32]  # a whole batch
    codings = Codings(network, captured, samples, scheme, BITS)
    assert codings.emulation.batch == 32
    layers = tuple((layer.module, *(bits if place % 2 else WIDE)) for place, layer in enumerate(codings.layers))
    program = quantize(captured, samples, Scheme(layers=layers, rounding=rounding, correct_bias=scheme.correct_bias))
    (outputs,) = codings.emulation.outputs(samples, codings.operands(layers))
    expected = torch.cat([program(*sample)[0] for sample in samples])
    difference = (outputs - expected).abs() / program.output_steps()[0]
    assert float(difference.median()) < 0.5
    assert float(difference.max()) <= 3  # a rounding that fell the other way


def test_the_float_network_in_batches_is_the_network(network, search, samples):
    (outputs,) = search.codings.emulation.outputs(samples[:33], None)
    with torch.no_grad():
        expected = torch.cat([network(*sample) for sample in samples[:33]])
    torch.testing.assert_close(outputs, expected, rtol=1e-4, atol=1e-5)


def test_one_layer_at_a_time_is_the_whole_network_with_that_layer_changed(search):
    others, emulation = search._others, search.codings.emulation
    base = {name: ops for layer in search.layers for name, ops in others[layer.module, WIDE].items()}
    key = ("point", (2, 8))
    (quick,) = emulation.one_by_one(search.samples, base, {key: others[key]})[key]
    (whole,) = emulation.outputs(search.samples, {**base, **others[key]})
    assert torch.equal(quick, whole)


def test_macs_are_those_that_reports_count(captured, samples, search):
    program = quantize(captured, samples[:4], Scheme())
    assert {layer.module: layer.macs for layer in search.layers} == count_program(program.program).by_module


def test_fewer_bits_in_one_layer_cost_more(search):
    costs = [
        sum(search.table.cost("noise", layer.module, (bits, 8)) for layer in search.layers) for bits in (2, 3, 4, 8)
    ]
    assert costs == sorted(costs, reverse=True)
    assert costs[0] > 0 == costs[-1]


def test_layers_that_must_keep_bits_have_no_other_choice(network, captured, samples):
    codings = Codings(network, captured, samples, Scheme(keep_int8=("stem",)), [(1, 1), (4, 8)])
    choices = {layer.module: layer.choices for layer in codings.layers}
    assert choices["stem"] == (WIDE,)
    assert (1, 1) not in choices["depthwise"]  # sums 9 signs
    assert choices["head"] == ((4, 8), (8, 8))


@pytest.mark.parametrize("bits", [(8, 8), (4, 8), (3, 8), (2, 8), (4, 4)])
def test_no_uniform_choice_of_the_same_size_has_a_lower_error(search, bits):
    for border in (WIDE, None):
        rival = search.attempt(uniform(search.layers, bits, border), "uniform")
        budget = Budget("size", rival.size, True)
        found = search.find([budget])
        assert meets(found.assignment, [budget], search.layers)
        assert found.outcome.error <= rival.outcome.error


def test_a_budget_of_macs_by_bits_is_kept(search):
    budgets = [Budget("macbits", 0.5), Budget("size", 0.2)]
    found = search.find(budgets)
    assert meets(found.assignment, budgets, search.layers)
    assert found.size == size_of(found.assignment, search.layers)


def test_budgets_out_of_reach_say_what_is_within(search):
    with pytest.raises(BadInput, match=r"budget size=0.01: cannot be met, the least is size=0.06"):
        search.find([Budget("size", 0.01)])
    with pytest.raises(BadInput, match=r"budget macbits=0.1: cannot be met, the least is macbits=0."):
        search.find([Budget("macbits", 0.1)])


def test_the_front_falls_as_it_grows(search):
    front = front_of(list(search.tried.values()))
    assert [one.size for one in front] == sorted({one.size for one in front})
    assert [one.outcome.error for one in front] == sorted((one.outcome.error for one in front), reverse=True)


def test_without_labels_the_noise_decides(network, captured, samples):
    found = Search(network, captured, samples, None, Scheme(), BITS).find([Budget("size", 0.12)])
    assert found.outcome.divergence is None
    assert found.outcome.error == pytest.approx(found.outcome.noise)


def test_an_exported_program_is_run_sample_by_sample(captured, samples, labels):
    search = Search(captured.module, captured, samples[:20], labels[:20], Scheme(), ((2, 8),))
    assert search.codings.emulation.batch == 1
    assert search.find([Budget("size", 0.1)]).size <= 0.1 * sum(4 * layer.weights for layer in search.layers)


def test_a_network_without_weights_has_no_bits_to_choose():
    network = nn.ReLU().eval()
    captured = capture(network, (torch.zeros(1, 4),))
    with pytest.raises(BadInput, match="no convolution or linear layer"):
        Codings(network, captured, [(torch.ones(1, 4),)], Scheme(), BITS)


def test_what_divergence_and_noise_say():
    logits = torch.tensor([[2.0, 0.0], [0.0, 3.0]])
    same = outcome_of([logits], [logits], np.array([0, 0]))
    assert (same.noise, same.error, same.accuracy) == (0.0, 0.0, 0.5)
    worse = outcome_of([logits.flip(1)], [logits], np.array([0, 0]))
    assert worse.error > 1
    assert same.surely_better(worse)
    assert not worse.surely_better(same)
    scores = logits.softmax(1)  # a network that ends in a softmax
    halves = torch.full((2, 2), 0.5)
    assert outcome_of([halves], [scores], np.array([0, 1])).divergence == pytest.approx(
        outcome_of([halves * 0], [logits], np.array([0, 1])).divergence, abs=1e-4
    )


def test_macs_by_bits_bring_choices_of_activations():
    assert {activation for _, activation in choices_for([Budget("size", 0.5)])} == {8}
    assert {activation for _, activation in choices_for([Budget("macbits", 0.5)])} == {4, 8}
