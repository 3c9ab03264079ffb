"""Whose memory each value lies in, and where: its own, that of what it reshapes or overwrites, or the caller's."""

from dataclasses import dataclass, field

from ...quant.integer.operations import Operation, Permute, Reshape
from ...quant.integer.values import Value
from .arena import Span, plan
from .emission import C_TYPE, bytes_of, scratch_of, works_in_place
from .layout import Layout, Order


@dataclass(frozen=True)
class Placement:
    """Where everything lies.

    Attributes:
        roots: value -> the value whose memory it lies in.
        outside: root -> the place of the output that the caller gives memory for.
        offsets: root -> bytes into the network's own memory.
        scratch: operation's place -> bytes into it of what it needs while it runs.
        size: of that memory, in bytes.
        busiest: module, or value, of the operation during which most of it is in use.
    """

    roots: dict[str, Value]
    outside: dict[str, int]
    offsets: dict[str, int]
    scratch: dict[int, int]
    size: int
    busiest: str


def place(layout: Layout, inputs: tuple[Value, ...]) -> Placement:
    """Plans the memory of a network; its inputs are the caller's and never written to."""
    return _Placing(layout, {value.name for value in inputs}, {value.name: value for value in inputs}).placed()


@dataclass
class _Placing:
    layout: Layout
    inputs: set[str]
    roots: dict[str, Value]
    spans: list[Span] = field(default_factory=list)

    @property
    def orders(self) -> dict[str, Order]:
        return self.layout.orders

    def placed(self) -> Placement:
        self._find_roots()
        outside = self._outside()
        self._add_spans(outside)
        found = plan(self.spans)
        scratch = {
            place: found.offsets[_scratch_name(place)]
            for place in range(len(self.layout.operations))
            if _scratch_name(place) in found.offsets
        }
        return Placement(self.roots, outside, found.offsets, scratch, found.size, self._busiest())

    def _find_roots(self) -> None:
        last = self._last_reads()
        for place, operation in enumerate(self.layout.operations):
            computed = [value for value in operation.inputs if value.constant is None]
            root = operation.output
            if is_view(operation) and computed:
                root = self.roots[computed[0].name]
            elif works_in_place(operation):
                for value in computed:
                    under = self.roots[value.name]
                    free = under.name not in self.inputs and last.get(under.name) == place
                    readers = [other for other in computed if self.roots[other.name] is under]
                    if free and all(self._lies_alike(other, operation.output) for other in readers):
                        root = under
                        break
            self.roots[operation.output.name] = root

    def _lies_alike(self, one: Value, other: Value) -> bool:
        """Whether element after element of two values has the same place and size."""
        orders = self.orders[one.name], self.orders[other.name]
        same = one.kind is other.kind and one.shape == other.shape and orders[0] == orders[1]
        return same and bytes_of(one, orders[0]) == bytes_of(other, orders[1])

    def _last_reads(self) -> dict[str, int]:
        """Value -> the last operation that reads its memory, through whatever reshapes it."""
        views: dict[str, str] = {}
        last: dict[str, int] = {}
        for place, operation in enumerate(self.layout.operations):
            for value in operation.inputs:
                last[views.get(value.name, value.name)] = place
            computed = [value for value in operation.inputs if value.constant is None]
            if is_view(operation) and computed:
                views[operation.output.name] = views.get(computed[0].name, computed[0].name)
        for value in self.layout.outputs:
            last[views.get(value.name, value.name)] = len(self.layout.operations)
        return last

    def _outside(self) -> dict[str, int]:
        """Memory that holds an output, seen through reshapes at most, and nothing else: the caller's."""
        views = {operation.output.name for operation in self.layout.operations if is_view(operation)}
        found: dict[str, int] = {}
        for place, value in enumerate(self.layout.outputs):
            root = self.roots.get(value.name)
            if root is None or root.name in self.inputs or root.name in found:
                continue
            shares = {name for name, other in self.roots.items() if other is root} - {root.name}
            if shares <= views:
                found[root.name] = place
        return found

    def _add_spans(self, outside: dict[str, int]) -> None:
        first: dict[str, int] = {}
        last: dict[str, int] = {}
        for place, operation in enumerate(self.layout.operations):
            for value in (*operation.inputs, operation.output):
                if value.constant is None:
                    root = self.roots[value.name].name
                    first.setdefault(root, place)
                    last[root] = place
            if scratch_of(operation):
                self.spans.append(Span(_scratch_name(place), scratch_of(operation), place, place))
        for value in self.layout.outputs:
            if value.constant is None:
                last[self.roots[value.name].name] = len(self.layout.operations)
        for name, start in first.items():
            if name not in self.inputs and name not in outside:
                found = next(value for value in self.roots.values() if value.name == name)
                size = bytes_of(found, self.orders[name])
                self.spans.append(Span(name, size, start, last[name], C_TYPE[found.kind]))

    def _busiest(self) -> str:
        needed = [
            sum(span.size for span in self.spans if span.first <= place <= span.last)
            for place in range(len(self.layout.operations))
        ]
        if not needed:
            return ""
        operation = self.layout.operations[needed.index(max(needed))]
        return operation.module or operation.output.name


def is_view(operation: Operation) -> bool:
    """Whether an operation only says how the same memory is to be read."""
    return isinstance(operation, Reshape | Permute)


def _scratch_name(place: int) -> str:
    return f"scratch of {place}"
