"""A chain of layers read backwards through its own weights, transposed.

Pontes-Filho and Liwicki, "Bidirectional Learning for Robust Neural Networks", IJCNN 2019, arXiv 1805.08006. Matrices
and kernels are the chain's parameters themselves; biases and batch norms are the reverse direction's own.
"""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..errors import BadInput
from .evaluation_mode import in_evaluation
from .leaf_calls import LeafCall, leaf_calls

Shape = tuple[int, ...]
_MEND = "train it by back-propagation"
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
_PASSED = (nn.Flatten, nn.Identity, nn.Dropout)
_ACTIVATIONS = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Sigmoid, nn.Tanh, nn.Hardtanh, nn.Hardsigmoid,
    nn.Hardswish, nn.Softplus,
)  # fmt: skip


@dataclass(frozen=True)
class _Call:
    """One layer's pass: its path, and the shapes of one sample before and behind it."""

    name: str
    layer: nn.Module
    given: Shape
    made: Shape


class TransposedLinear(nn.Module):
    """(..., out) -> (..., in) of a linear layer, through the same matrix, with a bias of its own."""

    def __init__(self, layer: nn.Linear, bias: bool):
        super().__init__()
        self.weight = layer.weight
        self.bias = nn.Parameter(layer.weight.new_zeros(layer.in_features)) if bias else None

    def forward(self, value: Tensor) -> Tensor:
        return functional.linear(value, self.weight.t(), self.bias)


class TransposedConv2d(nn.Module):
    """(B, out, h, w) -> (B, in, H, W) of a convolution, through the same kernel, with a bias of its own.

    Args:
        side: H and W, which a stride leaves open.
    """

    def __init__(self, layer: nn.Conv2d, side: Shape, bias: bool):
        super().__init__()
        self.weight = layer.weight
        self.bias = nn.Parameter(layer.weight.new_zeros(layer.in_channels)) if bias else None
        self.stride, self.dilation, self.groups = layer.stride, layer.dilation, layer.groups
        self.padding = (0, 0) if isinstance(layer.padding, str) else layer.padding
        spans = zip(side, layer.kernel_size, self.stride, self.padding, self.dilation)
        # What a stride leaves over at the far edge: rows that the forward direction reads least or not at all.
        self.left_over = tuple((n + 2 * pad - reach * (k - 1) - 1) % s for n, k, s, pad, reach in spans)

    def forward(self, value: Tensor) -> Tensor:
        return functional.conv_transpose2d(
            value, self.weight, self.bias, self.stride, self.padding, self.left_over, self.groups, self.dilation
        )


class Reverse(nn.Module):
    """From a chain's outputs to its input: (B, *outputs) -> (B, *inputs), without a squashing at the end.

    Between two matrices or kernels come, backwards, an own batch norm where the chain has one, and the chain's
    activation. Biases start at 0.

    Args:
        chain: of Linear and Conv2d layers, activations, batch norms and Flatten.
        samples: (B, *inputs) that the chain takes, for shapes.
        biases: of its own.
        rule: that asks, for errors.

    Raises:
        BadInput: the chain holds another layer, or computes more than its layers in a row; the message names it.
    """

    def __init__(self, chain: nn.Module, samples: Tensor, biases: bool = True, rule: str = "bidirectional"):
        super().__init__()
        calls = _calls(chain, samples, rule)
        self.given = calls[-1].made
        self.made = tuple(samples.shape[1:])
        self.layers = nn.Sequential(*_reversed(calls, biases, rule))
        self.to(samples.device)

    def forward(self, code: Tensor) -> Tensor:
        generated = self.layers(code if code.shape[1:] == self.given else code.reshape(-1, *self.given))
        return generated.reshape(-1, *self.made)

    def own(self) -> dict[str, Tensor]:
        """What it does not share with the chain: biases, norms and their statistics."""
        shared = {f"{name}.weight" for name, layer in self.named_modules() if isinstance(layer, _SHARING)}
        return {name: tensor for name, tensor in self.state_dict().items() if name not in shared}

    def restore(self, own: dict[str, Tensor]) -> None:
        """Puts back what `own` gave."""
        self.load_state_dict(self.state_dict() | own)


_SHARING = (TransposedLinear, TransposedConv2d)


class TwoWay(nn.Module):
    """(B, *inputs) and a code (B, classes) to logits (B, classes) and a generated image (B, *inputs) from 0 to 1.

    Args:
        classifier: a chain, as `Reverse` takes it.
        inputs: shape of one sample.
    """

    def __init__(self, classifier: nn.Module, inputs: Shape):
        super().__init__()
        self.classifier = classifier
        self.reverse = Reverse(classifier, torch.zeros(2, *inputs))

    def forward(self, image: Tensor, code: Tensor) -> tuple[Tensor, Tensor]:
        return self.classifier(image), self.reverse(code).sigmoid()


