"""Runs PyTorch on one thread: a network fed one small sample at a time gains nothing from more, and beside other work
on the same cores it loses most of its speed to threads that wait for each other."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread inside operators until the block ends."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
