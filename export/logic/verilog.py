"""Netlists as Verilog-2001: one module, one `assign` for each gate and output, in a form for people to read.

A value of +1 is 1, a value of -1 is 0. Names such as `x[0]`, `x[1]`, ... become one port `input [1:0] x`; names that
Verilog does not know as they are become escaped identifiers.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from ..artifact import Artifact
from ..c.text import comment_safe
from .circuit import Circuit, bits_of
from .circuit_file import write_text
from .kinds import verilog_of

_SIMPLE = re.compile(r"[A-Za-z_][A-Za-z0-9_$]*")
_FIRST_BIT = re.compile(r"([A-Za-z_][A-Za-z0-9_$]*)\[0\]")
_RESERVED = frozenset(
    re.findall(
        r"\w+",
        """
        always and assign automatic begin buf bufif0 bufif1 case casex casez cell cmos config deassign default
        defparam design disable edge else end endcase endconfig endfunction endgenerate endmodule endprimitive
        endspecify endtable endtask event for force forever fork function generate genvar highz0 highz1 if
        ifnone incdir include initial inout input instance integer join large liblist library localparam
        macromodule medium module nand negedge nmos nor noshowcancelled not notif0 notif1 or output parameter
        pmos posedge primitive pull0 pull1 pulldown pullup pulsestyle_ondetect pulsestyle_onevent rcmos real
        realtime reg release repeat rnmos rpmos rtran rtranif0 rtranif1 scalared showcancelled signed small
        specify specparam strong0 strong1 supply0 supply1 table task time tran tranif0 tranif1 tri tri0 tri1
        triand trior trireg unsigned use vectored wait wand weak0 weak1 while wire wor xnor xor
        """,
    )
)


def write_verilog(circuit: Circuit, path: Path) -> Artifact:
    """Writes a circuit as `path`, which ends in `.v`, whole or not at all.

    Raises:
        BadInput: the path ends otherwise, or cannot be written.
    """
    return write_text(circuit, Path(path), "verilog", ".v", verilog_text(circuit))


def verilog_text(circuit: Circuit) -> str:
    """The text of a module."""
    netlist = circuit.netlist
    inputs, outputs = _Port.of(circuit.inputs), _Port.of(circuit.outputs)
    names = _wire_names(circuit)
    wires = names[netlist.first_gate :]
    known = ["1'b0", *(bit for port in inputs for bit in port.bits), *wires]
    title = f"{circuit.name}: {netlist.gates} gates, {netlist.inputs} inputs, {len(netlist.outputs)} outputs"
    ports = [f"    input {port.declared}" for port in inputs] + [f"    output {port.declared}" for port in outputs]
    lines = [
        f"// {comment_safe(title)}; 1 is +1, 0 is -1",
        f"module {_escaped(circuit.name)} (",
        ",\n".join(ports),
        ");",
    ]
    lines += [f"    wire {', '.join(wires[k : k + 12])};" for k in range(0, len(wires), 12)]
    for name, table, operands in zip(wires, netlist.tables.tolist(), netlist.operands.tolist()):
        lines.append(f"    assign {name} = {verilog_of(table, [known[signal] for signal in operands])};")
    results = (bit for port in outputs for bit in port.bits)
    for name, signal, inverse in zip(results, netlist.outputs.tolist(), netlist.inverted.tolist()):
        lines.append(f"    assign {name} = {'~' if inverse else ''}{known[signal]};")
    return "\n".join([*lines, "endmodule", ""])


def bench_text(circuit: Circuit, samples: int) -> str:
    """A module that reads `inputs.txt`, a line of bits for each sample, and prints a line of outputs for each.

    Bits stand as Verilog writes numbers, input 0 and output 0 last.
    """
    inputs, outputs = circuit.netlist.inputs, len(circuit.netlist.outputs)
    wired = []
    for name, count, ports in (("given", inputs, circuit.inputs), ("found", outputs, circuit.outputs)):
        wired += [name] if len(_Port.of(ports)) == 1 else [f"{name}[{k}]" for k in range(count)]
    return f"""\
module \\!bench ;
    reg [{inputs - 1}:0] given, rows [0:{samples - 1}];
    wire [{outputs - 1}:0] found;
    integer k;
    {_escaped(circuit.name)} unit ({", ".join(wired)});
    initial begin
        $readmemb("inputs.txt", rows);
        for (k = 0; k < {samples}; k = k + 1) begin
            given = rows[k];
            #1 $display("%b", found);
        end
    end
endmodule
"""


class _Port:
    """One port of a module.

    Attributes:
        declared: `x`, or `[3:0] x`.
        bits: how each bit of it is written.
    """

    def __init__(self, declared: str, bits: tuple[str, ...]):
        self.declared, self.bits = declared, bits

    @classmethod
    def of(cls, names: Sequence[str]) -> list["_Port"]:
        """One port of all names where they are the bits of one value in order, or one for each."""
        first = _FIRST_BIT.fullmatch(names[0])
        if first and first[1] not in _RESERVED and tuple(names) == bits_of(first[1], len(names)):
            return [cls(f"[{len(names) - 1}:0] {first[1]}", tuple(names))]
        return [cls(_escaped(name), (_escaped(name),)) for name in names]


def _wire_names(circuit: Circuit) -> list[str]:
    """Names for the signals that no port has, whole or as the name of its bits."""
    taken = {name.partition("[")[0] for name in (*circuit.inputs, *circuit.outputs)} | {circuit.name}
    prefix = "n"
    while any(re.fullmatch(rf"{prefix}\d+", name) for name in taken):
        prefix += "_"
    return [f"{prefix}{signal}" for signal in range(circuit.netlist.signals)]


def _escaped(name: str) -> str:
    """The name itself, or `\\NAME `, which ends in a space."""
    return name if _SIMPLE.fullmatch(name) and name not in _RESERVED else f"\\{name} "
