"""Emulated boards without a toolchain: what is read of maps and symbols, packed for the harness and said of faults."""

import re

import numpy as np
import pytest
from offramp.devices.boards.emulated import EmulatorUnavailable, boards, missing_tools, run_on
from offramp.devices.boards.emulated.board import Board, Region, cortex_m
from offramp.devices.boards.emulated.border import read_border, sample_shape
from offramp.devices.boards.emulated.build import Program, glue, memory_script
from offramp.devices.boards.emulated.counting import plugin_version, prepare, read_report
from offramp.devices.boards.emulated.link_map import Piece, Sizes, measure, parse_map
from offramp.devices.boards.emulated.run import crash, pack_inputs, unpack_outputs
from offramp.devices.boards.emulated.symbols import Function, c_name, function_at, parse_functions
from offramp.devices.boards.emulated.toolchain import CommandFailed, complaint, overflows, run
from offramp.errors import BadInput
from offramp.export.artifact import Artifact, TensorSpec

MAP = """\
Archive member included to satisfy reference by file (symbol)

/usr/lib/libm.a(s_expf.o)     network.o (expf)

Discarded input sections

 .text.unused   0x0000000000000000       0x40 network.o

Memory Configuration

Name             Origin             Length             Attributes
CODE             0x0000000000000000 0x0000000000400000 xrw

Linker script and memory map

LOAD network.o
START GROUP
LOAD /usr/lib/libm.a
END GROUP

.vectors
 *(.vectors)

.text           0x0000000000000000      0x164
 *(.text .text.*)
 .text          0x0000000000000000        0x0 network.o
 .text.net_run  0x0000000000000000      0x100 network.o
                0x0000000000000000                net_run
 .text.a_function_with_a_long_name
                0x0000000000000100       0x22 network.o
 *fill*         0x0000000000000122        0x2\x20
 .text.expf     0x0000000000000124       0x40 /usr/lib/gcc/../lib dir/libm.a(s_expf.o)
                0x0000000000000164                . = ALIGN (0x4)

.rodata         0x0000000021000000       0x80
 .rodata.weights
                0x0000000021000000       0x80 network.o

.data           0x0000000020000000        0x8 load address 0x0000000000000164
                0x0000000020000000                data_start = .
 .data.state    0x0000000020000000        0x8 network.o

.bss            0x0000000020000040     0x1000
 .bss.arena     0x0000000020000040     0x1000 network.o
 .bss.samples   0x0000000020001040       0x10 main.o

.stack          0x0000000020002000      0x100
                0x0000000020002100                . = (. + stack_bytes)

.debug_info     0x0000000000000000       0x99
 .debug_info    0x0000000000000000       0x99 network.o
"""
NM = """\
00000040 t helper.constprop.0
00000001 00000008 T net_run
00000020 00000010 W __alias
00000020 00000010 T alias
20000000 00000100 b arena
00000080 T last
         U missing
"""
SPECS = (TensorSpec("image", (1, 2, 3), "float32"), TensorSpec("mode", (None, 1), "int8"))


def artifact(tmp_path, declaration="void net_run(const float *image, float *logits);") -> Artifact:
    (tmp_path / "net.c").write_text("")
    (tmp_path / "net.h").write_text(f"#define NET_IMAGE_LENGTH 6\n{declaration}\n")
    return Artifact("c", "int8", tmp_path / "net.c", SPECS[:1], (TensorSpec("logits", (1, 4), "float32"),))


def test_a_map_is_read_piece_by_piece_without_what_was_thrown_away():
    pieces = parse_map(MAP)
    assert Piece(".text", ".text.a_function_with_a_long_name", 0x22, "network.o") in pieces
    assert Piece(".text", "*fill*", 2, "padding") in pieces
    assert Piece(".text", ".text.expf", 0x40, "libm.a(s_expf.o)") in pieces
    assert sum(piece.size for piece in pieces if piece.output == ".text") == 0x164
    assert not any(piece.section == ".text.unused" for piece in pieces)


