"""Nests of loops over values whose axes lie in memory in any order: sizes and strides, merged as far as they go."""

from collections.abc import Sequence
from dataclasses import dataclass

INDICES = "ijklmn"


@dataclass(frozen=True)
class Nest:
    """Loops from the outermost to the innermost.

    Attributes:
        sizes: of each loop.
        strides: for each value, elements from one turn of each loop to the next.
        indices: names of the loops' variables.
    """

    sizes: tuple[int, ...]
    strides: tuple[tuple[int, ...], ...]
    indices: str = INDICES

    def offset(self, value: int) -> str:
        """The index of a value's element inside the innermost loop, as C: `i * 64 + j`."""
        terms = [
            index if stride == 1 else f"{index} * {stride}"
            for index, stride in zip(self.indices, self.strides[value])
            if stride
        ]
        return " + ".join(terms) or "0"

    def text(self, body: Sequence[str], indent: int = 4) -> list[str]:
        """The loops around the lines of `body`."""
        lines = []
        for depth, (index, size) in enumerate(zip(self.indices, self.sizes)):
            last = depth == len(self.sizes) - 1
            brace = " {" if last and len(body) > 1 else ""
            lines.append(f"{' ' * (indent + 4 * depth)}for (int32_t {index} = 0; {index} < {size}; {index}++){brace}")
        lines += [f"{' ' * (indent + 4 * len(self.sizes))}{line}" for line in body]
        if self.sizes and len(body) > 1:
            lines.append(f"{' ' * (indent + 4 * (len(self.sizes) - 1))}}}")
        return lines


def nest(sizes: Sequence[int], *strides: Sequence[int]) -> Nest:
    """Loops of these sizes, those of one turn left out and neighbours merged that all values walk through in one go."""
    kept = [place for place, size in enumerate(sizes) if size != 1]
    merged: list[tuple[int, tuple[int, ...]]] = []
    for place in kept:
        size, steps = sizes[place], tuple(own[place] for own in strides)
        if merged and all(outer == size * inner for outer, inner in zip(merged[-1][1], steps)):
            merged[-1] = (merged[-1][0] * size, steps)
        else:
            merged.append((size, steps))
    if len(merged) > len(INDICES):
        raise ValueError(f"{len(merged)} nested loops, {len(INDICES)} at most")
    return Nest(
        tuple(size for size, _ in merged), tuple(zip(*(steps for _, steps in merged))) or tuple(() for _ in strides)
    )


def strides_of(shape: Sequence[int], order: Sequence[int]) -> tuple[int, ...]:
    """Elements from one index to the next along each axis of PyTorch, the axes lying in memory in `order`."""
    steps, step = [0] * len(shape), 1
    for axis in reversed(order):
        steps[axis] = step
        step *= shape[axis]
    return tuple(steps)


def broadcast(strides: Sequence[int], shape: Sequence[int], to: Sequence[int]) -> tuple[int, ...]:
    """Strides of a value of `shape` walked through in the shape `to`: none along axes where it has one element."""
    missing = len(to) - len(shape)
    own = [0 if size == 1 else step for size, step in zip(shape, strides)]
    return (*[0] * missing, *own)


def in_order(values: Sequence[int], order: Sequence[int]) -> list[int]:
    """One number for each axis, from the outermost axis in memory to the innermost."""
    return [values[axis] for axis in order]
