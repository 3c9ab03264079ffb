"""The spellings of a captured graph: every rule leaves the values as they were and only known operators behind."""

import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from offramp.quant.capture import capture
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrizations

sys.path.append(str(Path(__file__).parent))
from small_networks import noise, quantized


class Function(nn.Module):
    """`build(x, *weights)` as a network; the weights are its parameters."""

    def __init__(self, build, *weights):
        super().__init__()
        self.build, self.weights = build, nn.ParameterList(weights)

    def forward(self, *inputs):
        return self.build(*inputs, *self.weights)


def same(network, *inputs, atol=1e-6):
    """Captures, holds the graph against the network and returns the operators of the graph, `linear`, `mean.dim`."""
    captured = capture(network, inputs)
    with torch.no_grad():
        torch.testing.assert_close(captured.module(*inputs)[0], network(*inputs), rtol=0, atol=atol)
    return operators(captured)


def operators(captured):
    return [
        str(node.target).removeprefix("aten.").removesuffix(".default")
        for node in captured.module.graph.nodes
        if node.op == "call_function"
    ]


IDENTITIES = {
    "dropout": nn.Dropout(0.5),
    "dropout2d": nn.Dropout2d(0.5),
    "alpha_dropout": nn.AlphaDropout(0.5),
    "dropout_in_place": nn.Dropout(0.5, inplace=True),
    "contiguous": Function(lambda x: x.contiguous()),
    "clone": Function(lambda x: x.clone()),
    "detach": Function(lambda x: x.detach()),
}


@pytest.mark.parametrize("name", IDENTITIES)
def test_identities_go(name):
    network = nn.Sequential(nn.Conv2d(3, 3, 1), IDENTITIES[name], nn.Conv2d(3, 3, 1))
    assert same(network, noise((1, 3, 4, 4))) == ["conv2d", "conv2d"]


def test_a_division_by_a_number_becomes_a_multiplication():
    assert same(Function(lambda x: x / 3), noise((2, 5))) == ["mul.Tensor"]
    assert same(Function(lambda x: (x + 1).div_(7)), noise((2, 5))) == ["add.Tensor", "mul.Tensor"]
    assert same(Function(lambda x, y: x / y), noise((2, 5)), noise((2, 5), 1).abs() + 1) == ["div.Tensor"]


def test_a_number_less_a_value_is_a_subtraction_that_quantizes():
    assert same(Function(lambda x: 1 - x), noise((2, 5))) == ["sub.Tensor"]
    assert same(Function(lambda x: torch.rsub(x, 2.5)), noise((2, 5))) == ["sub.Tensor"]
    assert same(Function(lambda x: torch.rsub(x, 1, alpha=2)), noise((2, 5))) == ["mul.Tensor", "sub.Tensor"]
    assert same(Function(lambda x, y: torch.rsub(x, y)), noise((2, 5)), noise((1, 5), 1)) == ["sub.Tensor"]
    gated = Function(lambda x, w: (1 - functional.linear(x, w).sigmoid()) * x, torch.eye(5))
    program = quantized(gated, (1, 5))
    assert program.float_operators == ()
    sample = noise((1, 5), 3)
    torch.testing.assert_close(program(sample)[0], gated(sample), rtol=0, atol=0.05)


def test_a_number_less_whole_numbers_stays():
    turned = Function(lambda x: x + (3 - torch.arange(5)))
    assert same(turned, noise((2, 5))) == ["add.Tensor"]  # what is made of constants alone is computed
    index = Function(lambda x: 3 - x)
    assert same(index, torch.arange(5)) == ["rsub.Scalar"]


@pytest.mark.parametrize("add", [torch.add, torch.sub])
def test_the_factor_of_a_second_operand_becomes_a_multiplication(add):
    name = f"{add.__name__}.Tensor"
    x, y = noise((2, 5)), noise((1, 5), 1)
    assert same(Function(lambda x, y: add(x, y, alpha=-0.5)), x, y) == ["mul.Tensor", name]
    assert same(Function(lambda x: add(x, 3, alpha=2)), x) == [name]
    program = quantized(Function(lambda x, w: add(functional.linear(x, w), x, alpha=2), torch.eye(5)), (1, 5))
    assert program.float_operators == ()
    torch.testing.assert_close(program(y)[0], add(y, y, alpha=2), rtol=0, atol=0.08)


@settings(max_examples=25, deadline=None)
@given(
    kernel=st.lists(st.integers(1, 5), min_size=1, max_size=2),
    dilation=st.integers(1, 3),
    groups=st.sampled_from([1, 2]),
    bias=st.booleans(),
)
def test_same_padding_becomes_numbers_for_every_kernel(kernel, dilation, groups, bias):
    kind = {1: nn.Conv1d, 2: nn.Conv2d}[len(kernel)]
    network = kind(2, 4, tuple(kernel), padding="same", dilation=dilation, groups=groups, bias=bias)
    found = same(network, noise((1, 2, *[9] * len(kernel))))
    uneven = any(dilation * (k - 1) % 2 for k in kernel)
    assert found == ["constant_pad_nd"] * uneven + [f"conv{len(kernel)}d"]


def test_valid_padding_keeps_its_stride():
    assert same(nn.Conv2d(3, 4, 3, padding="valid", stride=2), noise((1, 3, 9, 8))) == ["conv2d"]


@pytest.mark.parametrize("arguments", [(), ("constant",), ("constant", 0.0), ("constant", 2.5)])
def test_padding_with_a_constant_has_one_spelling(arguments):
    found = same(Function(lambda x: functional.pad(x, (1, 2), *arguments)), noise((1, 3, 4)))
    assert found == ["constant_pad_nd"]


