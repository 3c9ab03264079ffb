"""Logic networks: neurons `y = sgn(w·x)` on ±1 with whole weights, as gates, and gates as BLIF, Verilog and C."""

from .blif import write_blif as write_blif
from .blif_reader import read_blif as read_blif
from .builder import Builder as Builder
from .builder import simplified as simplified
from .circuit import Circuit as Circuit
from .equivalence import Proof as Proof
from .equivalence import prove as prove
from .layers import from_layers as from_layers
from .layers import integer_rows as integer_rows
from .netlist import Netlist as Netlist
from .netlist import evaluate as evaluate
from .netlist import pack as pack
from .netlist import unpack as unpack
from .plain import plain_netlist as plain_netlist
from .program import from_program as from_program
from .program import read_program as read_program
from .verilog import write_verilog as write_verilog
from .verilog_reader import read_verilog as read_verilog
from .write import write_netlist as write_netlist
