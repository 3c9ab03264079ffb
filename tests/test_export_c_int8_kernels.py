"""The int8 kernels of a C file against NumPy: every instruction set must compute the same bytes.

Each variant is compiled with a driver that reads layers from a file and writes their outputs, so the same program runs
here, under sanitizers, under qemu-aarch64 and on an emulated Cortex-M.
"""

import itertools
import os
import shutil
import struct
import subprocess
import sys
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from offramp.c_compiler import WARNINGS
from offramp.devices.boards.emulated import boards
from offramp.export.c.kernels import source_of
from offramp.export.c.packing_int8 import (
    fold_zero_point,
    pack_depthwise_weights,
    pack_per_channel,
    pack_weights,
    scratch_bytes,
)

sys.path.append(str(Path(__file__).parent))
from cortex_m import START, compile_flags, emulator
from needs import need_processor

FRAGMENTS = {"conv": "conv_int8_run", "depthwise": "depthwise_int8_*", "linear": "linear_int8_run"}
KINDS = tuple(FRAGMENTS)
STRICT = [*WARNINGS, "-O2", "-Werror"]
INTEGERS_ONLY = ("-mthumb", "-mcpu=cortex-m4", "-mfloat-abi=soft")
SANITIZE = ["-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
VARIANT_FLAGS = {
    "portable": [],
    "avx512": ["-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512vnni"],
    "avx2": ["-mavx2"],
    "avxvnni": ["-mavx2", "-mavxvnni"],
}
CPU_FLAGS = {"avx512": ("avx512_vnni",), "avx2": ("avx2",), "avxvnni": ("avx_vnni",)}

# Memory comes from malloc in exactly the size of each buffer, so that a sanitizer sees one byte too many.
DRIVER = r"""
#include <stdio.h>
#include <stdlib.h>

static void *take(FILE *file, size_t bytes)
{
    char *data = malloc(bytes ? bytes : 1);
    if (!data || fread(data, 1, bytes, file) != bytes)
        exit(1);
    return data;
}

static void run_case(FILE *file, FILE *results, const int32_t *h)
{
    conv_int8 conv = {{h[1], h[2], h[3], h[4], h[5], h[6], h[7], h[8], h[9], h[10], h[11], h[12], h[13], h[14]},
                      h[15], 0, 0, 0, h[16], h[17], h[18], h[19]};
    size_t out_bytes = (size_t)(h[4] * h[5] * h[6]);
    int8_t *weights = take(file, (size_t)h[20]);
    int32_t *bias = take(file, 4 * (size_t)h[21]);
    float *multiplier = take(file, 4 * (size_t)h[21]);
    int8_t *in = take(file, (size_t)(h[1] * h[2] * h[3]));
    int8_t *out = malloc(out_bytes);
    void *scratch = malloc((size_t)h[22]);
    conv.weights = weights, conv.bias = bias, conv.multiplier = multiplier;
    if (h[0] == 0) {
        run_conv_int8(&conv, in, out, scratch);
    } else if (h[0] == 1) {
        run_depthwise_int8(&conv, in, out);
    } else {
        linear_int8 linear = {h[3], h[6], weights, bias, multiplier, h[17], h[18], h[19]};
        run_linear_int8(&linear, h[1], in, out);
    }
    fwrite(out, 1, out_bytes, results);
    free(weights), free(bias), free(multiplier), free(in), free(out), free(scratch);
}

int main(void)
{
    int32_t header[23];
    FILE *file = fopen("cases.bin", "rb");
    FILE *results = fopen("results.bin", "wb");
    if (!file || !results)
        return 1;
    while (fread(header, sizeof header, 1, file) == 1)
        run_case(file, results, header);
    fclose(file);
    return fclose(results);
}
"""


@dataclass
class Case:
    """One layer with random codes, its packed form and the output that NumPy computes."""

    kind: str
    size: tuple[int, int] = (1, 1)
    channels: int = 1  # over all groups
    outputs: int = 1  # over all groups
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)  # top, bottom, left, right
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    zeros: tuple[int, int] = (0, 0)
    limits: tuple[int, int] = (-128, 127)
    multiplier: float | None = None  # random where None
    extreme: bool = False  # all codes are -128 or 127
    seed: int = 0
    expected: np.ndarray = field(init=False, repr=False)
    record: bytes = field(init=False, repr=False)

    def __post_init__(self):
        rng = np.random.default_rng(self.seed)
        groups = self.channels if self.kind == "depthwise" else self.groups
        weights = self._codes(rng, (self.outputs, self.channels // groups, *self.kernel))
        image = self._codes(rng, (*self.size, self.channels))
        bias = rng.integers(-2000, 2000, self.outputs).astype(np.int32)
        if self.multiplier is None:
            multiplier = (10.0 ** rng.uniform(-6, 0.3, self.outputs)).astype(np.float32)
        else:
            multiplier = np.full(self.outputs, self.multiplier, np.float32)
        sums = self._sums(image, weights.astype(np.int64), groups)
        folded = fold_zero_point(bias, weights, self.zeros[0])
        self.expected = self._requantize(sums + folded, multiplier)
        packed = (
            pack_depthwise_weights(weights)
            if self.kind == "depthwise"
            else pack_weights(weights, groups, self.dilation[1])
        )
        rows = 1 if self.kind == "depthwise" else groups
        bias, multiplier = pack_per_channel(folded, rows), pack_per_channel(multiplier, rows)
        scratch = 0
        if self.kind == "conv":
            scratch = scratch_bytes(weights.shape[1], self.kernel, groups, self.dilation[1])
        header = [
            *(KINDS.index(self.kind), *self.size, self.channels, *self.expected.shape),
            *(*self.kernel, *self.stride, self.pads[0], self.pads[2], *self.dilation, groups),
            *(*self.zeros, *self.limits, packed.size, bias.size, scratch),
        ]
        arrays = [packed, bias, multiplier, image]
        self.record = struct.pack("<23i", *header) + b"".join(a.tobytes() for a in arrays)

    def _codes(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        return (rng.choice([-128, 127], shape) if self.extreme else rng.integers(-128, 128, shape)).astype(np.int8)

    def _sums(self, image: np.ndarray, weights: np.ndarray, groups: int) -> np.ndarray:
        top, bottom, left, right = self.pads
        padded = np.pad(image.astype(np.int64), ((top, bottom), (left, right), (0, 0)), constant_values=self.zeros[0])
        spans = [(k - 1) * d + 1 for k, d in zip(self.kernel, self.dilation)]
        height, width = ((n - span) // s + 1 for n, span, s in zip(padded.shape, spans, self.stride))
        total = np.zeros((height, width, self.outputs), np.int64)
        inputs, each = self.channels // groups, self.outputs // groups
        for ky, kx in itertools.product(*map(range, self.kernel)):
            y, x = ky * self.dilation[0], kx * self.dilation[1]
            taps = padded[y:, x:][:: self.stride[0], :: self.stride[1]][:height, :width]
            for g in range(groups):
                here = slice(g * each, (g + 1) * each)
                total[..., here] += taps[..., g * inputs : (g + 1) * inputs] @ weights[here, :, ky, kx].T
        return total

    def _requantize(self, sums: np.ndarray, multiplier: np.ndarray) -> np.ndarray:
        assert np.array_equal(sums, sums.astype(np.int32)), "the case is too large for int32"
        zero = self.zeros[1]
        rounded = np.rint(sums.astype(np.int32).astype(np.float32) * multiplier)
        return (zero + np.clip(rounded, self.limits[0] - zero, self.limits[1] - zero)).astype(np.int8)


def random_case(rng: np.random.Generator, kind: str, most: int = 70) -> Case:
    """A layer of `kind` with up to `most` channels whose window fits at least once."""

    def pick(*values):
        return values[rng.integers(len(values))]

    if kind == "linear":
        size, kernel, dilation, stride, pads = (int(rng.integers(1, 8)), 1), (1, 1), (1, 1), (1, 1), (0, 0, 0, 0)
    else:
        kernel = tuple(int(k) for k in rng.integers(1, 6, 2))
        stride = pick((1, 1), (2, 2), (1, 2), (3, 1))
        dilation = pick((1, 1), (1, 1), (2, 1), (1, 2), (2, 3))
        pads = tuple(int(rng.integers(0, k + 1)) for k in (kernel[0], kernel[0], kernel[1], kernel[1]))
        spans = [(k - 1) * d + 1 for k, d in zip(kernel, dilation)]
        size = tuple(
            max(1, span - sum(pads[2 * i : 2 * i + 2])) + int(rng.integers(0, 8)) for i, span in enumerate(spans)
        )
    groups = pick(1, 1, 1, 2, 3, 8) if kind == "conv" else 1
    channels = groups * int(rng.integers(1, max(2, most // groups + 1)))
    outputs = channels if kind == "depthwise" else groups * int(rng.integers(1, max(2, most // groups + 1)))
    low, high = pick((-128, 127), (-128, 127), (0, 127), (-20, 30))
    return Case(
        kind, size, channels, outputs, kernel, stride, pads, dilation, groups,
        zeros=(pick(-128, 127, 0, int(rng.integers(-128, 128))), int(rng.integers(low, high + 1))),
        limits=(low, high),
        multiplier=pick(None, None, 0.5, 2.0, 1e-6, 0.0078125),
        extreme=bool(rng.integers(6) == 0),
        seed=int(rng.integers(1 << 30)),
    )  # fmt: skip


@st.composite
def cases(draw):
    return random_case(np.random.default_rng(draw(st.integers(0, 1 << 30))), draw(st.sampled_from(KINDS)))


def build(folder: Path, command: list[str], start: str = "") -> Path:
    source, program = folder / "driver.c", folder / "driver"
    source.write_text(source_of(list(FRAGMENTS.values())) + DRIVER + start)
    done = subprocess.run([*command, "-o", program, source], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return program


def run(command: list, folder: Path, layers: list[Case]) -> None:
    """Runs a driver in `folder` on `layers` and holds every output against NumPy's."""
    (folder / "cases.bin").write_bytes(b"".join(c.record for c in layers))
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    results = np.frombuffer((folder / "results.bin").read_bytes(), np.int8)
    ends = np.cumsum([c.expected.size for c in layers])
    assert results.size == ends[-1]
    for case, found in zip(layers, np.split(results, ends[:-1])):
        wrong = np.flatnonzero(found != case.expected.ravel())
        assert wrong.size == 0, f"{wrong.size} of {found.size} codes differ, the first at {wrong[0]}: {case}"


def many(count: int, most: int = 70, seed: int = 1) -> list[Case]:
    rng = np.random.default_rng(seed)
    return [random_case(rng, kind, most) for kind in KINDS for _ in range(count)]


@cache
def need(*programs: str) -> None:
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"not run: {program} is not installed")


@cache
def need_sanitizers(compiler: str) -> None:
    """Some systems package a compiler without its sanitizers' runtime."""
    need(compiler)
    command = [compiler, *SANITIZE, "-x", "c", "-", "-o", os.devnull]
    done = subprocess.run(command, input="int main(void) { return 0; }", capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"not run: {compiler} has no sanitizers (for clang, apt-get install libclang-rt-dev)")


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    """Each variant's driver, compiled when first asked for."""

    @cache
    def compiled(variant: str) -> Path:
        return build(tmp_path_factory.mktemp(variant), ["gcc", *STRICT, *VARIANT_FLAGS[variant]])

    return compiled


@pytest.mark.parametrize("variant", VARIANT_FLAGS)
@settings(deadline=None, max_examples=40)
@given(case=cases())
def test_a_layer_has_the_bytes_of_numpy(programs, variant, case):
    need("gcc")
    need_processor(*CPU_FLAGS.get(variant, ()))
    program = programs(variant)
    run([program], program.parent, [case])


@pytest.mark.parametrize(
    ("variant", "compiler"), [("portable", "gcc"), *((variant, "clang") for variant in VARIANT_FLAGS)]
)
def test_no_byte_outside_a_buffer_is_touched(tmp_path, variant, compiler):
    need_sanitizers(compiler)
    need_processor(*CPU_FLAGS.get(variant, ()))
    command = [compiler, *STRICT, *SANITIZE, *VARIANT_FLAGS[variant]]
    program = build(tmp_path, command)
    run([program], tmp_path, many(60))


def large() -> list[Case]:
    return [
        Case("conv", (7, 7), 160, 200, (3, 3), pads=(1, 1, 1, 1), zeros=(-128, 3)),
        Case("conv", (3, 3), 256, 256, zeros=(5, -128)),
        Case("conv", (9, 40), 3, 8, (3, 3), (2, 2), (0, 1, 0, 1), zeros=(-1, -128)),
        Case("conv", (20, 10), 1, 64, (10, 4), (2, 2), (4, 5, 1, 1), zeros=(83, -128)),
        Case("conv", (6, 35), 16, 16, (3, 3), pads=(1, 1, 1, 1), zeros=(-128, 3)),
        Case("conv", (7, 34), 16, 36, (3, 3), (2, 2), (1, 1, 1, 1), zeros=(9, -128)),
        Case("conv", (5, 22), 5, 21, (1, 1), (2, 2), (1, 1, 1, 1), zeros=(-9, 0)),
        Case("conv", (1, 1), 20, 70, (3, 3), pads=(1, 1, 1, 1), zeros=(77, 0)),
        Case("depthwise", (25, 5), 192, 192, (3, 3), pads=(1, 1, 1, 1), zeros=(-128, -128)),
        Case("depthwise", (20, 12), 8, 8, (5, 5), (2, 1), (2, 2, 2, 2), zeros=(-128, -128)),
        Case("depthwise", (24, 5), 36, 36, (24, 5), zeros=(127, 0)),
        Case("depthwise", (9, 9), 18, 18, (8, 7), pads=(4, 3, 3, 3), zeros=(-7, 0), limits=(-100, 100)),
        Case("linear", (1, 1), 640, 130),
        Case("linear", (9, 1), 131, 640),
        Case("linear", (1, 1), 4096, 5, extreme=True, multiplier=1e-5),
    ]


@pytest.mark.parametrize("variant", VARIANT_FLAGS)
def test_large_layers(programs, variant):
    need("gcc")
    need_processor(*CPU_FLAGS.get(variant, ()))
    program = programs(variant)
    run([program], program.parent, large())


@pytest.mark.parametrize(
    "flags", [["-march=armv8-a"], ["-march=armv8.2-a+dotprod"], ["-U__ARM_NEON"]], ids=["neon", "dotprod", "portable"]
)
def test_aarch64_computes_the_same_bytes(tmp_path, flags):
    need("aarch64-linux-gnu-gcc", "qemu-aarch64")
    program = build(tmp_path, ["aarch64-linux-gnu-gcc", *STRICT, *flags, "-static"])
    run(["qemu-aarch64", program], tmp_path, [*many(60, seed=2), *large()])


@pytest.mark.parametrize(
    ("board", "processor"),
    [(name, boards()[name].flags) for name in ("cortex-m3", "cortex-m4", "cortex-m7")] + [("cortex-m4", INTEGERS_ONLY)],
)
def test_a_cortex_m_computes_the_same_bytes(tmp_path, board, processor):
    need("arm-none-eabi-gcc", "qemu-system-arm")
    program = build(tmp_path, ["arm-none-eabi-gcc", *STRICT, *compile_flags(processor, tmp_path)], START)
    run(emulator(board, program), tmp_path, [*many(40, seed=3), *large()])


CALLS = {
    "conv": "void call(conv_int8 *l, int8_t *a, int8_t *b, void *s) { run_conv_int8(l, a, b, s); }",
    "depthwise": "void call(conv_int8 *l, int8_t *a, int8_t *b) { run_depthwise_int8(l, a, b); }",
    "linear": "void call(linear_int8 *l, int8_t *a, int8_t *b) { run_linear_int8(l, 1, a, b); }",
}


@pytest.mark.parametrize("variant", VARIANT_FLAGS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_alone_compiles_without_a_warning(tmp_path, kind, variant):
    need("clang")
    (tmp_path / "kind.c").write_text(f"{source_of([FRAGMENTS[kind]])}\n{CALLS[kind]}\n")
    flags = [*STRICT, *VARIANT_FLAGS[variant], "-c", "-o", "/dev/null"]
    done = subprocess.run(["clang", *flags, tmp_path / "kind.c"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_layout_of_packed_weights():
    codes = np.arange(5 * 2 * 1 * 3, dtype=np.int8).reshape(5, 2, 1, 3)
    packed = pack_weights(codes)
    assert packed.size == 8 * 8, "six codes of a row fill two quads, five outputs a block of eight"
    rows = codes.transpose(0, 2, 3, 1).reshape(5, 6)
    assert packed[:4].tolist() == rows[0, :4].tolist()
    assert packed[4:8].tolist() == rows[1, :4].tolist()
    assert packed[32:36].tolist() == [*rows[0, 4:], 0, 0]
    assert pack_weights(codes, dilation_w=2).size == 8 * 3 * 4, "a dilated row is not contiguous: every tap is padded"
    assert pack_per_channel(np.arange(6), groups=2).tolist() == [0, 1, 2, 0, 3, 4, 5, 0]
    assert scratch_bytes(2, (1, 3)) == 4 * 8


def test_weights_that_cannot_be_packed_are_refused():
    with pytest.raises(ValueError, match="int8 of four"):
        pack_weights(np.zeros((4, 4), np.int8))
    with pytest.raises(ValueError, match="3 groups"):
        pack_weights(np.zeros((4, 4, 1, 1), np.int8), groups=3)
    with pytest.raises(ValueError, match="depthwise"):
        pack_depthwise_weights(np.zeros((4, 2, 3, 3), np.int8))
    with pytest.raises(OverflowError):
        fold_zero_point(np.array([2**31 - 1], np.int32), np.ones((1, 1, 1, 1), np.int8), -1)
