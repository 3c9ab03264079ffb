"""Chains read backwards through their own weights, and networks that ship both directions."""

import copy
from dataclasses import replace

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from offramp import sources
from offramp.errors import BadInput
from offramp.manifest import read_manifest
from offramp.models import system as zoo
from offramp.models.bidirectional import (
    TwoWayClassification,
    perceptron,
    strided_classifier,
    two_way_perceptron,
)
from offramp.models.objectives import Batch
from offramp.models.recipe import Recipe
from offramp.models.reverse_chain import Reverse, TransposedConv2d, TransposedLinear, TwoWay
from offramp.models.system import find_system
from offramp.options import Options
from offramp.pipeline import deploy
from offramp.quant.scheme import Scheme
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

PLAIN = Recipe(epochs=1, label_smoothing=0.0, threads=1)


def images(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0))


# Transposed layers


@settings(deadline=None, max_examples=40)
@given(
    side=st.tuples(st.integers(3, 11), st.integers(3, 11)),
    kernel=st.integers(1, 5),
    stride=st.integers(1, 3),
    padding=st.integers(0, 2),
    dilation=st.integers(1, 2),
    groups=st.sampled_from((1, 2)),
)
def test_a_kernel_backwards_is_its_transpose_at_every_size(side, kernel, stride, padding, dilation, groups):
    """<K x, y> = <x, K' y>, and K' gives back the very size, whatever the stride leaves over."""
    assume(min(side) + 2 * padding >= dilation * (kernel - 1) + 1)
    torch.manual_seed(1)
    conv = nn.Conv2d(2, 4, kernel, stride, padding, dilation, groups, bias=False).double()
    x = torch.randn(2, 2, *side, dtype=torch.float64)
    made = conv(x)
    y = torch.randn_like(made)
    back = TransposedConv2d(conv, side, bias=False)(y)
    assert back.shape == x.shape
    assert torch.allclose((made * y).sum(), (x * back).sum())


def test_a_matrix_backwards_is_its_transpose_with_a_bias_of_its_own():
    linear = nn.Linear(5, 3)
    back = TransposedLinear(linear, bias=True)
    nn.init.constant_(back.bias, 0.5)
    y = images(4, 3)
    assert torch.allclose(back(y), y @ linear.weight + 0.5)
    assert back.weight is linear.weight


# Chains


def test_a_perceptron_backwards_is_the_papers_generator():
    module = perceptron(64)
    reverse = Reverse(module, images(2, 1, 8, 8))
    hidden, out = module[1], module[3]
    torch.nn.init.normal_(reverse.layers[0].bias)
    torch.nn.init.normal_(reverse.layers[2].bias)
    code = torch.eye(10)
    between = (code @ out.weight + reverse.layers[0].bias).sigmoid()
    expected = (between @ hidden.weight + reverse.layers[2].bias).reshape(-1, 1, 8, 8)
    assert torch.allclose(reverse(code), expected, atol=1e-6)


def test_a_strided_chain_backwards_has_norms_of_its_own_and_the_chains_kernels():
    module = strided_classifier()
    reverse = Reverse(module, images(2, 1, 16, 16))
    kinds = [type(layer).__name__ for layer in reverse.layers]
    assert kinds == [
        "TransposedLinear", "ReLU", "TransposedLinear", "_Shaped", "BatchNorm2d", "LeakyReLU", "TransposedConv2d",
        "LeakyReLU", "TransposedConv2d",
    ]  # fmt: skip
    assert reverse(torch.eye(10)).shape == (10, 1, 16, 16)
    mine, theirs = ({id(p) for p in each.parameters()} for each in (module, reverse))
    assert mine & theirs == {id(layer.weight) for layer in module if isinstance(layer, nn.Linear | nn.Conv2d)}
    own = reverse.own()
    assert sum(name.endswith("bias") for name in own) == 5 and "layers.4.running_mean" in own
    assert not any(value.shape == module[6].weight.shape for value in own.values())


def test_without_biases_only_weights_are_shared_and_nothing_else_learns():
    reverse = Reverse(perceptron(64), images(2, 1, 8, 8), biases=False)
    assert reverse.own() == {} and len(list(reverse.parameters())) == 2


