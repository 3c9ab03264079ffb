"""What works on this machine: each target and engine tried for real, and the one command that enables a missing one."""

import importlib.util
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from ...c_compiler import NoCompiler, compiler_version
from ...runtime.tflite_compat import CompatibilityUnavailable, ensure_environment
from .emulated import Board, boards, missing_tools
from .host import describe_host


@dataclass(frozen=True)
class Finding:
    """One target or engine.

    Attributes:
        name: for example `onnx` or `Core ML, native`.
        works: whether it can be used here.
        detail: version, or what is missing.
        mend: the one command that enables it; empty where nothing is to be done or can be.
    """

    name: str
    works: bool
    detail: str
    mend: str = ""


def examine() -> dict[str, Any]:
    """Everything that offramp can use, tried on this machine."""
    host = describe_host()
    findings = [*(check() for check in _CHECKS), *map(_emulated, boards().values())]
    return {"host": asdict(host), "findings": [asdict(finding) for finding in findings]}


def _package(name: str, module: str, package: str) -> Callable[[], Finding]:
    def check() -> Finding:
        try:
            found = version(package)
        except PackageNotFoundError:
            return Finding(name, False, f"{package} is not installed", f"pip install {package}")
        if importlib.util.find_spec(module) is None:
            return Finding(
                name, False, f"{package} {found} cannot be imported", f"pip install --force-reinstall {package}"
            )
        return Finding(name, True, f"{package} {found}")

    return check


def _older_tflite() -> Finding:
    name = "TFLite in tflite-runtime 2.14"
    try:
        python = ensure_environment()
    except CompatibilityUnavailable as reason:
        return Finding(name, False, str(reason))
    return Finding(name, True, f"environment of its own, {python.parent.parent.name}")


def _native_coreml() -> Finding:
    if sys.platform == "darwin":
        return Finding("Core ML, native", True, "macOS runs the packages itself")
    return Finding(
        "Core ML, native", False, "only macOS runs Core ML; here its packages are evaluated operator by operator"
    )


def _browser() -> Finding:
    found = shutil.which("chromium") or shutil.which("google-chrome")
    if found:
        return Finding("browser, for the tests of the report", True, found)
    return Finding("browser, for the tests of the report", False, "no Chromium found", "apt-get install chromium")


def _c_compiler() -> Finding:
    try:
        return Finding("c, compiled and executed", True, compiler_version())
    except NoCompiler as missing:
        return Finding("c, compiled and executed", False, str(missing))


def _emulated(board: Board) -> Finding:
    missing = missing_tools(board)
    if not missing:
        return Finding(f"emulated {board.name}", True, board.title)
    tools, packages = zip(*missing)
    mend = f"apt-get install {' '.join(dict.fromkeys(packages))}"
    return Finding(f"emulated {board.name}", False, f"{', '.join(tools)} not found", mend)


_CHECKS: tuple[Callable[[], Finding], ...] = (
    _package("training and quantization", "torch", "torch"),
    _package("weight quantizers", "brevitas", "brevitas"),
    _package("onnx, written", "onnxscript", "onnxscript"),
    _package("onnx, executed", "onnxruntime", "onnxruntime"),
    _package("tflite, written", "litert_torch", "litert-torch"),
    _package("tflite, executed", "ai_edge_litert", "ai-edge-litert"),
    _older_tflite,
    _package("coreml, written and evaluated", "coremltools", "coremltools"),
    _native_coreml,
    _c_compiler,
    _browser,
)
