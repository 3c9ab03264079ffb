"""A training cut off between two epochs and taken up again: weights, average, optimizer and history in one file.

No generator state is kept: every epoch draws from generators seeded by (seed, epoch, rank).
"""

from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from ..errors import BadInput
from .average import WeightAverage
from .learning import Learner
from .weights import read_tensors, write_tensors

FILE = "checkpoint.safetensors"


def save_checkpoint(
    path: Path,
    module: nn.Module,
    average: WeightAverage | None,
    optimizer: Optimizer,
    state: dict[str, Any],
    learner: Learner | None = None,
) -> None:
    """Writes all tensors, and `state` in the header, as one atomic file."""
    tensors = {f"module.{name}": tensor for name, tensor in module.state_dict().items()}
    if average is not None:
        tensors |= {f"average.{name}": tensor for name, tensor in average.module.state_dict().items()}
        state = {**state, "average_steps": average.steps}
    for index, slots in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{slot}": v for slot, v in slots.items() if isinstance(v, Tensor)}
    if learner is not None:
        tensors |= {f"learner.{name}": tensor for name, tensor in learner.tensors().items()}
    write_tensors(path, tensors, state)


def load_checkpoint(
    path: Path,
    module: nn.Module,
    average: WeightAverage | None,
    optimizer: Optimizer,
    config: dict[str, Any],
    learner: Learner | None = None,
) -> dict[str, Any]:
    """Puts a checkpoint's tensors in place and returns its `state`.

    Raises:
        BadInput: the file is damaged, or belongs to another network or a training with another configuration.
    """
    tensors, state = read_tensors(path)
    known = state.get("config", {})
    differing = [name for name in {**known, **config} if known.get(name) != config.get(name)]
    if differing:
        raise BadInput(f"{path}: belongs to a training with another {', '.join(differing)}; leave out resume")
    try:
        module.load_state_dict(_under(tensors, "module."))
        if average is not None:
            average.module.load_state_dict(_under(tensors, "average."))
            average.steps = state["average_steps"]
    except RuntimeError as error:  # lists every tensor of the network
        raise BadInput(f"{path}: holds other tensors than the network has; leave out resume") from error
    slots: dict[int, dict[str, Tensor]] = {}
    for name, tensor in _under(tensors, "optimizer.").items():
        index, _, slot = name.partition(".")
        slots.setdefault(int(index), {})[slot] = tensor
    optimizer.load_state_dict({"state": slots, "param_groups": optimizer.state_dict()["param_groups"]})
    if learner is not None:
        learner.restore(_under(tensors, "learner."))
    return state


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
