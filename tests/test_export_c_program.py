"""C sources as a whole: the same bytes for the same program, no warnings, limits, and what they say of themselves."""

import ctypes
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from offramp.c_compiler import WARNINGS, runnable_kernels
from offramp.errors import BadInput, UnsupportedOperator
from offramp.export.c.kernels import ORDER, source_of
from offramp.export.c.program import source_of_program, to_c
from offramp.export.c.text import array, identifier, real
from offramp.foreign import describe_file
from offramp.quant.capture import capture, to_program
from offramp.quant.integer.evaluate import evaluate
from offramp.quant.integer.lowering import integer_program
from offramp.runtime.c_session import CSession
from offramp.runtime.c_source import read_c_source
from offramp.runtime.macs import count_c, count_program
from torch import nn

sys.path.append(str(Path(__file__).parent))
from small_networks import program_of, quantized, quantized_system, samples_of

needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="not run: no C compiler (apt-get install gcc)")


def written(program, folder: Path, name: str = "net", **options):
    return to_c(
        program.program,
        folder / f"{name}.c",
        input_names=program.input_names,
        output_names=program.output_names,
        precision="int8",
        **options,
    )


@pytest.fixture(scope="module")
def small():
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.Flatten(), nn.Linear(128, 5)
    )
    return quantized(net, (1, 3, 8, 8))


def test_the_same_program_gives_the_same_bytes(small, tmp_path) -> None:
    first, second = written(small, tmp_path / "a"), written(small, tmp_path / "b")
    assert first.sha256 == second.sha256
    assert first.path.with_suffix(".h").read_bytes() == second.path.with_suffix(".h").read_bytes()


def test_a_file_name_becomes_identifiers(small, tmp_path) -> None:
    artifact = written(small, tmp_path, "My-net.v2")
    assert '#include "My-net.v2.h"' in artifact.path.read_text()
    assert "void my_net_v2_run(const float *input_1, float *output);" in artifact.path.with_suffix(".h").read_text()


@needs_compiler
@pytest.mark.parametrize(("name", "wanted"), [("bireal_xs", "binary"), ("resnet8", "int8")])
def test_a_file_by_itself_says_its_bits(name, wanted, tmp_path) -> None:
    row = describe_file(written(quantized_system(name, wanted), tmp_path, name).path)
    assert row["precision"] == wanted
    assert row["integer_mac_share"] == 1.0
    assert row["islands"] == []


@pytest.mark.parametrize(
    ("name", "wanted"), [("a.b-c", "a_b_c"), ("2x", "net_2x"), ("float", "float_"), ("é", "value")]
)
def test_names_are_identifiers_of_c(name, wanted) -> None:
    assert identifier(name) == wanted


@pytest.mark.parametrize("value", [0.1, 1e-30, 3.4e38, -2.5, 2.0**-20, 1.0, 0.0, 1 / 3, 16777216.0])
def test_numbers_are_read_back_exactly(value) -> None:
    text = real(value)
    assert text.endswith("f")
    plain = text.removesuffix("f")
    assert np.float32(float.fromhex(plain) if "0x" in plain else float(plain)) == np.float32(value)


def test_the_least_int32_is_no_literal() -> None:
    assert "-2147483647 - 1" in array("int32_t", "a", np.array([-(2**31)]))


