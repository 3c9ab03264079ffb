"""Truth tables of the user's own: Berkeley PLA files (espresso's format), and `.csv` of bits.

True is +1 and False is -1 in what they become. A table is trained on and measured on as a whole.
"""

import csv
import itertools
import re
from dataclasses import dataclass
from pathlib import Path

import torch

from ...errors import BadInput, first_line
from .dataset import Data, InMemory
from .preprocessing import Preprocessing

SUFFIXES = (".pla", ".csv")
MOST_ITEMS = 1 << 16
_VALUES = {"0": -1, "-1": -1, "1": 1, "+1": 1}
_IGNORED = (".ilb", ".ob", ".p", ".phase", ".pair", ".label")  # names, counts and hints, which no bit depends on


@dataclass(frozen=True)
class _Row:
    """A line of a table: what each input and output is there, -1 or 1."""

    line: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def load_truth_table(path: Path) -> Data:
    """A table from `.pla` or `.csv`.

    A `.pla` may be of any logic type that gives every output of its lines a value: of type `fr`, and of type `f` or
    `fd` (the default), where a 0 says that the line does not set that output, and a combination that no line sets is 0:
    all combinations of up to 16 inputs are then items. Of type `fr` the lines alone are, 1 and 0 as they stand. A `-`
    among the inputs stands for both; outputs that do not matter (`-`, `~` of type `fr`, `2`) cannot be learned from.

    A `.csv` has a header; columns whose names begin with `out` (in any case) are outputs, the others inputs. Values are
    0 and 1, or -1 and 1.

    Returns:
        Inputs (N, i) and targets (N, o), float32 of ±1; train and test are the same.

    Raises:
        BadInput: the file is missing, has another form, or contradicts itself; the message names the line.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: cannot be read ({first_line(error)}); give a truth table as text") from error
    rows = _csv_rows(path, text) if path.suffix.lower() == ".csv" else _pla_rows(path, text)
    if not rows:
        raise BadInput(f"{path}: holds no row; write one combination of inputs and its outputs in each line")
    rows = _without_repeats(path, rows)
    inputs, outputs = (torch.tensor([getattr(row, name) for row in rows]).float() for name in ("inputs", "outputs"))
    part = InMemory(inputs, outputs)
    return Data(path.stem, part, part, (), Preprocessing())


def _without_repeats(path: Path, rows: list[_Row]) -> list[_Row]:
    """Each combination of inputs once.

    Raises:
        BadInput: two lines give it other outputs.
    """
    first: dict[tuple[int, ...], _Row] = {}
    for row in rows:
        other = first.setdefault(row.inputs, row)
        if other.outputs != row.outputs:
            bits = "".join("1" if value > 0 else "0" for value in row.inputs)
            raise BadInput(
                f"{path}: lines {other.line} and {row.line} give inputs {bits} other outputs; no network gives both; "
                "leave one out"
            )
    return list(first.values())


def _csv_rows(path: Path, text: str) -> list[_Row]:
    try:
        lines = [
            (number, row) for number, row in enumerate(csv.reader(text.splitlines()), 1) if any(map(str.strip, row))
        ]
    except csv.Error as error:
        raise BadInput(f"{path}: cannot be read ({first_line(error)}); write a plain .csv") from error
    names = [name.strip().lower() for name in lines[0][1]] if lines else []
    outputs = [place for place, name in enumerate(names) if name.startswith("out")]
    if not outputs or len(outputs) == len(names):
        raise BadInput(
            f"{path}: the header names {len(outputs)} outputs among {len(names)} columns; begin the names of outputs "
            "with `out`, those of inputs otherwise"
        )
    rows = []
    for number, cells in lines[1:]:
        if len(cells) != len(names):
            raise BadInput(
                f"{path}: line {number} has {len(cells)} columns, the first line names {len(names)}; give each a value"
            )
        for name, cell in zip(names, cells):
            if cell.strip() not in _VALUES:
                raise BadInput(f"{path}: line {number}, column {name}: {cell.strip()!r}; expected 0 and 1, or -1 and 1")
        values = [_VALUES[cell.strip()] for cell in cells]
        inputs = tuple(value for place, value in enumerate(values) if place not in outputs)
        rows.append(_Row(number, inputs, tuple(values[place] for place in outputs)))
    return rows


@dataclass
class _Pla:
    """What has been read of a PLA file."""

    inputs: int = 0
    outputs: int = 0
    kind: str = "fd"


def _pla_rows(path: Path, text: str) -> list[_Row]:
    head, cubes = _Pla(), []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split("#")[0].split()
        if not words:
            continue
        if words[0] in (".e", ".end"):
            break
        if words[0].startswith("."):
            _read_directive(f"{path}: line {number}", words, head)
        else:
            cubes.append((number, _cube(f"{path}: line {number}", "".join(words).replace("|", ""), head)))
    if head.kind == "fr":
        return [_Row(n, combination, bits) for n, (cube, bits) in cubes for combination in _combinations(path, cube)]
    return _covered(path, head, cubes) if cubes else []


_Cube = tuple[str, tuple[int, ...]]  # inputs of 0, 1 and -, and outputs of -1 and 1


def _read_directive(where: str, words: list[str], head: _Pla) -> None:
    name, *values = words
    if name in (".i", ".o"):
        if len(values) != 1 or not re.fullmatch("[1-9][0-9]{0,4}", values[0]):
            raise BadInput(f"{where}: {' '.join(words)}; expected {name} and how many, 1 or more")
        setattr(head, "inputs" if name == ".i" else "outputs", int(values[0]))
    elif name == ".type":
        if values not in (["f"], ["fd"], ["fr"]):
            raise BadInput(
                f"{where}: .type {' '.join(values)}; expected f, fd or fr: outputs must be 0 or 1 everywhere"
            )
        head.kind = values[0]
    elif name not in _IGNORED:
        raise BadInput(f"{where}: {name} is not known; expected .i, .o, .p, .type, .ilb, .ob and .e")


def _cube(where: str, cells: str, head: _Pla) -> _Cube:
    if not head.inputs or not head.outputs:
        raise BadInput(f"{where}: a row before .i and .o; say first how many inputs and outputs there are")
    if len(cells) != head.inputs + head.outputs:
        raise BadInput(
            f"{where} has {len(cells)} values, .i and .o name {head.inputs} and {head.outputs}; give each input and "
            "output one"
        )
    inputs, outputs = cells[: head.inputs], cells[head.inputs :].replace("4", "1")
    if head.kind != "fr":
        outputs = outputs.replace("~", "0")
    for kind, part, known in (("inputs", inputs, "0, 1 or -"), ("outputs", outputs, "0 or 1")):
        strange = re.search("[^01-]" if kind == "inputs" else "[^01]", part)
        if strange:
            raise BadInput(f"{where}: {kind} {part} hold {strange[0]!r}; expected {known} for each of them")
    return inputs, tuple(1 if cell == "1" else -1 for cell in outputs)


def _combinations(path: Path, cube: str) -> list[tuple[int, ...]]:
    """All inputs that a cube stands for."""
    if 1 << cube.count("-") > MOST_ITEMS:
        raise BadInput(f"{path}: {cube} stands for 2^{cube.count('-')} rows; a table has at most {MOST_ITEMS}")
    return list(itertools.product(*({"0": (-1,), "1": (1,), "-": (-1, 1)}[cell] for cell in cube)))


def _covered(path: Path, head: _Pla, cubes: list[tuple[int, _Cube]]) -> list[_Row]:
    """Every combination of inputs, with those outputs 1 that a line sets."""
    if 1 << head.inputs > MOST_ITEMS:
        raise BadInput(
            f"{path}: {head.inputs} inputs have 2^{head.inputs} combinations, a table has at most {MOST_ITEMS}; list "
            "the rows to learn from, with .type fr"
        )
    found: dict[tuple[int, ...], tuple[int, tuple[int, ...]]] = {}
    for number, (cube, bits) in cubes:
        for combination in _combinations(path, cube):
            line, before = found.get(combination, (number, (-1,) * head.outputs))
            found[combination] = line, tuple(map(max, before, bits))
    rest = (0, (-1,) * head.outputs)
    everything = itertools.product((-1, 1), repeat=head.inputs)
    return [_Row(line, inputs, bits) for inputs in everything for line, bits in [found.get(inputs, rest)]]
