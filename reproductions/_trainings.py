"""How studies train: first weights that follow the seed, and two trainings at a time."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from copy import deepcopy
from multiprocessing import get_context
from threading import Lock
from typing import TypeVar

import torch

Built = TypeVar("Built")
Given = TypeVar("Given")
Found = TypeVar("Found")
_DRAWING = Lock()  # the global generator, which modules draw their first weights from


def seeded(build: Callable[[], Built], seed: int) -> Built:
    """A network with first weights of a seed, also beside others built so; the global generator stays as it was."""
    with _DRAWING, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


@contextmanager
def two_threads() -> Iterator[Executor]:
    """Runs two calls at a time, each on one thread of PyTorch's: small networks gain little from a second one."""
    threads = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(2, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield pool
    finally:
        torch.set_num_threads(threads)


def two_at_a_time(call: Callable[[Given], Found], values: Iterable[Given]) -> list[Found]:
    """What the call returns for each value, in their order.

    The call takes randomness from generators of its own, or from `seeded`, so that equal seeds give equal bits.
    """
    with two_threads() as pool:
        return list(pool.map(call, values))


def in_two_processes(call: Callable[[Given], Found], values: Iterable[Given]) -> list[Found]:
    """The same in processes, for calls that hold the interpreter or draw from the global generator.

    The call, what it takes and what it returns go from one process to the other as copies: functions of a module,
    plain values, arrays, tensors.
    """
    # A pool moves tensors into memory that processes share, and frees what an array made of one still reads.
    copies = [deepcopy((call, value)) for value in values]
    with ProcessPoolExecutor(2, get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        return list(pool.map(_copy_of_what_comes, copies))


def _copy_of_what_comes(called: tuple[Callable[[Given], Found], Given]) -> Found:
    call, value = called
    return deepcopy(call(value))
