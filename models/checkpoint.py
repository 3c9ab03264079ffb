"""A training cut off between two epochs and taken up again: the network, the learner's state and history in one file.

No generator state is kept: every epoch draws from generators seeded by (seed, epoch, rank).
"""

from pathlib import Path
from typing import Any

from torch import nn

from ..errors import BadInput
from .learning import Learner
from .weights import prefixed, read_tensors, under, write_tensors

FILE = "checkpoint.safetensors"


def save_checkpoint(path: Path, module: nn.Module, learner: Learner, state: dict[str, Any]) -> None:
    """Writes all tensors, and `state` in the header, as one atomic file."""
    write_tensors(path, prefixed({"module": module.state_dict(), "learner": learner.tensors()}), state)


def load_checkpoint(path: Path, module: nn.Module, learner: Learner, config: dict[str, Any]) -> dict[str, Any]:
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
        module.load_state_dict(under(tensors, "module."))
        learner.restore(under(tensors, "learner."))
    except (RuntimeError, KeyError) as error:  # lists every tensor of the network
        raise BadInput(f"{path}: holds other tensors than the network has; leave out resume") from error
    return state
