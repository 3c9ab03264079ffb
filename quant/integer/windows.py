"""The windows of convolutions and pools, from the arguments of PyTorch's operators."""

from collections.abc import Sequence
from typing import Any

from .operations import Window


def convolution_window(args: Sequence[Any], kernel: Sequence[int]) -> tuple[Window, int]:
    """Window and groups of (x, weight, bias, stride, padding, dilation, groups), the last ones perhaps left out.

    A line is an image of height one.
    """
    rank = len(kernel)
    given = [*args[3:7], *[1, 0, 1, 1][len(args[3:7]) :]]
    stride, padding, dilation = (_pair(value, rank, one) for value, one in zip(given, (1, 0, 1)))
    height, width = [1, *kernel][-2:]
    return Window((height, width), stride, (*padding, *padding), dilation), int(given[3])


def pool_window(args: Sequence[Any], before: Sequence[int], after: Sequence[int], dilated: bool = True) -> Window:
    """The window of (x, kernel, stride, padding, dilation, ...); padding behind as the output's size asks for."""
    kernel = _pair(args[1], 2, 1)
    stride = _pair(args[2], 2, 1) if len(args) > 2 and args[2] else kernel
    padding = _pair(args[3], 2, 0) if len(args) > 3 else (0, 0)
    dilation = _pair(args[4], 2, 1) if dilated and len(args) > 4 else (1, 1)
    bottom, right = (
        max((size - 1) * s + (k - 1) * d + 1 - p - whole, 0)
        for whole, size, k, s, p, d in zip(before[-2:], after[-2:], kernel, stride, padding, dilation)
    )
    return Window(kernel, stride, (*padding, bottom, right), dilation)


def average_counts(args: Sequence[Any]) -> tuple[bool, int | None]:
    """Of an average pool (x, kernel, stride, padding, ceil, counts padding, divisor): the last two."""
    given = [*args[5:7], *[True, None][len(args[5:7]) :]]
    return bool(given[0]), given[1]


def _pair(value: Any, rank: int, outer: int) -> tuple[int, int]:
    numbers = [value] * rank if isinstance(value, int) else list(value)
    numbers = numbers * rank if len(numbers) < rank else numbers
    first, second = [outer, *numbers][-2:]
    return int(first), int(second)
