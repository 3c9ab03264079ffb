"""Exact foldings of a CARE Transformer: the network that ships computes what the trained one does, with fewer weights.

1. Two heads into one. Both read the same normalised features n, so the mean of `W_i (g_i n + b_i) + c_i` is one linear
   layer on n: each layer norm's gain and offset move into its classifier, the classifiers are averaged, and one layer
   norm without an affine part stays.
2. A block's gamma into the projection of its second interaction: `gamma (y + fc2(h)) = gamma y + (gamma fc2)(h)`. The
   skip inside the interaction keeps gamma as a scale per channel.

Batch norms stay as they are: each follows the stem's convolution or precedes one without padding, so that capturing any
network (`quant.capture`) folds them all away.
"""

import torch
from torch import Tensor, nn

from .care_blocks import CareBlock, Head


@torch.no_grad()
def fold_gamma(block: CareBlock) -> None:
    """In place; the network's last block has no gamma and stays as it is."""
    gamma, project = block.gamma, block.memory.fc2
    if gamma is None or project is None:
        return
    project.weight.mul_(gamma.reshape(-1, 1, 1, 1))
    if project.bias is not None:
        project.bias.mul_(gamma.flatten())
    block.memory.scale, block.gamma = gamma, None


@torch.no_grad()
def mean_of_heads(first: Head, second: Head) -> Head:
    """One head that gives the mean of two on the same features; theirs are left as they are."""
    parts = [_linear(head) for head in (first, second)]
    weight, bias = (torch.stack(both).mean(0) for both in zip(*parts))
    merged = Head(weight.shape[1], weight.shape[0], affine=False)
    merged.classify.weight, merged.classify.bias = (
        nn.Parameter(each.to(first.classify.weight)) for each in (weight, bias)
    )
    return merged


def _linear(head: Head) -> tuple[Tensor, Tensor]:
    """Weight and bias of the linear layer that a head is on normalised features, in float64."""
    weight = head.classify.weight.double()
    return weight * head.norm.weight.double(), weight @ head.norm.bias.double() + head.classify.bias.double()
