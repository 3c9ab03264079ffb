"""Late fusion: one linear layer in two parts, and what it says where an input is missing."""

import pytest
import torch
from offramp.models.late_fusion import LateFusion, TwoSensors, perceptrons, resnets, small_convolutional
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


def macs(module, *inputs):
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        module.eval()(*inputs)
    return counter.get_total_flops() // 2


@pytest.fixture
def network():
    torch.manual_seed(0)
    return perceptrons().eval()


def test_fusion_is_one_linear_layer_on_both_features():
    torch.manual_seed(0)
    head, first, second = LateFusion((3, 5), 4), torch.randn(2, 3), torch.randn(2, 5)
    weight = torch.cat([head.first.weight, head.second.weight], 1)
    expected = nn.functional.linear(torch.cat([first, second], 1), weight, head.first.bias)
    torch.testing.assert_close(head(first, second)[0], expected)


def test_each_inputs_own_logits_are_those_of_zeros_in_the_others_place():
    torch.manual_seed(0)
    head, first, second = LateFusion((3, 5), 4), torch.randn(2, 3), torch.randn(2, 5)
    fused, left, right = head(first, second)
    torch.testing.assert_close(left, head(first, torch.zeros(2, 5))[0])
    torch.testing.assert_close(right, head(torch.zeros(2, 3), second)[0])
    torch.testing.assert_close(left + right - head.first.bias, fused)


@pytest.mark.parametrize("missing", [0, 1])
def test_a_missing_input_leaves_the_others_own_logits_whatever_stands_in_its_place(network, missing):
    inputs = [torch.randn(6, 32), torch.randn(6, 32)]
    whole = network(*inputs, torch.ones(6, 2))
    present = torch.ones(6, 2)
    present[:, missing] = 0
    inputs[missing] = 1e3 * torch.randn(6, 32)
    fused, *alone = network(*inputs, present)
    torch.testing.assert_close(fused, whole[2 - missing])
    torch.testing.assert_close(alone[1 - missing], fused)
    torch.testing.assert_close(alone[missing], network.head.first.bias.expand(6, 10))


def test_samples_of_a_batch_may_miss_different_inputs(network):
    inputs = torch.randn(3, 32), torch.randn(3, 32)
    present = torch.tensor([[1.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
    one_by_one = [network(*(x[i : i + 1] for x in (*inputs, present)))[0] for i in range(3)]
    torch.testing.assert_close(network(*inputs, present)[0], torch.cat(one_by_one))


def test_perceptrons_have_the_counts_of_their_layers():
    module = perceptrons()
    encoder = (32 * 64 + 64) + (64 * 64 + 64)
    assert parameters(module) == 2 * encoder + 10 * 128 + 10
    assert macs(module, torch.randn(1, 32), torch.randn(1, 32), torch.ones(1, 2)) == 2 * (32 * 64 + 64 * 64 + 64 * 10)


def test_small_convolutions_have_the_counts_of_their_layers():
    module = small_convolutional()
    encoder = sum(after * before * 9 + 2 * after for before, after in ((1, 8), (8, 16), (16, 32)))
    assert parameters(module) == 2 * encoder + 10 * 64 + 10
    image = 8 * 1 * 9 * 16 * 16 + 16 * 8 * 9 * 8 * 8 + 32 * 16 * 9 * 4 * 4
    spectrogram = 8 * 1 * 9 * 33 * 16 + 16 * 8 * 9 * 17 * 8 + 32 * 16 * 9 * 9 * 4
    inputs = torch.randn(1, 1, 32, 32), torch.randn(1, 1, 65, 32), torch.ones(1, 2)
    assert macs(module, *inputs) == image + spectrogram + 2 * 32 * 10


def test_resnets_have_the_published_counts():
    with torch.device("meta"):  # shapes without numbers
        module = resnets()
        inputs = torch.empty(2, 3, 224, 224), torch.empty(2, 1, 257, 188), torch.empty(2, 2)
    blocks = 2 * 2 * (64 * 64 * 9 + 2 * 64)
    for before, after in ((64, 128), (128, 256), (256, 512)):
        blocks += after * before * 9 + 3 * after * after * 9 + after * before + 5 * 2 * after
    counts = [64 * channels * 49 + 2 * 64 + blocks for channels in (3, 1)]
    assert counts == [11_176_512, 11_170_240]
    assert [parameters(part) for part in (module.first, module.second)] == counts
    assert parameters(module.head) == 6_150
    assert [tuple(logits.shape) for logits in module(*inputs)] == [(2, 6)] * 3


def test_resnets_start_by_the_published_rules():
    torch.manual_seed(0)
    module = resnets()
    convolution = module.second.layers[1][0].body[0][0].weight
    assert convolution.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.02)
    assert module.head.second.weight.std().item() == pytest.approx((2 / (512 + 6)) ** 0.5, rel=0.05)
    assert module.head.first.bias.abs().max() == 0


def test_encoders_may_differ():
    module = TwoSensors(nn.Linear(3, 7), nn.Flatten(), (7, 8), 2)
    assert module(torch.randn(5, 3), torch.randn(5, 2, 4), torch.ones(5, 2))[0].shape == (5, 2)
