"""`run`: what an operation makes of its inputs; `sums.py` and `moves.py` say it for each kind of operation."""

from functools import singledispatch

from torch import Tensor

from .operations import Operation


@singledispatch
def run(operation: Operation, *inputs: Tensor) -> Tensor:
    """What an operation makes of its inputs."""
    raise NotImplementedError(type(operation).__name__)
