"""Logic networks: neurons `y = sgn(w·x)` on ±1 with whole weights, as gates, and gates as C."""

from .builder import Builder as Builder
from .builder import simplified as simplified
from .layers import from_layers as from_layers
from .layers import integer_rows as integer_rows
from .netlist import Netlist as Netlist
from .netlist import evaluate as evaluate
from .netlist import pack as pack
from .netlist import unpack as unpack
from .program import from_program as from_program
from .write import write_netlist as write_netlist
