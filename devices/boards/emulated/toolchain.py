"""The commands of others: whether they are installed, running them, and one line of what they complain about."""

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from ....errors import OfframpError
from .board import Board, Tool

_COMPILE_SECONDS = 600
# What a compiler or an emulator may see of our environment; anything else could change what it prints or computes.
_ENVIRONMENT = ("PATH", "HOME", "TMPDIR", "TEMP", "SYSTEMROOT")


class EmulatorUnavailable(OfframpError):
    """A board cannot be emulated here; what it would compute is not known."""


class CommandFailed(OfframpError):
    """A command ended with a fault.

    Attributes:
        code: how it ended; negative for a signal, None for a timeout.
        output: everything that it printed.
    """

    def __init__(self, command: str, code: int | None, output: str):
        super().__init__(f"{command}: {ending(code)}")
        self.code = code
        self.output = output


def missing_tools(board: Board) -> list[tuple[str, str]]:
    """What has to be installed before anything can run on a board: (tool, Debian package) each."""
    return [(tool.name, tool.package) for tool in board.tools if not _is_there(board, tool)]


def require_tools(board: Board) -> None:
    """Lets pass where everything is installed.

    Raises:
        EmulatorUnavailable: naming all that is missing and the command that installs it.
    """
    missing = missing_tools(board)
    if missing:
        tools, packages = zip(*missing)
        install = f"apt-get install {' '.join(dict.fromkeys(packages))}"
        raise EmulatorUnavailable(f"{board.name}: {', '.join(tools)} not found; {install}")


def run(command: Sequence[str], folder: Path, seconds: float = _COMPILE_SECONDS) -> str:
    """Runs a command in a folder and returns what it printed.

    Raises:
        CommandFailed: it ended with another code than 0, or not in time.
        EmulatorUnavailable: it cannot be started.
    """
    environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ} | {"LC_ALL": "C"}
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise CommandFailed(command[0], None, _text(error.stdout)) from error
    except OSError as error:
        raise EmulatorUnavailable(f"{command[0]}: cannot be started ({error.strerror})") from error
    if done.returncode:
        raise CommandFailed(command[0], done.returncode, _text(done.stdout))
    return _text(done.stdout)


def version_of(command: str, folder: Path) -> str:
    """Name and version of a compiler or emulator, for example `qemu-system-arm 7.2.22`; the name where it says none."""
    found = re.search(r"(?:version |\) )(\d+(?:\.\d+)+)", run([command, "--version"], folder))
    return f"{command} {found[1]}" if found else command


def ending(code: int | None) -> str:
    """How a process ended, in words."""
    if code is None:
        return "no end in time"
    if code >= 0:
        return f"exit code {code}"
    return signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"


def complaint(output: str) -> str:
    """The first error line of a compiler or linker, else its last line; file names without their folders."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if re.search(r"error:|undefined reference|multiple definition", line)]
    chosen = (errors or lines[-1:] or ["no reason given"])[0]
    return re.sub(r"(?<![\w.])/(?:[^/\s:]+/)+", "", chosen)[:200]


def overflows(output: str) -> dict[str, int]:
    """Memory -> bytes too many, where a linker says that a program does not fit."""
    found = re.findall(r"region [`']?(\w+)' overflowed by (\d+) bytes", output)
    return {name: int(count) for name, count in found}


def _is_there(board: Board, tool: Tool) -> bool:
    if tool.library is None:
        return shutil.which(tool.name) is not None
    if shutil.which(board.compiler) is None:
        return False
    found = run([board.compiler, *board.flags, f"-print-file-name={tool.library}"], Path.cwd()).strip()
    return Path(found).is_absolute()  # a compiler that finds no such file repeats the name


def _text(output: bytes | None) -> str:
    return (output or b"").decode("utf-8", errors="replace")