@needs_compiler
@pytest.mark.parametrize("compiler", ["cc", "clang"])
@pytest.mark.parametrize(("name", "bits"), [("resnet8", "int8"), ("care_xxs", "int8"), ("bireal_xs", "binary")])
def test_sources_compile_without_a_warning(name, bits, compiler, tmp_path) -> None:
    if shutil.which(compiler) is None:
        pytest.skip(f"not run: {compiler} is not installed")
    artifact = written(quantized_system(name, bits), tmp_path, name)
    command = [compiler, *WARNINGS, "-Werror", "-O2", "-march=native", "-c", artifact.path.name, "-o", "net.o"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_no_two_kernels_have_one_name() -> None:
    """Fragments of one instruction set stand in one file; those of different sets never do."""
    every = source_of(ORDER)
    for variant in ("avx512", "avx2", "neon", "dsp", "portable"):
        names = re.findall(r"^static [\w ]+?[ *]+(\w+)\(", _of_variant(every, variant), re.M)
        bodies = [n for n in names if names.count(n) > 1]
        assert not bodies, f"{variant}: {sorted(set(bodies))}"


def _of_variant(source: str, variant: str) -> str:
    """The text that is left when a compiler has taken its branches, as far as whole fragments go."""
    macros = {
        "avx512": "-D__AVX512VNNI__ -D__AVX512BW__ -D__AVX512VL__ -D__AVX512VPOPCNTDQ__ -D__AVX2__",
        "avx2": "-D__AVX2__",
        "neon": "-D__ARM_NEON -D__aarch64__",
        "dsp": "-D__ARM_FEATURE_DSP -D__thumb2__",
        "portable": "",
    }[variant].split()
    if shutil.which("cc") is None:
        pytest.skip("not run: no C compiler (apt-get install gcc)")
    undefined = [f"-U{name}" for name in ("__AVX2__", "__SSE4_1__", "__x86_64__")]
    text = re.sub(r"^#include.*$", "", source, flags=re.M)
    done = subprocess.run(
        ["cc", *undefined, *macros, "-E", "-P", "-"], input=text, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return re.sub(r"__attribute__\(\(\w+(?:\(\w+\))?\)\) ?", "", done.stdout)


def test_weights_beyond_flash_and_an_arena_beyond_ram_are_refused(small, tmp_path) -> None:
    with pytest.raises(BadInput, match=r"^0: needs .* bytes of memory .* --ram 100"):
        written(small, tmp_path, ram=100)
    with pytest.raises(BadInput, match=r"linear\w*_weights: the constants take .* --flash 500"):
        written(small, tmp_path, flash=500)
    assert not list(tmp_path.iterdir())


def test_an_operator_without_a_c_form_is_named(tmp_path) -> None:
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.up = nn.ConvTranspose2d(2, 2, 2, 2)

        def forward(self, x):
            return self.up(x)

    captured = capture(Net().eval(), (torch.zeros(1, 2, 4, 4),))
    program = to_program(captured.module, captured.example_inputs)
    with pytest.raises(UnsupportedOperator, match=r"up: c has no form of aten.conv_transpose2d"):
        source_of_program(program, "net", ("x",), ("y",))


@needs_compiler
@pytest.mark.parametrize("kernels", runnable_kernels())
@pytest.mark.parametrize("name", ["resnet8", "ds_cnn", "mobilenet_v1_025", "fc_autoencoder"])
def test_mlperf_tiny_is_exact_with_every_kernel_set(name, kernels, tmp_path) -> None:
    program = quantized_system(name)
    session = CSession(written(program, tmp_path, name).path, kernels=kernels)
    integers = integer_program(program.program, program.input_names, program.output_names)
    shapes = [value.shape for value in integers.inputs]
    for sample in samples_of(*shapes, count=40):
        arrays = [tensor.numpy() for tensor in sample]
        wanted = evaluate(integers, arrays)
        found = session.run(dict(zip(program.input_names, arrays)))
        for ours, theirs in zip(found.values(), wanted):
            assert np.array_equal(ours, theirs)


@needs_compiler
def test_several_inputs_outputs_and_states(tmp_path) -> None:
    class Cell(nn.Module):
        def __init__(self):
            super().__init__()
            self.new, self.old = nn.Linear(6, 8), nn.Linear(8, 8)

        def forward(self, x, state):
            state = torch.tanh(self.new(x) + self.old(state))
            return state[:, :3] * 2, state

    torch.manual_seed(0)
    program = quantized(Cell(), (1, 6), (1, 8))
    session = CSession(written(program, tmp_path).path)
    integers = integer_program(program.program, program.input_names, program.output_names)
    state = np.zeros((1, 8), np.float32)
    for (x,) in samples_of((1, 6), count=5):
        wanted = evaluate(integers, [x.numpy(), state])
        found = session.run({"x": x.numpy(), "state": state})
        assert all(np.array_equal(ours, theirs) for ours, theirs in zip(found.values(), wanted))
        state = found[program.output_names[1]]


@needs_compiler
def test_an_integer_border_takes_and_gives_the_same_codes(small, tmp_path) -> None:
    real, codes = (CSession(written(small, tmp_path / f, integer_io=io).path) for f, io in (("r", False), ("c", True)))
    assert codes.source.inputs[0].kind == "int8"
    for (x,) in samples_of((1, 3, 8, 8), count=5):
        assert np.array_equal(real.run({"input_1": x.numpy()})["output"], codes.run({"input_1": x.numpy()})["output"])


@needs_compiler
def test_a_batch_runs_image_by_image(tmp_path) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.MaxPool2d(2), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(4, 3))
    program = quantized(net, (3, 2, 4, 4))
    session = CSession(written(program, tmp_path).path)
    integers = integer_program(program.program, program.input_names, program.output_names)
    sample = samples_of((3, 2, 4, 4), count=1)[0][0].numpy()
    assert np.array_equal(session.run({"input_1": sample})["output"], evaluate(integers, [sample])[0])


@pytest.mark.parametrize("name", ["resnet8", "care_xxs", "mobilenet_v1_025"])
@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_products_counted_in_the_source_are_the_programs(name, precision, tmp_path) -> None:
    program = program_of(name, precision)
    quantized_program = quantized_system(name)
    names = quantized_program.input_names, quantized_program.output_names
    path = tmp_path / f"{name}.c"
    to_c(program, path, input_names=names[0], output_names=names[1], precision=precision)
    found, wanted = count_c(path), count_program(program)
    assert found.total == wanted.total
    assert not found.uncounted


@needs_compiler
def test_every_value_on_the_way_is_the_programs(small, tmp_path) -> None:
    artifact = written(small, tmp_path)
    session = CSession(artifact.path)
    integers = integer_program(small.program, small.input_names, small.output_names)
    sample = samples_of((1, 3, 8, 8), count=1)[0][0].numpy()
    wanted = {}

    def watch(operation, result):
        value = operation.output
        if value.affine is not None:
            wanted[value.name] = (result - value.affine.zero_point).float().numpy() * np.float32(value.affine.scale)

    evaluate(integers, [sample], watch)
    found = session.intermediates({"input_1": sample})
    shared = found.keys() & wanted.keys()
    assert len(shared) >= 4
    for name in shared:
        assert np.array_equal(found[name], wanted[name].astype(np.float32)), name


def test_a_source_that_offramp_did_not_write_is_refused(tmp_path) -> None:
    (tmp_path / "net.c").write_text("int main(void) { return 0; }\n")
    with pytest.raises(BadInput, match=r"net.c: needs net.h beside it"):
        read_c_source(tmp_path / "net.c")
    (tmp_path / "net.h").write_text("#define X 1\n")
    with pytest.raises(BadInput, match=r"net.c: is no network that offramp wrote"):
        read_c_source(tmp_path / "net.c")


def test_reading_a_source_runs_nothing(small, tmp_path, monkeypatch) -> None:
    artifact = written(small, tmp_path)
    monkeypatch.setattr(subprocess, "run", None)
    monkeypatch.setattr(ctypes, "CDLL", None)
    source = read_c_source(artifact.path)
    assert source.inputs[0].shape == (1, 3, 8, 8)
    assert source.arena_bytes == int(artifact.details["arena_bytes"])
    assert count_c(artifact.path).total > 0


@needs_compiler
@pytest.mark.parametrize("kernels", runnable_kernels())
def test_threads_give_the_same_bits(kernels, tmp_path) -> None:
    torch.manual_seed(0)
    wide = nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1),
        nn.Conv2d(32, 128, 5, padding=2),
        nn.Conv2d(128, 128, 5, padding=2, groups=128),
        nn.Conv2d(128, 200, 3, 2, 1),
        nn.Conv2d(200, 200, 3, padding=1),
        nn.Conv2d(200, 16, 3, dilation=2),
    )
    shared = {8: {"share_conv_int8", "share_depthwise_int8"}}
    shared[1] = shared[8] | {"share_conv_binary_bits", "share_conv_binary_int8"}
    for bits in (8, 1):
        program = quantized(wide, (1, 3, 37, 37), weight_bits=bits, activation_bits=bits)
        path = written(program, tmp_path, f"net{bits}").path
        assert set(re.findall(r"(share_\w+)\(&", path.read_text())) == shared[bits]
        sample = {"input_1": samples_of((1, 3, 37, 37), count=1)[0][0].numpy()}
        alone, together = (CSession(path, threads, kernels).run(sample) for threads in (1, 3))
        assert all(np.array_equal(ours, theirs) for ours, theirs in zip(alone.values(), together.values()))