def test_flash_has_code_constants_and_start_values_and_ram_has_variables():
    sizes = measure(parse_map(MAP), lambda origin: origin != "main.o")
    assert sizes.flash == 0x164 + 0x80 + 8
    assert sizes.ram == 0x1000 + 8
    assert sizes.by_object == {
        "network.o": (0x122 + 0x80 + 8, 0x1008),
        "libm.a(s_expf.o)": (0x40, 0),
        "padding": (2, 0),
    }
    assert measure(parse_map(MAP), lambda origin: origin == "main.o").ram == 0x10


def test_a_text_that_is_no_map_has_no_pieces():
    assert parse_map("nothing\n .text 0x0 0x10 network.o\n") == []
    assert measure([], lambda _: True) == Sizes(0, 0, {})


def test_functions_reach_to_the_next_and_have_their_name_in_c():
    functions = parse_functions(NM)
    assert functions == [
        Function("net_run", 1, 0x20),
        Function("alias", 0x20, 0x40),
        Function("helper", 0x40, 0x80),
        Function("last", 0x80, 0x180),
    ]
    assert function_at(functions, 0x3F) == "alias"
    assert function_at(functions, 0x9000) == "0x9000"
    assert parse_functions("") == []


@pytest.mark.parametrize(
    ("symbol", "name"), [("conv.part.0", "conv"), ("conv.isra.0.cold", "conv"), ("conv_1", "conv_1"), (".L1", ".L1")]
)
def test_what_a_compiler_appends_is_no_part_of_a_name(symbol, name):
    assert c_name(symbol) == name


def test_the_boards_are_those_of_the_files():
    found = boards()
    assert {"cortex-m4", "cortex-m7", "cortex-m55", "aarch64"} <= set(found)
    assert all(name == board.name for name, board in found.items())
    for board in found.values():
        assert not board.bare or [region.name for region in board.regions] == ["CODE", "CONSTANTS", "RAM"]


def test_an_unknown_board_is_refused_with_the_known_ones(tmp_path):
    with pytest.raises(BadInput, match=r"cortex-m99: no such emulated board; choose one of aarch64, .*cortex-m4"):
        run_on("cortex-m99", artifact(tmp_path), [np.zeros((1, 2, 3), np.float32)])


