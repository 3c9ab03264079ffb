"""Tensors on disk as safetensors: written whole or not at all, read back with errors that name the file."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import BadInput
from ..storage import atomic_path

_STATE = "state"


def write_tensors(path: Path, tensors: dict[str, Tensor], state: dict[str, Any] | None = None) -> None:
    """Writes tensors, and `state` (plain JSON values) in the same file's header, atomically."""
    from safetensors.torch import save

    separate = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
    content = save(separate, {_STATE: json.dumps(state or {}, sort_keys=True)})
    with atomic_path(path) as beside:
        beside.write_bytes(content)


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What `write_tensors` wrote.

    Raises:
        BadInput: the file is missing, cut short or not safetensors.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
            return tensors, json.loads((file.metadata() or {}).get(_STATE, "{}"))
    except FileNotFoundError as error:
        raise BadInput(f"{path}: no such file; train first, or give the folder of a run") from error
    except (SafetensorError, OSError, ValueError) as error:
        raise BadInput(f"{path}: damaged or cut short ({error}); copy it again or train again") from error


def first_nonfinite(tensors: dict[str, Tensor]) -> str | None:
    """Name of the first tensor that holds NaN or infinity, None where there is none."""
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            return name
    return None


def prefixed(parts: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The tensors of several parts in one, each named `PART.NAME`; `under` gives a part back."""
    return {f"{part}.{name}": tensor for part, tensors in parts.items() for name, tensor in tensors.items()}


def under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Those whose names begin with the prefix, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
