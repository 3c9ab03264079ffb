"""The networks whose convolutions are meant to become ±1: what becomes ±1, what it costs, and that all of it learns."""

from itertools import pairwise

import offramp.models.bireal
import offramp.models.quicknet
import offramp.models.reactnet
import pytest
import torch
from offramp.models.quicknet import Blur, QuickNet, QuickNetConfig
from offramp.models.reactnet import ReActBlock
from offramp.models.rprelu import RPReLU
from offramp.models.system import find_system
from offramp.quant.capture import capture
from torch import Tensor, nn

MODULES = {
    "bireal_xs": offramp.models.bireal,
    "birealnet18": offramp.models.bireal,
    "quicknet_s": offramp.models.quicknet,
    "reactnet_a": offramp.models.reactnet,
    "reactnet_s": offramp.models.reactnet,
}
BLOCKS = {"bireal_xs": 5, "birealnet18": 16, "quicknet_s": 16, "reactnet_a": 26, "reactnet_s": 26}


def on_paper(name: str) -> tuple[nn.Module, Tensor]:
    """The system and its input, shapes without numbers."""
    system = find_system(name)
    with torch.device("meta"):
        return system.build().eval(), torch.empty(next(iter(system.input_shapes.values())))


def to_become_binary(module: nn.Module) -> dict[str, nn.Conv2d]:
    """Path -> each convolution that stands directly behind a Hardtanh."""
    found = {}
    for path, inner in module.named_modules():
        if isinstance(inner, nn.Sequential):
            for index, (before, after) in enumerate(pairwise(inner), start=1):
                if isinstance(before, nn.Hardtanh):
                    assert isinstance(after, nn.Conv2d), path
                    found[f"{path}.{index}"] = after
    return found


def macs(module: nn.Module, x: Tensor) -> tuple[int, int]:
    """MACs of the convolutions that are to become ±1, and of all else."""
    binary, counts = set(to_become_binary(module).values()), {True: 0, False: 0}

    def count(layer: nn.Module, _: object, output: Tensor) -> None:
        weight = layer.kernel if isinstance(layer, Blur) else layer.weight
        counts[layer in binary] += output.numel() * weight[0].numel()

    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear | Blur):
            layer.register_forward_hook(count)
    module(x)
    return counts[True], counts[False]


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def binary_weights(module: nn.Module) -> int:
    return sum(layer.weight.numel() for layer in to_become_binary(module).values())


def mebibytes(values: int, signs: int) -> float:
    """Size of that many values, of which some are one bit and the others 32."""
    return (signs / 8 + 4 * (values - signs)) / 2**20


@pytest.mark.parametrize("name", MODULES)
def test_counts_are_those_that_the_module_states(name):
    module, x = on_paper(name)
    binary, others = macs(module, x)
    counted = [name, *(f"{count:,}" for count in (parameters(module), binary, others))]
    stated = [line.split() for line in MODULES[name].__doc__.splitlines()]
    assert counted in stated


@pytest.mark.parametrize("name", MODULES)
def test_every_binary_convolution_is_dense_wide_and_without_bias(name):
    layers = to_become_binary(on_paper(name)[0])
    assert len(layers) == BLOCKS[name]
    for path, layer in layers.items():
        assert (layer.groups, layer.bias, layer.in_channels % 32) == (1, None, 0), path


