"""A small network on every emulated board: outputs, sizes, instructions, faults, and the firmware of the example."""

import filecmp
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from offramp.devices.boards.emulated import EmulatedRun, EmulatorUnavailable, boards, run_on
from offramp.devices.boards.emulated.border import read_border
from offramp.devices.boards.emulated.build import build
from offramp.devices.boards.emulated.counting import prepare, read_report
from offramp.devices.boards.emulated.harness import FOLDER
from offramp.devices.boards.emulated.toolchain import run, version_of
from offramp.errors import BadInput
from offramp.export.artifact import Artifact, TensorSpec

sys.path.append(str(Path(__file__).parent))
from needs import need_board

EXAMPLE = Path(__file__).resolve().parent.parent / "examples/cortex-m4"
CORTEX_M = ("cortex-m3", "cortex-m4", "cortex-m55", "cortex-m7")

# Codes of an image, then one linear layer; every step is exact, so all processors agree to the bit.
HEADER = """\
#ifndef TINY_H
#define TINY_H
#include <stdint.h>
#define TINY_ARENA_BYTES 4096
#define TINY_IMAGE_LENGTH 64
#define TINY_MODE_LENGTH 1
#define TINY_LOGITS_LENGTH 10
#define TINY_CODES_LENGTH 64
void tiny_run(const float *image, const int32_t *mode,
              float *logits, int8_t *codes);
#endif
"""
SOURCE = """\
#include "tiny.h"
#include <string.h>

#if defined(__GNUC__)
#define NOT_INLINED __attribute__((noinline))
#endif

static int8_t arena[TINY_ARENA_BYTES] __attribute__((aligned(64)));
static const int8_t weights[TINY_LOGITS_LENGTH * TINY_IMAGE_LENGTH] = { WEIGHTS };

NOT_INLINED static void tiny_quantize(const float *image, int8_t *codes)
{
    for (int32_t i = 0; i < TINY_IMAGE_LENGTH; i++) {
        float scaled = image[i] * 32.0f;
        int32_t bits;
        scaled = scaled < -128.0f ? -128.0f : scaled > 127.0f ? 127.0f : scaled;
        scaled += 12582912.0f;
        memcpy(&bits, &scaled, sizeof bits);
        codes[i] = (int8_t)(bits - 0x4b400000);
    }
}

NOT_INLINED static void tiny_linear(const int8_t *codes, int32_t offset, float *logits)
{
    for (int32_t o = 0; o < TINY_LOGITS_LENGTH; o++) {
        int32_t sum = offset;
        for (int32_t i = 0; i < TINY_IMAGE_LENGTH; i++)
            sum += codes[i] * weights[o * TINY_IMAGE_LENGTH + i];
        logits[o] = (float)sum * 0.0009765625f;
    }
}

void tiny_run(const float *image, const int32_t *mode, float *logits, int8_t *codes)
{
    tiny_quantize(image, arena);
    tiny_linear(arena, *mode, logits);
    memcpy(codes, arena, TINY_CODES_LENGTH);
}
"""
WEIGHTS = np.random.default_rng(1).integers(-128, 128, (10, 64), dtype=np.int8)
INPUTS = (TensorSpec("image", (1, 1, 8, 8), "float32"), TensorSpec("mode", (1, 1), "int32"))
OUTPUTS = (TensorSpec("logits", (1, 10), "float32"), TensorSpec("codes", (None, 1, 8, 8), "int8"))


def write_network(folder: Path, source: str = SOURCE, header: str = HEADER, name: str = "tiny") -> Artifact:
    folder.mkdir(parents=True, exist_ok=True)
    weights = ", ".join(map(str, WEIGHTS.ravel()))
    (folder / f"{name}.c").write_text(source.replace("WEIGHTS", weights))
    (folder / f"{name}.h").write_text(header)
    return Artifact("c", "int8", folder / f"{name}.c", INPUTS, OUTPUTS)


def samples(count: int = 5) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    image = generator.standard_normal((count, 1, 8, 8), dtype=np.float32) * 3
    return {"image": image, "mode": np.arange(count, dtype=np.int32)[:, None] * 1000}


