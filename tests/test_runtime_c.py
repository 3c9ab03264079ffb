"""C artifacts among the others: verified, faults found and named, and what happens where no compiler is."""

import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from offramp.c_compiler import NoCompiler, compile_library, compiler, kernel_flags
from offramp.errors import BadInput
from offramp.export.c.program import to_c
from offramp.runtime.islands import find_islands
from offramp.runtime.memory import peak_of_file
from offramp.runtime.reference import run_reference
from offramp.runtime.samples import Samples
from offramp.runtime.session import open_session
from offramp.runtime.verify import verify_artifact
from torch import nn

sys.path.append(str(Path(__file__).parent))
from small_networks import noise, quantized

needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="not run: no C compiler (apt-get install gcc)")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(2, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1), nn.GELU(), nn.Flatten(), nn.Linear(128, 4)
    )
    program = quantized(net, (1, 2, 8, 8))
    path = tmp_path_factory.mktemp("c") / "net.c"
    names = program.input_names, program.output_names
    artifact = to_c(program.program, path, input_names=names[0], output_names=names[1], precision="int8")
    samples = Samples({"input_1": noise((20, 2, 8, 8)).numpy()}, None, "noise")
    return program, artifact, samples, run_reference(program.program, *names, samples)


def damaged(made, folder: Path, before: str, after: str):
    """The artifact with a change in its text, verified."""
    program, artifact, samples, reference = made
    path = folder / "net.c"
    text = artifact.path.read_text()
    assert before in text
    path.write_text(text.replace(before, after, 1))
    shutil.copy(artifact.path.with_suffix(".h"), folder / "net.h")
    return verify_artifact(replace(artifact, path=path), reference, samples, program)


@needs_compiler
def test_a_network_is_verified_and_exact(made) -> None:
    program, artifact, samples, reference = made
    verdict = verify_artifact(artifact, reference, samples, program)
    assert verdict.verified, verdict.reasons
    assert (verdict.exact.samples, verdict.exact.equal, verdict.exact.is_owed) == (20, 20, True)
    assert 0 < verdict.exact.program_equal <= 20
    assert verdict.constants.compared == verdict.constants.identical >= 8


@needs_compiler
def test_one_bit_of_a_weight_is_found_and_named(made, tmp_path) -> None:
    text = made[1].path.read_text()
    start = text.index("0x", text.index("conv2d_1_weights["))
    word = text[start : start + 18]
    other = f"0x{int(word, 16) ^ (1 << 6):016x}"
    verdict = damaged(
        made,
        tmp_path,
        text[text.index("conv2d_1_weights[") : start + 18],
        text[text.index("conv2d_1_weights[") : start] + other,
    )
    assert not verdict.verified
    assert verdict.constants.differing == ("conv2d_1",)
    assert verdict.exact.fault


@needs_compiler
def test_a_layer_that_clamps_too_high_is_located(made, tmp_path) -> None:
    verdict = damaged(made, tmp_path, ".low = -128", ".low = 90")
    assert not verdict.verified
    assert verdict.first_difference is not None
    assert (verdict.first_difference.value, verdict.first_difference.module) == ("relu", "1")


@needs_compiler
def test_a_source_that_does_not_compile_is_one_line(made, tmp_path) -> None:
    path = tmp_path / "net.c"
    path.write_text(made[1].path.read_text().replace("static uint8_t arena", "static uint8_t aren", 1))
    shutil.copy(made[1].path.with_suffix(".h"), tmp_path / "net.h")
    with pytest.raises(BadInput, match=r"net.c: cc refuses it \(.*arena") as fault:
        open_session(path).run({"input_1": noise((1, 2, 8, 8)).numpy()})
    assert "\n" not in str(fault.value)


def test_without_a_compiler_nothing_is_verified(made, monkeypatch) -> None:
    program, artifact, samples, reference = made
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.delenv("CC", raising=False)
    verdict = verify_artifact(artifact, reference, samples, program)
    assert not verdict.verified
    assert verdict.reasons == (
        "it was not executed: no C compiler is found (cc, gcc or clang); install one, as with apt-get install gcc, "
        "or name one in CC",
    )
    assert not verdict.engines[0].ran


def test_the_compiler_is_what_cc_names(monkeypatch) -> None:
    monkeypatch.setenv("CC", f"{os.path.basename(sys.executable)} -m nothing")
    monkeypatch.setenv("PATH", os.path.dirname(sys.executable))
    assert compiler()[1:] == ["-m", "nothing"]
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(NoCompiler, match="CC=no-such-compiler is not found"):
        compiler()


def test_kernels_that_the_processor_lacks_are_refused(monkeypatch) -> None:
    monkeypatch.setattr("offramp.c_compiler.processor_flags", frozenset)
    with pytest.raises(BadInput, match=r"kernels avx512: this processor has no avx512bw"):
        kernel_flags("avx512")
    with pytest.raises(BadInput, match=r"kernels sse9: unknown; choose from native"):
        kernel_flags("sse9")


@pytest.mark.skipif(os.name != "posix", reason="not run: needs a shell script")
def test_a_compiler_without_the_instruction_set_is_named(tmp_path, monkeypatch) -> None:
    script = tmp_path / "old-cc"
    script.write_text("#!/bin/sh\necho \"error: bad value 'native' for '-march=' switch\" >&2\nexit 1\n")
    script.chmod(0o755)
    monkeypatch.setenv("CC", str(script))
    with pytest.raises(NoCompiler, match=r"does not know the native kernels' instruction set .*; take a newer one"):
        compile_library([tmp_path / "net.c"], tmp_path / "net.so")


def test_memory_and_islands_are_read_from_the_source(made) -> None:
    artifact = made[1]
    border = 4 * (2 * 8 * 8 + 4)
    assert peak_of_file(artifact.path).size_bytes == int(artifact.details["arena_bytes"]) + border
    assert find_islands(artifact.path).integer_mac_share == 1.0
