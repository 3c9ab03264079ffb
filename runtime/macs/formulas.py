"""The closed forms: shapes in, multiply-accumulates out. Padding is counted as the kernels do, zeros included."""

from collections.abc import Sequence
from math import prod

Shape = Sequence[int]


def convolution(weight: Shape, output: Shape) -> int:
    """Every output element reads one filter: weight (out, in / groups, *kernel), output (N, out, *image).

    Groups are in the weight's shape, stride and dilation in the output's.
    """
    return prod(weight[1:]) * prod(output)


def transposed_convolution(weight: Shape, input: Shape) -> int:
    """Every input element is spread by one filter: weight (in, out / groups, *kernel), input (N, in, *image)."""
    return prod(weight[1:]) * prod(input)


def linear(input: Shape, weight: Shape) -> int:
    """input (..., in), weight (out, in)."""
    return prod(input) * weight[0]


def matmul(left: Shape, right: Shape) -> int:
    """left (..., m, k) times right (..., k, n), leading sizes broadcast; a vector takes m or n of one."""
    rows = left[-2] if len(left) > 1 else 1
    columns = right[-1] if len(right) > 1 else 1
    return _broadcast(left[:-2], right[:-2]) * rows * left[-1] * columns


def attention(query: Shape, key: Shape, value: Shape) -> int:
    """Scaled dot products and the weighted sum: query (..., L, E), key (..., S, E), value (..., S, V).

    The softmax between them is not counted.
    """
    return prod(query[:-1]) * key[-2] * (query[-1] + value[-1])


def recurrent(steps: int, batch: int, weights: Sequence[Shape]) -> int:
    """LSTM, GRU or plain RNN: every weight matrix once per step and sample, without the gates' products."""
    return steps * batch * sum(prod(weight) for weight in weights)


def einsum(equation: str, shapes: Sequence[Shape]) -> int:
    """Two operands: the product of the sizes of all letters.

    Raises:
        ValueError: another number of operands, or an ellipsis.
    """
    terms = equation.replace(" ", "").split("->")[0].split(",")
    if len(terms) != 2 or "." in equation:
        raise ValueError(f"einsum {equation}: only two operands without ellipsis are counted")
    sizes = {letter: size for term, shape in zip(terms, shapes) for letter, size in zip(term, shape)}
    return prod(sizes.values())


def _broadcast(left: Shape, right: Shape) -> int:
    longest = max(len(left), len(right))
    padded = [[1] * (longest - len(shape)) + list(shape) for shape in (left, right)]
    return prod(max(a, b) for a, b in zip(*padded))
