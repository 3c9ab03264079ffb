"""Where the labels of a scatter plot go: beside their marks, over no other label and no mark, within the plot.

Greedy, from the top mark down: of the places around a mark, the nearest free one whose leader line crosses the fewest
others. A crowded plot loses a label before two overlap; the table beside the plot names every mark.
"""

from dataclasses import dataclass

FONT_SIZE = 12.0
_CHARACTER_WIDTH = 0.6 * FONT_SIZE  # of the widest common system fonts
_LINE = FONT_SIZE + 2.0
_GAP = 8.0  # from a mark's centre to a label at its side
_MARK_RADIUS = 6.0
_NEAR = 9.0  # a label further from its mark's centre gets a leader line
_ROWS = 12  # rows above and below a mark that are tried
_COLUMNS = (0.0, 14.0, 30.0, 60.0, 100.0, 140.0)
_CROSSING_COST = 60.0


@dataclass(frozen=True)
class Box:
    """A rectangle; y grows downwards."""

    left: float
    top: float
    right: float
    bottom: float

    def overlaps(self, other: "Box") -> bool:
        across = self.left < other.right and other.left < self.right
        return across and self.top < other.bottom and other.top < self.bottom

    def inside(self, other: "Box") -> bool:
        across = other.left <= self.left and self.right <= other.right
        return across and other.top <= self.top and self.bottom <= other.bottom

    def touches(self, segment: "Segment", parts: int = 12) -> bool:
        """Whether the segment passes through, sampled; its end may lie on the edge."""
        x1, y1, x2, y2 = segment
        between = [(x1 + (x2 - x1) * part / parts, y1 + (y2 - y1) * part / parts) for part in range(1, parts)]
        return any(self.left < x < self.right and self.top < y < self.bottom for x, y in between)

    def nearest(self, x: float, y: float) -> tuple[float, float]:
        """The point of the rectangle nearest to (x, y)."""
        return min(max(x, self.left), self.right), min(max(y, self.top), self.bottom)


Segment = tuple[float, float, float, float]


@dataclass(frozen=True)
class Label:
    """A placed label: its box, and the leader line to its mark where it stands apart."""

    text: str
    box: Box
    leader: Segment | None


def text_width(text: str) -> float:
    return len(text) * _CHARACTER_WIDTH


def place_labels(marks: list[tuple[float, float, str]], plot: Box, taken: list[Box]) -> list[Label | None]:
    """One label per mark (x, y, text), in the marks' order; None where the plot has no room left.

    Args:
        marks: centres and texts.
        plot: where labels may stand.
        taken: boxes to stay clear of besides the marks.
    """
    obstacles = taken + [_around(x, y) for x, y, _ in marks]
    placed: dict[int, Label] = {}
    for place in sorted(range(len(marks)), key=lambda place: (marks[place][1], marks[place][0])):
        x, y, text = marks[place]
        free = [box for box in _candidates(x, y, text_width(text)) if box.inside(plot)]
        free = [box for box in free if not any(box.overlaps(other) for other in obstacles)]
        if free:
            labels = list(placed.values())
            box = min(free, key=lambda box: _cost(x, y, box, labels))
            obstacles.append(box)
            placed[place] = Label(text, box, _leader(x, y, box))
    return [placed.get(place) for place in range(len(marks))]


def _candidates(x: float, y: float, width: float) -> list[Box]:
    found = []
    for row in range(-_ROWS, _ROWS + 1):
        top = y + row * _LINE - _LINE / 2
        for shift in _COLUMNS:
            for left in (x + _GAP + shift, x - _GAP - shift - width, x - width / 2):
                found.append(Box(left, top, left + width, top + _LINE))
    return found


def _around(x: float, y: float) -> Box:
    return Box(x - _MARK_RADIUS, y - _MARK_RADIUS, x + _MARK_RADIUS, y + _MARK_RADIUS)


def _leader(x: float, y: float, box: Box) -> Segment | None:
    near_x, near_y = box.nearest(x, y)
    line = (x, y, near_x, near_y)
    return line if _length(line) > _NEAR else None


def _cost(x: float, y: float, box: Box, labels: list[Label]) -> float:
    """The way from the mark, and dearly every line that would cross a line or a label."""
    near_x, near_y = box.nearest(x, y)
    line = (x, y, near_x, near_y)
    leaders = [label.leader for label in labels if label.leader]
    crossings = sum(_cross(line, other) or box.touches(other) for other in leaders)
    crossings += sum(label.box.touches(line) for label in labels)
    return _length(line) + _CROSSING_COST * crossings


def _length(segment: Segment) -> float:
    x1, y1, x2, y2 = segment
    return float(((x2 - x1) ** 2 + (y2 - y1) ** 2) ** 0.5)


def _cross(one: Segment, other: Segment) -> bool:
    def side(segment: Segment, x: float, y: float) -> float:
        x1, y1, x2, y2 = segment
        return (x2 - x1) * (y - y1) - (y2 - y1) * (x - x1)

    apart = side(one, *other[:2]) * side(one, *other[2:]) < 0
    return apart and side(other, *one[:2]) * side(other, *one[2:]) < 0
