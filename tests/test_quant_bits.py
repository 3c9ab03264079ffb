"""Bits of each layer: what keeps 8 of them, and why."""

import sys
from pathlib import Path

import pytest
import torch
from offramp.errors import BadInput
from offramp.models.system import find_system
from offramp.quant.bits import layer_bits
from offramp.quant.capture import capture
from offramp.quant.placement import place
from offramp.quant.scheme import Scheme, bits_named
from torch import nn

sys.path.append(str(Path(__file__).parent))
from small_networks import captured_system

BINARY = Scheme(1, 1)


def bits_of(captured, scheme):
    plan = place(captured.module)
    return {chosen.module: chosen for chosen in layer_bits(captured.module, plan, scheme).values()}


def test_the_first_and_the_last_layer_keep_the_border_bits():
    found = bits_of(captured_system("resnet8"), Scheme(4, 4, border_bits=6))
    assert (found["stem.0"].weight, found["stem.0"].activation) == (6, 6)
    assert (found["classify"].weight, found["classify"].activation) == (6, 6)
    assert "first layer" in found["stem.0"].reason and "last layer" in found["classify"].reason
    inner = [chosen for path, chosen in found.items() if path.startswith("stages")]
    assert {(chosen.weight, chosen.activation, chosen.reason) for chosen in inner} == {(4, 4, "")}


def test_shortcuts_stay_real_where_the_rest_becomes_signs():
    found = bits_of(captured_system("resnet8"), BINARY)
    kept = {path for path, chosen in found.items() if chosen.weight == 8}
    assert kept == {"stem.0", "stages.1.skip", "stages.2.skip", "classify"}
    assert "shortcut" in found["stages.1.skip"].reason


def test_depthwise_layers_stay_in_int8():
    found = bits_of(captured_system("mobilenet_v2_xs"), BINARY)
    depthwise = [chosen for chosen in found.values() if "depthwise" in chosen.reason]
    assert len(depthwise) == 6
    assert {chosen.weight for chosen in depthwise} == {8}
    assert any(chosen.weight == 1 for chosen in found.values())


@pytest.mark.parametrize("name", ["bireal_xs", "quicknet_s"])
def test_exactly_the_layers_behind_a_clipped_identity_become_signs(name):
    system = find_system(name)
    network = system.build().eval()
    captured = capture(network, system.example_inputs())
    found = bits_of(captured, Scheme(1, 1, keep_int8=system.keep_int8))
    ours = [chosen.name for chosen in found.values() if chosen.weight == 1]
    meant = [
        node.name
        for node in captured.module.graph.nodes
        if node.target is torch.ops.aten.conv2d.default and node.args[0].target is torch.ops.aten.hardtanh.default
    ]
    assert ours == meant != []


def test_a_named_layer_has_its_own_bits_even_at_the_border():
    scheme = Scheme(layers=(("stem.0", 3, 8), ("stages.0.body.0.0", 2, 4)))
    found = bits_of(captured_system("resnet8"), scheme)
    assert (found["stem.0"].weight, found["stages.0.body.0.0"].weight) == (3, 2)
    assert found["stages.0.body.0.0"].activation == 4
    assert found["stages.0.body.1.0"].weight == 8


def test_kept_layers_say_that_it_was_asked_for():
    found = bits_of(captured_system("resnet8"), Scheme(1, 1, keep_int8=("stages.0",)))
    assert found["stages.0.body.1.0"].reason == "kept in int8 on request"


@pytest.mark.parametrize("scheme", [Scheme(1, 1, keep_int8=("stage",)), Scheme(layers=(("stem", 4, 8),))])
def test_a_layer_that_is_not_there_is_named(scheme):
    with pytest.raises(BadInput, match=r"no layer stage? in|no layer stem in"):
        bits_of(captured_system("resnet8"), scheme)


def test_few_signs_say_nothing():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 8, 1), nn.ReLU(), nn.Conv2d(8, 4, 3))
    found = bits_of(capture(network.eval(), (torch.zeros(1, 3, 8, 8),)), BINARY)
    assert "sums only 4 signs" in found["2"].reason


@pytest.mark.parametrize(
    ("name", "bits"),
    [("int8", (8, 8)), ("w4a8", (4, 8)), ("w3a5", (3, 5)), ("ternary", (2, 8)), ("binary", (1, 1))],
)
def test_names_and_bits_of_schemes_belong_together(name, bits):
    assert bits_named(name) == bits
    assert Scheme(*bits).name == name


@pytest.mark.parametrize("name", ["w9a8", "w4", "fp8", "W4A8", ""])
def test_an_unknown_scheme_says_what_is_known(name):
    with pytest.raises(BadInput, match="say w4a8"):
        bits_named(name)


def test_a_scheme_survives_json():
    scheme = Scheme(4, 1, layers=(("a.b", 2, 8),), keep_float=("c",), keep_int8=("d", "e"))
    assert Scheme.from_json(scheme.to_json()) == scheme
    assert scheme.name == "mixed"
