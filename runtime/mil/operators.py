"""The table of operators that the evaluator has, gathered from one file per family.

The signature of an operator's function says how it is called: parameters before the `*` are values (tensors, one
sequence of them for `values`), keyword-only ones are settings, handed over as plain Python numbers, strings and lists.
Names and defaults are those of the ML program, so adding an operator is one function and one row.
"""

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from . import (
    activation,
    convolution,
    elementwise,
    indexing,
    layout,
    normalization,
    pooling,
    quantization,
    reduction,
    resizing,
)


def classify(probabilities: Tensor, *, classes: Sequence[Any]) -> tuple[Any, dict[Any, float]]:
    """The likeliest label, and every label with its probability, for one sample."""
    scores = probabilities.reshape(-1)
    return classes[int(scores.argmax())], dict(zip(classes, scores.tolist()))


OPERATORS: dict[str, Callable[..., Any]] = {
    **activation.OPERATORS,
    **convolution.OPERATORS,
    **elementwise.OPERATORS,
    **indexing.OPERATORS,
    **layout.OPERATORS,
    **normalization.OPERATORS,
    **pooling.OPERATORS,
    **quantization.OPERATORS,
    **reduction.OPERATORS,
    **resizing.OPERATORS,
    "classify": classify,
}


def coverage() -> list[str]:
    """Names of the operators that can be evaluated, `const` among them, sorted."""
    return sorted([*OPERATORS, "const"])
