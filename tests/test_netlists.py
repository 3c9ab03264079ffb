"""`offramp netlist`: a network of ±1 becomes gates that are proved equal, or is refused; files are held to them."""

import json
import shutil
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from offramp import netlists
from offramp.benchmarks.logic import FULL_ADDER
from offramp.benchmarks.logic_networks_section import section
from offramp.c_compiler import NoCompiler, compiler
from offramp.cli_netlist import netlist
from offramp.errors import BadInput
from offramp.export.logic import Circuit, Netlist, evaluate, from_layers, write_blif, write_netlist
from offramp.netlists import netlist_of
from offramp.options import Options
from offramp.quant.capture import capture
from offramp.runtime.logic_chunked import run_chunked
from offramp.runtime.logic_reference import run_signs
from offramp.storage import sha256_of
from offramp.verbs import Verbs
from torch import nn

sys.path.append(str(Path(__file__).parent))
from random_netlists import all_bits
from tiny_networks import write_network

VERB = Verbs("offramp", commands={"netlist": netlist})
SIGNS = """
class Where(nn.Module):
    def forward(self, x):
        return torch.where(x > 0, 1.0, -1.0)

class Sign(nn.Module):
    def forward(self, x):
        return torch.sign(x)

def layers(sign, *rows):
    made = []
    for row in rows:
        linear = nn.Linear(len(row[0]) - 1, len(row))
        matrix = torch.tensor(row, dtype=torch.float32)
        with torch.no_grad():
            linear.weight.copy_(matrix[:, :-1])
            linear.bias.copy_(-matrix[:, -1])
        made += [linear, sign()]
    return nn.Sequential(*made).eval(), (torch.ones(1, len(rows[0][0]) - 1),)
"""
ADDER = f"layers(Where, {FULL_ADDER[0].tolist()}, {FULL_ADDER[1].tolist()})"


def _has_compiler() -> bool:
    try:
        compiler()
    except NoCompiler:
        return False
    return True


pytestmark = pytest.mark.skipif(not _has_compiler(), reason="not run: no C compiler")


@pytest.fixture(scope="module")
def adder(site) -> str:
    return write_network(site, "adder_net", SIGNS, ADDER)


def options(tmp_path: Path, **others) -> Options:
    return Options(out=tmp_path / "netlists", runs=tmp_path / "runs", measure=False, **others)


def invoke(*arguments: object, code: int = 0):
    result = CliRunner().invoke(VERB, [str(argument) for argument in arguments])
    assert result.exit_code == code, (result.output, result.exception)
    return result


def test_a_full_adder_becomes_three_gates_proved_equal_in_every_form(adder, tmp_path) -> None:
    forms = ("blif", "verilog", "c", "chunked")
    document = netlist_of(adder, options(tmp_path), forms)
    assert (document["name"], document["inputs"][:1], document["outputs"]) == (
        "adder_net",
        ["in[0]"],
        ["out[0]", "out[1]"],
    )
    # Rows of the sum's and carry's weights: 3 + 3 + 1 and 3 + 1; as matrices 3 by 3 and 2 by 3.
    assert (document["neurons"], document["nonzero_weights"], document["dense_macs"]) == (5, 11, 15)
    assert (document["gates"], document["gates_by_kind"], document["depth"]) == (3, {"majority": 3}, 2)
    assert [row["form"] for row in document["files"]] == list(forms)
    assert document["verified"]
    assert all(row["verified"] and row["not_verified_because"] is None for row in document["files"])
    assert {(proof["method"], proof["equal"], proof["tried"]) for proof in document["proofs"]} == {
        ("all inputs", True, 8)
    }
    folder = tmp_path / "netlists" / "adder_net"
    for row in document["files"]:
        assert row["bytes"] == sum((folder / name).stat().st_size for name in row["sha256"])
        assert all(sha256_of(folder / name) == found for name, found in row["sha256"].items())
    written = {path.name for path in folder.iterdir()} - {"netlist.json"}
    assert written == {name for row in document["files"] for name in row["sha256"]}
    assert json.loads((folder / "netlist.json").read_text()) | {"folder": str(folder)} == document


