"""eccNET: its size, the correlation that stands for a computed kernel, and the attention it gives."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from offramp.errors import BadInput
from offramp.models.system import find_system
from offramp.models.visual_search_asymmetry import (
    VGG16,
    XS,
    Correlation,
    EccNet,
    EccNetConfig,
    combined,
    load_vgg16,
)
from offramp.models.visual_search_pictures import SEARCHES, attention_of
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

SYSTEM = find_system("eccnet_xs")
TINY = EccNetConfig(((4,), (6,)), (0.2, 0.2), (0, 1), 1, 4, 32, 8)


def convolutions(widths, channels):
    """Parameters: 3 x 3 weights of each pair of channels, and a bias of each output."""
    return sum((9 * before + 1) * after for before, after in zip([channels, *widths], widths))


def parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


def test_the_full_network_has_the_convolutions_of_vgg16():
    network = EccNet(replace(EccNetConfig(), search_side=64, target_side=32)).eval()
    widths = [width for block in VGG16 for width in block]
    assert parameters(network) == convolutions(widths, 3) == 14_714_688
    with torch.no_grad():
        assert network(torch.randn(1, 3, 64, 64), torch.randn(1, 3, 32, 32)).shape == (1, 1, 4, 4)


def test_windows_of_the_full_network_are_rounded_as_published():
    config = EccNetConfig()
    assert [config.eccentricity(block).pixels_per_degree for block in range(5)] == [30, 15, 8, 4, 2]


def named(network):
    """Weights by torchvision's names: places count activations and poolings too."""
    layers = [layer for layer in network.modules() if isinstance(layer, torch.nn.Conv2d)]
    return {
        f"features.{3 * place}.{kind}": getattr(layer, kind).detach().clone()
        for place, layer in enumerate(layers)
        for kind in ("weight", "bias")
    }


def test_weights_of_torchvision_are_filled_in_by_their_places():
    given, network = EccNet(TINY), EccNet(TINY)
    load_vgg16(network, named(given) | {"classifier.0.weight": torch.zeros(2, 2)})
    assert all(torch.equal(*pair) for pair in zip(given.parameters(), network.parameters()))


def test_weights_of_another_network_are_refused():
    weights = named(EccNet(TINY))
    with pytest.raises(
        BadInput, match=r"VGG16: features\.3\.bias is nothing, the network has \(6,\); give its weights"
    ):
        load_vgg16(EccNet(TINY), {name: each for name, each in weights.items() if name != "features.3.bias"})
    with pytest.raises(BadInput, match=r"features\.0\.weight is \(4, 1, 3, 3\), the network has \(4, 3, 3, 3\)"):
        load_vgg16(EccNet(replace(TINY, channels=3)), weights)
    with pytest.raises(BadInput, match=r"VGG16: expected 2 convolutions features\.N\.weight, got 0"):
        load_vgg16(EccNet(TINY), {})


def test_the_small_network_has_three_convolutions():
    assert parameters(SYSTEM.build()) == convolutions([8, 16, 32], 1) == 80 + 1168 + 4640


def test_the_small_network_has_the_multiplications_of_its_blocks_poolings_and_correlations():
    blocks = [(1, 8), (8, 16), (16, 32)]
    search, target = (
        sum(9 * inputs * outputs * (side // 2**block) ** 2 for block, (inputs, outputs) in enumerate(blocks))
        for side in (96, 16)
    )
    kernels = sum(side**2 for side in (2, 4, 4, 6, 6, 8))  # windows 2 to 7; odd ones have a row and column of zeros
    poolings = kernels * (8 * 48**2 + 16 * 24**2)
    correlations = 2 * 2 * 24**2 * (8 + 16 + 32)
    alignments = 3 * (2 * 2) * (2 * 2) * 24**2
    network, counter = SYSTEM.build(), FlopCounterMode(display=False)
    with counter, torch.no_grad():
        network(*SYSTEM.example_inputs())
    assert counter.get_total_flops() // 2 == search + target + poolings + correlations + alignments


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**16), st.sampled_from([1, 2, 3, 6]))
def test_the_correlation_is_a_convolution_whose_kernel_is_the_target(seed, side):
    draws = torch.Generator().manual_seed(seed)
    features, target = torch.randn(2, 5, 8, 8, generator=draws), torch.randn(2, 5, side, side, generator=draws)
    found = Correlation(side)(features, target)
    for one, kernel, each in zip(features, target, found):
        expected = functional.conv2d(one[None], kernel[None], padding="same")
        torch.testing.assert_close(each[None], expected, atol=1e-4, rtol=1e-4)


def test_readouts_have_one_stride_and_the_targets_twice_that():
    network = SYSTEM.build()
    search, target = SYSTEM.example_inputs()
    assert [tuple(each.shape[1:]) for each in network.search_features(search)] == [
        (8, 24, 24),
        (16, 24, 24),
        (32, 24, 24),
    ]
    assert [tuple(each.shape[1:]) for each in network.target_features(target)] == [(8, 2, 2), (16, 2, 2), (32, 2, 2)]
    assert network(search, target).shape == (1, 1, 24, 24)


def test_the_deepest_readout_is_the_last_block_of_the_search_image():
    network = SYSTEM.build()
    x, _ = SYSTEM.example_inputs()
    for block, pool in zip(network.blocks[:-1], network.search_pools):
        x = pool(block(x))
    torch.testing.assert_close(network.search_features(SYSTEM.example_inputs()[0])[-1], network.blocks[-1](x))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**16))
