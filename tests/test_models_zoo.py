"""Every system: its shapes, its exportability, and the parameters and MACs that its paper or benchmark states."""

from itertools import pairwise

import pytest
import torch
from offramp.errors import BadInput
from offramp.models.objectives import in_tuple
from offramp.models.recipe import Recipe
from offramp.models.system import System, all_systems, find_system
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


def macs(module: nn.Module, *inputs: torch.Tensor) -> int:
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        module.eval()(*inputs)
    return counter.get_total_flops() // 2


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def folded_parameters(module: nn.Module) -> int:
    """Weights of convolutions and linear layers, and one bias per output."""
    layers = [m for m in module.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    return sum(m.weight.numel() + m.weight.shape[0] for m in layers)


def conv(out: int, inp: int, kernel: int, height: int, width: int) -> tuple[int, int]:
    """Folded parameters and MACs of a convolution; `kernel` is its area, `inp` the inputs that one output reads."""
    return out * inp * kernel + out, out * inp * kernel * height * width


def total(layers: list[tuple[int, int]]) -> tuple[int, int]:
    return sum(p for p, _ in layers), sum(m for _, m in layers)


def test_resnet8_has_the_counts_of_mlperf_tiny():
    layers = [conv(16, 3, 9, 32, 32), *[conv(16, 16, 9, 32, 32)] * 2]
    for width, side in ((32, 16), (64, 8)):
        layers += [conv(width, width // 2, k, side, side) for k in (9, 1)] + [conv(width, width, 9, side, side)]
    expected = total([*layers, conv(10, 64, 1, 1, 1)])
    module = find_system("resnet8").build()
    assert expected == (77_706, 12_501_632)
    assert (folded_parameters(module), macs(module, torch.randn(1, 3, 32, 32))) == expected


def test_ds_cnn_has_the_counts_of_mlperf_tiny():
    pair = [conv(64, 1, 9, 25, 5), conv(64, 64, 1, 25, 5)]
    expected = total([conv(64, 1, 10 * 4, 25, 5), *pair * 4, conv(12, 64, 1, 1, 1)])
    module = find_system("ds_cnn").build()
    assert expected == (22_604, 2_656_768)
    assert (folded_parameters(module), macs(module, torch.randn(1, 1, 49, 10))) == expected


def test_mobilenet_v1_has_the_counts_of_mlperf_tiny():
    layers, before, side = [conv(8, 3, 9, 48, 48)], 8, 48
    for width, stride in (
        [(16, 1), (32, 2), (32, 1), (64, 2), (64, 1), (128, 2)] + [(128, 1)] * 5 + [(256, 2), (256, 1)]
    ):
        side //= stride
        layers += [conv(before, 1, 9, side, side), conv(width, before, 1, side, side)]
        before = width
    expected = total([*layers, conv(2, 256, 1, 1, 1)])
    module = find_system("mobilenet_v1_025").build()
    assert expected == (210_850, 7_489_664)
    assert (folded_parameters(module), macs(module, torch.randn(1, 3, 96, 96))) == expected


def test_fc_autoencoder_has_the_counts_of_mlperf_tiny():
    widths = [640, 128, 128, 128, 128, 8, 128, 128, 128, 128, 640]
    expected = total([conv(after, before, 1, 1, 1) for before, after in pairwise(widths)])
    module = find_system("fc_autoencoder").build()
    assert expected == (265_864, 264_192)
    assert (folded_parameters(module), macs(module, torch.randn(1, 640))) == expected


@pytest.mark.parametrize(("name", "pixels", "hidden"), [("synapse_mlp", 8 * 8, 32), ("synapse_mlp_28", 28 * 28, 100)])
def test_perceptrons_for_arrays_have_two_layers(name, pixels, hidden):
    system = find_system(name)
    expected = total([conv(hidden, pixels, 1, 1, 1), conv(10, hidden, 1, 1, 1)])
    (image,) = system.example_inputs()
    assert (folded_parameters(system.build()), macs(system.build(), image)) == expected


def test_same_padding_pads_after_the_last_row_and_column_only():
    """A stride-2 kernel that picks its centre reads rows 1, 3, 5, ... with (0, 1) padding; 0, 2, 4, ... with (1, 1)."""
    body = find_system("resnet8").build().stages[1].body[0][:2]  # pad, convolution
    with torch.no_grad():
        body[1].weight.zero_()[:, :, 1, 1] = 1 / 16
    rows = torch.arange(32.0).reshape(1, 1, 32, 1).expand(1, 16, 32, 32)
    assert body(rows)[0, 0, :, 0].tolist() == list(range(1, 32, 2))


def test_ds_cnn_pads_four_rows_above_and_five_below():
    stem = find_system("ds_cnn").build().stem[:2]
    with torch.no_grad():
        stem[1].weight.zero_()[:, :, 4, 1] = 1
    frames = torch.arange(49.0).reshape(1, 1, 49, 1).expand(1, 1, 49, 10)
    assert stem(frames)[0, 0, :, 0].tolist() == list(range(0, 49, 2))


@pytest.mark.parametrize(
    ("name", "million_parameters", "giga_macs"),
    [("care_s0", 7.3, 0.7178), ("care_s1", 9.6, 1.0286), ("care_s2", 19.5, 1.9231)],
)
def test_care_has_the_cost_of_its_paper(name, million_parameters, giga_macs):
    with torch.device("meta"):  # shapes without numbers
        module, image = find_system(name).build(), torch.empty(1, 3, 224, 224)
    assert parameters(module) / 1e6 == pytest.approx(million_parameters, rel=0.01)
    assert macs(module, image) / 1e9 == pytest.approx(giga_macs, rel=0.01)


CARE_BUDGETS = {  # million parameters and GMACs of stem, stages 1 to 4 with the layer that feeds them, heads
    "care_s0": [(0.002, 0.005), (0.017, 0.051), (0.199, 0.152), (1.789, 0.348), (3.280, 0.161), (2.054, 0.002)],
    "care_s1": [(0.002, 0.005), (0.040, 0.120), (0.294, 0.225), (2.228, 0.433), (4.985, 0.244), (2.054, 0.002)],
    "care_s2": [(0.002, 0.005), (0.048, 0.145), (0.356, 0.272), (4.893, 0.954), (11.102, 0.544), (3.080, 0.003)],
}


@pytest.mark.parametrize("name", CARE_BUDGETS)
def test_care_spends_its_budget_stage_by_stage(name):
    counter = FlopCounterMode(display=False)
    with torch.device("meta"), counter, torch.no_grad():
        module = find_system(name).build()
        module.eval()(torch.empty(1, 3, 224, 224))
    flops = {path.removeprefix("CareTransformer."): sum(ops.values()) for path, ops in counter.flop_counts.items()}
    groups = [["stem"], ["stages.0"], *([f"downsample.{s - 1}", f"stages.{s}"] for s in (1, 2, 3))]
    groups.append(["class_head", "distillation_head"])
    for paths, (million_parameters, giga_macs) in zip(groups, CARE_BUDGETS[name]):
        count = sum(parameters(module.get_submodule(path)) for path in paths)
        assert count / 1e6 == pytest.approx(million_parameters, abs=0.0006), paths
        assert sum(flops[path] for path in paths) / 2e9 == pytest.approx(giga_macs, abs=0.0006), paths


def test_care_xxs_has_the_cost_of_its_sheet():
    module = find_system("care_xxs").build()
    assert parameters(module) == 199_960
    assert macs(module, torch.randn(1, 1, 32, 32)) / 1e6 == pytest.approx(2.80, abs=0.005)


def test_mobilenet_v2_has_the_counts_of_its_architecture():
    layers, before, side = [conv(32, 3, 9, 112, 112)], 32, 112
    for t, width, blocks, stride in [
        (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)
    ]:  # fmt: skip
        for block in range(blocks):
            layers += [conv(t * before, before, 1, side, side)] if t > 1 else []
            side //= stride if block == 0 else 1
            layers += [conv(t * before, 1, 9, side, side), conv(width, t * before, 1, side, side)]
            before = width
    expected = total([*layers, conv(1280, 320, 1, 7, 7), conv(1000, 1280, 1, 1, 1)])
    with torch.device("meta"):
        module, image = find_system("mobilenet_v2").build(), torch.empty(1, 3, 224, 224)
    assert (folded_parameters(module), macs(module, image)) == expected
    assert parameters(module) / 1e6 == pytest.approx(3.50, abs=0.005)
    assert expected[1] / 1e6 == pytest.approx(300, rel=0.01)


def test_resnet18_has_the_counts_of_its_architecture():
    layers, before, side = [conv(64, 3, 49, 112, 112)], 64, 56
    for width in (64, 128, 256, 512):
        if width > 64:
            side //= 2
            layers.append(conv(width, before, 1, side, side))
        layers += [conv(width, before, 9, side, side), *[conv(width, width, 9, side, side)] * 3]
        before = width
    expected = total([*layers, conv(1000, 512, 1, 1, 1)])
    with torch.device("meta"):
        module, image = find_system("resnet18").build(), torch.empty(1, 3, 224, 224)
    assert (folded_parameters(module), macs(module, image)) == expected
    assert parameters(module) / 1e6 == pytest.approx(11.69, abs=0.005)
    assert expected[1] / 1e6 == pytest.approx(1814, abs=0.5)


SMALL = [name for name, system in all_systems().items() if max(next(iter(system.input_shapes.values()))) < 224]


@pytest.mark.parametrize("name", SMALL)
def test_torch_export_gives_the_same_numbers(name):
    system = find_system(name)
    torch.manual_seed(0)
    module = system.build().eval()
    inputs = system.example_inputs(seed=1)
    expected = in_tuple(module(*inputs))
    found = in_tuple(torch.export.export(module, inputs).module()(*inputs))
    torch.testing.assert_close(found, expected)
    assert all(torch.isfinite(output).all() for output in expected)
    assert len(expected) == len(system.output_names)


@pytest.mark.parametrize("name", SMALL)
def test_every_parameter_gets_a_gradient(name):
    system = find_system(name)
    torch.manual_seed(0)
    module = system.build()
    outputs = in_tuple(module(*(torch.randn(4, *shape[1:]) for shape in system.input_shapes.values())))
    sum(output.square().sum() for output in outputs).backward()
    without = [path for path, parameter in module.named_parameters() if not parameter.grad.abs().sum() > 0]
    assert without == []


def test_systems_state_inputs_that_they_accept():
    for system in all_systems().values():
        assert all(shape[0] == 1 for shape in system.input_shapes.values()), system.name
        assert system.source, system.name


def test_example_inputs_follow_the_seed():
    system = find_system("care_xxs")
    (first,), (again,), (other,) = (system.example_inputs(seed) for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_unknown_system_lists_the_known_ones():
    with pytest.raises(BadInput, match=r"care_s9: no such system; known: .*care_s0.*resnet8"):
        find_system("care_s9")


def test_recipe_gathers_all_faults_in_one_error():
    with pytest.raises(
        BadInput, match=r"adamw, sgd or muon, got adam; epochs must be above 0, got 0; .*ema .* got 1.5"
    ):
        Recipe(optimizer="adam", epochs=0, ema=1.5)


def test_a_system_is_a_plain_value():
    system = System("mine", "", "image-classification", lambda: nn.Linear(2, 2), {"x": (1, 2)})
    assert system.recipe == Recipe()
    assert system.output_names == ("logits",)