def test_the_verb_prints_one_document_and_times_the_c(adder, tmp_path) -> None:
    result = invoke("netlist", adder, "--form", "c", "--out", tmp_path, "--json")
    document = json.loads(result.stdout.splitlines()[-1])
    speed = document["evaluations_per_second"]
    assert speed["packed"] > speed["bytes"] > 1e5
    assert all(line.startswith("·") for line in result.stderr.splitlines())
    shown = invoke("netlist", adder, "--form", "blif", "--out", tmp_path).stdout
    for said in (
        "5 neurons, 11 weights that are not 0 of 15",
        "3 gates of depth 2: 3 majority",
        "all 2^3 inputs",
        "proved",
    ):
        assert said in shown


def test_equal_networks_give_equal_files(adder, tmp_path) -> None:
    first, second = (netlist_of(adder, options(tmp_path / name), ("blif", "verilog", "chunked")) for name in ("a", "b"))
    assert [row["sha256"] for row in first["files"]] == [row["sha256"] for row in second["files"]]


def test_networks_too_wide_for_all_inputs_are_proved_by_sat_and_tried_in_pytorch(site, tmp_path) -> None:
    body = f"""{SIGNS}
def wide():
    draws = torch.Generator().manual_seed(0)
    rows = []
    for before, after in ((30, 20), (20, 8)):
        matrix = torch.zeros(after, before + 1)
        for row in matrix:
            row[torch.randperm(before + 1, generator=draws)[:3]] = torch.tensor([1.0, -1.0, 1.0])
        rows.append(matrix.tolist())
    return layers(Where, *rows)
"""
    document = netlist_of(write_network(site, "wide_net", body, "wide()"), options(tmp_path), ("blif", "chunked"))
    assert document["verified"]
    assert document["nonzero_weights"] <= 3 * 28 and document["dense_macs"] == 30 * 20 + 20 * 8
    methods = [(proof["what"], proof["method"], proof["proved"]) for proof in document["proofs"]]
    assert methods == [
        ("the netlist and its neurons, each by its sum", "SAT", True),
        ("the netlist and the network in PyTorch", "random inputs", False),
        ("the netlist and wide_net.blif", "SAT", True),
        ("the netlist and wide_net_chunked.c", "random inputs", False),
    ]


def test_ties_are_refused_unless_a_sign_is_chosen_for_them(site, tmp_path) -> None:
    reference = write_network(site, "tie_net", SIGNS, "layers(Sign, [[1, 1, 0], [1, -1, 0]], [[1, 1, 0]])")
    with pytest.raises(BadInput, match=r"^1, neuron 0: its sum can be 0, which has no sign"):
        netlist_of(reference, options(tmp_path))
    found = {ties: netlist_of(reference, options(tmp_path), ("blif",), ties) for ties in ("plus", "minus")}
    assert all(document["verified"] for document in found.values())
    # plus: (a | b) | (a | ~b) is 1; minus: (a & b) & (a & ~b) is 0.
    assert all(document["gates"] == 0 for document in found.values())
    result = invoke("netlist", reference, "--out", tmp_path / "netlists", code=2)
    assert "its sum can be 0" in result.stderr and result.stderr.count("error:") == 1


def test_what_is_no_logic_network_is_refused_by_the_name_of_the_layer(site, tmp_path) -> None:
    relu = write_network(
        site, "relu_net", SIGNS, "ready(lambda: nn.Sequential(nn.Linear(4, 2), nn.ReLU()), torch.ones(1, 4))"
    )
    with pytest.raises(Exception, match=r"^1: a netlist has no form of aten.relu.default; a logic network is made of"):
        netlist_of(relu, options(tmp_path))
    real = write_network(
        site, "real_net", SIGNS, "layers(Where, [[1, 0.83, 0.71, 0.53, 0.41, 0.31, 0.23, 0.17, 0.013]])"
    )
    with pytest.raises(BadInput, match="neuron 0: no weights of sizes up to 7 give the same signs"):
        netlist_of(real, options(tmp_path))
    assert not (tmp_path / "netlists").exists()
    document = netlist_of(real, options(tmp_path), ("blif",), largest=15)
    assert document["verified"] and document["proofs"][1]["what"] == "the netlist and the network in PyTorch"