def _calls(chain: nn.Module, samples: Tensor, rule: str) -> list[_Call]:
    """The chain's layers in the order in which they are called, all of them known and nothing computed between."""
    leaves = [(name, layer) for name, layer in chain.named_modules() if not next(layer.children(), None)]
    for name, layer in leaves:
        _check_kind(name or "the network", layer, rule)
    calls, made = leaf_calls(chain, samples)
    _check_once(calls, rule)
    with in_evaluation(chain), torch.no_grad():
        is_row = _in_a_row(chain, calls, samples, made)
    if not is_row:
        raise BadInput(
            f"--rule {rule}: the network computes more than its layers one after the other (a skip connection, a "
            f"function between them, or tied weights), which has no way back; {_MEND}"
        )
    return [_Call(c.name, c.layer, tuple(c.given.shape[1:]), tuple(c.made.shape[1:])) for c in calls]


def _check_kind(name: str, layer: nn.Module, rule: str) -> None:
    kind = type(layer).__name__
    if not isinstance(layer, (nn.Linear, nn.Conv2d, *_NORMS, *_PASSED, *_ACTIVATIONS)):
        raise BadInput(
            f"--rule {rule}: {name} is a {kind}, which has no way back through transposed weights; give a chain of "
            f"Linear, Conv2d, batch norms, activations and Flatten, or {_MEND}"
        )
    if isinstance(layer, nn.Conv2d) and (layer.padding_mode != "zeros" or layer.padding == "same"):
        raise BadInput(
            f"--rule {rule}: {name} pads by {layer.padding!r} with {layer.padding_mode}; give numbers of rows, of zeros"
        )


def _check_once(calls: list[LeafCall], rule: str) -> None:
    names = [call.name for call in calls]
    for name in names:
        if names.count(name) > 1:
            raise BadInput(f"--rule {rule}: {name} is called {names.count(name)} times in a pass; {_MEND}")


def _in_a_row(chain: nn.Module, calls: list[LeafCall], samples: Tensor, made: Tensor) -> bool:
    """Whether the layers hold all parameters, each its own, and one after the other compute what the chain does."""
    held = [id(parameter) for call in calls for parameter in call.layer.parameters()]
    if sorted(held) != sorted(map(id, chain.parameters())):
        return False
    value = samples
    for call in calls:
        if value.shape != call.given.shape:
            return False
        value = call.layer(value)
    return isinstance(made, Tensor) and torch.equal(value, made)


def _reversed(calls: list[_Call], biases: bool, rule: str) -> list[nn.Module]:
    """Backwards: each matrix or kernel, and behind it what lies between it and the one before in the chain."""
    places = [place for place, call in enumerate(calls) if isinstance(call.layer, nn.Linear | nn.Conv2d)]
    if not places:
        raise BadInput(f"--rule {rule}: the network has no Linear or Conv2d layer; {_MEND}")
    outside = [*calls[: places[0]], *calls[places[-1] + 1 :]]
    for call in outside:
        if not isinstance(call.layer, _PASSED):
            kind = type(call.layer).__name__
            raise BadInput(
                f"--rule {rule}: {call.name} is a {kind} before the first matrix or behind the last; the way back "
                "starts and ends at those; leave it out"
            )
    row: list[tuple[Shape, Shape, nn.Module]] = []  # what each layer is given, what it makes
    for place, before in zip(places[::-1], [*places[-2::-1], -1]):
        call = calls[place]
        row.append((call.made, call.given, _transposed(call, biases)))
        row += _between(calls[before + 1 : place]) if before >= 0 else []
    return _with_shapes(row)


def _with_shapes(row: list[tuple[Shape, Shape, nn.Module]]) -> list[nn.Module]:
    """The layers, and between them changes of shape where one makes another than the next is given."""
    layers: list[nn.Module] = []
    made = row[0][0]
    for given, makes, layer in row:
        layers += [layer] if given == made else [_Shaped(given), layer]
        made = makes
    return layers


class _Shaped(nn.Module):
    """(B, ...) -> (B, *shape)."""

    def __init__(self, shape: Shape):
        super().__init__()
        self.shape = shape

    def forward(self, value: Tensor) -> Tensor:
        return value.reshape(-1, *self.shape)


def _transposed(call: _Call, biases: bool) -> nn.Module:
    if isinstance(call.layer, nn.Linear):
        return TransposedLinear(call.layer, biases)
    assert isinstance(call.layer, nn.Conv2d)
    return TransposedConv2d(call.layer, call.given[1:], biases)


def _between(calls: list[_Call]) -> list[tuple[Shape, Shape, nn.Module]]:
    """Norms, drawn anew, and activations, in the chain's order, each on values of its shape."""
    row = []
    for call in calls:
        if isinstance(call.layer, _PASSED):
            continue
        layer = copy.deepcopy(call.layer)
        if isinstance(layer, _NORMS):
            layer.reset_parameters()
        row.append((call.given, call.made, layer))
    return row