def test_missing_tools_are_named_with_the_command_that_installs_them(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    tools = missing_tools(boards()["cortex-m4"])
    assert ("arm-none-eabi-gcc", "gcc-arm-none-eabi") in tools
    assert ("newlib", "libnewlib-arm-none-eabi") in tools
    message = "cortex-m4: arm-none-eabi-gcc, newlib, qemu-system-arm, cc not found; apt-get install gcc-arm-none-eabi "
    with pytest.raises(EmulatorUnavailable, match=message + "libnewlib-arm-none-eabi qemu-system-arm gcc$"):
        run_on("cortex-m4", artifact(tmp_path), [np.zeros((1, 2, 3), np.float32)])


def test_samples_are_packed_one_after_another():
    image, mode = np.arange(12, dtype=np.float32).reshape(2, 2, 3), np.array([[7], [-1]], np.int8)
    packed = pack_inputs(SPECS, {"mode": mode, "image": image})
    assert packed.shape == (2, 25)
    assert packed[1].tobytes() == image[1].tobytes() + b"\xff"
    assert np.array_equal(packed, pack_inputs(SPECS, [image, mode]))
    assert np.array_equal(packed, pack_inputs(SPECS, [np.asfortranarray(image), mode]))


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([np.zeros((1, 2, 3), np.float32)], "inputs must be image, mode, got 1 arrays"),
        ({"picture": np.zeros((1, 2, 3), np.float32)}, "inputs must be image, mode, got picture"),
        ([np.zeros((2, 2, 3), np.float32), np.zeros((1, 1), np.int8)], r"equally many samples .*got \[1, 2\]"),
        ([np.zeros((0, 2, 3), np.float32), np.zeros((0, 1), np.int8)], r"at least one, got \[0\]"),
        ([np.zeros((1, 2, 4), np.float32), np.zeros((1, 1), np.int8)], r"image: .*shape \(2, 3\), got \(2, 4\)"),
        ([np.zeros((1, 2, 3)), np.zeros((1, 1), np.int8)], "image: elements must be float32, got float64"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(inputs, message):
    with pytest.raises(BadInput, match=message):
        pack_inputs(SPECS, inputs)


def test_outputs_come_back_with_their_shapes_and_the_stack():
    logits, codes = np.arange(6, dtype="<f4").reshape(2, 3), np.array([[1, -2], [3, -4]], "i1")
    data = b"".join(a.tobytes() + b.tobytes() for a, b in zip(logits, codes)) + (300).to_bytes(4, "little")
    specs = (TensorSpec("logits", (1, 3), "float32"), TensorSpec("codes", (None, 2, 1), "int8"))
    outputs, stack_bytes = unpack_outputs(specs, data, 2)
    assert stack_bytes == 300
    assert np.array_equal(outputs["logits"], logits) and np.array_equal(outputs["codes"], codes[..., None])
    with pytest.raises(BadInput, match="wrote 31 bytes of outputs, expected 32"):
        unpack_outputs(specs, data[1:], 2)


def test_a_sample_has_no_batch_and_no_free_size():
    assert sample_shape(TensorSpec("x", (None, 3), "float32")) == (3,)
    assert sample_shape(TensorSpec("x", (4, 3), "float32")) == (4, 3)
    assert sample_shape(TensorSpec("x", (), "float32")) == ()
    with pytest.raises(BadInput, match=r"x: C has tensors of fixed sizes above 0 only, got \(1, None\)"):
        sample_shape(TensorSpec("x", (1, None), "float32"))
    with pytest.raises(BadInput, match=r"got \(1, 0\)"):
        sample_shape(TensorSpec("x", (1, 0), "float32"))


def test_the_glue_holds_the_buffers_and_the_one_call(tmp_path):
    text = glue(read_border(artifact(tmp_path)))
    assert "static float input_0[6]" in text and "static float output_0[4]" in text
    assert "#if defined(NET_IMAGE_LENGTH) && NET_IMAGE_LENGTH != 6" in text
    assert "    measure_begin();\n    net_run(input_0, output_0);\n    measure_end();" in text


def test_the_header_decides_on_the_element_types(tmp_path):
    codes = read_border(artifact(tmp_path, "void net_run(const int8_t *image,\n    int32_t *logits);"))
    assert [spec.dtype for spec in (*codes.inputs, *codes.outputs)] == ["int8", "int32"]
    assert (codes.entry, codes.parameters) == ("net_run", ("image", "logits"))
    assert [spec.name for spec in codes.outputs] == ["logits"]


@pytest.mark.parametrize(
    ("declaration", "message"),
    [
        ("int net_run(void);", r"net\.h: expected one `void NAME_run\(\.\.\.\)`, found none"),
        ("void a_run(float *x);\nvoid b_run(float *x);", "found a_run, b_run"),
        (
            "void net_run(const float *image);",
            r"net_run must take an array each for image, logits, got \(const float \*im",
        ),
        ("void net_run(const double *image, float *logits);", "must take an array each for image, logits"),
    ],
)
def test_a_header_that_does_not_fit_is_refused(tmp_path, declaration, message):
    with pytest.raises(BadInput, match=message):
        read_border(artifact(tmp_path, declaration))


def test_a_missing_header_is_named(tmp_path):
    network = artifact(tmp_path)
    (tmp_path / "net.h").unlink()
    with pytest.raises(BadInput, match=r"net\.h: no such file"):
        read_border(network)


def test_the_memories_of_a_board_become_a_linker_script():
    script = memory_script((Region("CODE", 0, 4096), Region("RAM", 0x2000_0000, 64)))
    assert "CODE (rwx) : ORIGIN = 0x0, LENGTH = 0x1000" in script
    assert "RAM (rwx) : ORIGIN = 0x20000000, LENGTH = 0x40" in script


def test_of_a_compilers_output_the_first_error_is_told_without_folders():
    output = "In file included from /a/b/net.c:1:\n/a/b/net.c:3:1: error: unknown type name 'flaot'\nmore\n"
    assert complaint(output) == "net.c:3:1: error: unknown type name 'flaot'"
    assert complaint("ld: net.o: in function `f':\n/x/net.c:2: undefined reference to `g'\n").startswith("net.c:2: und")
    assert complaint(" one\n last \n") == "last"
    assert complaint("") == "no reason given"


def test_an_overflow_is_told_by_its_memory():
    output = "ld: section `.bss' will not fit in region `RAM'\nld: region `RAM' overflowed by 1234 bytes\n"
    assert overflows(output) == {"RAM": 1234}
    assert overflows("ld: region RAM' overflowed") == {}


def program(tmp_path) -> Program:
    functions = [Function("harness_sample", 0, 16), Function("conv", 16, 32), Function("conv", 32, 48)]
    functions += [Function("linear", 48, 64), Function("unused", 64, 80)]
    return Program(tmp_path / "program.elf", functions, (0x100, 0x110), Sizes(0, 0, {}))


@pytest.mark.parametrize(
    ("code", "output", "message"),
    [
        (3, "fault: exception 00000003 pc 00000022 status 00000400\n", r"it stopped in conv with a bus fault .*0x400"),
        (3, "fault: exception 00000003 pc 00000030 status 00020000\n", "it stopped in linear with a usage fault"),
        (3, "fault: exception 00000003 pc 00000030 status 00000000\n", "it stopped in linear with a hard fault"),
        (4, "", "could not read its samples or write its outputs"),
        (5, "", "more stack than there is"),
        (-11, "", r"it crashed \(SIGSEGV\)"),
        (1, "qemu: trouble\n", r"it crashed \(exit code 1: qemu: trouble\)"),
        (None, "", "it did not end within 5 s"),
    ],
)
def test_how_a_program_ended_is_one_line(tmp_path, code, output, message):
    assert re.search(message, crash(CommandFailed("qemu", code, output), program(tmp_path), 5))


def test_counts_of_one_name_are_one_count_and_the_harness_has_none(tmp_path, monkeypatch):
    cached = tmp_path / "cache"
    monkeypatch.setenv("OFFRAMP_CACHE", str(cached))
    monkeypatch.setattr("offramp.devices.boards.emulated.counting._plugin", lambda *_: __file__)
    options = prepare(program(tmp_path), "qemu-aarch64 7.2.22", tmp_path)
    assert options[1].endswith("begin=100,end=110")
    assert (tmp_path / "functions.txt").read_text() == "10 20\n20 30\n30 40\n40 50\n"
    assert read_report(program(tmp_path), tmp_path) is None
    (tmp_path / "instructions.txt").write_text("3 60 59 61\n10\n20\n30\n0\n")
    counted = read_report(program(tmp_path), tmp_path)
    assert counted is not None and counted.by_function == {"conv": 30, "linear": 30}
    assert (counted.first, counted.least, counted.most) == (60, 59, 61)


@pytest.mark.parametrize(
    ("emulator", "version"), [("qemu-system-arm 7.2.22", 1), ("qemu-aarch64 8.2.2", 1), ("qemu 10.0.3", 2), ("qemu", 1)]
)
def test_the_plugin_declares_an_interface_that_qemu_knows(emulator, version):
    assert plugin_version(emulator) == version


def test_a_command_that_fails_or_hangs_says_so(tmp_path):
    with pytest.raises(CommandFailed, match=r"sh: exit code 3") as failure:
        run(["sh", "-c", "echo because; exit 3"], tmp_path)
    assert (failure.value.code, failure.value.output) == (3, "because\n")
    with pytest.raises(CommandFailed, match="sleep: no end in time"):
        run(["sleep", "20"], tmp_path, seconds=0.1)
    with pytest.raises(EmulatorUnavailable, match=r"no-such-command: cannot be started"):
        run(["no-such-command"], tmp_path)


def test_a_board_of_ones_own_needs_no_more_than_its_memories():
    board = cortex_m("mine", "A board", "mps2-an386", ("-mcpu=cortex-m4",), Region("RAM", 0, 1))
    assert isinstance(board, Board) and board.bare and board.compiler == "arm-none-eabi-gcc"


def test_constants_that_were_relocated_are_no_variables():
    sizes = measure([Piece(".data.rel.ro", ".data.rel.ro.local", 104, "network.o")], lambda _: True)
    assert (sizes.flash, sizes.ram) == (104, 0)
