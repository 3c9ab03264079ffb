"""Capture: the user's names, module paths that last, and one line for what cannot be captured."""

import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from offramp.errors import BadInput
from offramp.quant.capture import capture, forward_names, module_paths, to_program
from torch import nn
from torch.nn import functional

sys.path.append(str(Path(__file__).parent))
from small_networks import noise, randomise


class Inputs(nn.Module):
    """Tokens and an image in, a dict out."""

    def __init__(self):
        super().__init__()
        self.look_up, self.conv = nn.Embedding(10, 4), nn.Conv2d(3, 4, 1)

    def forward(self, tokens, image):
        x = self.look_up(tokens).sum(1)[..., None, None] + self.conv(image)
        return {"mask": x, "scores": x.mean((2, 3))}


INPUTS = (torch.tensor([[1, 2, 3]]), noise((1, 3, 5, 6)))


def test_names_come_from_forward_and_from_the_keys_of_a_dict():
    network = Inputs()
    captured = capture(network, INPUTS)
    assert captured.input_names == ("tokens", "image") == forward_names(network)
    assert captured.output_names == ("mask", "scores")
    wanted = network(*INPUTS)
    mask, scores = captured.module(*INPUTS)
    assert torch.equal(mask, wanted["mask"]) and torch.equal(scores, wanted["scores"])


def test_names_can_be_given():
    captured = capture(Inputs(), INPUTS, ("ids", "picture"), ("a", "b"))
    assert (captured.input_names, captured.output_names) == (("ids", "picture"), ("a", "b"))
    program = to_program(captured.module, captured.example_inputs)
    assert list(program.graph_signature.user_inputs) == ["ids", "picture"]


class Returns(nn.Module):
    """Gives what `build` makes of two tensors."""

    def __init__(self, build):
        super().__init__()
        self.build = build

    def forward(self, x):
        return self.build(x * 2, x + 1)


@dataclass
class Pair:
    left: torch.Tensor
    right: torch.Tensor


torch.export.register_dataclass(Pair, serialized_type_name="tests.Pair")
OUTPUTS = {
    "one tensor": (lambda a, b: a, ("output",)),
    "a tuple": (lambda a, b: (a, b), ("output_0", "output_1")),
    "a tuple of one": (lambda a, b: (a,), ("output",)),
    "a dict in a tuple": (lambda a, b: (a, {"box": b}), ("output_0", "1_box")),
    "a dataclass": (Pair, ("left", "right")),
}


@pytest.mark.parametrize("kind", OUTPUTS)
def test_outputs_are_named_by_where_they_stand(kind):
    build, names = OUTPUTS[kind]
    assert capture(Returns(build), (noise((1, 3)),)).output_names == names


class Skip(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)

    def forward(self, x):
        return x + self.conv(x)


@pytest.mark.parametrize("name", ["conv2d", "add", "p_conv_weight", "output"])
def test_an_input_may_have_the_name_of_a_value(name):
    network, x = Skip(), noise((1, 3, 4, 4))
    captured = capture(network, (x,), (name,))
    assert torch.equal(captured.module(x)[0], network(x))
    program = to_program(captured.module, captured.example_inputs)
    assert list(program.graph_signature.user_inputs) == [name]
    assert torch.equal(program.module()(x)[0], network(x))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("a", "b"), "2 input names for 1 inputs: a, b"),
        (("my image",), "my image: an input name must be a Python identifier"),
        (("class",), "class: an input name must be a Python identifier, and neither a keyword nor self"),
        (("self",), "self: an input name must be"),
    ],
)
def test_input_names_that_do_not_fit_are_refused(names, message):
    with pytest.raises(BadInput, match=message):
        capture(Skip(), (noise((1, 3, 4, 4)),), names)


def test_output_names_that_do_not_fit_are_refused():
    with pytest.raises(BadInput, match="2 output names for 1 outputs: a, b"):
        capture(Skip(), (noise((1, 3, 4, 4)),), output_names=("a", "b"))
    with pytest.raises(BadInput, match="input names must differ, got x, x"):
        capture(Inputs(), INPUTS, ("x", "x"))


