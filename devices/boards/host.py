"""This machine as a board: what it is, and how fast artifacts run on it."""

import os
import platform
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from ...c_compiler import NoCompiler
from ...errors import BadInput
from ...export.artifact import SUFFIX, TensorSpec
from ...runtime.latency import Latency, load_time_ms, measure_latency
from ...runtime.measurement import Measurement
from ...runtime.session import Session, open_session

NAME = "host"
# Instruction sets that decide which kernels the engines choose, x86 then Arm, narrow to wide.
_ISA = (
    *("sse4_2", "avx", "avx2", "fma", "f16c", "avx_vnni", "avx512f", "avx512bw", "avx512vl", "avx512_vnni"),
    *("avx512_bf16", "avx512_fp16", "avx512_vpopcntdq", "amx_tile", "amx_int8", "amx_bf16"),
    *("asimd", "asimddp", "fphp", "bf16", "i8mm", "sve", "sve2", "sme"),
)
# The first that a processor has decides how fast integers are multiplied, and whether they may saturate.
_WIDEST = (
    ("AMX", {"amx_int8"}),
    ("AVX-512 VNNI", {"avx512_vnni"}),
    ("AVX-VNNI", {"avx_vnni"}),
    ("AVX-512", {"avx512bw"}),
    ("AVX2", {"avx2"}),
    ("dot product", {"asimddp"}),
)
_ENGINES = ("onnxruntime", "ai-edge-litert", "coremltools", "torch", "numpy")


@dataclass(frozen=True)
class Host:
    """What a figure measured here depends on.

    Attributes:
        cpu: the processor's own name.
        isa: instruction sets that matter to the engines, as the kernel spells them; empty where it does not say.
        cores: logical cores that this process may use.
        memory_bytes: of the machine, None where the system does not say.
        system: operating system with version, and processor family.
        engines: package -> version, of those installed.
        name: of the board.
    """

    cpu: str
    isa: tuple[str, ...]
    cores: int
    memory_bytes: int | None
    system: str
    engines: dict[str, str]
    name: str = NAME

    @property
    def processor(self) -> str:
        """Its name with what its 8-bit products are computed by: equal names hide generations."""
        widest = next((title for title, flags in _WIDEST if flags & set(self.isa)), "")
        return f"{self.cpu} ({widest})" if widest else self.cpu

    def __str__(self) -> str:
        return f"{self.processor}, {self.cores} cores, {self.system}"


def describe_host() -> Host:
    """This machine."""
    cpu, isa = parse_cpuinfo(_cpuinfo())
    return Host(
        cpu=cpu or _processor_name(),
        isa=isa,
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        memory_bytes=_memory_bytes(),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        engines={name: found for name in _ENGINES if (found := _version(name))},
    )


def parse_cpuinfo(text: str) -> tuple[str, tuple[str, ...]]:
    """Model name and the instruction sets that matter, from the text of Linux's `/proc/cpuinfo`; empty if not there."""
    facts: dict[str, str] = {}
    for line in text.splitlines():
        key, _, value = line.partition(":")
        facts.setdefault(key.strip(), value.strip())
    flags = set((facts.get("flags") or facts.get("Features") or "").split())
    return facts.get("model name", ""), tuple(name for name in _ISA if name in flags)


def measure_on_host(
    paths: Mapping[str, Path],
    threads: int = 1,
    inputs: Mapping[str, np.ndarray] | None = None,
    runs: int = 50,
    seconds: float = 1.0,
) -> dict[str, tuple[Measurement, Measurement | None]]:
    """Latency and load time of artifacts, run in turn so that noise hits all alike.

    Args:
        paths: name -> artifact, ONNX, TFLite or C.
        threads: of the engine; one is pinned to one core.
        inputs: by name, the same for all; drawn from a fixed seed where not given.
        runs, seconds: at least so many timed runs, and so long, for each.

    Returns:
        name -> (latency of `Session.run`, load time); C is compiled into a program, and so never loaded. Without a C
        compiler it has no entry.

    Raises:
        BadInput: an artifact is missing, damaged, or of a kind that has no speed here (Core ML is evaluated operator
            by operator, which says nothing of a device).
    """
    for path in paths.values():
        if Path(path).suffix == SUFFIX["coreml"]:
            raise BadInput(f"{path}: Core ML has no latency on this board; measure it on a Mac or an iPhone")
    sessions = {}
    for name, path in paths.items():
        with suppress(NoCompiler):
            sessions[name] = open_session(Path(path), threads)
    if not sessions:
        return {}
    feeds = {name: dict(inputs) if inputs else _example(session) for name, session in sessions.items()}
    calls = {name: partial(session.run, feeds[name]) for name, session in sessions.items()}
    found = measure_latency(calls, runs, seconds)
    return {
        name: (
            _latency(session, threads, found[name]),
            None if session.target == "c" else _load_time(session, threads, Path(paths[name])),
        )
        for name, session in sessions.items()
    }


def _latency(session: Session, threads: int, latency: Latency) -> Measurement:
    pinned = "pinned to one core" if latency.pinned else "not pinned"
    how = f"{session.engine}, {threads} thread{'s' * (threads > 1)}, {pinned}, median of interleaved runs"
    spread = {key: None if value is None else float(value) for key, value in latency.summary().items()}
    return Measurement("latency", NAME, how, spread.pop("p50") or 0.0, "ms", spread)


def _load_time(session: Session, threads: int, path: Path) -> Measurement:
    how = f"{session.engine}, {threads} thread{'s' * (threads > 1)}, median of 5 openings with our own check"
    return Measurement("load time", NAME, how, round(load_time_ms(lambda: open_session(path, threads)), 4), "ms")


def _example(session: Session) -> dict[str, np.ndarray]:
    """Normal values, or zeros for integer inputs; a free size is one."""
    generator = np.random.default_rng(0)
    return {spec.name: _values(spec, generator) for spec in session.inputs}


def _values(spec: TensorSpec, generator: np.random.Generator) -> np.ndarray:
    shape = tuple(1 if size is None else size for size in spec.shape)
    drawn = generator.standard_normal(shape) if spec.dtype.startswith("float") else np.zeros(shape)
    return drawn.astype(spec.dtype)


def _cpuinfo() -> str:
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _processor_name() -> str:
    """Where `/proc/cpuinfo` has no model name: macOS says it by sysctl, others through Python."""
    if platform.system() == "Darwin":
        command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return done.stdout.strip()
    return platform.processor() or platform.machine()


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
