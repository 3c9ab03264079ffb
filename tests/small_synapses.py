"""Devices, kernels and tests of chance that the tests of the synapse emulator share."""

import shutil
from collections.abc import Callable
from functools import cache

import pytest
from offramp.c_compiler import runnable_kernels
from offramp.devices.synapse import native
from offramp.devices.synapse.device import SynapseDevice
from offramp.errors import BadInput

LEAST_P = 1e-3
# Compilers and instruction sets that must agree to the bit.
BUILDS = [(compiler, kernels) for compiler in ("gcc", "clang") for kernels in ("portable", "avx2", "avx512")]


def plausible(p_value: Callable[[int], float], seed: int = 1) -> bool:
    """Whether a p-value is above 0.001 for a seed or, if not, for a second and independent one.

    What is drawn from the stated law fails for one pair of seeds in a million.
    """
    return bool(p_value(seed) > LEAST_P or p_value(seed + 1) > LEAST_P)


def synapse(response: str = "linear", **figures: object) -> SynapseDevice:
    """A device between 0 and 1 siemens, so that its conductance is its state, without spread and noise."""
    known = {"name": "test", "title": "of a test", "source": "none", "g_min": 0.0, "g_max": 1.0}
    return SynapseDevice(**{**known, "response": response, **figures})


@cache
def kernels_of(compiler: str, kernels: str) -> native.Library:
    """The C kernels as a compiler builds them for a set of instructions; skips where one of the two is missing."""
    if shutil.which(compiler) is None:
        pytest.skip(f"not run: {compiler} is not installed")
    if kernels not in runnable_kernels():
        pytest.skip(f"not run: this processor cannot run {kernels}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CC", compiler)
        return native.compiled(kernels)


def line_of(call: Callable, *arguments: object, **named: object) -> str:
    """The one line that a call raises."""
    with pytest.raises(BadInput) as caught:
        call(*arguments, **named)
    assert "\n" not in str(caught.value)
    return str(caught.value)
