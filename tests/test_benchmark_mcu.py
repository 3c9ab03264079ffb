"""The benchmark on an emulated microcontroller: its arithmetic, its peer where it is installed, and its record."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from offramp.benchmarks import mcu, peer_mcu
from offramp.benchmarks.untrained import measure_norms
from offramp.devices.boards.emulated import run_on
from offramp.errors import BadInput, UnsupportedOperator
from offramp.quant.capture import capture
from offramp.quant.integer.evaluate import evaluate
from offramp.quant.integer.lowering import integer_program
from offramp.quant.integer.operations import IntegerProgram
from offramp.quant.quantize import quantize
from offramp.storage import read_json
from torch import nn

sys.path.append(str(Path(__file__).parent))
from needs import need_board
from small_networks import QUICK, randomise, samples_of

RECORD = Path(__file__).resolve().parent.parent / "benchmarks" / "recorded" / "mcu.json"
IMAGE = (1, 4, 8, 8)


class Small(nn.Module):
    """Every operation that the peer is given: strides padded behind only, as TensorFlow pads, a sum and a mean."""

    def __init__(self):
        super().__init__()
        self.pad = nn.ZeroPad2d((0, 1, 0, 1))
        self.stem = nn.Sequential(nn.Conv2d(4, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU())
        self.depthwise = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.BatchNorm2d(8), nn.ReLU())
        self.pointwise = nn.Conv2d(8, 8, 1)
        self.classify = nn.Linear(8, 6)

    def forward(self, x):
        x = self.stem(self.pad(x))
        return self.classify((self.pointwise(self.depthwise(x)) + x).mean((2, 3)))


class Grouped(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, groups=2)

    def forward(self, x):
        return self.conv(x)


@pytest.fixture
def peer():
    if reason := peer_mcu.missing():
        pytest.skip(f"not run: {reason}")


def program_of(network: nn.Module) -> IntegerProgram:
    torch.manual_seed(0)
    samples = samples_of(IMAGE)
    quantized = quantize(capture(randomise(network), samples[0], None, None), samples, QUICK)
    return integer_program(quantized.program, quantized.input_names, quantized.output_names, integer_border=True)


def codes_for(program: IntegerProgram) -> np.ndarray:
    """int8 (3, *shape of the input)."""
    meaning = program.inputs[0].meaning
    return np.concatenate([meaning.codes(x.numpy()) for (x,) in samples_of(IMAGE, count=3)])


def row(who: str, instructions: int, flash: int, ram: int) -> dict:
    return {"who": who, "instructions": instructions, "flash": flash, "ram": ram}


def test_of_the_peers_variants_each_figure_takes_the_least():
    rows = [row("ours", 100, 10, 4), row("peer", 300, 20, 8), row("peer", 200, 30, 2)]
    assert mcu.ratios("net", rows) == {"instructions_net": 2.0, "flash_net": 2.0, "ram_net": 0.5}


def test_channels_of_a_position_come_to_lie_side_by_side():
    samples = np.arange(2 * 3 * 2 * 2, dtype=np.int8).reshape(2, 3, 2, 2)
    moved = mcu.channels_last(samples)
    assert moved.shape == (2, 12) and moved[1, :3].tolist() == samples[1, :, 0, 0].tolist()
    assert mcu.channels_last(samples.reshape(2, 12)).tolist() == samples.reshape(2, 12).tolist()


def test_norms_take_the_statistics_of_the_inputs():
    norm = nn.BatchNorm2d(4)
    inputs = samples_of(IMAGE)
    measure_norms(nn.Sequential(norm), inputs)
    assert torch.allclose(norm.running_mean, torch.cat([x for (x,) in inputs]).mean((0, 2, 3)), atol=1e-6)
    assert not norm.training


def test_a_missing_peer_says_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setattr(peer_mcu, "find_spec", lambda name: None)
    assert "pip install bakenn==" in (peer_mcu.missing() or "")
    with pytest.raises(BadInput, match="pip install bakenn"):
        peer_mcu.compile_peer(program_of(Small()), "small", tmp_path)


def test_another_version_of_the_peer_is_another_peer(monkeypatch):
    monkeypatch.setattr(peer_mcu, "find_spec", lambda name: object())
    monkeypatch.setattr(peer_mcu, "version", lambda name: "9.9.9")
    assert "9.9.9" in (peer_mcu.missing() or "")


@pytest.mark.parametrize("linear", ["tensor", "channel"])
def test_the_peer_is_given_the_same_network(peer, tmp_path, linear):
    """Its reference differs by its rounding alone, and by that of an average to a coarser scale."""
    program = program_of(Small())
    found = peer_mcu.compile_peer(program, "small", tmp_path, linear)
    for sample in codes_for(program):
        (wanted,) = evaluate(program, [sample[None]])
        assert np.abs(found.reference(sample[None]).astype(int) - wanted.reshape(-1)).max() <= 4
    assert found.kernels["cmsis_nn.conv2d_s8.v4.0.0"] == 2
    assert found.kernels["cmsis_nn.depthwise_conv2d_s8.v4.0.0"] == 1


def test_the_peers_c_computes_what_its_reference_does(peer, tmp_path):
    """Above all where its kernels are called for a padding that its compiler would not call them for."""
    need_board(mcu.BOARD)
    program = program_of(Small())
    samples = codes_for(program)
    for level in (None, "O3"):
        folder = tmp_path / str(level)
        folder.mkdir()
        found = peer_mcu.compile_peer(program, "small", folder, optimize=level)
        run = run_on(mcu.BOARD, found.artifact, [mcu.channels_last(samples)])
        wanted = [found.reference(sample[None]) for sample in samples]
        assert run.outputs["output"].reshape(3, -1).tolist() == [codes.tolist() for codes in wanted]
        assert run.ram_bytes == found.arena_bytes
        assert run.by_function["arm_convolve_s8"] if level is None else run.instructions > 0


def test_the_peers_own_choice_of_kernels_is_left_as_it_was(peer, tmp_path):
    from bakenn.backend.portable_c.families import conv

    kept = conv._symmetric_padding
    peer_mcu.compile_peer(program_of(Small()), "small", tmp_path)
    assert conv._symmetric_padding is kept and not kept((0, 1, 0, 1))


def test_what_the_peer_cannot_compute_is_named(peer, tmp_path):
    with pytest.raises(UnsupportedOperator, match="conv"):
        peer_mcu.compile_peer(program_of(Grouped()), "grouped", tmp_path)


def test_without_its_peer_the_benchmark_does_not_run(monkeypatch, capsys):
    monkeypatch.setattr(mcu, "missing", lambda: "no peer")
    with pytest.raises(SystemExit) as ending:
        mcu.main([])
    assert ending.value.code == 1 and "not run: no peer" in capsys.readouterr().err


def test_no_variant_of_the_peer_takes_fewer_instructions():
    record = read_json(RECORD)
    assert [network["network"] for network in record["networks"]] == list(mcu.NETWORKS)
    for network in record["networks"]:
        ours, *peers = network["rows"]
        assert ours["who"] == "ours" and ours["same_codes"] == 1.0
        assert all(row["instructions"] >= ours["instructions"] for row in peers)
        found = {key: round(value, 3) for key, value in mcu.ratios(network["network"], network["rows"]).items()}
        assert found.items() <= record["ratios"].items()
