"""`chain_of`: a network as blocks in a row, each reading nothing but what the block before it gives.

Blocks are cut wherever all that a network computes passes through one value: behind every layer of a plain chain,
behind every addition of a residual network. Blocks share their layers with the network.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from ...errors import BadInput
from ..batches import read_batches, size_of
from ..evaluation_mode import in_evaluation
from . import Setup

_MEND = "train it by back-propagation"
_RECURRENT = (nn.RNNBase, nn.RNNCellBase)


@dataclass(frozen=True)
class Block:
    """One block of a chain.

    Attributes:
        name: of its first layer, as a module path.
        module: from the value before to the value behind; its parameters are the network's own.
        outputs: shape of the value behind, of one sample, without the batch.
    """

    name: str
    module: nn.Module
    outputs: tuple[int, ...]


def first_samples(setup: Setup, rule: str) -> Tensor:
    """Two preprocessed samples (2, ...), for shapes.

    Raises:
        BadInput: the network takes several inputs.
    """
    raw, _ = next(iter(read_batches(setup.data.train, [[0, min(1, size_of(setup.data.train) - 1)]])))
    if not isinstance(raw, Tensor):
        raise BadInput(f"--rule {rule}: {setup.name} takes {len(raw)} inputs, chains take one; {_MEND}")
    return setup.data.preprocessing.apply(raw.to(setup.ranks.device))


def chain_of(module: nn.Module, samples: Tensor, rule: str) -> list[Block]:
    """Blocks in order; each holds at least one matrix or kernel, and what follows it up to the next.

    Args:
        samples: (B, ...) preprocessed, for the shapes.
        rule: that asks, for errors.

    Raises:
        BadInput: the network takes several inputs or gives several outputs, recurs, branches on its values, or has no
            value that all passes through; the message names what stands in the way.
    """
    for name, layer in module.named_modules():
        if isinstance(layer, _RECURRENT):
            raise BadInput(f"--rule {rule}: {name or 'the network'} is a {type(layer).__name__}, which recurs; {_MEND}")
    traced = _traced(module, rule)
    shapes = _shapes(traced, samples)
    segments = list(_segments(traced, _matrices(module), shapes))
    if len(segments) < 2:
        raise BadInput(f"--rule {rule}: no value between its layers that all passes through, so no two blocks; {_MEND}")
    return list(_blocks(traced, segments, shapes))


class _Tracer(fx.Tracer):
    """Looks into modules as far as they can be looked into."""

    def call_module(self, m: nn.Module, forward, args, kwargs):
        count, depth = len(self.graph.nodes), len(self.module_stack)
        try:
            return super().call_module(m, forward, args, kwargs)
        except (fx.proxy.TraceError, TypeError, RuntimeError, ValueError):
            for node in reversed(list(self.graph.nodes)[count:]):
                self.graph.erase_node(node)
            while len(self.module_stack) > depth:  # what was entered and not left; the module around checks it
                self.module_stack.popitem()
            return self.create_proxy("call_module", self.path_of_module(m), args, kwargs)


def _traced(module: nn.Module, rule: str) -> fx.GraphModule:
    try:
        graph = _Tracer().trace(module)
    except (fx.proxy.TraceError, TypeError, RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise BadInput(f"--rule {rule}: the network cannot be read as a chain ({reason}); {_MEND}") from error
    if sum(node.op == "placeholder" and bool(node.users) for node in graph.nodes) != 1:
        raise BadInput(f"--rule {rule}: the network takes several inputs, chains take one; {_MEND}")
    if not isinstance(graph.output_node().args[0], fx.Node):
        raise BadInput(f"--rule {rule}: the network gives several outputs, chains give one; {_MEND}")
    traced = fx.GraphModule(module, graph)
    traced.graph.eliminate_dead_code()  # so that the last node is what the network gives
    traced.recompile()
    return traced


def _matrices(module: nn.Module) -> set[str]:
    """Paths of parameters that are matrices or kernels."""
    return {name for name, parameter in module.named_parameters() if sum(side > 1 for side in parameter.shape) > 1}


def _shapes(traced: fx.GraphModule, samples: Tensor) -> dict[fx.Node, tuple[int, ...]]:
    """Of every value that is a tensor, from one pass in evaluation mode, which leaves norms as they are."""
    watched = _Shapes(traced)
    with in_evaluation(traced), torch.no_grad():
        watched.run(samples)
    return watched.found


class _Shapes(fx.Interpreter):
    def __init__(self, traced: fx.GraphModule):
        super().__init__(traced)
        self.found: dict[fx.Node, tuple[int, ...]] = {}

    def run_node(self, n: fx.Node) -> object:
        value = super().run_node(n)
        if isinstance(value, Tensor):
            self.found[n] = tuple(value.shape[1:])
        return value


def _segments(
    traced: fx.GraphModule, matrices: set[str], shapes: dict[fx.Node, tuple[int, ...]]
) -> Iterator[list[fx.Node]]:
    """The nodes of each block; the last of a block is the only one that is read behind it."""
    nodes = _reading_the_input(traced)
    place = {node: number for number, node in enumerate(nodes)}
    last_read = [max((place[user] for user in node.users if user in place), default=len(nodes)) for node in nodes]
    segment: list[fx.Node] = []
    pending: list[fx.Node] = []
    given = _input_of(traced)
    furthest = max(place[user] for user in given.users if user in place)
    for number, node in enumerate(nodes):
        pending.append(node)
        is_cut = furthest <= number and node in shapes  # nothing before is read behind this
        furthest = max(furthest, last_read[number])
        if is_cut or number == len(nodes) - 1:
            if _holds(segment, matrices) and _holds(pending, matrices):
                yield segment
                segment = []
            segment, pending = [*segment, *pending], []
    yield segment


def _input_of(traced: fx.GraphModule) -> fx.Node:
    return next(node for node in traced.graph.nodes if node.op == "placeholder" and node.users)


def _reading_the_input(traced: fx.GraphModule) -> list[fx.Node]:
    """Nodes whose value depends on the input, in order, without the input and the output."""
    known = {_input_of(traced)}
    found = []
    for node in traced.graph.nodes:
        if any(parent in known for parent in node.all_input_nodes):
            known.add(node)
            if node.op != "output":
                found.append(node)
    return found


def _holds(nodes: list[fx.Node], matrices: set[str]) -> bool:
    """Whether nodes use a matrix, as modules or as parameters of their own."""
    for node in nodes:
        if node.op == "call_module" and any(name.startswith(f"{node.target}.") for name in matrices):
            return True
        if any(parent.op == "get_attr" and parent.target in matrices for parent in node.all_input_nodes):
            return True
    return False


def _blocks(
    traced: fx.GraphModule, segments: list[list[fx.Node]], shapes: dict[fx.Node, tuple[int, ...]]
) -> Iterator[Block]:
    given = _input_of(traced)
    for nodes in segments:
        yield Block(_name(nodes, traced), _cut_out(traced, given, nodes), shapes[nodes[-1]])
        given = nodes[-1]


def _cut_out(traced: fx.GraphModule, given: fx.Node, nodes: list[fx.Node]) -> fx.GraphModule:
    graph = fx.Graph()
    copied = {given: graph.placeholder("value")}

    def copy_of(node: fx.Node) -> fx.Node:
        if node not in copied:  # a parameter, or what is made of parameters alone
            copied[node] = graph.node_copy(node, copy_of)
        return copied[node]

    for node in nodes:
        copy_of(node)
    graph.output(copied[nodes[-1]])
    return fx.GraphModule(traced, graph)


def _name(nodes: list[fx.Node], traced: fx.GraphModule) -> str:
    """The path of the first layer with parameters."""
    modules = [str(node.target) for node in nodes if node.op == "call_module"]
    layers = [name for name in modules if next(traced.get_submodule(name).parameters(), None) is not None]
    return layers[0] if layers else nodes[0].name
