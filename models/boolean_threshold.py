"""Networks of signs for circuits, codes, automata and random logic, found by projections.

Elser and Lal, "Learning with Boolean threshold functions", arXiv 2602.17493. What is found has rows of -1, 0 and +1,
so that int8 is exact and the network is a netlist of majorities, ANDs, ORs, wires and inverters.
"""

from functools import partial
from pathlib import Path

from ..errors import BadInput
from .boolean_network import Bits, ThresholdNetwork
from .boolean_tasks import TASKS
from .data import Data
from .data.truth_table import SUFFIXES, load_truth_table
from .learning.boolean_threshold import BooleanThreshold
from .recipe import Recipe
from .system import System

WHOLE = 1 << 20  # items in a batch: all


def read_table(name: str, seed: int) -> Data:
    """A generated table by name, or the user's own as `.pla` or `.csv`.

    Raises:
        BadInput: it is neither, or cannot be read.
    """
    if name in TASKS:
        return TASKS[name](seed)
    if Path(name).suffix.lower() in SUFFIXES:
        return load_truth_table(Path(name))
    raise BadInput(f"{name}: no such table; give {', '.join(TASKS)}, or a truth table as .pla or .csv")


def recipe(epochs: int) -> Recipe:
    """All items at once; the rates are for training by back-propagation."""
    return Recipe(
        learning_rate=0.01,
        weight_decay=0.0,
        epochs=epochs,
        batch_size=WHOLE,
        warmup_epochs=0.0,
        label_smoothing=0.0,
        gradient_clip=0.0,
        threads=1,
    )


def _system(name: str, widths: tuple[int, ...], dataset: str, epochs: int, rule: BooleanThreshold) -> System:
    return System(
        name=name,
        paper="boolean-threshold-functions",
        task="logic",
        build=partial(ThresholdNetwork, widths),
        input_shapes={"bits": (1, widths[0])},
        output_names=("outputs",),
        dataset=dataset,
        recipe=recipe(epochs),
        objective=Bits(),
        read=read_table,
        source="Elser and Lal, Learning with Boolean threshold functions, arXiv 2602.17493",
        rule=rule,
    )


# A table of 64 products is known in full: the first rows that give it end the search.
_PRODUCTS = BooleanThreshold(iterations=1000, stiffening=1e-4, gap_stop=0.2)
_CODES = BooleanThreshold(iterations=1000, stiffening=1e-4, gap_stop=0.05)
_RING = BooleanThreshold(iterations=500, stiffening=1e-4, gap_stop=0.05)
SYSTEMS = (
    _system("btf_adder", (3, 3, 3, 2), "full-adder", 100, BooleanThreshold(restarts=4)),
    _system("btf_multiplier_2", (4, 4, 4, 4), "multiplier-2", 100, BooleanThreshold(restarts=8)),
    _system("btf_multiplier_3", (6, 12, 12, 12, 6), "multiplier-3", 200, _PRODUCTS),
    _system("btf_autoencoder", (16, 4, 16, 16), "codes-16", 100, _CODES),
    _system("btf_rule30", (6, 18, 18, 6), "rule-30-ring-6", 100, _RING),
    _system("btf_logic", (16, 16, 16), "majority-logic", 120, BooleanThreshold(gap_stop=0.05)),
)