def test_reading_a_chain_leaves_norms_modes_and_hooks_alone():
    module = strided_classifier().train()
    before = copy.deepcopy(module.state_dict())
    Reverse(module, images(2, 1, 16, 16))
    assert all(layer.training and not layer._forward_hooks for layer in module.modules())
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


@pytest.mark.parametrize("seed", range(5))
def test_signs_give_back_the_input_they_like_best(seed):
    """Of w in {-1, 1}^n the unit fires for max(0, w), and backwards from 1 a step gives just that."""
    unit = nn.Linear(16, 1, bias=False)
    w = torch.where(torch.randn(16, generator=torch.Generator().manual_seed(seed)) >= 0, 1.0, -1.0)
    unit.weight.data = w.unsqueeze(0)
    reverse = Reverse(unit, images(2, 16), biases=False)
    best = (reverse(torch.ones(1, 1)) > 0).float()
    assert torch.equal(best[0], w.clamp(min=0)) and unit(best) > 0


# What has no way back


class Skipping(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x):
        return self.second(x + self.first(x))


class Bending(nn.Module):
    """An activation that is no layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x):
        return self.second(torch.relu(self.first(x)))


class Scaled(nn.Module):
    """A parameter that is no layer's, which changes nothing yet."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.scale = nn.Linear(6, 3), nn.Parameter(torch.ones(()))

    def forward(self, x):
        return self.scale * self.first(x)


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x):
        return self.second(self.first(self.first(x)))


def tied() -> nn.Module:
    chain = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3))
    chain[1].weight = chain[0].weight
    return chain


MORE = r"the network computes more than its layers one after the other \(a skip connection, a function between them"
NO_WAY = "which has no way back through transposed weights; give a chain of Linear, Conv2d, batch norms"
OUTSIDE = "before the first matrix or behind the last; the way back starts and ends at those; leave it out"


