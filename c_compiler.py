"""Compiles C for this machine, with the compiler that the system has."""

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from .errors import BadInput, first_line

WARNINGS = ("-std=c99", "-Wall", "-Wextra", "-Wconversion", "-pedantic")
# Kernel sets -> the flags that make a compiler for x86-64 choose them; `native` takes the best that this machine has.
KERNEL_SETS = {
    "native": ("-march=native",),
    "portable": (),
    "avx2": ("-march=x86-64-v3",),
    "avx512": ("-march=x86-64-v4", "-mavx512vnni", "-mavx512vpopcntdq", "-mavx512vbmi", "-mavx512bitalg"),
}
# What the processor must have to run a kernel set, as /proc/cpuinfo spells it.
_NEEDS = {"avx2": ("avx2",), "avx512": ("avx512bw", "avx512_vnni", "avx512_vpopcntdq", "avx512vbmi", "avx512_bitalg")}
_TIMEOUT_S = 600


class NoCompiler(BadInput):
    """No C compiler was found, or it cannot be used."""


def compiler() -> list[str]:
    """The command that compiles: `$CC`, or the first of cc, gcc and clang.

    Raises:
        NoCompiler: there is none.
    """
    named = shlex.split(os.environ.get("CC", ""))
    for command in [named] if named else [["cc"], ["gcc"], ["clang"]]:
        if shutil.which(command[0]):
            return command
    wanted = f"CC={named[0]} is not found" if named else "no C compiler is found (cc, gcc or clang)"
    raise NoCompiler(f"{wanted}; install one, as with apt-get install gcc, or name one in CC")


def compiler_version() -> str:
    """The compiler's name and version, as `cc 12.2.0`.

    Raises:
        NoCompiler: there is none.
    """
    return _version(tuple(compiler()))


@cache
def _version(command: tuple[str, ...]) -> str:
    done = subprocess.run([*command, "--version"], capture_output=True, text=True, check=False)
    line = first_line(ValueError(done.stdout or done.stderr or command[0]), 80)
    numbers = re.findall(r"(?<![\w.-])\d+(?:\.\d+)+(?![\w.+-])", line)
    name = Path(command[0]).name
    return f"{name} {numbers[-1]}" if numbers else line


def compile_library(
    sources: Sequence[Path], library: Path, kernels: str = "native", threads: int = 1, flags: Sequence[str] = ()
) -> str:
    """Compiles sources to a shared library.

    Args:
        kernels: of `KERNEL_SETS`.
        threads: that the network may use; more than one links pthreads.
        flags: more for the compiler.

    Returns:
        The compiler's version.

    Raises:
        NoCompiler: none is there, or it lacks the instruction set.
        BadInput: it refuses a source.
    """
    command = compiler()
    chosen = kernel_flags(kernels)
    arguments = ["-std=c99", "-O3", *chosen, *flags, "-shared", "-fPIC", *map(str, sources), "-o", str(library), "-lm"]
    if threads > 1:
        arguments += [f"-DTHREADS={threads}", "-pthread", "-D_DEFAULT_SOURCE"]
    try:
        done = subprocess.run(
            [*command, *arguments], capture_output=True, text=True, check=False, timeout=_TIMEOUT_S, cwd=library.parent
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoCompiler(f"{command[0]}: cannot be run ({first_line(error)})") from error
    if done.returncode:
        reason = next(
            (line for line in done.stderr.splitlines() if "error" in line.lower()), done.stderr or "no reason"
        )
        if "march" in reason or any(flag.removeprefix("-") in reason for flag in chosen):
            raise NoCompiler(
                f"{command[0]}: does not know the {kernels} kernels' instruction set ({reason}); take a newer one"
            )
        raise BadInput(f"{sources[0]}: {command[0]} refuses it ({first_line(ValueError(reason))}); export it again")
    return _version(tuple(command))


def kernel_flags(kernels: str) -> tuple[str, ...]:
    """The flags of a kernel set.

    Raises:
        BadInput: it is unknown, or this processor cannot run it.
    """
    if kernels not in KERNEL_SETS:
        raise BadInput(f"kernels {kernels}: unknown; choose from {', '.join(KERNEL_SETS)}")
    missing = [name for name in _NEEDS.get(kernels, ()) if name not in processor_flags()]
    if missing:
        raise BadInput(f"kernels {kernels}: this processor has no {', '.join(missing)}; choose native or portable")
    return KERNEL_SETS[kernels]


def runnable_kernels() -> tuple[str, ...]:
    """The kernel sets that this processor can run, the widest last."""
    flags = processor_flags()
    return tuple(
        name for name in ("portable", "avx2", "avx512") if all(needed in flags for needed in _NEEDS.get(name, ()))
    )


@cache
def processor_flags() -> frozenset[str]:
    """What this processor has, as /proc/cpuinfo spells it; nothing where there is no such file."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return frozenset()
    return frozenset(next((line for line in lines if line.startswith(("flags", "Features"))), "").split())