@pytest.mark.parametrize("name", MODULES)
def test_first_last_and_projecting_layers_stay_real(name):
    module = on_paper(name)[0]
    real = [path for path, layer in module.named_modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    real = [path for path in real if path not in to_become_binary(module)]
    assert {path.split(".")[0] for path in (real[0], real[-1])} == {"stem", "classify"}
    inside = [path for path in real if not path.startswith(("stem", "classify"))]
    assert all(".skip." in path or path.startswith("transitions.") for path in inside)
    assert all(module.get_submodule(path).kernel_size == (1, 1) for path in inside)


def test_birealnet18_has_the_published_counts():
    module, x = on_paper("birealnet18")
    binary, others = macs(module, x)
    resnet = on_paper("resnet18")[0]
    norms = sum(m.num_features for m in module.modules() if isinstance(m, nn.BatchNorm2d))
    published = parameters(module) + 2 * norms  # Keras counts running statistics as parameters
    assert parameters(module) == parameters(resnet)
    assert published == 11_699_112
    assert mebibytes(published, binary_weights(module)) == pytest.approx(4.03, abs=0.005)
    assert (binary / 64 + others) / 1e8 == pytest.approx(1.63, abs=0.015)


def test_reactnet_a_has_the_published_counts():
    module, x = on_paper("reactnet_a")
    binary, others = macs(module, x)
    assert parameters(module) / 1e6 == pytest.approx(29.3, abs=0.05)
    assert binary / 1e9 == pytest.approx(4.82, abs=0.005)
    assert others / 1e8 == pytest.approx(0.12, abs=0.005)
    assert (binary / 64 + others) / 1e8 == pytest.approx(0.87, abs=0.005)


@pytest.mark.parametrize(
    ("widths", "blocks", "published", "megabytes"),
    [
        ((32, 64, 256, 512), (4, 4, 4, 4), 12_655_688, 4.00),
        ((64, 128, 256, 512), (4, 4, 4, 4), 13_234_088, 4.17),
        ((64, 128, 256, 512), (6, 8, 12, 6), 23_342_248, 5.40),
    ],
)
def test_quicknets_have_the_published_counts(widths, blocks, published, megabytes):
    with torch.device("meta"):
        module = QuickNet(QuickNetConfig(widths, blocks))
    plain = sum(m.num_features for m in module.modules() if isinstance(m, nn.BatchNorm2d) and not m.affine)
    blurs = sum(m.kernel.numel() for m in module.modules() if isinstance(m, Blur))
    values = parameters(module) + blurs + 2 * plain
    assert values == published
    assert mebibytes(values, binary_weights(module)) == pytest.approx(megabytes, abs=0.005)


@pytest.mark.parametrize("name", MODULES)
def test_every_parameter_gets_a_gradient(name):
    torch.manual_seed(0)
    module = find_system(name).build()
    channels = next(iter(find_system(name).input_shapes.values()))[1]
    module(torch.randn(2, channels, 64, 64)).square().sum().backward()
    without = [path for path, parameter in module.named_parameters() if not parameter.grad.abs().sum() > 0]
    assert without == []


@pytest.mark.parametrize("name", ["bireal_xs", "quicknet_s", "reactnet_s"])
def test_its_captured_graph_gives_the_same_numbers(name):
    torch.manual_seed(0)
    module = find_system(name).build().eval()
    channels = next(iter(find_system(name).input_shapes.values()))[1]
    inputs = (torch.randn(1, channels, 64, 64),)
    with torch.no_grad():
        torch.testing.assert_close(capture(module, inputs).module(*inputs)[0], module(*inputs), atol=1e-4, rtol=1e-4)


def test_rprelu_bends_and_shifts_where_it_learned_to():
    activation = RPReLU(2)
    with torch.no_grad():
        activation.bend.copy_(torch.tensor([1.0, -1.0]).reshape(2, 1, 1))
        activation.shift.copy_(torch.tensor([0.5, 0.0]).reshape(2, 1, 1))
        activation.prelu.weight.copy_(torch.tensor([0.5, 0.25]))
    x = torch.tensor([[3.0, -1.0], [3.0, -5.0]]).reshape(1, 2, 1, 2)
    assert activation(x).flatten().tolist() == [2.5, -0.5, 4.0, -1.0]


def test_a_doubling_block_is_the_two_parallel_convolutions_of_the_paper():
    torch.manual_seed(0)
    block, x = ReActBlock(32, 64, stride=2).eval(), torch.randn(1, 32, 8, 8)
    with torch.no_grad():
        middle = block.spatial_activation(block.spatial(x) + nn.functional.avg_pool2d(x, 2))
        clip, doubling, norm = block.pointwise
        halves = []
        for half in (slice(0, 32), slice(32, 64)):
            products = nn.functional.conv2d(clip(middle), doubling.weight[half])
            halves.append(products / (norm.running_var[half] + norm.eps).sqrt().reshape(-1, 1, 1) + middle)
        expected = block.pointwise_activation(torch.cat(halves, 1))
        torch.testing.assert_close(block(x), expected)


def test_a_block_that_neither_keeps_nor_doubles_its_channels_is_refused():
    with pytest.raises(ValueError, match="keeps or doubles its channels, not 32 to 96"):
        ReActBlock(32, 96, stride=1)


def test_a_blur_keeps_a_constant_and_halves_the_map():
    blurred = Blur(3)(torch.ones(1, 3, 55, 55))
    assert blurred.shape == (1, 3, 28, 28)
    assert (blurred[..., 1:-1, 1:-1] == 1).all()
    assert not Blur(3).state_dict()


@pytest.mark.parametrize("name", MODULES)
def test_a_real_valued_path_goes_round_every_binary_convolution(name):
    torch.manual_seed(0)
    module = find_system(name).build().eval()
    for layer in to_become_binary(module).values():
        nn.init.zeros_(layer.weight)
    channels = next(iter(find_system(name).input_shapes.values()))[1]
    x = torch.randn(1, channels, 64, 64, requires_grad=True)
    module(x).square().sum().backward()
    assert x.grad.abs().sum() > 0
