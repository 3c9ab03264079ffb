"""Linear layers on tokens in ONNX: Gemm on rows that ONNX Runtime computes in integers, with nothing else changed."""

import sys
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from offramp.export import onnx as exporter
from offramp.export.onnx import to_onnx
from offramp.runtime.constants import compare_constants
from offramp.runtime.islands import find_islands
from offramp.runtime.onnx_session import OnnxSession
from torch import nn

sys.path.append(str(Path(__file__).parent))
from small_networks import noise, quantized

TOKENS = (1, 6, 8)


class Tokens(nn.Module):
    """Two layers read the same tokens, which a sum reads too; one has no bias, one is read in float by a norm."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(8, 12), nn.Linear(8, 12, bias=False)
        self.norm, self.last = nn.LayerNorm(12), nn.Linear(12, 8)

    def forward(self, x):
        mixed = torch.relu(self.first(x)) * self.second(x)
        return x + self.last(self.norm(mixed))


class Map(nn.Module):
    """Channels last in four dimensions; the output is the layer's own."""

    def __init__(self):
        super().__init__()
        self.only = nn.Linear(4, 3)

    def forward(self, x):
        return self.only(x.permute(0, 2, 3, 1))


NETWORKS = {"tokens": (Tokens, TOKENS), "map": (Map, (1, 4, 5, 6))}


@pytest.fixture(scope="module", params=NETWORKS)
def written(request, tmp_path_factory):
    """(program, file with rows, file without, shape of the input)."""
    network, shape = NETWORKS[request.param]
    torch.manual_seed(0)
    program = quantized(network(), shape)
    folder = tmp_path_factory.mktemp(request.param)
    names = {"input_names": program.input_names, "output_names": program.output_names, "precision": "int8"}
    rows = to_onnx(program.program, folder / "rows.onnx", **names)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exporter, "linear_as_gemm", lambda model: None)
        plain = to_onnx(program.program, folder / "plain.onnx", **names)
    return program, rows, plain, shape


def kinds(path):
    return Counter(node.op_type for node in onnx.load(path).graph.node)


def test_every_linear_layer_is_a_gemm_and_an_integer_one(written):
    program, rows, plain, _ = written
    layers = sum(node.target == torch.ops.aten.linear.default for node in program.program.graph.nodes)
    assert (kinds(plain.path)["MatMul"], kinds(plain.path)["Gemm"]) == (layers, 0)
    assert (kinds(rows.path)["MatMul"], kinds(rows.path)["Gemm"]) == (0, layers)
    assert find_islands(rows.path, rows.modules).integer_mac_share == 1.0
    assert find_islands(plain.path, plain.modules).integer_mac_share < 0.5


def test_values_are_those_of_the_program_and_of_the_plain_form(written):
    program, rows, plain, shape = written
    (step,) = program.output_steps()
    for seed in range(6):
        x = noise(shape, seed)
        found, before = (
            OnnxSession(artifact.path).intermediates({program.input_names[0]: x.numpy()})[program.output_names[0]]
            for artifact in (rows, plain)
        )
        assert found.shape == before.shape == tuple(program(x)[0].shape)
        np.testing.assert_array_equal(found, before)
        assert np.abs(found - program(x)[0].numpy()).max() <= step * 1.001


def test_every_integer_and_scale_reads_back_identical(written):
    program, rows, _, _ = written
    check = compare_constants(program, rows)
    assert (check.differing, check.missing, check.holds) == ((), (), True)


def test_no_value_that_the_plain_form_names_is_lost(written):
    """But for what lies between a product and its bias."""
    _, rows, plain, _ = written
    lost = {name for node in onnx.load(plain.path).graph.node for name in node.output}
    lost -= {name for node in onnx.load(rows.path).graph.node for name in node.output}
    inner = [node for node in onnx.load(plain.path).graph.node if node.op_type in ("MatMul", "Transpose")]
    assert lost <= {name for node in inner for name in node.output}


def test_an_open_batch_gives_every_row_as_if_alone(written, tmp_path):
    program, _, _, shape = written
    names = {"input_names": program.input_names, "output_names": program.output_names}
    artifact = to_onnx(program.program, tmp_path / "net.onnx", **names, precision="int8", dynamic_batch=True)
    session, batch = OnnxSession(artifact.path), noise((3, *shape[1:])).numpy()
    (name,) = program.input_names
    (together,) = session.run({name: batch}).values()
    alone = np.concatenate([*(next(iter(session.run({name: row[None]}).values())) for row in batch)])
    np.testing.assert_array_equal(together, alone)


def test_names_of_the_users_choice_are_left_to_the_user(tmp_path):
    program = quantized(nn.Sequential(nn.Linear(8, 4)), TOKENS)
    plain = to_onnx(program.program, tmp_path / "a.onnx", input_names=("x",), output_names=("y",), precision="int8")
    made = next(node.output[0] for node in onnx.load(plain.path).graph.node if node.op_type == "Reshape")
    named = to_onnx(program.program, tmp_path / "b.onnx", input_names=("x",), output_names=(made,), precision="int8")
    x = {"x": noise(TOKENS).numpy()}
    np.testing.assert_array_equal(OnnxSession(named.path).run(x)[made], OnnxSession(plain.path).run(x)["y"])
