"""One process or many: what `torchrun` started, as a value."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn

from ..errors import BadInput


@dataclass(frozen=True)
class Ranks:
    """This process among its equals.

    Attributes:
        rank: from 0; rank 0 alone writes files and shows progress.
        world: number of processes.
        device: where this one computes.
    """

    rank: int
    world: int
    device: torch.device

    @property
    def first(self) -> bool:
        return self.rank == 0

    def wait(self) -> None:
        """Returns once all processes are here."""
        if self.world > 1:
            distributed.barrier()

    def gather(self, rows: Tensor) -> Tensor:
        """The rows of all processes, one after the other, on the CPU."""
        if self.world == 1:
            return rows.cpu()
        parts: list[Tensor] = [torch.empty(0)] * self.world
        distributed.all_gather_object(parts, rows.cpu())
        return torch.cat(parts)

    def share_buffers(self, module: nn.Module) -> None:
        """Gives every process rank 0's buffers (batch-norm statistics)."""
        if self.world > 1:
            for buffer in module.buffers():
                distributed.broadcast(buffer, 0)


ALONE = Ranks(0, 1, torch.device("cpu"))


@contextmanager
def joined(device: str) -> Iterator[Ranks]:
    """The processes that `torchrun` started (gloo on CPU, nccl on CUDA), or this one alone.

    Raises:
        BadInput: the device is not there.
    """
    chosen = _device(device)
    if not {"RANK", "WORLD_SIZE", "MASTER_ADDR"} <= os.environ.keys() or int(os.environ["WORLD_SIZE"]) == 1:
        yield Ranks(0, 1, chosen)
        return
    begun = not distributed.is_initialized()
    if begun:
        distributed.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    try:
        yield Ranks(distributed.get_rank(), distributed.get_world_size(), chosen)
    finally:
        if begun:
            distributed.destroy_process_group()


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise BadInput(f"device {name}: unknown; use cpu, cuda or mps") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise BadInput(f"device {name}: no CUDA device works here; use cpu")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise BadInput(f"device {name}: no Metal device works here; use cpu")
    if device.type == "cuda" and device.index is None:
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    return device
