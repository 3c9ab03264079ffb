"""Reads Verilog back, of the language the part that `verilog` writes: a module of ports, wires and assignments.

Expressions are made of `~`, `&`, `^`, `|`, `? :`, parentheses and the constants of one bit, and read what was assigned
before them. So what is proved of the netlist that comes out is proved of the text.
"""

import re
from collections.abc import Iterator

from ...errors import BadInput
from .circuit import Circuit
from .gates import AND, OR, XOR, Gates, Value
from .tables import SELECT

_TOKEN = re.compile(
    r"(?P<space>\s+|//[^\n]*)|(?P<name>\\\S+|[A-Za-z_][A-Za-z0-9_$]*(?:\[\d+\])?)|(?P<bit>1'b[01])"
    r"|(?P<range>\[\d+:0\])|(?P<sign>[~&^|?:()=;,])"
)
_OPERATORS = {"|": OR, "^": XOR, "&": AND}  # the loosest first


def read_verilog(text: str, where: str = "the netlist") -> Circuit:
    """Reads a module as it stands, with a gate for each operator.

    Args:
        where: heads messages, for example the file's name.

    Raises:
        BadInput: what is not in the part that is read, or a name that is not assigned before it is read, or twice; with
            the number of the line.
    """
    return _Module(text, where).circuit()


class _Module:
    def __init__(self, text: str, where: str):
        self.where, self.line = where, 1
        self.tokens = self._tokens(text)
        self.next = ""
        self.inputs: list[str] = []
        self.outputs: list[str] = []
        self.wires: set[str] = set()
        self.known: dict[str, Value] = {}

    def circuit(self) -> Circuit:
        self._step()
        self._expect("module")
        name = self._step()
        self._expect("(")
        self._ports()
        self._expect(";")
        self.gates = Gates(len(self.inputs))
        self.known = {bit: (signal, False) for signal, bit in enumerate(self.inputs, 1)}
        while self.next != "endmodule":
            self._statement()
        if missing := [bit for bit in self.outputs if bit not in self.known]:
            raise self.fault(f"output {missing[0]} is assigned nothing")
        netlist = self.gates.netlist([self.known[bit] for bit in self.outputs])
        return Circuit(name, netlist, tuple(self.inputs), tuple(self.outputs))

    def fault(self, message: str) -> BadInput:
        return BadInput(f"{self.where}, line {self.line}: {message}")

    def _tokens(self, text: str) -> Iterator[str]:
        place = 0
        while place < len(text):
            found = _TOKEN.match(text, place)
            if found is None:
                raise self.fault(f"{text[place : place + 12].split()[0]} is not read; give what offramp has written")
            place = found.end()
            if found.lastgroup != "space":
                yield found[0].removeprefix("\\")
            self.line += found[0].count("\n")
        yield ""

    def _step(self) -> str:
        """The token that was next, and goes on."""
        before, self.next = self.next, next(self.tokens, "")
        return before

    def _expect(self, token: str) -> None:
        if self.next != token:
            raise self.fault(f"expected {token}, got {self.next or 'the end'}")
        self._step()

    def _ports(self) -> None:
        while True:
            kind = self._step()
            if kind not in ("input", "output"):
                raise self.fault(f"expected input or output, got {kind or 'the end'}")
            ports = self.inputs if kind == "input" else self.outputs
            if self.next.startswith("["):
                last = int(self._step()[1:].partition(":")[0])
                name = self._step()
                ports += [f"{name}[{k}]" for k in range(last + 1)]
            else:
                ports.append(self._step())
            if self._step() == ")":
                return

    def _statement(self) -> None:
        kind = self._step()
        if kind == "wire":
            self.wires.add(self._step())
            while self.next == ",":
                self._step()
                self.wires.add(self._step())
        elif kind == "assign":
            name = self._step()
            if name in self.known or (name not in self.wires and name not in self.outputs):
                reason = "is assigned twice, or an input" if name in self.known else "is no wire and no output"
                raise self.fault(f"{name} {reason}")
            self._expect("=")
            self.known[name] = self._choice()
        else:
            raise self.fault(f"{kind or 'the end'} is not read; a netlist is made of wire and assign")
        self._expect(";")

    def _choice(self) -> Value:
        condition = self._operation("|")
        if self.next != "?":
            return condition
        self._step()
        high = self._choice()
        self._expect(":")
        return self.gates.of(SELECT, [self._choice(), high, condition])

    def _operation(self, operator: str) -> Value:
        """Operands joined by an operator, each of them made of those that bind more tightly."""
        tighter = {"|": "^", "^": "&"}.get(operator)
        values = [self._operation(tighter) if tighter else self._operand()]
        while self.next == operator:
            self._step()
            values.append(self._operation(tighter) if tighter else self._operand())
        return self.gates.joined(_OPERATORS[operator], values)

    def _operand(self) -> Value:
        token = self._step()
        if token == "~":
            signal, inverse = self._operand()
            return signal, not inverse
        if token == "(":
            value = self._choice()
            self._expect(")")
            return value
        if token.startswith("1'b"):
            return 0, token == "1'b1"
        if token not in self.known:
            raise self.fault(f"{token or 'the end'} is read before it is assigned")
        return self.known[token]
