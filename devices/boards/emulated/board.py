"""`Board`: what it takes to build a program for a processor and to run it in an emulator."""

from dataclasses import dataclass

KIB, MIB = 1024, 1024 * 1024


@dataclass(frozen=True)
class Region:
    """A memory of a board: the linker's name of it, its first address and its bytes."""

    name: str
    origin: int
    length: int


@dataclass(frozen=True)
class Tool:
    """Something that has to be installed.

    Attributes:
        name: the command, or what the library is called.
        package: Debian's package that holds it.
        library: a file that the board's compiler must find; None where `name` is a command.
    """

    name: str
    package: str
    library: str | None = None


@dataclass(frozen=True)
class Board:
    """An emulated board.

    Attributes:
        name: as the command line takes it.
        title: processor and machine, for people.
        prefix: of the cross toolchain's commands, for example `arm-none-eabi-`.
        flags: of the compiler, for the processor.
        emulator: the command; the program's file is its last argument.
        harness: files of `harness/` that this board needs besides the common ones.
        link: flags of the linking compiler.
        regions: memories for the linker script; none for a process of an operating system.
        libraries: where a network's own bytes may come from besides its own object: names that archives begin with.
        tools: what has to be installed.
    """

    name: str
    title: str
    prefix: str
    flags: tuple[str, ...]
    emulator: tuple[str, ...]
    harness: tuple[str, ...]
    link: tuple[str, ...]
    regions: tuple[Region, ...]
    libraries: tuple[str, ...]
    tools: tuple[Tool, ...]

    @property
    def bare(self) -> bool:
        """Whether there is no operating system, so that the linker script decides where everything lies."""
        return bool(self.regions)

    @property
    def compiler(self) -> str:
        return f"{self.prefix}gcc"


_HOST_COMPILER = Tool("cc", "gcc")


def cortex_m(name: str, title: str, machine: str, flags: tuple[str, ...], *regions: Region) -> Board:
    """A bare Cortex-M: no operating system, newlib for what C functions a network calls, files by semihosting.

    Args:
        name: of the board.
        title: for people.
        machine: as `qemu-system-arm -machine help` lists it.
        flags: of the compiler, for the processor and its floating point.
        regions: CODE, CONSTANTS and RAM.
    """
    quiet = ("-nographic", "-monitor", "none", "-serial", "none")
    semihosting = ("-semihosting-config", "enable=on,target=native")
    return Board(
        name=name,
        title=title,
        prefix="arm-none-eabi-",
        flags=("-mthumb", *flags),
        emulator=("qemu-system-arm", "-machine", machine, *quiet, *semihosting, "-kernel"),
        harness=("host_semihosting.c", "startup_cortex_m.c"),
        link=("-nostdlib",),
        regions=regions,
        libraries=("libm", "libc", "libgcc"),
        tools=(
            Tool("arm-none-eabi-gcc", "gcc-arm-none-eabi"),
            Tool("newlib", "libnewlib-arm-none-eabi", "libm.a"),
            Tool("qemu-system-arm", "qemu-system-arm"),
            _HOST_COMPILER,
        ),
    )


def linux_aarch64(name: str, title: str, cpu: str, flags: tuple[str, ...]) -> Board:
    """A Linux process on 64-bit Arm, statically linked.

    Args:
        name: of the board.
        title: for people.
        cpu: as `qemu-aarch64 -cpu help` lists it. It refuses the instructions that the processor does not have.
        flags: of the compiler, for the processor.
    """
    return Board(
        name=name,
        title=title,
        prefix="aarch64-linux-gnu-",
        flags=(*flags, "-fno-pie"),
        emulator=("qemu-aarch64", "-cpu", cpu),
        harness=("host_stdio.c",),
        link=("-static", "-no-pie"),
        regions=(),
        # Every program there has the C library, whether or not its network calls it.
        libraries=("libm",),
        tools=(
            Tool("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu"),
            Tool("the C library for aarch64", "libc6-dev-arm64-cross", "libc.a"),
            Tool("qemu-aarch64", "qemu-user"),
            _HOST_COMPILER,
        ),
    )
