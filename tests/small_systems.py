"""Systems of the zoo with data that are quick to draw, and a batch of each."""

import torch
from offramp.models.batches import each, read_batches, size_of
from offramp.models.data import Data
from offramp.models.objectives import Batch
from offramp.models.system import System, all_systems

DEAR = {"symbrain", "symbrain_pairs", "symbrain_xs"}  # whose pictures take many seconds to draw
SMALL = [name for name, system in all_systems().items() if system.dataset is not None and name not in DEAR]


def batch_of(system: System, data: Data) -> Batch:
    """The whole training split where it is a table of at most 128 items, else its first 8 samples."""
    items = size_of(data.train)
    raw, targets = next(iter(read_batches(data.train, [list(range(items if items <= 128 else 8))])))
    samples = each(data.preprocessing.apply, raw)
    return Batch(samples, targets, system.recipe, torch.Generator().manual_seed(0))
