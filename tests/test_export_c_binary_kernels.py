"""±1 kernels in C: every instruction set gives the integers of a plain NumPy reference, bit for bit."""

import ctypes
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from offramp.c_compiler import WARNINGS
from offramp.devices.boards.emulated import boards
from offramp.export.c.kernels import source_of
from offramp.export.c.packing_binary import pack_activations, pack_limits, pack_signs

sys.path.append(str(Path(__file__).parent))
from cortex_m import START, compile_flags, emulator
from needs import need_processor

FLAGS = {
    "portable": [],
    "avx2": ["-mavx2"],
    "avx512": ["-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq", "-mavx512vpopcntdq"],
}
PORTABLE_AARCH64 = ["-U__ARM_NEON"]  # as if the processor had no vectors
CPU_FLAGS = {"avx2": ("avx2",), "avx512": ("avx512f", "avx512bw", "avx512vl", "avx512dq", "avx512_vpopcntdq")}
STRICT = [*WARNINGS, "-O2", "-Werror"]
EXPORTED = """
void call_bits(const geometry *shape, const uint64_t *weights, const int32_t *limit, const uint64_t *in, uint64_t *out);
void call_codes(const geometry *shape, const uint64_t *weights, const int32_t *bias, const float *multiplier,
                const int32_t *range, const uint64_t *in, int8_t *out);
void call_sign(const int8_t *in, int32_t pixels, int32_t channels, const int16_t *least, uint64_t *out);
void call_pool(const geometry *shape, const uint64_t *in, uint64_t *out);

void call_bits(const geometry *shape, const uint64_t *weights, const int32_t *limit, const uint64_t *in, uint64_t *out)
{
    conv_binary_bits layer = {*shape, weights, limit};
    run_conv_binary_bits(&layer, in, out);
}

void call_codes(const geometry *shape, const uint64_t *weights, const int32_t *bias, const float *multiplier,
                const int32_t *range, const uint64_t *in, int8_t *out)
{
    conv_binary_int8 layer = {*shape, weights, bias, multiplier, range[0], range[1], range[2]};
    run_conv_binary_int8(&layer, in, out);
}

void call_sign(const int8_t *in, int32_t pixels, int32_t channels, const int16_t *least, uint64_t *out)
{
    run_sign(in, pixels, channels, least, out);
}

void call_pool(const geometry *shape, const uint64_t *in, uint64_t *out)
{
    run_max_pool_binary(shape, in, out);
}
"""
# Reads convolutions from a file into memory of their exact size and writes bits and codes.
PROGRAM = """
#include <stdio.h>
#include <stdlib.h>

static void *read_array(FILE *file)
{
    int32_t size = 0;
    void *array = fread(&size, sizeof size, 1, file) == 1 ? malloc((size_t)size) : NULL;
    if (array == NULL || fread(array, 1, (size_t)size, file) != (size_t)size)
        exit(2);
    return array;
}

int main(void)
{
    FILE *in = fopen("cases.bin", "rb"), *out = fopen("outputs.bin", "wb");
    int32_t cases = 0;
    if (in == NULL || out == NULL || fread(&cases, sizeof cases, 1, in) != 1)
        return 2;
    for (; cases > 0; cases--) {
        geometry *shape = read_array(in);
        uint64_t *weights = read_array(in), *image = read_array(in);
        int32_t *limit = read_array(in), *bias = read_array(in), *range = read_array(in);
        float *multiplier = read_array(in);
        size_t pixels = (size_t)shape->out_height * (size_t)shape->out_width;
        size_t bits_size = pixels * (size_t)((shape->out_channels + 63) / 64) * 8;
        size_t codes_size = pixels * (size_t)shape->out_channels;
        uint64_t *bits = malloc(bits_size);
        int8_t *codes = malloc(codes_size);
        if (bits == NULL || codes == NULL)
            return 2;
        call_bits(shape, weights, limit, image, bits);
        call_codes(shape, weights, bias, multiplier, range, image, codes);
        fwrite(bits, 1, bits_size, out);
        fwrite(codes, 1, codes_size, out);
        free(shape), free(weights), free(image), free(limit), free(bias), free(range), free(multiplier);
        free(bits), free(codes);
    }
    return fclose(out) == 0 ? 0 : 2;
}
"""