def test_samples_must_be_signs_and_are_run_as_well(adder, tmp_path) -> None:
    signs = np.where(all_bits(3), 1, -1).astype(np.float32)
    np.savez(tmp_path / "signs.npz", input=np.tile(signs, (4, 1)))
    document = netlist_of(adder, options(tmp_path, data=str(tmp_path / "signs.npz")), ("blif",))
    proof = next(proof for proof in document["proofs"] if "signs.npz" in proof["what"])
    assert (proof["method"], proof["equal"], proof["proved"]) == ("held-out inputs", True, False)
    np.savez(tmp_path / "bits.npz", input=np.tile(all_bits(3).astype(np.float32), (4, 1)))
    with pytest.raises(BadInput, match=r"bits.npz: values must all be \+1 or -1, as a logic network takes them"):
        netlist_of(adder, options(tmp_path, data=str(tmp_path / "bits.npz")), ("blif",))


def test_a_blif_file_is_simplified_and_written_anew(tmp_path) -> None:
    text = ".model m\n.inputs a b c\n.outputs y z\n.names a b t\n11 1\n.names b a u\n11 1\n.names t u y\n1- 1\n-1 1\n"
    (tmp_path / "twice.blif").write_text(f"{text}.names c v\n0 1\n.names v z\n0 1\n.end\n")
    document = netlist_of(str(tmp_path / "twice.blif"), options(tmp_path), ("blif", "verilog"))
    assert (document["neurons"], document["gates"], document["gates_by_kind"]) == (None, 1, {"and": 1})
    assert (document["inputs"], document["outputs"]) == (["a", "b", "c"], ["y", "z"])
    assert document["proofs"][0]["what"] == "the netlist and the gates of the file"
    assert document["verified"]
    again = netlist_of(str(tmp_path / "netlists" / "twice" / "twice.blif"), options(tmp_path / "again"), ("blif",))
    assert again["verified"] and again["gates"] == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (".model m\n.inputs a\n.outputs y\n.names a y\n1 1", r"bad.blif: no .end, so its end may be missing"),
        (".model m\n.inputs a\n.outputs y\n.latch a y\n.end\n", r"bad.blif, line 4: .latch holds memory"),
        (b"\xff\xfe", r"bad.blif: is no text \(invalid start byte\); restore the file"),
        (None, r"bad.blif: no such file"),
    ],
)
def test_a_damaged_blif_file_is_refused_by_its_line(text, message, tmp_path) -> None:
    path = tmp_path / "bad.blif"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    result = invoke("netlist", path, "--out", tmp_path / "out", code=2)
    with pytest.raises(BadInput, match=message):
        netlist_of(str(path), options(tmp_path))
    assert result.stderr.startswith("error: ") and not (tmp_path / "out").exists()


def test_options_that_gates_do_not_take_are_refused(adder, tmp_path) -> None:
    path = write_blif(Circuit("m", from_layers(FULL_ADDER), ("a", "b", "c"), ("s", "t")), tmp_path / "m.blif").path
    with pytest.raises(BadInput, match=r"--ties plus: .*m\.blif holds gates, which have no sums; leave it out"):
        netlist_of(str(path), options(tmp_path), ties="plus")
    with pytest.raises(BadInput, match=r"--data digits: .*m\.blif holds gates, which learn from no data; leave it out"):
        netlist_of(str(path), options(tmp_path, data="digits"))
    with pytest.raises(BadInput, match="form edif: unknown; choose from blif, verilog, c, chunked"):
        netlist_of(str(path), options(tmp_path), ("edif",))
    with pytest.raises(BadInput, match=r"form \(none\): unknown"):
        netlist_of(str(path), options(tmp_path), ())
    with pytest.raises(BadInput, match="ties up: unknown; choose from refuse, plus, minus"):
        netlist_of(adder, options(tmp_path), ties="up")


