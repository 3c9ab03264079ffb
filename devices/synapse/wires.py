"""Wire resistance of a crossbar, solved exactly: what its columns deliver when current loses voltage on the way.

Cell (i, j) joins row wire i to column wire j. A source of V_i volts drives row i from the left, and column j ends in a
virtual ground below the last row. Wires are cut into segments by the cells: of `row_ohms` (r), the one from the source
to the first cell included, and of `column_ohms` (c), the one from the last cell to ground included.

The circuit is linear, so its output is I = V M with a matrix M that takes the place of G. It is found by block
elimination (block Gaussian elimination of the nodal equations, a direct method), without division by a resistance, so
that wires of 0 ohm need no case of their own:

- Within a row, cells draw J = D (u - v), D = diag(G_i), and u = V 1 - r K J, where K_jk = min(j, k) + 1 counts the
  segments that the paths to cells j and k share. So J = Y (V 1 - v) with the symmetric Y = (1 + r D K)^-1 D.
- Down the columns, currents below row i are q_i = b_i - S_i v_i, b_i linear in the inputs so far. A segment makes
  v_i = v_(i+1) + c q_i, and with P_i = (1 + c S_i)^-1:  S_(i+1) = P_i S_i + Y,  b_(i+1) = P_i b_i + Y 1 V_(i+1).

Not modelled: resistance of sources and of grounds, capacitance, and cells whose current is not proportional to voltage.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ...errors import BadInput


@dataclass(frozen=True)
class Nodes:
    """A solved crossbar.

    Attributes:
        row_volts: (..., R, C), at each cell's end on its row wire.
        column_volts: (..., R, C), at its end on the column wire.
        currents: (..., C), amperes into the grounds.
    """

    row_volts: Tensor
    column_volts: Tensor
    currents: Tensor


@dataclass(frozen=True)
class Watts:
    """Where power goes, each (...): the first three sum to what the sources deliver."""

    cells: Tensor
    row_wires: Tensor
    column_wires: Tensor
    delivered: Tensor


@torch.no_grad()
def effective_conductance(g: Tensor, row_ohms: float, column_ohms: float) -> Tensor:
    """The matrix M of a crossbar with wires: currents = volts @ M. It is G itself where both resistances are 0.

    The same array read the other way, sources at the column ends and grounds at the row starts, has M transposed.

    Args:
        g: (..., R, C) siemens, 0 or more, on a device that has float64.
        row_ohms, column_ohms: of a segment, 0 or more.

    Returns:
        (..., R, C) siemens, float64, without gradient. Takes time max(R, C) min(R, C)^3.

    Raises:
        BadInput: a conductance or a resistance is negative or not finite, or `g` has less than 2 dimensions.
    """
    g = _checked(g, row_ohms, column_ohms)
    rows, columns = g.shape[-2:]
    # By reciprocity sources and grounds may change places: blocks are then R x R, or diagonal.
    if row_ohms > 0 and (column_ohms == 0 or rows < columns):
        return _turned(_matrix(_turned(g), column_ohms, row_ohms)).contiguous()
    return _matrix(g, row_ohms, column_ohms)


@torch.no_grad()
def solve_nodes(g: Tensor, volts: Tensor, row_ohms: float, column_ohms: float) -> Nodes:
    """Voltages of every node.

    Args:
        g: (..., R, C) siemens, 0 or more.
        volts: (..., R) at the sources; leading dimensions are broadcast against those of `g`.
        row_ohms, column_ohms: of a segment, 0 or more.

    Raises:
        BadInput: as `effective_conductance`, or `volts` is not finite or has not R entries.
    """
    g, volts = _checked(g, row_ohms, column_ohms), _checked_volts(volts, g)
    driven = _rows_alone(g, row_ohms)
    columns = g.shape[-1]
    schur, flowing = g.new_zeros((*g.shape[:-2], columns, columns)), g.new_zeros(columns)
    blocks, factors, reached = [], [], []
    for i in range(g.shape[-2]):
        blocks.append(_row_block(g[..., i, :], row_ohms))
        reached.append(flowing + driven[..., i, :] * volts[..., i, None])
        factors.append(_factor(schur + blocks[i], column_ohms))
        schur = torch.cholesky_solve(schur + blocks[i], factors[i])
        flowing = _solved(reached[i], factors[i])
    column_volts = _climbed(factors, reached, column_ohms)
    drops = volts[..., None] - column_volts
    cells = torch.stack([_times(block, drops[..., i, :]) for i, block in enumerate(blocks)], -2)
    row_volts = volts[..., None] - row_ohms * _from_end(cells).cumsum(-1)
    return Nodes(row_volts, column_volts, flowing)


def dissipated(g: Tensor, nodes: Nodes, volts: Tensor, row_ohms: float, column_ohms: float) -> Watts:
    """Power of a solved crossbar, in watts.

    Every current is taken from the voltage across a cell, which loses digits where segments resist far more than cells.

    Args:
        g, volts, row_ohms, column_ohms: as given to `solve_nodes`.
        nodes: what it returned.

    Raises:
        BadInput: as `solve_nodes`.
    """
    g, volts = _checked(g, row_ohms, column_ohms), _checked_volts(volts, g)
    across = nodes.row_volts - nodes.column_volts
    cells = g * across
    along_rows, down_columns = _from_end(cells), cells.cumsum(-2)
    return Watts(
        cells=(cells * across).sum((-2, -1)),
        row_wires=row_ohms * along_rows.square().sum((-2, -1)),
        column_wires=column_ohms * down_columns.square().sum((-2, -1)),
        delivered=(volts * along_rows[..., 0]).sum(-1),
    )


def _matrix(g: Tensor, row_ohms: float, column_ohms: float) -> Tensor:
    """M by elimination from the top row to the bottom."""
    if row_ohms == 0:
        return _ladders(g, column_ohms)
    driven, columns = _rows_alone(g, row_ohms), g.shape[-1]
    # What is carried: S in the first C columns, and then, for each input so far, what it sends down every column.
    carried = g.new_zeros((*g.shape[:-2], columns, columns))
    for i in range(g.shape[-2]):
        carried = torch.cat([carried, driven[..., i, :, None]], -1)
        carried[..., :columns] += _row_block(g[..., i, :], row_ohms)
        carried = torch.cholesky_solve(carried, _factor(carried[..., :columns], column_ohms))
    return carried[..., columns:].mT.contiguous()


def _ladders(g: Tensor, ohms: float) -> Tensor:
    """M where row wires are ideal: every column is a ladder by itself, and input i passes all dividers below it."""
    passed, above = [], torch.zeros_like(g[..., 0, :])
    for i in range(g.shape[-2]):
        above = above + g[..., i, :]
        passed.append(1 / (1 + ohms * above))
        above = above * passed[-1]
    return g * torch.stack(passed, -2).flip(-2).cumprod(-2).flip(-2)


def _rows_alone(g: Tensor, ohms: float) -> Tensor:
    """Y 1 of every row, (..., R, C): what cells draw per volt of the source while all columns are at 0 volts.

    The sum over Y would do, but loses digits where a long row's far cells draw next to nothing; here all is positive.
    """
    return _turned(_ladders(_turned(g), ohms))


def _row_block(g: Tensor, ohms: float) -> Tensor:
    """Y of a row, (..., C) -> (..., C, C): currents of its cells per volt between source and column nodes.

    With the square root of D on both sides the matrix to invert is symmetric, and at least 1 in every direction.
    """
    place = torch.arange(1, g.shape[-1] + 1, dtype=g.dtype, device=g.device)
    shared = torch.minimum(place[:, None], place)
    root = g.sqrt()
    sides = root[..., :, None] * root[..., None, :]
    return sides * torch.cholesky_inverse(_factor(sides * shared, ohms))


def _factor(positive: Tensor, ohms: float) -> Tensor:
    """The Cholesky factor of 1 + ohms * positive, (..., C, C)."""
    scaled = positive * ohms
    scaled.diagonal(dim1=-2, dim2=-1).add_(1)
    return torch.linalg.cholesky(scaled)


def _climbed(factors: list[Tensor], reached: list[Tensor], ohms: float) -> Tensor:
    """Column voltages (..., R, C), from the ground upwards: (1 + c S) v = v below + c b."""
    found, below = [], torch.zeros_like(reached[-1])
    for factor, flowing in zip(reversed(factors), reversed(reached)):
        below = _solved(below + ohms * flowing, factor)
        found.append(below)
    return torch.stack(found[::-1], -2)


def _solved(vector: Tensor, factor: Tensor) -> Tensor:
    return torch.cholesky_solve(vector[..., None], factor)[..., 0]


def _times(matrix: Tensor, vector: Tensor) -> Tensor:
    return (matrix @ vector[..., None])[..., 0]


def _from_end(cells: Tensor) -> Tensor:
    """Currents in the row wires, (..., R, C): a segment carries what all cells from it on draw."""
    return cells.flip(-1).cumsum(-1).flip(-1)


def _turned(g: Tensor) -> Tensor:
    """The array as its column wires see it: (..., R, C) -> (..., C, R), the cell nearest the ground first."""
    return g.flip(-2, -1).mT


def _checked(g: Tensor, row_ohms: float, column_ohms: float) -> Tensor:
    for name, ohms in (("row_ohms", row_ohms), ("column_ohms", column_ohms)):
        if not 0 <= ohms < math.inf:
            raise BadInput(f"{name} {ohms:g}: must be a finite resistance of 0 ohm or more")
    if g.dim() < 2 or 0 in g.shape:
        raise BadInput(f"conductance of shape {tuple(g.shape)}: must be (..., rows, columns), none of them 0")
    fine = (g >= 0) & g.isfinite()
    if not bool(fine.all()):
        raise BadInput(f"conductance {float(g[~fine][0]):g}: must be finite and 0 siemens or more")
    return g.to(torch.float64)


def _checked_volts(volts: Tensor, g: Tensor) -> Tensor:
    if volts.dim() < 1 or volts.shape[-1] != g.shape[-2]:
        raise BadInput(f"volts of shape {tuple(volts.shape)}: must end in {g.shape[-2]}, one for each row")
    if not bool(volts.isfinite().all()):
        raise BadInput(f"volts {float(volts[~volts.isfinite()][0]):g}: must be finite")
    return volts.to(torch.float64)