class Deep(nn.Module):
    def __init__(self):
        super().__init__()
        self.stages = nn.ModuleList(
            nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3), nn.GELU()) for _ in range(2)
        )

    def forward(self, x):
        for stage in self.stages:
            x = x + stage(x)
        return x


def test_module_paths_survive_folding_re_export_and_disk(tmp_path):
    captured = capture(randomise(Deep()), (noise((1, 3, 4, 4)),))
    program = to_program(captured.module, captured.example_inputs)
    torch.export.save(program, tmp_path / "net.pt2")
    wanted = {
        "conv2d": "stages.0.0",
        "gelu": "stages.0.2",
        "add": "",
        "conv2d_1": "stages.1.0",
        "gelu_1": "stages.1.2",
        "add_1": "",
    }
    assert module_paths(program) == wanted
    assert module_paths(torch.export.load(tmp_path / "net.pt2")) == wanted


def test_a_saved_program_holds_no_path_of_this_machine_and_the_same_bytes_each_time(tmp_path):
    contents = []
    for folder in ("a", "b"):
        torch.manual_seed(0)
        captured = capture(randomise(Deep()), (noise((1, 3, 4, 4)),))
        path = tmp_path / folder / "net.pt2"
        path.parent.mkdir()
        torch.export.save(to_program(captured.module, captured.example_inputs), path)
        contents.append(path.read_bytes())
    assert contents[0] == contents[1]
    for folder in (Path(__file__).parent.parent, Path(torch.__file__).parent, tmp_path):
        assert str(folder).encode() not in contents[0]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_weight_that_is_not_finite_is_named(value):
    network = Deep()
    network.stages[1][0].weight.data[0, 1, 2, 0] = value
    with pytest.raises(BadInput, match=r"stages\.1\.0\.weight: holds NaN or infinite values"):
        capture(network, (noise((1, 3, 4, 4)),))


class Branches(nn.Module):
    """Chooses its path by a value, which no graph can hold."""

    def __init__(self, error=None):
        super().__init__()
        self.error = error

    def forward(self, x):
        if self.error is not None:
            raise self.error
        return x if x.sum() > 0 else -x


@pytest.mark.parametrize("error", [None, ValueError(), ValueError("first line\nsecond line")])
def test_a_network_that_cannot_be_traced_is_one_line(error):
    with pytest.raises(BadInput, match=r"^Branches: torch\.export cannot trace it \(.+\)$") as caught:
        capture(Branches(error), (noise((1, 3)),))
    assert "\n" not in str(caught.value)


def test_capture_leaves_evaluation_mode_and_weights_as_they_are():
    network = randomise(Deep()).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    capture(network, (noise((1, 3, 4, 4)),))
    assert not network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


class Drawing(nn.Module):
    def forward(self, x):
        return x + torch.rand_like(x) + 1


def test_a_graph_that_is_another_network_is_refused():
    with pytest.raises(BadInput, match="Drawing: its graph computes something else than itself at output 0"):
        capture(Drawing(), (noise((1, 3)),))


class ChangesViews(nn.Module):
    """Changes a tensor in place after a view was taken of it, and through a view."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, x):
        y = self.norm(self.conv(x))
        flat = y.view(-1)
        functional.relu_(y)
        y[:, 0] = 7.0
        return flat + 1


def test_changes_in_place_reach_every_view():
    network, x = randomise(ChangesViews()), noise((1, 3, 4, 4))
    captured = capture(network, (x,))
    assert torch.allclose(captured.module(x)[0], network(x), rtol=0, atol=1e-5)
    assert float(network(x).max()) == 8.0
    targets = {str(node.target) for node in captured.module.graph.nodes}
    assert "aten.relu.default" in targets and "aten.relu_.default" not in targets
    assert not any("batch_norm" in target for target in targets)