def test_without_a_compiler_the_rest_is_written_and_the_c_is_said_not_to_have_run(adder, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")
    result = invoke(
        "netlist", adder, "--form", "blif", "--form", "c", "--form", "chunked", "--out", tmp_path, "--json", code=1
    )
    document = json.loads(result.stdout)
    rows = {row["form"]: row for row in document["files"]}
    assert rows["blif"]["verified"] and not document["verified"]
    for form in ("c", "chunked"):
        assert rows[form]["not_verified_because"].startswith("not run: CC=no-such-compiler is not found; install one")
        assert (tmp_path / "adder_net" / rows[form]["path"]).is_file()
    assert document["evaluations_per_second"] is None
    shown = invoke("netlist", adder, "--form", "c", "--out", tmp_path, code=1).stdout
    assert "adder_net.c: not run: CC=no-such-compiler is not found" in shown


def test_without_a_simulator_verilog_is_proved_by_reading_it(adder, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    said: list[str] = []
    document = netlist_of(adder, options(tmp_path), ("verilog",), say=said.append)
    assert [proof["what"] for proof in document["proofs"]][2:] == ["the netlist and adder_net.v"]
    assert document["verified"]
    assert any(line.startswith("not simulated as well: no Verilog simulator is found (iverilog)") for line in said)


@pytest.mark.skipif(shutil.which("iverilog") is None, reason="not run: iverilog is not installed")
def test_with_a_simulator_verilog_is_simulated_too(adder, tmp_path) -> None:
    document = netlist_of(adder, options(tmp_path), ("verilog",))
    assert document["proofs"][-1]["what"] == "the netlist and adder_net.v in Icarus Verilog"
    assert document["proofs"][-1]["proved"]


@pytest.mark.parametrize(
    ("form", "writer"), [("blif", "write_blif"), ("verilog", "write_verilog"), ("c", "write_netlist")]
)
def test_a_file_that_computes_something_else_is_found_out(form, writer, adder, tmp_path, monkeypatch) -> None:
    write = getattr(netlists, writer)

    def wrong(made, *rest):
        inner = made.netlist if isinstance(made, Circuit) else made
        other = Netlist(inner.inputs, inner.tables ^ [0, 0, 0x80], inner.operands, inner.outputs, inner.inverted)
        return write(
            Circuit(made.name, other, made.inputs, made.outputs) if isinstance(made, Circuit) else other, *rest
        )

    monkeypatch.setattr(netlists, writer, wrong)
    shown = invoke("netlist", adder, "--form", form, "--out", tmp_path, code=1).stdout
    assert "not equal" in shown and "differ for +++" in shown
    document = json.loads((tmp_path / "adder_net" / "netlist.json").read_text())
    assert document["files"][0]["not_verified_because"].startswith("it computes something else")
    proof = next(proof for proof in document["proofs"] if proof["what"].startswith("the netlist and adder_net."))
    assert (proof["equal"], proof["counterexample"]) == (False, [1, 1, 1])  # where the last gate reads three ones


def test_gates_that_were_read_wrong_are_found_out(adder, tmp_path, monkeypatch) -> None:
    read = netlists.read_program

    def wrong(program, largest, ties):
        found = read(program, largest, ties)
        inner = found.netlist
        other = Netlist(inner.inputs, inner.tables, inner.operands, inner.outputs, ~inner.inverted)
        return type(found)(other, found.layers, found.inverse, found.levels)

    monkeypatch.setattr(netlists, "read_program", wrong)
    document = netlist_of(adder, options(tmp_path), ("blif",))
    assert [proof["equal"] for proof in document["proofs"]] == [False, False, True]
    assert not document["verified"] and document["files"][0]["verified"]


def test_a_folder_with_other_things_is_left_alone(adder, tmp_path) -> None:
    folder = tmp_path / "netlists" / "adder_net"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text("{}")
    with pytest.raises(BadInput, match="adder_net: holds something that is no netlist; choose another --out"):
        netlist_of(adder, options(tmp_path))
    assert [path.name for path in folder.iterdir()] == ["manifest.json"]
    (folder / "manifest.json").unlink()
    assert netlist_of(adder, options(tmp_path), ("blif",))["verified"]
    assert netlist_of(adder, options(tmp_path), ("verilog",))["verified"]  # over an earlier one
    assert sorted(path.name for path in folder.iterdir()) == ["adder_net.v", "netlist.json"]


def test_outputs_of_other_levels_and_inverted_ones_are_held_to_the_network(site, tmp_path) -> None:
    body = f"""{SIGNS}
class Levels(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = layers(Where, [[1, 1, 1, 0], [1, -1, 0, 1]])[0]
        self.outer = nn.Linear(2, 1)
        with torch.no_grad():
            self.outer.weight.copy_(torch.tensor([[1.0, 1.0]]))
            self.outer.bias.fill_(1.0)

    def forward(self, bits):
        return 3 - 2 * (self.outer(self.inner(bits)) <= 0).float()
"""
    reference = write_network(site, "levels_net", body, "ready(Levels, torch.ones(1, 3))")
    document = netlist_of(reference, options(tmp_path), ("blif",))
    assert document["verified"] and document["inputs"] == ["bits[0]", "bits[1]", "bits[2]"]
    assert document["outputs"] == ["out"]


def test_pytorch_computes_a_sign_of_nothing_as_it_was_chosen() -> None:
    module = nn.Sequential(nn.Linear(2, 1, bias=False))
    with torch.no_grad():
        module[0].weight.fill_(1.0)

    class Signed(nn.Module):
        def __init__(self):
            super().__init__()
            self.sums = module

        def forward(self, x):
            return torch.sign(self.sums(x))

    captured = capture(Signed(), (torch.ones(1, 2),))
    x = np.array([[1, 1], [1, -1], [-1, -1]])
    for ties, zero in (("refuse", 0), ("plus", 1), ("minus", -1)):
        np.testing.assert_array_equal(run_signs(captured.module, x, (1, 2), ties), [[1], [zero], [-1]])


def test_chunked_c_runs_here_and_other_files_do_not(tmp_path) -> None:
    generator = np.random.default_rng(3)
    rows = [np.zeros((after, before + 1), np.int64) for before, after in pairwise((10, 20, 7))]
    for layer in rows:
        for row in layer:
            row[generator.choice(len(row), 3, replace=False)] = generator.choice((-1, 1), 3)
    made = from_layers(rows)
    path = write_netlist(made, tmp_path / "small.c", "chunked").path
    for count in (1, 31, 32, 100):
        x = generator.integers(0, 2, (count, 10)).astype(bool)
        np.testing.assert_array_equal(run_chunked(path, x), evaluate(made, x))
    with pytest.raises(BadInput, match=r"inputs must have shape \(N, 10\), got \(4, 3\)"):
        run_chunked(path, np.ones((4, 3), bool))
    table = write_netlist(made, tmp_path / "table.c").path
    with pytest.raises(BadInput, match=r"table.h: is no netlist in chunked form; write it with form chunked"):
        run_chunked(table, np.ones((4, 10), bool))


def test_the_page_shows_each_network_with_its_ratios() -> None:
    rates = {"c portable": 4e6, "c avx2": 8e6, "c from bytes": 1e6}
    rates |= {f"onnx {kind} {batch}": 1e6 / batch for kind in ("float32", "int8") for batch in (1, 4)}
    row = {
        **{"name": "net", "neurons": 5, "dense_macs": 15, "nonzero_weights": 11, "gates": 3, "depth": 2},
        "proof": {"method": "all inputs", "inputs": 3},
        "evaluations_per_second": rates,
        "noisy": ["c avx2"],
    }
    record = {
        "machine": "here",
        "compiler": "cc",
        "onnxruntime": "1",
        "samples": 4,
        "trained": ["net"],
        "networks": [row],
    }
    page = section(record)
    assert "| gates | 3 |" in page and "| proved by | all 2^3 inputs |" in page
    assert "| C, 256, AVX2, million evaluations/s | 8* |" in page and "AVX-512" not in page
    assert "| C over ONNX Runtime, int8, batch 4 | 32 |" in page
    assert "| C from bytes over ONNX Runtime, float32, batch 4 | 4 |" in page
