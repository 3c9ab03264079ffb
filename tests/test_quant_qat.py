"""Training for the precision: prepared by graph, lowered bit for bit, whatever the network is made of."""

import copy
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from offramp.errors import BadInput
from offramp.quant.affine import Affine
from offramp.quant.capture import capture
from offramp.quant.qat.network import Stages
from offramp.quant.qat.prepare import prepare
from offramp.quant.qat.quantizers import SignQuantizer, ValueQuantizer
from offramp.quant.qat.read import lower_trained
from offramp.quant.qat.signs import ESTIMATORS, sign
from offramp.quant.qat.start import trainable
from offramp.quant.quantize import quantize, sign_edge
from offramp.quant.scheme import Scheme, bits_named
from torch import nn
from torch.nn import functional

sys.path.append(str(Path(__file__).parent))
from small_networks import noise, randomise, samples_of

IMAGE = (1, 3, 8, 8)
SCHEMES = ("int8", "w4a8", "w4a4", "w2a4", "binary-weights", "binary")
NEVER_FROZEN = Stages(freeze_norms=10**6)


class Everything(nn.Module):
    """Norms, a residual sum, a concatenation with a softmax, attention, a trained constant, a layer norm, PReLU."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU6())
        self.body = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16), nn.PReLU(16))
        self.gate = nn.Conv2d(16, 8, 1)
        self.gain = nn.Parameter(torch.full((1, 24, 1, 1), 0.8))
        self.up = nn.ConvTranspose2d(24, 16, 2, stride=2)
        self.norm = nn.LayerNorm(16)
        self.query, self.value = nn.Linear(16, 16), nn.Linear(16, 16)
        self.head = nn.Linear(16, 5)

    def forward(self, image):
        x = self.stem(image)
        x = x + self.body(x)
        x = torch.cat([x, self.gate(x).softmax(1)], 1) * self.gain
        x = functional.gelu(self.up(functional.avg_pool2d(x, 2)))
        tokens = self.norm(x.flatten(2).transpose(1, 2)[:, :6])
        scores = (self.query(tokens) @ tokens.transpose(1, 2) * 0.25).softmax(-1)
        return self.head((scores @ self.value(tokens)).mean(1))


def everything():
    torch.manual_seed(0)
    return randomise(Everything())


def started(network, scheme, batch=4, stages=NEVER_FROZEN, estimator="approximate", image=IMAGE):
    captured = capture(network, (noise(image),))
    return captured, trainable(network, captured, samples_of(image), scheme, batch, stages, estimator)


def step(network, image=IMAGE, count=3, rate=1e-2):
    """A few steps towards random classes, so that every number moves."""
    optimizer = torch.optim.SGD(network.parameters(), lr=rate)
    for index in range(count):
        x = noise((4, *image[1:]), 50 + index)
        loss = functional.cross_entropy(network.train()(x), torch.arange(4))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network.eval()


@pytest.mark.parametrize("name", SCHEMES)
def test_the_lowered_program_is_the_trained_network_bit_for_bit(name):
    network, scheme = everything(), Scheme(*bits_named(name), calibration="minmax")
    captured, training = started(network, scheme)
    step(training)
    alone = trainable(network, captured, samples_of(IMAGE), scheme, 1, Stages(0))
    alone.load_state_dict(training.state_dict())
    program = lower_trained(training, captured, scheme)
    alone.eval()
    with torch.no_grad():
        for seed in range(5):
            x = noise(IMAGE, 900 + seed)
            assert torch.equal(alone(x), program(x)[0])


@pytest.mark.parametrize("name", ["int8", "w4a8", "w4a4"])
def test_training_starts_as_calibration_leaves_it(name):
    scheme = Scheme(*bits_named(name), calibration="minmax")
    captured, training = started(everything(), scheme)
    after_training = lower_trained(training, captured, scheme)
    plain = replace(scheme, rounding="nearest", correct_bias=False)
    calibrated = quantize(captured, samples_of(IMAGE), plain)
    x = noise(IMAGE, 901)
    steps = (after_training(x)[0] - calibrated(x)[0]).abs().max() / calibrated.output_steps()[0]
    assert steps <= 1
    assert after_training.layers == calibrated.layers


@pytest.mark.parametrize("name", ["int8", "w4a4", "w2a4", "binary-weights", "binary"])
def test_every_parameter_is_trained(name):
    _, training = started(everything(), Scheme(*bits_named(name), calibration="minmax"))
    before = {key: value.detach().clone() for key, value in training.named_parameters()}
    step(training, count=2, rate=0.1)
    # The bias before a norm is taken out again by it, and a frozen step may lie where no gradient is.
    still = [key for key, value in training.named_parameters() if torch.equal(before[key], value)]
    assert not [key for key in still if not key.endswith("bias")]
    assert len(still) <= 1


def test_frozen_norms_keep_their_statistics_and_train_what_is_folded():
    _, training = started(everything(), Scheme(4, 8, calibration="minmax"), stages=Stages(freeze_norms=2))
    step(training, count=2)
    kept = {key: value.clone() for key, value in training.state_dict().items() if key.endswith(("mean", "variance"))}
    gains = {key: value.clone() for key, value in training.state_dict().items() if key.endswith("gain")}
    step(training, count=2)
    state = training.state_dict()
    assert kept and all(torch.equal(value, state[key]) for key, value in kept.items())
    assert all(not torch.equal(value, state[key]) for key, value in gains.items())
    assert int(state["steps"]) == 4


def test_weights_stay_real_during_the_first_stage():
    _, training = started(everything(), Scheme(1, 1), stages=Stages(10**6, quantize_weights=2))
    layer = training.layers["conv2d_1"]
    for real in (True, True, False):
        step(training, count=1)
        assert layer.weight_quantized is not real


def test_latent_weights_are_kept_within_the_reach_of_their_gradient():
    _, training = started(everything(), Scheme(1, 8))
    layer = training.layers["conv2d_1"]
    with torch.no_grad():
        layer.weight.mul_(100)
    training.train()(noise((4, *IMAGE[1:])))
    assert float(layer.weight.detach().abs().max()) == 1.0


@pytest.mark.parametrize("gain", [0.0, -1.5, 1e-20])
def test_a_channel_without_gain_or_with_a_negative_one_folds_exactly(gain):
    torch.manual_seed(0)
    layers = nn.Sequential(
        nn.Conv2d(3, 16, 1), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.BatchNorm2d(16), nn.Conv2d(16, 4, 1)
    )
    randomise(layers)
    with torch.no_grad():
        layers[3].weight[:5] = gain
    for name in SCHEMES:
        scheme = Scheme(*bits_named(name), calibration="minmax")
        captured, training = started(layers, scheme, batch=1)
        program = lower_trained(training.eval(), captured, scheme)
        with torch.no_grad():
            assert torch.equal(training(noise(IMAGE, 7)), program(noise(IMAGE, 7))[0])
        assert np.isfinite(program(noise(IMAGE, 7))[0].numpy()).all()


def test_any_number_of_samples_goes_through_a_batch_of_four():
    _, training = started(everything(), Scheme(4, 8, calibration="minmax"))
    training.eval()
    x = noise((7, *IMAGE[1:]), 3)
    with torch.no_grad():
        together = training(x)
        alone = torch.cat([training(x[i : i + 1]) for i in range(7)])
    torch.testing.assert_close(together, alone, atol=0.05, rtol=0)
    assert together.shape == (7, 5)


def test_the_float_network_is_left_as_it_was():
    network = everything()
    before = copy.deepcopy(network.state_dict())
    _, training = started(network, Scheme(4, 4))
    step(training)
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


class Mixes(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x):
        return self.layer(x) if x.shape[0] == 1 else self.layer(x - x.mean(0, keepdim=True))


def test_a_network_that_mixes_its_batch_is_refused():
    with pytest.raises(BadInput, match="treats every sample of a batch alike"):
        started(Mixes().eval(), Scheme(), image=(1, 4))


def test_an_unknown_estimator_is_refused():
    captured = capture(everything(), (noise(IMAGE),))
    with pytest.raises(BadInput, match="choose from plain, clipped, approximate"):
        prepare(captured, None, Scheme(), "straight")


# The parts.


@given(st.floats(1e-3, 1.0), st.integers(-8, 7), st.sampled_from([4, 8]), st.integers(0, 10_000))
def test_brevitas_and_the_program_round_alike(scale, zero_point, bits, seed):
    affine = Affine(float(np.float32(scale)), zero_point, -(1 << (bits - 1)), (1 << (bits - 1)) - 1)
    quantizer = ValueQuantizer(affine)
    assert quantizer.affine() == Affine(pytest.approx(affine.scale, rel=1e-5), zero_point, affine.qmin, affine.qmax)
    x = torch.randn(500, generator=torch.Generator().manual_seed(seed)) * scale * (1 << bits)
    brevitas, program = quantizer.train()(x).detach(), quantizer.eval()(x).detach()
    step = quantizer.affine().scale
    position = (x / step).frac().abs()
    assert ((brevitas - program).abs() < step / 2)[(position - 0.5).abs() > 1e-3].all()


@given(st.sampled_from(ESTIMATORS), st.lists(st.floats(-2, 2, width=32), min_size=1, max_size=20))
def test_signs_and_their_gradients(estimator, values):
    x = torch.tensor(values, requires_grad=True)
    y = sign(x, estimator)
    y.sum().backward()
    slopes = {
        "plain": lambda v: 1.0,
        "clipped": lambda v: float(abs(v) <= 1),
        "approximate": lambda v: max(2 - 2 * abs(v), 0),
    }
    assert y.tolist() == [1.0 if v >= 0 else -1.0 for v in values]
    assert x.grad.tolist() == pytest.approx([slopes[estimator](v) for v in x.tolist()], abs=1e-6)


@given(st.floats(-3, 3), st.floats(0.01, 0.2))
def test_a_learned_shift_is_lowered_to_the_sign_it_trained_with(shift, scale):
    value = ValueQuantizer(Affine(float(np.float32(scale)), 0))
    quantizer = SignQuantizer(sign_edge(torch.zeros(1), value.affine(), 4, 1), value, 1.0, 4, 1, "clipped")
    with torch.no_grad():
        quantizer.shift.fill_(shift)
    x = value.eval()(torch.linspace(-4, 4, 101).reshape(1, 1, 1, 101))
    edge = quantizer.edge()
    codes = torch.round(x / value.affine().scale)
    ours = torch.where(2 * codes + int(edge.shift.item()) >= 0, 1.0, -1.0)
    assert torch.equal(ours, quantizer(x).detach())
