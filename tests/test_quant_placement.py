"""Where codes stand in small networks: which values are quantized, which share a scale, and what stays float."""

import sys
from pathlib import Path

import pytest
import torch
from offramp.errors import BadInput
from offramp.quant.affine import SOFTMAX_OUTPUT, TANH_OUTPUT
from offramp.quant.capture import capture
from offramp.quant.placement import place
from offramp.quant.rules import Kind, is_fused_activation
from torch import nn
from torch.nn import functional

sys.path.append(str(Path(__file__).parent))
from small_networks import noise, quantized


class Net(nn.Module):
    """`build(self, *inputs)` with two convolutions, a depthwise one, a linear layer and a norm at hand."""

    def __init__(self, build):
        super().__init__()
        self.build = build
        self.a, self.b = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)
        self.depthwise, self.linear = nn.Conv2d(4, 4, 3, padding=1, groups=4), nn.Linear(4, 4)
        self.norm, self.look_up = nn.LayerNorm(4), nn.Embedding(9, 4)
        self.gamma = nn.Parameter(torch.rand(4, 1, 1) + 0.5)

    def forward(self, *inputs):
        return self.build(self, *inputs)


IMAGE = (1, 4, 4, 4)
# Network -> (build, groups of values that share a scale, operators in float)
TABLE = {
    "convolution": (lambda n, x: n.a(x), [["inputs_0"], ["conv2d"]], []),
    "convolution and relu are one": (lambda n, x: n.a(x).relu(), [["inputs_0"], ["relu"]], []),
    "convolution and relu6 are one": (lambda n, x: functional.relu6(n.a(x)), [["inputs_0"], ["relu6"]], []),
    "another clamp is a table": (
        lambda n, x: n.a(x).clamp(-1, 1),
        [["inputs_0"], ["conv2d"], ["clamp"]],
        [],
    ),
    "gelu is a table": (lambda n, x: functional.gelu(n.a(x)), [["inputs_0"], ["conv2d"], ["gelu"]], []),
    "depthwise": (lambda n, x: n.depthwise(x).relu(), [["inputs_0"], ["relu"]], []),
    "a residual sum": (lambda n, x: (x + n.a(x)).relu(), [["inputs_0"], ["conv2d"], ["relu"]], []),
    "a difference cut at zero": (lambda n, x: (x - n.a(x)).relu(), [["inputs_0"], ["conv2d"], ["relu"]], []),
    "relu of a sum that is read twice": (
        lambda n, x: (y := x + n.a(x)).relu() + y,
        [["inputs_0"], ["conv2d"], ["add"], ["relu"], ["add_1"]],
        [],
    ),
    "concatenation shares one scale": (
        lambda n, x: torch.cat([n.a(x), n.b(x)], 1),
        [["inputs_0"], ["conv2d", "conv2d_1", "cat"]],
        [],
    ),
    "chunks share the scale of the whole": (
        lambda n, x: n.a(x).chunk(2, 1)[1].relu(),
        [["inputs_0"], ["conv2d", "getitem_1"], ["relu"]],
        [],
    ),
    "moves share": (
        lambda n, x: n.linear(n.a(x).flatten(2).transpose(1, 2)),
        [["inputs_0"], ["conv2d", "flatten", "transpose"], ["linear"]],
        [],
    ),
    "max pooling shares": (lambda n, x: functional.max_pool2d(n.a(x), 2), [["inputs_0"], ["conv2d", "max_pool2d"]], []),
    "average pooling has its own scale": (
        lambda n, x: functional.avg_pool2d(n.a(x), 2),
        [["inputs_0"], ["conv2d"], ["avg_pool2d"]],
        [],
    ),
    "a mean has its own scale": (lambda n, x: n.a(x).mean((2, 3)), [["inputs_0"], ["conv2d"], ["mean"]], []),
    "softmax": (lambda n, x: n.a(x).softmax(1), [["inputs_0"], ["conv2d"], ["softmax"]], []),
    "a layer norm is float between codes": (
        lambda n, x: n.linear(n.norm(n.linear(x.mean((2, 3))))),
        [["inputs_0"], ["mean"], ["linear"], ["layer_norm"], ["linear_1"]],
        ["layer_norm"],
    ),
    "an activation before a norm stays in float": (
        lambda n, x: n.norm(functional.gelu(n.linear(x.mean((2, 3))))),
        [["inputs_0"], ["mean"], ["linear"]],
        ["gelu", "layer_norm"],
    ),
    "a scale per channel": (lambda n, x: n.a(x) * n.gamma, [["inputs_0"], ["conv2d"], ["mul"]], []),
    "a product of two activations": (
        lambda n, x: n.a(x).flatten(2) @ n.b(x).flatten(2).transpose(1, 2),
        [["inputs_0"], ["conv2d", "flatten"], ["conv2d_1", "flatten_1", "transpose"], ["matmul"]],
        [],
    ),
    "a division is float": (
        lambda n, x: n.b(n.a(x) / (x.abs() + 1e-6)),
        [["inputs_0"], ["conv2d"], ["div"], ["conv2d_1"]],
        ["abs_1", "add", "div"],
    ),
    "two outputs": (lambda n, x: (n.a(x), n.b(x).relu()), [["inputs_0"], ["conv2d"], ["relu"]], []),
}


def placed(build, *inputs, keep_float=()):
    captured = capture(Net(build), inputs)
    return captured, place(captured.module, keep_float)


