"""Where each value lies in the one block of memory that a network computes in: planned here, and never allocated.

A value needs its bytes from the operation that writes it to the last that reads it. Values are placed one after the
other, each at the lowest place that is free all that time, in several orders; the one that needs least memory stays.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

ALIGNMENT = 16  # enough for every type
_LINE = 64  # of the cache: larger values start on one
_LARGE = 4096
_TRIES = 100


@dataclass(frozen=True)
class Span:
    """Memory that is needed for a while.

    Attributes:
        name: of the value.
        size: in bytes.
        first, last: the operations, by their place, that first write and last read it.
        element: the C type by which it is read and written.
    """

    name: str
    size: int
    first: int
    last: int
    element: str = "int8_t"

    def may_share(self, other: "Span") -> bool:
        """Whether both may lie in the same bytes, one after the other.

        A compiler takes accesses by two types to be of different memory, and may move one before the other, unless one
        of them is a character's (C99, 6.5 paragraph 7).
        """
        apart = self.first > other.last or other.first > self.last
        return apart and (self.element == other.element or "int8_t" in (self.element, other.element))


@dataclass(frozen=True)
class Plan:
    """Offsets in bytes by name, and the bytes of the whole."""

    offsets: dict[str, int]
    size: int


def plan(spans: Sequence[Span]) -> Plan:
    """Places spans so that only those that may share bytes overlap; the same spans give the same plan."""
    orders = [
        sorted(spans, key=lambda s: (-s.size, s.first, s.name)),
        sorted(spans, key=lambda s: (-(s.last - s.first + 1) * s.size, s.first, s.name)),
        sorted(spans, key=lambda s: (s.first, -s.size, s.name)),
        sorted(spans, key=lambda s: (-(s.last - s.first), -s.size, s.name)),
    ]
    best = min(map(_placed, orders), key=lambda found: found.size)
    draw, least = random.Random(0), least_size(spans)
    for _ in range(_TRIES):
        if best.size == least:
            break
        order = sorted(spans, key=lambda s: -s.size * draw.uniform(0.5, 1))
        best = min(best, _placed(order), key=lambda found: found.size)
    return best


def least_size(spans: Sequence[Span]) -> int:
    """Bytes needed at the busiest moment, which no plan can go below."""
    moments = {span.first for span in spans}
    return max((sum(_rounded(s.size, ALIGNMENT) for s in spans if s.first <= m <= s.last) for m in moments), default=0)


def _placed(order: Sequence[Span]) -> Plan:
    placed: list[tuple[int, int, Span]] = []
    for span in order:
        size = _rounded(span.size, ALIGNMENT)
        start = 0
        for low, high, other in sorted(placed, key=lambda entry: entry[:2]):
            if span.may_share(other):
                continue
            if low - start >= size:
                break
            start = max(start, _rounded(high, _step(span)) if high else 0)
        placed.append((start, start + size, span))
    return Plan({span.name: low for low, _, span in placed}, max((high for _, high, _ in placed), default=0))


def _step(span: Span) -> int:
    return _LINE if span.size >= _LARGE else ALIGNMENT


def _rounded(size: int, step: int) -> int:
    return -(-max(size, 1) // step) * step
