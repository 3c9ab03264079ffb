"""Six classic visual search tasks in which one direction is harder for humans than the other, at any resolution.

After the stimuli of Gupta et al., NeurIPS 2021, arXiv 2106.02953: sizes in degrees of visual angle, grids, set sizes
and angles are theirs; the offset of a broken stroke, and that every item draws its own angle, are ours. Pictures hold
contrasts in -1..1: the difference to the task's background, which is 0, as a share of white.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import BadInput

STROKE, BOX, BROKEN = 0.55, 5.5, 1.1  # degrees: width and length of crosses and letters, offset of a broken stroke
_CURVE = 5 / 30  # degrees: width of arcs and of the bars among them
_LIT = 27  # background of the shaded discs, of 255
_SHADES = 15


@dataclass(frozen=True)
class Item:
    """What is drawn: a shape, turned clockwise by `degrees` from upright."""

    shape: str
    degrees: float = 0.0


Variant = tuple[tuple[Item, ...], tuple[Item, ...]]
"""What the target and what each distractor is drawn from."""


@dataclass(frozen=True)
class Condition:
    """A direction of a task; each search is of one of the variants, drawn at random."""

    name: str
    variants: tuple[Variant, ...]


@dataclass(frozen=True)
class Task:
    """A pair of conditions.

    Attributes:
        name: for example `orientation`.
        view: side of the picture, degrees.
        grid: cells along a side; each holds at most one item.
        item: side of the square that an item stays in, degrees.
        sizes: numbers of items, target included.
        easy, hard: as they are for humans.
    """

    name: str
    view: float
    grid: int
    item: float
    sizes: tuple[int, ...]
    easy: Condition
    hard: Condition

    def cell(self, pixels_per_degree: float) -> int:
        """Side of a cell, pixels."""
        return round(self.view * pixels_per_degree / self.grid)


def _of(shape: str, *degrees: float) -> tuple[Item, ...]:
    return tuple(Item(shape, each) for each in degrees)


def _both(name: str, first: Item, second: Item) -> Condition:
    return Condition(name, (((first,), (second,)), ((second,), (first,))))


_ANGLES = (-45.0, -90.0, -135.0, 180.0)
_TURNS = (0.0, 90.0, 180.0, 270.0)
_MIXED = (-80.0, -60.0, -40.0, 40.0, 60.0, 80.0)
_ARCS, _LINES = _of("arc", *_ANGLES), _of("line", *_ANGLES)
_CROSSES, _NONE = _of("cross", *_TURNS), _of("broken", *_TURNS)
_ELLS, _TEES = _of("ell", *_TURNS), _of("tee", *_TURNS)
_UPRIGHT, _TILTED = Item("bar"), Item("bar", 20.0)

TASKS = (
    Task(
        "curvature", 11.3, 6, 1.6, (8, 16, 32),
        Condition("arc among lines", ((_ARCS, _LINES),)), Condition("line among arcs", ((_LINES, _ARCS),)),
    ),
    Task(
        "lighting", 6.6, 4, 1.04, (1, 6, 12),
        _both("above or below", Item("disc"), Item("disc", 180.0)),
        _both("left or right", Item("disc", 90.0), Item("disc", 270.0)),
    ),
    Task(
        "intersection", 20.5, 3, BOX, (3, 6, 9),
        Condition("non-cross among crosses", ((_NONE, _CROSSES),)),
        Condition("cross among non-crosses", ((_CROSSES, _NONE),)),
    ),
    Task(
        "letters", 20.5, 3, BOX, (3, 6, 9),
        Condition("T among Ls", ((_TEES, _ELLS),)), Condition("L among Ts", ((_ELLS, _TEES),)),
    ),
    Task(
        "orientation", 11.3, 4, 2.0, (1, 4, 8, 12),
        Condition("tilted among vertical", (((_TILTED,), (_UPRIGHT,)),)),
        Condition("vertical among tilted", (((_UPRIGHT,), (_TILTED,)),)),
    ),
    Task(
        "mixed orientation", 11.3, 4, 2.0, (1, 4, 8, 12),
        Condition("vertical among mixed", (((_UPRIGHT,), (_TILTED, *_of("bar", *_MIXED))),)),
        Condition("tilted among mixed", (((_TILTED,), (_UPRIGHT, *_of("bar", *_MIXED))),)),
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Trials:
    """Searches on one grid.

    Attributes:
        images: (N, C, S, S).
        targets: what is looked for, (N, C, t, t).
        cells: where a cell of the grid is, (K, S, S) bool.
        target_cells: the cell that holds the target, (N,).
    """

    images: Tensor
    targets: Tensor
    cells: Tensor
    target_cells: Tensor

    def __len__(self) -> int:
        return len(self.images)


def draw_trials(
    task: Task,
    condition: Condition,
    items: int,
    count: int,
    pixels_per_degree: float,
    target_side: int,
    draws: torch.Generator,
    noise: float = 0.0,
) -> Trials:
    """Searches with `items` items each, in random cells, each item displaced at random within its cell.

    Args:
        condition: one of the task's.
        target_side: of the target's picture, pixels; it stands in the middle, without noise.
        noise: standard deviation of what is added to every pixel of the search image, contrast.

    Raises:
        BadInput: the grid has fewer cells than there are items.
    """
    if not 1 <= items <= task.grid**2:
        raise BadInput(f"{task.name}: {items} items; give 1 to {task.grid**2}, as many as the grid has cells")
    cell = task.cell(pixels_per_degree)
    cells = torch.rand(count, task.grid**2, generator=draws).argsort(1)[:, :items]
    chosen = [_drawn(condition, items, draws) for _ in range(count)]
    room = max(0.0, task.view / task.grid - task.item) / 2
    shifts = room * (2 * torch.rand(count * items, 2, generator=draws) - 1)
    drawn = draw_items([item for row in chosen for item in row], shifts, cell, pixels_per_degree)
    images = _placed(drawn.reshape(count, items, cell, cell), cells, task.grid)
    images = images + noise * torch.randn(images.shape, generator=draws)
    targets = draw_items([row[0] for row in chosen], torch.zeros(count, 2), target_side, pixels_per_degree)
    return Trials(images, targets.unsqueeze(1), grid_cells(task.grid, cell), cells[:, 0])


def grid_cells(grid: int, cell: int) -> Tensor:
    """Masks (grid * grid, S, S) of the square cells of a picture, row after row; S is grid * cell."""
    numbers = torch.arange(grid**2).reshape(grid, grid)
    where = numbers.repeat_interleave(cell, 0).repeat_interleave(cell, 1)
    return where == torch.arange(grid**2)[:, None, None]


def draw_items(items: list[Item], shifts: Tensor, side: int, pixels_per_degree: float) -> Tensor:
    """Contrasts (N, side, side).

    Args:
        shifts: of each item's middle from the picture's, (N, 2) in degrees to the right and down.
    """
    middles = (torch.arange(side) + 0.5 - side / 2) / pixels_per_degree
    across, down = middles[None, None, :] - shifts[:, :1, None], middles[None, :, None] - shifts[:, 1:, None]
    turns = torch.deg2rad(torch.tensor([item.degrees for item in items]))[:, None, None]
    # In the item's own axes, x to its right and y towards its top.
    x, y = across * turns.cos() + down * turns.sin(), across * turns.sin() - down * turns.cos()
    shapes = [item.shape for item in items]
    drawn = torch.empty(len(items), side, side)
    for shape in sorted(set(shapes)):
        rows = torch.tensor([name == shape for name in shapes])
        drawn[rows] = _SHAPES[shape](x[rows], y[rows], 1 / pixels_per_degree)
    return drawn


def _drawn(condition: Condition, items: int, draws: torch.Generator) -> list[Item]:
    """The target and the distractors of one search."""

    def one(of: tuple[Item, ...]) -> Item:
        return of[int(torch.randint(len(of), (), generator=draws))]

    targets, distractors = condition.variants[int(torch.randint(len(condition.variants), (), generator=draws))]
    return [one(targets), *(one(distractors) for _ in range(items - 1))]


def _placed(drawn: Tensor, cells: Tensor, grid: int) -> Tensor:
    """Items (N, n, cell, cell) in their cells (N, n) of an empty grid, (N, 1, S, S)."""
    count, _, cell, _ = drawn.shape
    board = torch.zeros(count, grid**2, cell, cell)
    board.scatter_(1, cells[:, :, None, None].expand(drawn.shape), drawn)
    rows = board.reshape(count, grid, grid, cell, cell).transpose(2, 3)  # (N, grid, cell, grid, cell)
    return rows.reshape(count, 1, grid * cell, grid * cell)


# Shapes: from places (N, H, W) in degrees, and the width of a pixel, to contrast.


def _box(x: Tensor, y: Tensor, width: float, height: float, pixel: float) -> Tensor:
    """How much of a pixel an upright rectangle round 0 covers."""
    return _within(x.abs() - width / 2, pixel) * _within(y.abs() - height / 2, pixel)


def _within(beyond: Tensor, pixel: float) -> Tensor:
    return (0.5 - beyond / pixel).clamp(0, 1)


def _arc(x: Tensor, y: Tensor, pixel: float) -> Tensor:
    """A span of 1.3 rad of a circle with a radius of 1 degree, its middle at 0."""
    across = x + 1
    radius, angle = torch.hypot(across, y), torch.atan2(y, across).abs()
    return _within((radius - 1).abs() - _CURVE / 2, pixel) * _within(angle * radius - 0.65, pixel)


def _strokes(*boxes: tuple[float, float, float, float]) -> Callable[[Tensor, Tensor, float], Tensor]:
    """Black rectangles, of which middle (x, y), width and height are given."""

    def draw(x: Tensor, y: Tensor, pixel: float) -> Tensor:
        return -torch.stack([_box(x - left, y - up, width, height, pixel) for left, up, width, height in boxes]).amax(0)

    return draw


def _disc(x: Tensor, y: Tensor, pixel: float) -> Tensor:
    """Lit from its top, in linear steps of grey from black to white."""
    radius = 1.04 / 2
    step = ((y / radius + 1) / 2 * _SHADES).floor().clamp(0, _SHADES - 1)
    return _within(torch.hypot(x, y) - radius, pixel) * (step / (_SHADES - 1) - _LIT / 255)


_EDGE = (BOX - STROKE) / 2
_SHAPES: dict[str, Callable[[Tensor, Tensor, float], Tensor]] = {
    "arc": _arc,
    "line": lambda x, y, pixel: _box(x, y, _CURVE, 1.2, pixel),
    "disc": _disc,
    "bar": _strokes((0, 0, 0.3, 2.0)),
    "cross": _strokes((0, 0, STROKE, BOX), (0, 0, BOX, STROKE)),
    "broken": _strokes(
        (0, 0, STROKE, BOX), (-BOX / 4, BROKEN / 2, BOX / 2, STROKE), (BOX / 4, -BROKEN / 2, BOX / 2, STROKE)
    ),
    "ell": _strokes((-_EDGE, 0, STROKE, BOX), (0, -_EDGE, BOX, STROKE)),
    "tee": _strokes((0, 0, STROKE, BOX), (0, _EDGE, BOX, STROKE)),
}
