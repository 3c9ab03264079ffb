"""`Value`: what passes from one operation to the next."""

from dataclasses import dataclass
from enum import Enum

import numpy as np

from ..affine import Affine


class Kind(Enum):
    CODES = "codes"  # int8, with an affine meaning
    SIGNS = "signs"  # -1 or +1
    REAL = "real"  # float32
    WHOLE = "whole"  # int64 indices


@dataclass(frozen=True, eq=False)
class Value:
    """A tensor of the program.

    Attributes:
        name: of the program's value, unique.
        shape: in PyTorch's order.
        kind: what an element is.
        affine: meaning of codes; None for other kinds.
        constant: its elements where they are known: int8 codes or float32; None for what is computed.
    """

    name: str
    shape: tuple[int, ...]
    kind: Kind
    affine: Affine | None = None
    constant: np.ndarray | None = None

    @property
    def size(self) -> int:
        """Number of elements."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def meaning(self) -> Affine:
        """Of codes, which always have one."""
        assert self.affine is not None, self.name
        return self.affine
