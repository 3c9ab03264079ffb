"""The C kernels are an extra: without a compiler, or with one that refuses them, PyTorch does the work and says so."""

import pytest
import torch
from offramp.devices.synapse import native
from offramp.devices.synapse.draws import Draws, Purpose
from offramp.errors import BadInput, OfframpWarning


@pytest.fixture
def uncompiled():
    """`native.library` as in a new process, before and after."""
    native.library.cache_clear()
    yield
    native.library.cache_clear()


def test_without_a_compiler_the_draws_are_the_same_and_slower(uncompiled, monkeypatch):
    with_kernels = Draws(3).normal(Purpose.READ, 100)
    native.library.cache_clear()
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.warns(
        OfframpWarning, match="PyTorch emulates the devices, more slowly: CC=no-such-compiler is not found"
    ):
        found = Draws(3).normal(Purpose.READ, 100)
    assert torch.equal(found, with_kernels)
    assert torch.equal(Draws(3).normal(Purpose.READ, 100), found)  # and is said once


def test_a_compiler_that_refuses_the_kernels_is_done_without(uncompiled, monkeypatch):
    def refuses(*_, **__):
        raise BadInput("synapse.c: cc refuses it (no vectors)")

    monkeypatch.setattr(native, "compile_library", refuses)
    with pytest.warns(OfframpWarning, match="no vectors"):
        assert native.library() is None