def expected(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    codes = np.rint(np.clip(inputs["image"] * 32, -128, 127)).astype(np.int8)
    sums = codes.reshape(-1, 64).astype(np.int32) @ WEIGHTS.T.astype(np.int32) + inputs["mode"]
    return {"logits": (sums / 1024).astype(np.float32), "codes": codes}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The network's run on a board, made once for each."""
    network = write_network(tmp_path_factory.mktemp("net"))
    made: dict[str, EmulatedRun] = {}

    def of(board: str) -> EmulatedRun:
        need_board(board)
        if board not in made:
            made[board] = run_on(board, network, samples())
        return made[board]

    return of


@pytest.mark.parametrize("board", sorted(boards()))
def test_every_board_computes_the_same_bits(runs, board):
    found, wanted = runs(board).outputs, expected(samples())
    for name, values in wanted.items():
        assert found[name].dtype == values.dtype and np.array_equal(found[name], values), name


@pytest.mark.parametrize("board", sorted(boards()))
def test_instructions_are_those_of_the_functions_and_repeat(runs, board, tmp_path):
    found = runs(board)
    assert found.instructions == sum(found.by_function.values())
    assert found.instructions_range[0] <= found.instructions <= found.instructions_range[1]
    assert {"tiny_run", "tiny_quantize", "tiny_linear"} <= set(found.by_function)
    assert not {"main", "harness_sample", "measure_begin", "measure_end"} & set(found.by_function)
    assert list(found.by_function.values()) == sorted(found.by_function.values(), reverse=True)
    again = run_on(board, write_network(tmp_path), samples(1))
    assert again.by_function == found.by_function
    assert again.instructions_range == (found.instructions, found.instructions)


@pytest.mark.parametrize("board", sorted(boards()))
def test_flash_and_ram_are_the_networks_own(runs, board):
    found = runs(board)
    flash, ram = found.by_object["tiny.c"]
    assert 640 <= flash < 2000 and ram == 4096
    assert found.flash_bytes == sum(flash for flash, _ in found.by_object.values())
    assert found.ram_bytes == sum(ram for _, ram in found.by_object.values())
    assert not [name for name in found.by_object if name.startswith(("main", "host", "startup", "stack"))]
    assert 0 < found.stack_bytes < 512


@pytest.mark.parametrize("board", CORTEX_M)
def test_the_sizes_are_those_of_the_linked_network(board, tmp_path):
    need_board(board)
    (tmp_path / "build").mkdir()
    program = build(boards()[board], read_border(write_network(tmp_path)), tmp_path / "build")
    printed = run(["arm-none-eabi-size", "alone.elf"], tmp_path / "build").splitlines()[1].split()
    text, data, bss = map(int, printed[:3])
    stack = 256 * 1024
    # `size` counts the reserved stack and the rounding of sections up to a whole word.
    assert 0 <= text + data - program.sizes.flash < 64
    assert 0 <= data + bss - stack - program.sizes.ram < 64


@pytest.mark.parametrize(("board", "megahertz"), [("cortex-m4", 25), ("cortex-m55", 32)])
def test_the_boards_own_timer_agrees_with_the_counter(board, megahertz, tmp_path):
    """QEMU's -icount lets 1,024 ns pass with every instruction, so that the system timer counts instructions too."""
    need_board(board)
    target, folder = boards()[board], tmp_path / "build"
    folder.mkdir()
    (tmp_path / "measure.c").write_text(SYSTICK)
    program = build(target, read_border(write_network(tmp_path)), folder, extra=(tmp_path / "measure.c",))
    np.concatenate([samples(1)["image"].ravel(), np.zeros(1, np.float32)]).tofile(folder / "inputs.bin")
    emulator, *arguments = target.emulator
    options = prepare(program, version_of(emulator, folder), folder)
    run([emulator, *options, "-icount", "shift=10", *arguments, program.path.name], folder, 60)
    counted = read_report(program, folder)
    ticks = int.from_bytes((folder / "ticks.bin").read_bytes(), "little")
    assert counted is not None and counted.first > 3000
    assert 0 <= ticks / (1.024 * megahertz) - counted.first < 40


SYSTICK = """\
#include "measure.h"
#include "semihosting.h"

#define CONTROL (*(volatile uint32_t *)0xe000e010)
#define RELOAD (*(volatile uint32_t *)0xe000e014)
#define CURRENT (*(volatile uint32_t *)0xe000e018)

__attribute__((noinline)) void measure_begin(void)
{
    RELOAD = 0xffffff;
    CURRENT = 0;
    CONTROL = 5;
}

__attribute__((noinline)) void measure_end(void)
{
    uint32_t ticks = 0xffffff - CURRENT;
    intptr_t file = semihost_open("ticks.bin", SEMIHOST_WRITE_BINARY);
    semihost_write(file, &ticks, sizeof ticks);
    semihost_close(file);
}
"""


def test_instructions_grow_with_the_work(runs, tmp_path):
    need_board("cortex-m4")
    twice = SOURCE.replace("    tiny_linear(arena", "    tiny_linear(arena, *mode, logits);\n    tiny_linear(arena", 1)
    found, base = run_on("cortex-m4", write_network(tmp_path, twice), samples(1)), runs("cortex-m4")
    assert found.by_function["tiny_linear"] == 2 * base.by_function["tiny_linear"]
    assert found.by_function["tiny_quantize"] == base.by_function["tiny_quantize"]


def test_the_stack_is_as_deep_as_the_network_makes_it(runs, tmp_path):
    need_board("cortex-m4")
    deep = SOURCE.replace(
        "tiny_quantize(image, arena);", "volatile int8_t big[5000]; big[0] = 1; big[4999] = big[0];\n"
    )
    found = run_on("cortex-m4", write_network(tmp_path, deep), samples(1))
    assert 5000 <= found.stack_bytes < 5000 + 200
    # Only a quarter of a megabyte is there; what is deeper than the painted part is no figure but a fault.
    endless = deep.replace("5000", "200000").replace("4999", "199999").replace("big[0] = 1;", TOUCH)
    with pytest.raises(BadInput, match="uses more stack than there is"):
        run_on("cortex-m4", write_network(tmp_path, endless), samples(1))


TOUCH = "for (int32_t i = 0; i < 200000; i++) big[i] = 1;"


@pytest.mark.parametrize("board", ["cortex-m4", "cortex-m55"])
def test_a_fault_names_its_function(board, tmp_path):
    need_board(board)
    wild = SOURCE.replace("int32_t sum = offset;", "int32_t sum = *(volatile int32_t *)(uintptr_t)0xf1000000;")
    with pytest.raises(BadInput, match=rf"tiny\.c: on {board} it stopped in tiny_linear with a bus fault"):
        run_on(board, write_network(tmp_path, wild), samples(1))


def test_a_crash_of_a_process_is_told_with_its_signal(tmp_path):
    need_board("aarch64")
    wild = SOURCE.replace("int32_t sum = offset;", "int32_t sum = *(volatile int32_t *)(uintptr_t)8;")
    with pytest.raises(BadInput, match=r"tiny\.c: on aarch64 it crashed \(SIGSEGV"):
        run_on("aarch64", write_network(tmp_path, wild), samples(1))


def test_an_endless_network_is_stopped(tmp_path):
    need_board("cortex-m4")
    endless = SOURCE.replace("tiny_quantize(image, arena);", "for (volatile int32_t i = 0; i == 0;) {}")
    with pytest.raises(BadInput, match=r"tiny\.c: on cortex-m4 it did not end within 1 s; give fewer samples"):
        run_on("cortex-m4", write_network(tmp_path, endless), samples(1), seconds=1)


def test_a_network_that_does_not_compile_is_one_line(tmp_path):
    need_board("cortex-m4")
    with pytest.raises(BadInput, match=r"tiny\.c: arm-none-eabi-gcc refuses it for cortex-m4 \(tiny\.c:\d+.* error: "):
        run_on("cortex-m4", write_network(tmp_path, SOURCE.replace("int32_t sum", "int33_t sum")), samples(1))
    other = HEADER.replace("TINY_IMAGE_LENGTH 64", "TINY_IMAGE_LENGTH 65")
    with pytest.raises(BadInput, match="TINY_IMAGE_LENGTH is not 64"):
        run_on("cortex-m4", write_network(tmp_path, header=other), samples(1))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("TINY_ARENA_BYTES 4096", "TINY_ARENA_BYTES 5000000"), r"arena, variables and stack take [\d,]+ bytes more "),
        (
            ("[TINY_LOGITS_LENGTH *", "[20000000 + TINY_LOGITS_LENGTH *"),
            r"constants take 3,22\d,\d+ bytes more than the ",
        ),
    ],
    ids=["ram", "constants"],
)
def test_a_network_that_does_not_fit_says_by_how_much(change, message, tmp_path):
    need_board("cortex-m4")
    network = write_network(tmp_path, SOURCE.replace(*change), HEADER.replace(*change))
    with pytest.raises(BadInput, match=rf"tiny\.c: does not fit on cortex-m4: {message}"):
        run_on("cortex-m4", network, samples(1))