@dataclass(frozen=True)
class Shape:
    """Field by field the `geometry` of the C kernels."""

    height: int
    width: int
    channels: int
    out_height: int
    out_width: int
    out_channels: int
    kernel_height: int
    kernel_width: int
    stride_height: int = 1
    stride_width: int = 1
    pad_top: int = 0
    pad_left: int = 0
    dilation_height: int = 1
    dilation_width: int = 1

    def array(self) -> np.ndarray:
        return np.array(list(vars(self).values()), np.int32)

    @property
    def products(self) -> int:
        return self.kernel_height * self.kernel_width * self.channels


@dataclass(frozen=True)
class Case:
    """One convolution with its inputs."""

    shape: Shape
    weights: np.ndarray  # ±1, (out, in, height, width)
    image: np.ndarray  # ±1, (height, width, channels)
    least: np.ndarray
    bias: np.ndarray
    multiplier: np.ndarray
    range: tuple[int, int, int]  # zero, low, high

    def arrays(self) -> list[np.ndarray]:
        return [
            self.shape.array(),
            pack_signs(self.weights),
            pack_activations(self.image),
            pack_limits(self.least, self.shape.products),
            self.bias,
            np.array(self.range, np.int32),
            self.multiplier,
        ]

    def expected(self) -> tuple[np.ndarray, np.ndarray]:
        sums = window_sums(self.shape, self.image, self.weights)
        bits = pack_activations(np.where(sums >= self.least, 1, -1))
        zero, low, high = self.range
        scaled = (sums + self.bias).astype(np.float32) * self.multiplier
        assert scaled.dtype == np.float32
        return bits, (zero + np.clip(np.rint(scaled), low - zero, high - zero)).astype(np.int8)