class SignNetwork(nn.Module):
    """A Boolean threshold network: weights of -1, 0 and +1 with odd supports, so that no sum is 0."""

    def __init__(self, sign):
        super().__init__()
        self.sign = sign
        self.layers = nn.ModuleList(nn.Linear(i, o) for i, o in ((12, 20), (20, 20), (20, 6)))
        draw = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for layer in self.layers:
                layer.bias.zero_()
                layer.weight.zero_()
                for row in layer.weight:
                    places = torch.randperm(len(row), generator=draw)[:3]
                    row[places] = torch.randint(0, 2, (3,), generator=draw).float() * 2 - 1

    def forward(self, x):
        for layer in self.layers:
            x = self.sign(layer(x))
        return x


@needs_compiler
@pytest.mark.parametrize(
    "sign",
    [torch.sign, lambda x: torch.where(x >= 0, 1.0, -1.0), lambda x: 2 * (x > 0).float() - 1],
    ids=["sign", "where", "compare"],
)
def test_boolean_threshold_networks_give_the_same_signs(sign, tmp_path) -> None:
    network = SignNetwork(sign).eval()
    captured = capture(network, (torch.ones(1, 12),), ("x",), ("y",))
    path = tmp_path / "net.c"
    program = to_program(captured.module, captured.example_inputs)
    to_c(program, path, input_names=("x",), output_names=("y",), precision="float32")
    session = CSession(path)
    for (x,) in samples_of((1, 12), count=50):
        signs = torch.where(x >= 0, 1.0, -1.0)
        with torch.no_grad():
            wanted = network(signs).numpy()
        found = session.run({"x": signs.numpy()})["y"]
        assert np.array_equal(found, wanted)
        assert set(np.unique(found)) <= {-1.0, 1.0}


class Mirrored(nn.Module):
    def forward(self, x):
        x = torch.relu(x)
        return x + x.transpose(-1, -2)


class Converted(nn.Module):
    def forward(self, a, b):
        return (a + b).double().float() * (a - b).bool()


class Normed(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(3).eval()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, image):
        return self.conv(torch.relu(self.norm(image)))


@needs_compiler
@pytest.mark.parametrize(
    ("network", "names", "shape"),
    [(Mirrored(), ("x",), (1, 5, 5)), (Converted(), ("a", "b"), (2, 7)), (Normed(), ("image",), (2, 3, 6, 6))],
)
def test_inputs_of_any_name_are_read_before_they_are_written_over(network, names, shape, tmp_path) -> None:
    samples = samples_of(*(shape for _ in names), count=1)[0]
    captured = capture(network.eval(), samples)
    program = to_program(captured.module, captured.example_inputs)
    path = tmp_path / "net.c"
    to_c(program, path, input_names=names, output_names=("y",), precision="float32")
    found = CSession(path).run({name: sample.numpy() for name, sample in zip(names, samples)})["y"]
    np.testing.assert_allclose(found, network(*samples).detach().numpy(), rtol=1e-5, atol=1e-6)