@pytest.mark.parametrize("board", CORTEX_M)
def test_five_megabytes_of_weights_fit(board, tmp_path):
    need_board(board)
    large = SOURCE.replace("[TINY_LOGITS_LENGTH *", "[5000000 + TINY_LOGITS_LENGTH *")
    found = run_on(board, write_network(tmp_path, large), samples(2))
    assert found.flash_bytes > 5_000_000
    assert np.array_equal(found.outputs["logits"], expected(samples(2))["logits"])


def test_a_network_may_have_any_name_and_lie_anywhere(tmp_path):
    need_board("cortex-m4")
    for name in ("harness", "host", "network", "stack", "measure"):
        source, header = (text.replace("tiny", name).replace("TINY", name.upper()) for text in (SOURCE, HEADER))
        network = write_network(tmp_path / "a folder, of $(others); really", source, header, name)
        found = run_on("cortex-m4", network, samples(1))
        assert np.array_equal(found.outputs["codes"], expected(samples(1))["codes"])
        assert f"{name}_linear" in found.by_function


def test_nothing_is_left_behind_but_the_compiled_counter(tmp_path, monkeypatch):
    need_board("cortex-m4")
    network = write_network(tmp_path / "net")
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    monkeypatch.setenv("OFFRAMP_CACHE", str(tmp_path / "cache"))
    run_on("cortex-m4", network, samples(1))
    assert os.listdir(tmp_path / "temporary") == []
    assert sorted(os.listdir(tmp_path / "net")) == ["tiny.c", "tiny.h"]
    (counter,) = os.listdir(tmp_path / "cache")
    assert counter.startswith("count-instructions-") and counter.endswith(".so")


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path, monkeypatch):
    need_board("cortex-m4")
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("OFFRAMP_CACHE", str(tmp_path / "file"))
    assert run_on("cortex-m4", write_network(tmp_path / "net"), samples(1)).instructions > 0