def test_attention_is_the_mean_of_scaled_maps_weighted_with_their_highest_values(seed):
    maps = list(torch.rand(3, 2, 1, 5, 5, generator=torch.Generator().manual_seed(seed)) * 10 + 0.1)
    found = combined(maps)
    for number in range(2):
        each = [some[number, 0].numpy() for some in maps]
        total = sum(some.max() for some in each)
        expected = sum(some.max() / total * (some - some.min()) / (some.max() - some.min()) for some in each)
        np.testing.assert_allclose(found[number, 0].numpy(), expected, rtol=1e-4, atol=1e-5)
    assert found.min() >= 0 and found.max() <= 1 + 1e-5


def test_flat_maps_give_no_attention_and_no_nan():
    assert torch.equal(combined([torch.zeros(1, 1, 4, 4)] * 3), torch.zeros(1, 1, 4, 4))


def test_a_blank_picture_is_finite():
    network = SYSTEM.build().eval()
    assert torch.isfinite(network(torch.zeros(1, 1, 96, 96), torch.zeros(1, 1, 16, 16))).all()


def test_weights_serve_every_resolution():
    network, plain = EccNet(XS), EccNet(replace(XS, slopes=(0.0, 0.0, 0.0), search_side=64))
    plain.load_state_dict(network.state_dict())
    centre = torch.randn(1, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    for first, second in zip(network.target_features(centre), plain.target_features(centre)):
        assert torch.equal(first, second)  # a target lies within the fovea


def test_within_the_fovea_poolings_do_not_matter():
    network, plain = EccNet(XS), EccNet(replace(XS, slopes=(0.0, 0.0, 0.0)))
    plain.load_state_dict(network.state_dict())
    search, _ = SYSTEM.example_inputs()
    one, other = network.search_features(search)[-1], plain.search_features(search)[-1]
    torch.testing.assert_close(one[..., 11:13, 11:13], other[..., 11:13, 11:13])
    assert not torch.allclose(one[..., :4, :4], other[..., :4, :4])


@pytest.mark.parametrize(
    ("search", "target", "message"),
    [
        (
            (1, 3, 96, 96),
            (1, 1, 16, 16),
            r"search image: expected \(B, 1, 96, 96\), got \(1, 3, 96, 96\); resize it, and",
        ),
        ((1, 1, 90, 96), (1, 1, 16, 16), r"search image: expected \(B, 1, 96, 96\), got \(1, 1, 90, 96\)"),
        ((1, 1, 96, 96), (1, 1, 24, 24), r"target: expected \(B, 1, 16, 16\), got \(1, 1, 24, 24\)"),
    ],
)
def test_pictures_of_another_shape_are_refused(search, target, message):
    with pytest.raises(BadInput, match=message):
        SYSTEM.build()(torch.zeros(search), torch.zeros(target))


def test_a_grey_picture_is_refused_where_colour_is_expected():
    network = EccNet(replace(TINY, channels=3))
    with pytest.raises(BadInput, match=r"search image: expected \(B, 3, 32, 32\), got \(1, 1, 32, 32\)"):
        network(torch.zeros(1, 1, 32, 32), torch.zeros(1, 3, 8, 8))


def test_impossible_configurations_are_refused():
    with pytest.raises(
        BadInput, match=r"eccNET: 2 blocks need as many slopes and the last of them read out, got 1 slopes"
    ):
        replace(TINY, slopes=(0.1,))
    with pytest.raises(BadInput, match=r"2 blocks need .* readouts \(0,\)"):
        replace(TINY, readouts=(0,))
    with pytest.raises(BadInput, match=r"sides are 33 \(search\) and 10 \(target\); give multiples of 2 and 4"):
        replace(TINY, search_side=33, target_side=10)


def test_pictures_show_what_the_artifact_looked_at():
    data = SYSTEM.read("bars-vertical", 0, train=6, test=6)
    (search, target, _), targets = data.test.batch(range(6))
    calls = []
    network = SYSTEM.build().eval()

    def run(inputs):
        calls.append(inputs)
        with torch.no_grad():
            return {"attention": network(*(torch.from_numpy(inputs[name]) for name in ("search", "target"))).numpy()}

    (picture,) = SYSTEM.illustrate(run, {"search": search.numpy(), "target": target.numpy()}, targets.numpy())
    assert picture.png.startswith(b"\x89PNG") and len(picture.caption.split("after ")[1].split(", ")) == SEARCHES
    assert all(each["search"].shape == (1, 1, 96, 96) and each["target"].shape == (1, 1, 16, 16) for each in calls)


def test_an_artifact_is_run_sample_by_sample():
    shapes = []

    def run(inputs):
        shapes.append({name: values.shape for name, values in inputs.items()})
        return {"whatever": inputs["search"] + inputs["target"].mean()}

    windows, targets = torch.rand(3, 1, 8, 8), torch.arange(3.0).reshape(3, 1, 1, 1).expand(3, 1, 4, 4)
    torch.testing.assert_close(attention_of(run)(windows, targets), windows + torch.arange(3.0).reshape(3, 1, 1, 1))
    assert shapes == [{"search": (1, 1, 8, 8), "target": (1, 1, 4, 4)}] * 3