def test_other_padding_stays():
    assert same(Function(lambda x: functional.pad(x, (1, 2), "reflect")), noise((1, 3, 4))) == ["pad"]


TRANSPOSED = {
    "T": lambda x, w: x @ w.T,
    "mT": lambda x, w: x @ w.mT,
    "t": lambda x, w: x @ w.t(),
    "transpose": lambda x, w: x @ w.transpose(0, 1),
    "permute": lambda x, w: x @ w.permute(1, 0),
    "linear of a transposed": lambda x, w: functional.linear(x, w.T.T),
}


@pytest.mark.parametrize("name", TRANSPOSED)
def test_a_transposed_constant_is_computed_now(name):
    assert same(Function(TRANSPOSED[name], noise((5, 6))), noise((2, 6), 1)) == ["linear"]


def test_weights_computed_from_weights_are_constants():
    network = nn.Sequential(parametrizations.weight_norm(nn.Linear(6, 5)), nn.Linear(5, 2))
    assert same(network, noise((2, 6))) == ["linear", "linear"]
    positions = Function(lambda x: x + torch.arange(6) * 0.5)
    assert same(positions, noise((2, 6))) == ["add.Tensor"]


def test_random_numbers_are_not_computed_ahead():
    captured = capture(Function(lambda x: x + 0 * torch.rand(3)), (noise((2, 3)),))
    assert "rand" in operators(captured)


PRODUCTS = {
    "matmul": (lambda x, w: x @ w, (2, 3, 6)),
    "matmul of a matrix": (lambda x, w: x @ w, (2, 6)),
    "mm": (lambda x, w: torch.mm(x, w), (2, 6)),
    "addmm": (lambda x, w, b: torch.addmm(b, x, w), (2, 6)),
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_a_product_with_a_constant_matrix_becomes_a_linear_layer(name):
    build, shape = PRODUCTS[name]
    weights = [noise((6, 5), 1)] + [noise((5,), 2)] * (name == "addmm")
    assert same(Function(build, *weights), noise(shape)) == ["linear"]


OTHER_PRODUCTS = {
    "two activations": (lambda x, y: x @ y, ((2, 6), (6, 5)), ()),
    "a constant on the left": (lambda x, w: w @ x, ((6, 5),), ((2, 6),)),
    "a stack of matrices": (lambda x, w: x @ w, ((3, 2, 6),), ((3, 6, 5),)),
    "a vector": (lambda x, w: x @ w, ((6,),), ((6, 5),)),
    "a scaled sum": (lambda x, w, b: torch.addmm(b, x, w, beta=2), ((2, 6),), ((6, 5), (5,))),
    "a sum with a matrix": (lambda x, w, b: torch.addmm(b, x, w), ((2, 6),), ((6, 5), (2, 5))),
}


@pytest.mark.parametrize("name", OTHER_PRODUCTS)
def test_other_products_stay_as_they_are(name):
    build, inputs, weights = OTHER_PRODUCTS[name]
    network = Function(build, *(noise(shape, 9) for shape in weights))
    (found,) = same(network, *(noise(shape, seed) for seed, shape in enumerate(inputs)))
    assert found in ("matmul", "addmm")


@pytest.mark.parametrize("shape", [(1, 3, 5, 7), (3, 5, 7)])
def test_pooling_to_one_pixel_is_a_mean(shape):
    assert same(nn.AdaptiveAvgPool2d(1), noise(shape)) == ["mean.dim"]
    assert same(nn.AdaptiveAvgPool1d(1), noise(shape[-3:])) == ["mean.dim"]
    assert same(nn.AdaptiveAvgPool2d((1, 2)), noise(shape)) == ["adaptive_avg_pool2d"]


def test_a_mean_of_everything_names_its_axes():
    assert same(Function(lambda x: x.mean()), noise((2, 3, 4))) == ["mean.dim"]


def test_einsum_stays():
    assert same(Function(lambda x, w: torch.einsum("bi,ij->bj", x, w), noise((6, 5))), noise((2, 6))) == ["einsum"]


IN_PLACE = {
    "relu": nn.ReLU(inplace=True),
    "relu6": nn.ReLU6(inplace=True),
    "hardtanh": nn.Hardtanh(-0.5, 0.5, inplace=True),
    "hardswish": nn.Hardswish(inplace=True),
    "hardsigmoid": nn.Hardsigmoid(inplace=True),
    "silu": nn.SiLU(inplace=True),
    "mish": nn.Mish(inplace=True),
    "elu": nn.ELU(inplace=True),
    "selu": nn.SELU(inplace=True),
    "celu": nn.CELU(inplace=True),
    "leaky_relu": nn.LeakyReLU(inplace=True),
    "threshold": nn.Threshold(0.1, 20.0, inplace=True),
    "sigmoid_": Function(lambda x: x.sigmoid_()),
    "tanh_": Function(lambda x: x.tanh_()),
    "clamp_": Function(lambda x: x.clamp_(-0.3, 0.3)),
    "add_": Function(lambda x: x.add_(x)),
    "mul_": Function(lambda x: x.mul_(2.5)),
}


@pytest.mark.parametrize("name", IN_PLACE)
def test_activations_in_place_become_plain(name):
    found = same(nn.Sequential(nn.Conv2d(3, 3, 1), IN_PLACE[name]), noise((1, 3, 4, 4)))
    assert found[0] == "conv2d"
    assert not any(part.endswith("_") for operator in found for part in operator.split("."))


def test_a_residual_sum_in_place_becomes_plain():
    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 1)

        def forward(self, x):
            out = self.conv(x)
            out += x
            return functional.relu(out, inplace=True)

    assert same(Residual(), noise((1, 3, 4, 4))) == ["conv2d", "add.Tensor", "relu"]