def test_an_emulator_that_refuses_the_counter_is_no_fault_of_the_network(tmp_path, monkeypatch):
    need_board("cortex-m4")
    monkeypatch.setenv("OFFRAMP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("offramp.devices.boards.emulated.counting.plugin_version", lambda _: 99)
    with pytest.raises(EmulatorUnavailable, match=r"qemu-system-arm: .*plugin.*; tried with QEMU 7\.2"):
        run_on("cortex-m4", write_network(tmp_path), samples(1))


@pytest.mark.parametrize("name", ["startup_cortex_m.c", "semihosting.h", "cortex_m.ld"])
def test_the_example_starts_as_the_boards_do(name):
    assert filecmp.cmp(EXAMPLE / name, FOLDER / name, shallow=False), f"copy harness/{name} to {EXAMPLE}"


@pytest.fixture
def firmware(tmp_path) -> Path:
    """A copy of the example in which one network with one input and one output can be built."""
    need_board("cortex-m4")
    if shutil.which("make") is None:
        pytest.skip("not run: make is not installed (apt-get install make)")
    one = {
        "const float *image, const int32_t *mode": "const float *image",
        "float *logits, int8_t *codes": "float *logits",
    }
    one |= {"const float *image, const int32_t *mode,\n": "const float *image,\n", "*mode": "0"}
    one |= {"#define TINY_MODE_LENGTH 1\n": "", "#define TINY_CODES_LENGTH 64\n": ""}
    one |= {"    memcpy(codes, arena, TINY_CODES_LENGTH);\n": ""}
    source, header = SOURCE, HEADER
    for old, new in one.items():
        source, header = source.replace(old, new), header.replace(old, new)
    write_network(tmp_path / "dist", source, header)
    return Path(shutil.copytree(EXAMPLE, tmp_path / "firmware", ignore=shutil.ignore_patterns("build")))


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        ["make", "--no-print-directory", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_example_builds_and_runs_with_one_command_each(firmware):
    inputs = samples(1)
    inputs["mode"][:] = 0
    inputs["image"].tofile(firmware / "input.bin")
    labels = ['"a \\"quoted\\" one"', *(f'"label {i}"' for i in range(1, 10))]
    lines = ",\n".join(f"    {label}" for label in labels)
    (firmware.parent / "dist/manifest.json").write_text(f'{{\n  "labels": [\n{lines}\n  ]\n}}\n')
    built = make(firmware, "NET=../dist/tiny.c")
    assert built.returncode == 0 and "warning" not in built.stderr, built.stderr
    assert (firmware / "build/tiny/firmware.elf").exists() and (firmware / "build/tiny/firmware.bin").exists()
    ran = make(firmware, "run", "NET=../dist/tiny.c")
    logits = np.fromfile(firmware / "build/tiny/output.bin", "<f4")
    assert np.array_equal(logits, expected(inputs)["logits"][0])
    best = int(logits.argmax())
    wanted = 'a "quoted" one' if best == 0 else f"label {best}"
    assert ran.returncode == 0 and f"class {best}: {wanted}\n" in ran.stderr


def test_the_example_runs_without_a_manifest_and_says_what_is_missing(firmware):
    (firmware / "input.bin").write_bytes(bytes(4 * 63))
    ran = make(firmware, "run", "NET=../dist/tiny.c")
    assert ran.returncode != 0 and "input.bin is missing or too short" in ran.stderr
    (firmware / "input.bin").write_bytes(bytes(4 * 64))
    ran = make(firmware, "run", "NET=../dist/tiny.c")
    assert ran.returncode == 0 and "class 0\n" in ran.stderr
    assert "say which network: make NET=" in make(firmware).stderr


def test_the_example_refuses_a_header_of_something_else(firmware):
    (firmware.parent / "dist/tiny.h").write_text("int other(void);\n")
    ran = make(firmware, "NET=../dist/tiny.c")
    assert ran.returncode != 0 and "tiny.h: not the header of a network that offramp exported" in ran.stderr