@pytest.mark.parametrize("name", TABLE)
def test_placement(name):
    build, groups, in_float = TABLE[name]
    _, plan = placed(build, noise(IMAGE))
    assert sorted(sorted(node.name for node in group) for group in plan.members().values()) == sorted(
        sorted(group) for group in groups
    )
    assert [node.name for node, rule in plan.rules.items() if rule.kind is Kind.FLOAT] == in_float
    assert plan.requantized == []
    assert all(rule.reason for rule in plan.rules.values() if rule.kind is Kind.FLOAT)


def test_fixed_outputs_of_integer_kernels():
    _, plan = placed(lambda n, x: (n.a(x).softmax(1), n.a(x).sigmoid(), n.a(x).tanh()), noise(IMAGE))
    found = {node.name: affine for node, affine in plan.fixed.items()}
    assert found == {"softmax": SOFTMAX_OUTPUT, "sigmoid": SOFTMAX_OUTPUT, "tanh": TANH_OUTPUT}


def test_a_sigmoid_keeps_its_scale_in_a_concatenation():
    _, plan = placed(lambda n, x: torch.cat([s := n.a(x).sigmoid(), n.b(x), s], 1), noise(IMAGE))
    assert [(cat.name, source.name) for cat, source in plan.requantized] == [("cat", "sigmoid")]
    groups = {first.name: [node.name for node in group] for first, group in plan.members().items()}
    assert groups["sigmoid"] == ["sigmoid"]
    assert sorted(["cat", "conv2d_1"]) in [sorted(group) for group in groups.values()]


def test_a_requantized_edge_has_the_scale_of_the_concatenation_behind_it():
    program = quantized(Net(lambda n, x: torch.cat([n.a(x).sigmoid(), n.b(x)], 1)), IMAGE)
    scales = program.activations()
    assert scales["sigmoid"] == SOFTMAX_OUTPUT
    assert scales["sigmoid_real"] == scales["cat"] == scales["conv2d_1"] != SOFTMAX_OUTPUT


def test_whole_numbers_are_never_quantized():
    tokens = torch.tensor([[1, 2, 3]])
    _, plan = placed(lambda n, t: n.linear(n.look_up((t + 1) * 2)), tokens)
    assert {node.name for node in plan.groups} == {"embedding", "linear"}
    float_names = [node.name for node, rule in plan.rules.items() if rule.kind is Kind.FLOAT]
    assert float_names == ["add", "mul", "embedding"]


def test_a_network_of_tokens_quantizes_and_runs():
    from offramp.quant.quantize import quantize
    from offramp.quant.scheme import Scheme

    network, tokens = Net(lambda n, t: n.linear(n.look_up((t + 1) * 2))), torch.tensor([[1, 2, 3]])
    program = quantize(capture(network, (tokens,)), [(tokens,)], Scheme())
    step = program.output_steps()[0]
    assert (program(tokens)[0] - network(tokens)).abs().max() < 3 * step


def test_kept_modules_stay_in_float_with_everything_inside_them():
    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks = nn.ModuleList(nn.Sequential(nn.Conv2d(4, 4, 1), nn.GELU()) for _ in range(2))
            self.blocks10 = nn.Conv2d(4, 4, 1)

        def forward(self, x):
            return self.blocks10(self.blocks[1](self.blocks[0](x)))

    captured = capture(Outer(), (noise(IMAGE),))
    plan = place(captured.module, ("blocks.1",))
    kept = {node.name: rule.reason for node, rule in plan.rules.items() if rule.kind is Kind.FLOAT}
    assert kept == dict.fromkeys(("conv2d_1", "gelu_1"), "kept in float on request") | {
        name: reason for name, reason in kept.items() if name == "gelu"
    }
    both = place(captured.module, ("blocks",))
    assert both.rules[next(n for n in both.rules if n.name == "conv2d_2")].kind is Kind.WEIGHTED
    with pytest.raises(BadInput, match=r"keep_float: no module block, blocks\.7 in the network; it has blocks\.0\.0, "):
        place(captured.module, ("block", "blocks.1", "blocks.7"))


def test_layers_with_computed_weights_or_biases_stay_in_float():
    def build(n, x):
        weight = n.linear(x.mean((2, 3)))  # (1, 4)
        return functional.conv2d(x, weight.reshape(1, 4, 1, 1)), functional.conv2d(x, n.a.weight, weight.flatten())

    _, plan = placed(build, noise(IMAGE))
    reasons = {node.name: rule.reason for node, rule in plan.rules.items()}
    assert reasons["conv2d"] == reasons["conv2d_1"] == "its weights are computed, not constant"


def test_a_grouped_transposed_convolution_stays_in_float():
    captured = capture(nn.ConvTranspose2d(4, 4, 2, groups=2), (noise(IMAGE),))
    (rule,) = place(captured.module).rules.values()
    assert rule.reason == "a grouped transposed convolution has no per-channel integer form"


@pytest.mark.parametrize(
    ("build", "fused"),
    [
        (lambda x: x.relu(), True),
        (lambda x: functional.relu6(x), True),
        (lambda x: functional.hardtanh(x, 0, 6), True),
        (lambda x: functional.hardtanh(x), False),
        (lambda x: x.clamp(min=0), True),
        (lambda x: x.clamp(0, 6), True),
        (lambda x: x.clamp(max=6), False),
        (lambda x: functional.leaky_relu(x), False),
    ],
)
def test_which_activations_kernels_take_in(build, fused):
    captured = capture(Net(lambda n, x: build(n.a(x))), (noise(IMAGE),))
    last = [node for node in captured.module.graph.nodes if node.op == "call_function"][-1]
    assert is_fused_activation(last) is fused