@pytest.mark.parametrize(
    ("module", "line"),
    [
        (Skipping(), MORE),
        (Bending(), MORE),
        (Scaled(), MORE),
        (tied(), MORE),
        (Twice(), "first is called 2 times in a pass; train it by back-propagation"),
        (nn.Sequential(nn.Linear(6, 4), nn.Unflatten(1, (1, 4)), nn.MaxPool1d(2)), f"1 is a Unflatten, {NO_WAY}"),
        (nn.GRU(6, 3), f"the network is a GRU, {NO_WAY}"),
        (nn.Sequential(nn.Linear(6, 3), nn.Sigmoid()), f"1 is a Sigmoid {OUTSIDE}"),
        (nn.Sequential(nn.BatchNorm1d(6), nn.Linear(6, 3)), f"0 is a BatchNorm1d {OUTSIDE}"),
        (nn.Sequential(nn.ReLU()), "the network has no Linear or Conv2d layer; train it by back-propagation"),
        (
            nn.Sequential(nn.Conv2d(1, 2, 3, padding="same")),
            "0 pads by 'same' with zeros; give numbers of rows, of zeros",
        ),
        (
            nn.Sequential(nn.Conv2d(1, 2, 3, padding=1, padding_mode="reflect")),
            r"0 pads by \(1, 1\) with reflect; give numbers of rows, of zeros",
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_what_has_no_way_back_is_refused_by_name(module, line):
    with pytest.raises(BadInput, match=f"^--rule r: {line}"):
        Reverse(module, images(2, 6), rule="r")


# Both directions in one network


def test_a_two_way_perceptron_has_one_set_of_weights_and_twice_the_work():
    network = find_system("bl_mlp").build().eval()
    assert isinstance(network, TwoWay)
    weights, forwards, backwards = 64 * 64 + 64 * 10, 64 + 10, 64 + 64
    assert sum(p.numel() for p in network.parameters()) == weights + forwards + backwards
    counter, image = FlopCounterMode(display=False), images(1, 1, 8, 8)
    with counter, torch.no_grad():
        logits, generated = network(image, torch.eye(10)[:1])
    assert counter.get_total_flops() // 2 == 2 * weights
    assert logits.shape == (1, 10) and generated.shape == image.shape and 0 < generated.min() < generated.max() < 1


def test_copies_and_saved_weights_keep_both_directions_one():
    network = two_way_perceptron()
    copied, loaded = copy.deepcopy(network), two_way_perceptron()
    loaded.load_state_dict(network.state_dict())
    for other in (copied, loaded):
        assert other.classifier[1].weight is other.reverse.layers[2].weight
        assert torch.equal(other.classifier[1].weight, network.classifier[1].weight)


def test_the_objective_takes_the_targets_code_and_measures_the_image_of_its_class():
    objective, network = TwoWayClassification(), two_way_perceptron().eval()
    samples, targets = images(4, 1, 8, 8), torch.tensor([3, 1, 4, 1])
    given = objective.inputs(samples, targets, torch.Generator())
    assert torch.equal(given[1], torch.eye(10)[targets])
    logits, generated = network(*given)
    figures = objective.metrics(objective.scores((logits, generated), given, targets).double())
    assert figures["accuracy"] == (logits.argmax(1) == targets).float().mean()
    assert figures["loss"] == pytest.approx(functional.cross_entropy(logits, targets).item(), abs=1e-6)
    assert figures["generation_error"] == pytest.approx((generated - samples).square().mean().item(), abs=1e-6)


def test_trained_for_a_precision_both_directions_losses_count():
    objective, network = TwoWayClassification(), two_way_perceptron()
    samples, targets = images(4, 1, 8, 8), torch.tensor([3, 1, 4, 1])
    outcome = objective.loss(network, None, Batch(samples, targets, PLAIN, torch.Generator()))
    drawn = network.reverse(torch.eye(10)[targets])
    expected = functional.cross_entropy(network.classifier(samples), targets)
    expected = expected + functional.binary_cross_entropy_with_logits(drawn, samples)
    assert torch.allclose(outcome.loss, expected, atol=1e-5)


@pytest.mark.filterwarnings("ignore::offramp.errors.OfframpWarning")
def test_both_directions_are_trained_quantized_exported_and_run(tmp_path, monkeypatch):
    import onnx

    system = replace(find_system("bl_mlp"), recipe=replace(PLAIN, learning_rate=3e-3, epochs=4))
    for module in (zoo, sources):
        monkeypatch.setattr(module, "all_systems", lambda: {system.name: system})
    folders = {"runs": tmp_path / "runs", "out": tmp_path / "dist"}
    scheme = Scheme(samples=16, calibration="minmax", rounding="nearest", correct_bias=False)
    deploy(
        system.name,
        Options(
            targets=("onnx",),
            precisions=("int8",),
            scheme=scheme,
            held_out=32,
            measure=False,
            older_runtime=False,
            **folders,
        ),
    )
    folder = tmp_path / "dist" / system.name
    document = read_manifest(folder)
    (row,) = document["artifacts"]
    assert row["verified"], row["not_verified_because"]
    error = document["float"]["metrics"]["generation_error"]
    assert row["metrics"]["generation_error"] == pytest.approx(error, abs=1e-3) and error < 0.09
    # The transposes are folded: a file holds each direction's codes, with scales for each of its outputs.
    stored = onnx.load(str(folder / "bl_mlp.onnx")).graph.initializer
    sizes = [len(tensor.raw_data) for tensor in stored if tensor.data_type == 3 and len(tensor.dims) == 2]
    assert sorted(sizes) == [640, 640, 4096, 4096]


def test_the_adversarial_network_has_the_counts_of_its_form():
    network, image = find_system("han_cnn").build().eval(), images(1, 1, 16, 16)
    kernels, matrices = 16 * 16 * 1 + 32 * 16 * 16, 32 * 4 * 4 * 64 + 64 * 10
    biases, norm = 16 + 64 + 10, 2 * 32
    assert sum(p.numel() for p in network.parameters()) == kernels + matrices + biases + norm
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        network(image)
    assert counter.get_total_flops() // 2 == 16 * 16 * 8 * 8 + 32 * 16 * 16 * 4 * 4 + matrices
