"""The optimizer of a recipe: AdamW, SGD, or Muon for hidden matrices with AdamW for the rest."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from .recipe import Recipe

_MUON_MOMENTUM, _NEWTON_SCHULZ_STEPS = 0.95, 5
_SECOND_MOMENT = 0.999


class MuonAndAdamW:
    """Muon (Jordan et al., 2024) for matrices and kernels of hidden layers, AdamW for every other parameter.

    A kernel (out, in, k, k) is the matrix (out, in k k). Updates are scaled to AdamW's root mean square (Liu et al.,
    arXiv 2502.16982), so that rates and decays of one serve the other.

    Args:
        matrices: contiguous, of two or more dimensions.
        groups: AdamW's.
    """

    def __init__(self, matrices: list[nn.Parameter], groups: list[dict[str, Any]], recipe: Recipe, first_moment: float):
        self._matrices = matrices
        # Muon takes matrices only: these are views of the kernels' own memory.
        self._flat = [nn.Parameter(matrix.detach().view(len(matrix), -1)) for matrix in matrices]
        muon = torch.optim.Muon(
            self._flat,
            lr=recipe.learning_rate,
            weight_decay=recipe.weight_decay,
            momentum=_MUON_MOMENTUM,
            ns_steps=_NEWTON_SCHULZ_STEPS,
            adjust_lr_fn="match_rms_adamw",
        )
        self.parts: tuple[Optimizer, ...] = (muon, _adamw(groups, recipe, first_moment))

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        return [group for part in self.parts for group in part.param_groups]

    def zero_grad(self, set_to_none: bool = True) -> None:
        for matrix in self._matrices:
            matrix.grad = None
        for part in self.parts:
            part.zero_grad(set_to_none)

    def step(self) -> None:
        for flat, matrix in zip(self._flat, self._matrices):
            flat.grad = None if matrix.grad is None else matrix.grad.reshape(flat.shape)
        for part in self.parts:
            part.step()


Steps = Optimizer | MuonAndAdamW


def make_optimizer(module: nn.Module, recipe: Recipe, first_moment: float = 0.9) -> Steps:
    """AdamW, SGD with Nesterov momentum 0.9, or Muon. Weight decay spares every parameter that is a vector.

    Args:
        first_moment: how much of AdamW's running mean of gradients stays from step to step.
    """
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    by_muon = hidden_matrices(module) if recipe.optimizer == "muon" else []
    taken = set(map(id, by_muon))
    rest = [parameter for parameter in parameters if id(parameter) not in taken]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in rest if not _is_vector(p)], "weight_decay": recipe.weight_decay},
        {"params": [p for p in rest if _is_vector(p)], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=recipe.learning_rate, momentum=0.9, nesterov=True)
    if by_muon and groups:
        return MuonAndAdamW(by_muon, groups, recipe, first_moment)
    return _adamw(groups, recipe, first_moment)


def hidden_matrices(module: nn.Module) -> list[nn.Parameter]:
    """The parameters that Muon takes: matrices and kernels between the embeddings and the last matrix.

    Depthwise kernels are left out: as a matrix, one would be a row for each channel that has nothing to do with others.
    """
    embeddings = {id(layer.weight) for layer in module.modules() if isinstance(layer, nn.Embedding)}
    matrices = [
        parameter
        for parameter in module.parameters()
        if parameter.requires_grad and not _is_vector(parameter) and id(parameter) not in embeddings
    ]
    hidden = matrices[:-1]  # the last gives the outputs
    return [matrix for matrix in hidden if min(matrix.shape[:2]) > 1 and matrix.is_contiguous()]


def set_learning_rate(optimizer: Steps, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate


def optimizer_tensors(optimizer: Steps) -> dict[str, Tensor]:
    """What an optimizer keeps of each parameter, by names that `restore_optimizer` knows."""
    return {
        f"{number}.{index}.{slot}": tensor
        for number, part in enumerate(_parts(optimizer))
        for index, slots in part.state_dict()["state"].items()
        for slot, tensor in slots.items()
        if isinstance(tensor, Tensor)
    }


def restore_optimizer(optimizer: Steps, tensors: dict[str, Tensor]) -> None:
    """Puts back what `optimizer_tensors` gave."""
    for number, part in enumerate(_parts(optimizer)):
        state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            place, index, slot = name.split(".", 2)
            if int(place) == number:
                state.setdefault(int(index), {})[slot] = tensor
        part.load_state_dict({"state": state, "param_groups": part.state_dict()["param_groups"]})


def _adamw(groups: list[dict[str, Any]], recipe: Recipe, first_moment: float) -> Optimizer:
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=(first_moment, _SECOND_MOMENT))


def _parts(optimizer: Steps) -> tuple[Optimizer, ...]:
    return optimizer.parts if isinstance(optimizer, MuonAndAdamW) else (optimizer,)


def _is_vector(parameter: nn.Parameter) -> bool:
    """True for biases, norms, scalars, and per-channel scales such as (1, C, 1, 1)."""
    return sum(side > 1 for side in parameter.shape) <= 1
