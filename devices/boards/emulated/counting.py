"""Instructions of a network by function, counted by a plugin of QEMU that is compiled at its first use."""

import hashlib
import re
import shutil
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from ....c_compiler import NoCompiler, compiler
from ....errors import BadInput
from ....storage import atomic_path, cache_folder
from .build import Program
from .plugin import SOURCE
from .toolchain import CommandFailed, EmulatorUnavailable, complaint, run

_LIBRARY, _TABLE, _REPORT = "count_instructions.so", "functions.txt", "instructions.txt"
# What runs between the marks and is not the network: the call of it and the marks themselves.
_HARNESS = {"harness_sample", "measure_begin", "measure_end"}


@dataclass(frozen=True)
class Instructions:
    """Instructions that ran in a network.

    Attributes:
        first: of the first run.
        least, most: of the shortest and of the longest run.
        by_function: of the first run by C function, largest first.
    """

    first: int
    least: int
    most: int
    by_function: dict[str, int]


def prepare(program: Program, emulator: str, folder: Path) -> list[str]:
    """Puts the plugin and its table into a folder; returns the options that an emulator in that folder is given.

    Args:
        program: what will be run.
        emulator: its version as `version_of` gives it, for example `qemu-aarch64 7.2.22`.
        folder: where the emulator runs and the report will lie.

    Raises:
        EmulatorUnavailable: the plugin does not compile here.
    """
    # QEMU takes a comma in a path as the end of it, so the plugin is loaded from the working folder.
    shutil.copyfile(_plugin(plugin_version(emulator), folder), folder / _LIBRARY)
    functions = [f for f in program.functions if f.name not in _HARNESS]
    table = "".join(f"{f.start:x} {f.end:x}\n" for f in functions)
    (folder / _TABLE).write_text(table, encoding="ascii")
    begin, end = program.marks
    return ["-plugin", f"./{_LIBRARY},table={_TABLE},report={_REPORT},begin={begin:x},end={end:x}"]


def read_report(program: Program, folder: Path) -> Instructions | None:
    """What the plugin counted, or None where it wrote nothing."""
    path = folder / _REPORT
    if not path.exists():
        return None
    head, *rows = path.read_text(encoding="ascii").splitlines()
    _, first, least, most = map(int, head.split())
    by_function: dict[str, int] = {}
    for function, row in zip([f for f in program.functions if f.name not in _HARNESS], rows):
        by_function[function.name] = by_function.get(function.name, 0) + int(row)
    ranked = sorted(((n, name) for name, n in by_function.items() if n), key=lambda pair: (-pair[0], pair[1]))
    return Instructions(first, least, most, {name: n for n, name in ranked})


def plugin_version(emulator: str) -> int:
    """Version of the plugin interface to declare: QEMU 9 refuses 1, and 2 changed nothing that is used here."""
    major = re.search(r" (\d+)\.", emulator)
    return 2 if major and int(major[1]) >= 9 else 1


def _plugin(version: int, folder: Path) -> Path:
    """The compiled plugin, in the cache folder or, where that cannot be written, in `folder`."""
    source = SOURCE.read_bytes()
    key = hashlib.sha256(source + f"{version} {sysconfig.get_platform()}".encode()).hexdigest()[:16]
    cached = cache_folder() / f"count-instructions-{key}.so"
    if cached.exists():
        return cached
    made = folder / "compiled.so"
    flags = ["-std=gnu11", "-O2", "-shared", "-fPIC", "-fvisibility=hidden", f"-DPLUGIN_VERSION={version}"]
    # macOS asks at link time for what the emulator gives at load time.
    flags += ["-undefined", "dynamic_lookup"] if sysconfig.get_platform().startswith("macosx") else []
    try:
        command = compiler()
        run([*command, *flags, str(SOURCE), "-o", str(made)], folder)
    except NoCompiler as missing:
        raise EmulatorUnavailable(str(missing)) from missing
    except CommandFailed as failure:
        raise EmulatorUnavailable(
            f"{command[0]}: cannot compile the instruction counter ({complaint(failure.output)})"
        ) from failure
    try:
        with atomic_path(cached) as beside:
            shutil.copyfile(made, beside)
    except BadInput:
        return made
    return cached
