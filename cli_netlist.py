"""The verb whose subject is logic: a network of ±1 as a netlist."""

import sys
from pathlib import Path
from typing import Any

import click

from . import flags
from .verbs import examples, finish, say

_FORMS = ("blif", "verilog", "c", "chunked")
_TIES = ("refuse", "plus", "minus")


@click.command(
    epilog=examples(
        "offramp netlist runs/signs",
        "offramp netlist mypkg.net:build --form blif --form chunked",
        "offramp netlist circuit.blif --form verilog",
    )
)
@click.argument("network")
@click.option(
    "--form", "forms", multiple=True, type=click.Choice(_FORMS), help="Repeatable; blif, verilog and c by default."
)
@click.option(
    "--ties", type=click.Choice(_TIES), default="refuse", show_default=True, help="Which sign a sum of 0 has."
)
@click.option(
    "--largest", type=click.IntRange(1, 127), default=7, show_default=True, help="Whole weight for a real one."
)
@click.option(
    "--out", type=click.Path(path_type=Path), default="netlists", show_default=True, help="Folder of netlists."
)
@click.option("--measure/--no-measure", default=True, show_default=True, help="Time the C on this host.")
@flags.together(flags.data, flags.runs, flags.seed, flags.as_json)
def netlist(network: str, forms: tuple[str, ...], ties: str, largest: int, as_json: bool, **chosen: Any) -> None:
    """A network of ±1 as logic gates, proved equal.

    NETWORK is made of linear layers and signs, and is given as to deploy; or it is a .blif file. Writes OUT/NAME/ with
    the gates in BLIF, in Verilog, in C for 64 samples a word, or in straight-line C for a small processor (chunked).
    Leaves with 1 if a proof or a file does not hold, or could not be checked here.
    """
    from . import screen_netlist
    from .netlists import netlist_of
    from .options import Options

    document = netlist_of(network, Options(**chosen), forms or ("blif", "verilog", "c"), ties, say, largest)
    finish(document, as_json, screen_netlist.show_netlist)
    if not document["verified"]:
        sys.exit(1)
