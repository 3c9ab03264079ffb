"""aihwkit 1.2.0, the peer of the synapse emulator: built from its source package, once, into an environment of its own.

Its wheels are for other Pythons and other releases of torch, so that it is compiled against the torch that runs here,
which the new environment sees by a path file. OpenBLAS comes as a wheel whose functions carry a prefix. What was built
stays in the cache.
"""

import os
import shutil
import site
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import OfframpError, first_line
from ..storage import atomic_path, cache_folder

VERSION = "1.2.0"
TITLE = f"aihwkit {VERSION}"
_TOOLS = ("cmake>=4.2.1", "pybind11>=3.0.1", "scikit-build>=0.18.1", "ninja", "setuptools>=77,<81", "wheel", "mypy")
_BLAS = "scipy-openblas32"
_RUNTIME = ("requests", "tqdm", "scipy", "scikit-learn", "protobuf")
_BLAS_FUNCTIONS = (
    *("dcopy", "dgemm", "dgemv", "dger", "dnrm2", "dscal", "idamax"),
    *("isamax", "scopy", "sgemm", "sgemv", "sger", "snrm2", "sscal"),
)
_SECONDS = 3600


class PeerUnavailable(OfframpError):
    """The peer cannot be built here."""


def load(say: Callable[[str], None] = lambda _: None) -> Any:
    """The peer's module, ready to use in this process; built first where it is not yet.

    Raises:
        PeerUnavailable: it cannot be built.
    """
    folder = _environment()
    if not (folder / "made").exists():
        say(f"building {TITLE} into {folder}: some minutes, once")
        _make(folder)
    site.addsitedir(str(Path(folder.joinpath("made").read_text(encoding="utf-8").strip()) / _site()))
    import aihwkit

    return aihwkit


def tile(kind: str, size: int, **update: Any) -> Any:
    """A square tile of the peer's default device of a kind, its weights zero.

    Args:
        kind: `ConstantStep` or `SoftBounds`.
        update: settings of its update.
    """
    from aihwkit.simulator import configs
    from aihwkit.simulator.parameters.training import UpdateParameters
    from aihwkit.simulator.tiles.analog import AnalogTile

    device = getattr(configs, f"{kind}Device")()
    made = AnalogTile(size, size, configs.SingleRPUConfig(device=device, update=UpdateParameters(**update)))
    made.set_weights(torch.zeros(size, size))
    return made


def pulsed(kind: str, size: int, pulses: int) -> Tensor:
    """Weights (size, size) of the peer's devices after so many pulses up from zero, one at each update."""
    step = 0.001  # the devices' default
    made = tile(kind, size, desired_bl=1, update_bl_management=False, update_management=False)
    made.set_learning_rate(step)  # so that a pulse of either line is certain
    ones = torch.ones(1, size)
    for _ in range(pulses):
        made.update(ones, -ones)
    return made.get_weights()[0]


def _environment() -> Path:
    tag = f"cp{sys.version_info.major}{sys.version_info.minor}-torch{torch.__version__}-{sysconfig.get_platform()}"
    return cache_folder() / f"aihwkit-{VERSION}-{tag}"


def _site() -> str:
    return f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"


def _make(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix="env-", dir=folder))
    python, packages = made / "bin" / "python", made / _site()
    try:
        _run([sys.executable, "-m", "venv", str(made)])
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        _run([*pip, *_TOOLS, _BLAS, *_RUNTIME])
        (packages / "torch_of_the_caller.pth").write_text(f"{Path(torch.__file__).parent.parent}\n", encoding="utf-8")
        blas = packages / "scipy_openblas32"
        home = made / "openblas"
        (home / "lib").mkdir(parents=True)
        (home / "include").symlink_to(blas / "include")
        (home / "lib" / "libopenblas.so").symlink_to(blas / "lib" / "libscipy_openblas.so")
        environment = {
            **os.environ,
            "PATH": f"{made / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}",
            "OpenBLAS_HOME": str(home),
            "USE_CUDA": "OFF",
            "CXXFLAGS": " ".join(f"-Dcblas_{name}=scipy_cblas_{name}" for name in _BLAS_FUNCTIONS),
            "LDFLAGS": f"-Wl,-rpath,{blas / 'lib'}",
        }
        environment.pop("PYTHONPATH", None)
        build = [
            *pip,
            "--no-cache-dir",
            "--no-build-isolation",
            "--no-deps",
            "--no-binary",
            "aihwkit",
            f"aihwkit=={VERSION}",
        ]
        _run(build, environment)
    except BaseException:  # a full disk and an impatient user too
        shutil.rmtree(made, ignore_errors=True)
        raise
    with atomic_path(folder / "made") as beside:
        beside.write_text(f"{made}\n", encoding="utf-8")


def _run(command: list[str], environment: dict[str, str] | None = None) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False, env=environment)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PeerUnavailable(f"{TITLE}: {command[0]} did not finish ({first_line(error)})") from error
    if done.returncode:
        lines = [line for line in (done.stderr or done.stdout).splitlines() if "rror" in line] or ["no reason given"]
        raise PeerUnavailable(f"{TITLE}: cannot be built here ({first_line(ValueError(lines[0].strip()))})")