def window_sums(shape: Shape, image: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Sums of products, (out_height, out_width, out_channels); what lies outside the image adds nothing."""
    sums = np.zeros((shape.out_height, shape.out_width, shape.out_channels), np.int64)
    for y, x, i, j in np.ndindex(shape.out_height, shape.out_width, shape.kernel_height, shape.kernel_width):
        row = y * shape.stride_height - shape.pad_top + i * shape.dilation_height
        column = x * shape.stride_width - shape.pad_left + j * shape.dilation_width
        if 0 <= row < shape.height and 0 <= column < shape.width:
            sums[y, x] += weights[:, :, i, j].astype(np.int64) @ image[row, column]
    return sums


def signs(rng: np.random.Generator, fill: str, *shape: int) -> np.ndarray:
    if fill == "random":
        return rng.choice(np.array([-1, 1], np.int8), shape)
    return np.full(shape, {"plus": 1, "minus": -1}[fill], np.int8)


def make_case(shape: Shape, seed: int, fills: tuple[str, str] = ("random", "random")) -> Case:
    rng = np.random.default_rng(seed)
    k, out = shape.products, shape.out_channels
    extremes = np.array([-k - 5, -k, 1 - k, 0, 1, k - 1, k, k + 1, k + 7])
    near = rng.integers(-2 - int(k**0.5), 3 + int(k**0.5), out)
    zero = int(rng.integers(-128, 128))
    return Case(
        shape,
        signs(rng, fills[0], out, shape.channels, shape.kernel_height, shape.kernel_width),
        signs(rng, fills[1], shape.height, shape.width, shape.channels),
        np.where(rng.random(out) < 0.4, rng.choice(extremes, out), near),
        rng.integers(-2 * k, 2 * k + 1, out).astype(np.int32),
        rng.choice([0.5, -0.5, 0.013, 3.7e-3, 1.0, 90.0], out).astype(np.float32),
        (zero, max(-128, zero - int(rng.integers(0, 256))), min(127, zero + int(rng.integers(0, 256)))),
    )


def out_size(size: int, kernel: int, stride: int, pad: int, pad_end: int, dilation: int) -> int:
    return (size + pad + pad_end - (kernel - 1) * dilation - 1) // stride + 1


@st.composite
def shapes(draw: st.DrawFn) -> Shape:
    def axis() -> tuple[int, int, int, int, int, int]:
        kernel, stride, dilation = draw(st.integers(1, 5)), draw(st.integers(1, 2)), draw(st.integers(1, 2))
        pad, pad_end = draw(st.integers(0, 2)), draw(st.integers(0, 2))
        least = max(1, (kernel - 1) * dilation + 1 - pad - pad_end)
        size = draw(st.integers(least, least + 9))
        return size, out_size(size, kernel, stride, pad, pad_end, dilation), kernel, stride, pad, dilation

    rows, columns = axis(), axis()
    height, out_height, kernel_height, stride_height, pad_top, dilation_height = rows
    width, out_width, kernel_width, stride_width, pad_left, dilation_width = columns
    channels, out_channels = draw(st.integers(1, 200)), draw(st.integers(1, 200))
    return Shape(
        *(height, width, channels, out_height, out_width, out_channels, kernel_height, kernel_width),
        *(stride_height, stride_width, pad_top, pad_left, dilation_height, dilation_width),
    )


CHOSEN = (
    Shape(1, 1, 1, 1, 1, 1, 1, 1),
    Shape(1, 1, 1000, 1, 1, 10, 1, 1),  # a linear layer on one row
    Shape(1, 1, 40000, 1, 1, 9, 1, 1),  # counts beyond 16 bits
    Shape(1, 7, 321, 1, 7, 129, 1, 1),
    Shape(7, 7, 64, 7, 7, 64, 3, 3, 1, 1, 1, 1),
    Shape(9, 5, 96, 5, 3, 40, 3, 3, 2, 2, 1, 1),
    Shape(6, 7, 128, 6, 7, 72, 5, 5, 1, 1, 2, 2),
    Shape(9, 9, 33, 9, 9, 65, 3, 3, 1, 1, 2, 2, 2, 2),
    Shape(1, 1, 40, 5, 5, 8, 2, 2, 1, 1, 2, 2),  # windows with every tap in the padding
    Shape(2, 3, 65, 8, 9, 16, 5, 5, 1, 1, 4, 4),  # more regions than a batch holds
)


@cache
def driver(program: bool = False) -> str:
    """The kernels as a network has them, and what calls them."""
    kernels = source_of(["conv_binary_bits", "conv_binary_int8", "binary_sign", "binary_max_pool"])
    return "\n".join([kernels, EXPORTED, *([PROGRAM] if program else [])])


def compile_c(source: str, compiler: str, flags: list[str], target: Path) -> Path:
    if shutil.which(compiler) is None:
        pytest.skip(f"not run: no {compiler} on PATH")
    path = target.with_suffix(".c")
    path.write_text(source)
    done = subprocess.run([compiler, *flags, "-o", str(target), str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return target


@pytest.fixture(scope="module", params=["portable", "avx2", "avx512"])
def library(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    need_processor(*CPU_FLAGS.get(request.param, ()))
    target = tmp_path_factory.mktemp("binary") / f"{request.param}.so"
    flags = [*STRICT, *FLAGS[request.param], "-shared", "-fPIC"]
    return ctypes.CDLL(str(compile_c(driver(), "cc", flags, target)))


def guarded(count: int, dtype: type) -> np.ndarray:
    """`count` values to write, with a page around them that must stay as it is."""
    return np.full(count + 128, 0x5A, dtype)


def call(function: object, *arguments: object) -> None:
    values = [ctypes.c_void_p(a.ctypes.data) if isinstance(a, np.ndarray) else ctypes.c_int32(a) for a in arguments]
    function(*values)  # type: ignore[operator]


def check(library: ctypes.CDLL, case: Case) -> None:
    shape, weights, image, limit, bias, span, multiplier = case.arrays()
    bits, codes = case.expected()
    packed, coded = guarded(bits.size, np.uint64), guarded(codes.size, np.int8)
    call(library.call_bits, shape, weights, limit, image, packed[64:])
    call(library.call_codes, shape, weights, bias, multiplier, span, image, coded[64:])
    np.testing.assert_array_equal(packed[64:-64].reshape(bits.shape), bits)
    np.testing.assert_array_equal(coded[64:-64].reshape(codes.shape), codes)
    for made in (packed, coded):
        assert (made[:64] == 0x5A).all() and (made[-64:] == 0x5A).all()


@pytest.mark.parametrize("shape", CHOSEN, ids=str)
@pytest.mark.parametrize("fills", [("random", "random"), ("plus", "plus"), ("plus", "minus"), ("minus", "random")])
def test_chosen_convolutions_equal_the_reference(library, shape, fills) -> None:
    check(library, make_case(shape, 1, fills))


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(shapes(), st.integers(0, 2**32 - 1))
def test_convolutions_equal_the_reference(library, shape, seed) -> None:
    check(library, make_case(shape, seed))


@pytest.mark.parametrize("channels", [1, 8, 31, 63, 64, 65, 130])
def test_sign_packs(library, channels) -> None:
    rng = np.random.default_rng(channels)
    codes = rng.integers(-128, 128, (13, channels)).astype(np.int8)
    least = rng.choice(np.array([-128, -127, -1, 0, 1, 127, 128], np.int16), channels)
    packed = pack_activations(np.where(codes >= least, 1, -1).astype(np.int8))
    out = guarded(packed.size, np.uint64)
    call(library.call_sign, codes, 13, channels, least, out[64:])
    np.testing.assert_array_equal(out[64:-64].reshape(packed.shape), packed)
    assert (out[-64:] == 0x5A).all()


@settings(deadline=None, max_examples=25)
@given(shapes(), st.integers(0, 2**32 - 1))
def test_max_pool_is_the_greatest_of_each_window(library, shape, seed) -> None:
    shape = replace(shape, out_channels=shape.channels)
    rng = np.random.default_rng(seed)
    image = np.where(rng.random((shape.height, shape.width, shape.channels)) < 0.1, 1, -1)
    wide = np.full((shape.height + 40, shape.width + 40, shape.channels), -1)
    wide[20 : 20 + shape.height, 20 : 20 + shape.width] = image
    expected = np.full((shape.out_height, shape.out_width, shape.channels), -1)
    for y, x, i, j in np.ndindex(shape.out_height, shape.out_width, shape.kernel_height, shape.kernel_width):
        row = 20 + y * shape.stride_height - shape.pad_top + i * shape.dilation_height
        column = 20 + x * shape.stride_width - shape.pad_left + j * shape.dilation_width
        expected[y, x] = np.maximum(expected[y, x], wide[row, column])
    packed = pack_activations(expected)
    out = guarded(packed.size, np.uint64)
    call(library.call_pool, shape.array(), pack_activations(image), out[64:])
    np.testing.assert_array_equal(out[64:-64].reshape(packed.shape), packed)
    assert (out[-64:] == 0x5A).all()


@cache
def file_cases() -> list[Case]:
    """The convolutions for programs that read a file: those chosen, and small ones of every kind."""
    rng = np.random.default_rng(7)
    cases = [make_case(shape, seed) for seed, shape in enumerate(CHOSEN)]
    for seed in range(60):
        axes = []
        for _ in range(2):
            kernel, stride, dilation = rng.integers(1, [6, 3, 3])
            pad, pad_end = rng.integers(0, 3, 2)
            size = int(max(1, (kernel - 1) * dilation + 1 - pad - pad_end) + rng.integers(0, 6))
            axes.append((size, out_size(size, kernel, stride, pad, pad_end, dilation), kernel, stride, pad, dilation))
        (height, out_height, *rows), (width, out_width, *columns) = axes
        kernel_stride_pad_dilation = [int(value) for pair in zip(rows, columns) for value in pair]
        channels, out_channels = (int(value) for value in rng.integers(1, 140, 2))
        shape = Shape(
            *(height, width, channels, int(out_height), int(out_width), out_channels), *kernel_stride_pad_dilation
        )
        cases.append(make_case(shape, seed))
    return cases


def run_on_file(command: list[str], folder: Path, environment: dict[str, str] | None = None) -> None:
    """Runs a compiled `PROGRAM` in `folder` on `file_cases` and compares what it wrote."""
    cases = file_cases()
    with (folder / "cases.bin").open("wb") as file:
        file.write(np.int32(len(cases)).tobytes())
        for array in (array for case in cases for array in case.arrays()):
            file.write(np.int32(array.nbytes).tobytes() + array.tobytes())
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, timeout=120, env=environment
    )
    assert done.returncode == 0, done.stdout + done.stderr
    expected = b"".join(array.tobytes() for case in cases for array in case.expected())
    assert (folder / "outputs.bin").read_bytes() == expected


@pytest.mark.parametrize("variant", ["portable", "avx2", "avx512"])
def test_no_access_outside_an_array_and_no_undefined_behaviour(variant, tmp_path) -> None:
    need_processor(*CPU_FLAGS.get(variant, ()))
    flags = [*STRICT, *FLAGS[variant], "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    program = compile_c(driver(program=True), "cc", flags, tmp_path / "program")
    run_on_file([str(program)], tmp_path, {**os.environ, "ASAN_OPTIONS": "detect_leaks=0"})


def test_clang_compiles_without_a_warning(tmp_path) -> None:
    for variant in ("portable", "avx2", "avx512"):
        flags = [*STRICT, *FLAGS[variant], "-shared", "-fPIC"]
        compile_c(driver(), "clang", flags, tmp_path / f"{variant}.so")


@pytest.mark.parametrize("variant", ["neon", "portable"])
def test_emulated_aarch64_gives_the_same_bytes(variant, tmp_path) -> None:
    if shutil.which("qemu-aarch64") is None:
        pytest.skip("not run: no qemu-aarch64 on PATH")
    flags = [*STRICT, *(PORTABLE_AARCH64 if variant == "portable" else []), "-static"]
    program = compile_c(driver(program=True), "aarch64-linux-gnu-gcc", flags, tmp_path / "program")
    run_on_file(["qemu-aarch64", str(program)], tmp_path)


@pytest.mark.parametrize("board", ["cortex-m3", "cortex-m4"])
def test_emulated_cortex_m_gives_the_same_bytes(board, tmp_path) -> None:
    if shutil.which("qemu-system-arm") is None:
        pytest.skip("not run: no qemu-system-arm on PATH")
    source = driver(program=True).replace("int main(void)", "int main(void);\nint main(void)") + START
    flags = [*STRICT, *compile_flags(boards()[board].flags, tmp_path)]
    program = compile_c(source, "arm-none-eabi-gcc", flags, tmp_path / "program.elf")
    run_on_file(emulator(board, program), tmp_path)


@pytest.mark.parametrize("isa", ["avx2", "avx512"])
def test_the_benchmark_times_what_it_says(isa, tmp_path) -> None:
    from offramp.benchmarks import binary_conv

    need_processor(*CPU_FLAGS.get(isa, ()))
    if shutil.which("cc") is None:
        pytest.skip("not run: no cc on PATH")
    library = binary_conv.build_library(isa, tmp_path)
    image, weights = np.ones((1, 3, 64), np.int8), np.ones((64, 64, 1, 1), np.int8)
    shape, limit = Shape(1, 3, 64, 1, 3, 64, 1, 1), pack_limits(np.full(64, 64), 64)
    out = guarded(3, np.uint64)
    call(library.time_layer, shape.array(), pack_signs(weights), limit, pack_activations(image), out[64:], 2)
    assert (out[64:67] == 2**64 - 1).all() and (out[67:] == 0x5A).all()
    assert library.time_registers(10) == 10 * {"avx2": 2048, "avx512": 8 * 512}[isa]
    assert library.time_floats(10) == 100 * {"avx2": 8, "avx512": 16}[isa]


def test_packing_names_a_value_that_is_no_sign() -> None:
    with pytest.raises(ValueError, match=r"codes must be -1 or \+1, got \[0\]"):
        pack_signs(np.zeros((1, 1, 1, 1), np.int8))
    with pytest.raises(ValueError, match=r"4 dimensions .* got shape \(3, 3\)"):
        pack_signs(np.ones((3, 3), np.int8))


def test_weights_take_one_bit_and_padding() -> None:
    assert pack_signs(np.ones((256, 256, 3, 3), np.int8)).nbytes == 256 * 256 * 9 // 8
    assert pack_signs(np.ones((10, 33, 1, 1), np.int8)).nbytes == 16 * 64 // 8
