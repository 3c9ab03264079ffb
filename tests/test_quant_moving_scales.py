"""Equalization and smoothing: they change the weights, and not what the network computes."""

import copy
import sys
from pathlib import Path

import pytest
import torch
from offramp.quant.capture import capture
from offramp.quant.equalize import equalize
from offramp.quant.graph import calls, constant_of
from offramp.quant.quantize import quantize
from offramp.quant.scheme import Scheme
from offramp.quant.smooth import smooth
from torch import nn
from torch.nn import functional

sys.path.append(str(Path(__file__).parent))
from small_networks import captured_system, noise, randomise, samples_of

IMAGE = (1, 3, 8, 8)


class Separable(nn.Module):
    """Convolution, depthwise and pointwise ones with `activation` between, a residual sum, pooling, linear."""

    def __init__(self, activation: nn.Module):
        super().__init__()
        self.stem, self.activation = nn.Conv2d(3, 6, 3, padding=1), activation
        self.depthwise = nn.Conv2d(6, 6, 3, padding=1, groups=6)
        self.pointwise, self.head = nn.Conv2d(6, 6, 1), nn.Linear(6, 5)

    def forward(self, image):
        x = self.activation(self.stem(image))
        x = x + self.pointwise(self.activation(self.depthwise(x)))
        return self.head(functional.max_pool2d(functional.pad(x, (1, 1, 0, 0)), 2).mean((2, 3)))


class Block(nn.Module):
    """A transformer's feed-forward block, with two readers of its norm."""

    def __init__(self):
        super().__init__()
        self.norm, self.a, self.b = nn.LayerNorm(8), nn.Linear(8, 16), nn.Linear(8, 16)
        self.out = nn.Linear(16, 8)

    def forward(self, x):
        y = self.norm(x)
        return x + self.out(functional.gelu(self.a(y)) * self.b(y))


class Scaled(nn.Module):
    """A batch norm before a padded convolution, which it cannot be folded into."""

    def __init__(self):
        super().__init__()
        self.norm, self.layer = nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, image):
        return self.layer(self.norm(image))


def uneven(network: nn.Module) -> nn.Module:
    """Multiplies the output channels of every layer by 1, 2, 4, ... so that there is something to even out."""
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear | nn.LayerNorm):
                by = 2.0 ** torch.arange(len(layer.weight))
                layer.weight.mul_(by.reshape(-1, *[1] * (layer.weight.ndim - 1)))
    return network.eval()


def captured_of(network, shape):
    torch.manual_seed(0)
    return capture(uneven(randomise(network())), (noise(shape),))


def weights(module):
    return [constant_of(module, n.args[1]) for n in calls(module) if "conv" in n.name or "linear" in n.name]


@pytest.mark.parametrize("activation", [nn.ReLU(), nn.LeakyReLU(0.1), nn.PReLU(6)])
def test_equalization_keeps_the_function_and_evens_the_channels_out(activation):
    captured = captured_of(lambda: Separable(activation), IMAGE)
    module = copy.deepcopy(captured.module)
    assert equalize(module) == 4
    for seed in range(3):
        got, wanted = module(noise(IMAGE, seed))[0], captured.module(noise(IMAGE, seed))[0]
        torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-3)

    def spread(weight):
        peaks = weight.flatten(1).abs().amax(1)
        return peaks.max() / peaks.min()

    before, after = spread(weights(captured.module)[0]), spread(weights(module)[0])
    assert after < before / 2


@pytest.mark.parametrize("activation", [nn.ReLU6(), nn.GELU(), nn.Hardtanh()])
def test_no_scale_passes_what_is_not_homogeneous(activation):
    captured = captured_of(lambda: Separable(activation), IMAGE)
    module = copy.deepcopy(captured.module)
    equalize(module)
    torch.testing.assert_close(module(noise(IMAGE))[0], captured.module(noise(IMAGE))[0])
    depthwise = weights(module)[1]
    assert torch.equal(depthwise, weights(captured.module)[1])


@pytest.mark.parametrize("system", ["resnet8", "mobilenet_v2_xs", "care_xxs", "resnet18"])
def test_equalization_keeps_whole_networks_as_they_are(system):
    captured = captured_system(system)
    module, inputs = copy.deepcopy(captured.module), captured.example_inputs
    changed = equalize(module)
    with torch.no_grad():
        got, wanted = module(*inputs)[0], captured.module(*inputs)[0]
    assert (got - wanted).norm() <= 1e-4 * wanted.norm()
    assert changed > 0 or system == "care_xxs"


@pytest.mark.parametrize(("network", "shape"), [(Block, (1, 5, 8)), (Scaled, IMAGE)])
def test_smoothing_keeps_the_function(network, shape):
    captured = captured_of(network, shape)
    module = copy.deepcopy(captured.module)
    assert smooth(module, samples_of(shape), 0.5) == 1
    for seed in range(3):
        torch.testing.assert_close(
            module(noise(shape, seed))[0], captured.module(noise(shape, seed))[0], rtol=1e-4, atol=1e-3
        )
    assert not torch.equal(weights(module)[0], weights(captured.module)[0])


def test_a_value_that_others_read_too_is_not_smoothed():
    class Read(Block):
        def forward(self, x):
            y = self.norm(x)
            return y + self.out(self.a(y))

    captured = captured_of(Read, (1, 5, 8))
    assert smooth(copy.deepcopy(captured.module), samples_of((1, 5, 8)), 0.5) == 0


def test_smoothing_pays_where_a_norm_has_one_large_channel():
    torch.manual_seed(0)
    network = randomise(Block())
    with torch.no_grad():
        network.norm.weight[3] *= 50
    captured = capture(network, (noise((1, 5, 8)),))
    samples, errors = samples_of((1, 5, 8)), []
    for share in (None, 0.5):
        program = quantize(captured, samples, Scheme(smooth=share, calibration="minmax"))
        errors.append(sum(float((program(*x)[0] - captured.module(*x)[0]).norm()) for x in samples))
    assert errors[1] < errors[0]
