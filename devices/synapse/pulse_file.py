"""Measured pulse responses: a CSV file of conductances after pulses becomes `PulseTrain`s, one for each sweep.

The header names the columns, in any order and case; others are passed over:

    pulse         whole numbers that count each sweep from 0 or 1, or run on through the file. 0 is the state before the
                  first pulse, n the state after n pulses; numbers may be left out, where not every pulse was read
    conductance   siemens; or `conductance_us`, `conductance_ns`; or `current` in amperes, over `read_volts`
    direction     up or down, ltp or ltd, +1 or -1. Without it a sweep ends where the conductance turns
    cycle, device any text; rows of different ones may be mixed

Fields are parted by commas, semicolons or tabs; lines that are blank or start with # are passed over.
"""

import csv
import math
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TextIO

import numpy as np
from scipy.optimize import isotonic_regression

from ...errors import BadInput
from .turns import turns

MOST_ROWS = 10_000_000
MOST_LINE = 1 << 16  # characters: what is longer is no row
MOST_SIEMENS = 1e3  # beyond, a column's unit was mistaken
MOST_NUMBER = 10**9
MOST_PULSES = 1_000_000  # of a sweep
FEWEST_PULSES = 3
LEAST_EXPLAINED = 0.4  # of a sweep's variance, by the best curve that never turns back; up and down again has 0.31
_SCALES = {"conductance": 1.0, "conductance_us": 1e-6, "conductance_ns": 1e-9, "current": 1.0}
_KNOWN = ("pulse", *_SCALES, "read_volts", "direction", "cycle", "device")
_DIRECTIONS = {"up": 1, "ltp": 1, "+1": 1, "1": 1, "down": -1, "ltd": -1, "-1": -1, "−1": -1}
_WORDS = {1: ("rising", "rise"), -1: ("falling", "fall")}


@dataclass(frozen=True, eq=False)
class PulseTrain:
    """One sweep: the conductance of one device after pulses of one direction.

    Attributes:
        pulses: int64 (N,), rising: pulses since the sweep began; 0 is the state before the first.
        conductance: float64 (N,), siemens, 0 or more.
        direction: 1 for rising (LTP), -1 for falling (LTD).
        device, cycle: as the file calls them, empty where it does not.
        lines: int64 (N,), where each reading stands in the file.
        continues: whether the first reading is also the last one of the sweep before.
    """

    pulses: np.ndarray
    conductance: np.ndarray
    direction: int
    device: str = ""
    cycle: str = ""
    lines: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64), repr=False)
    continues: bool = False


def read_pulses(path: Path, *, read_volts: float | None = None, strict: bool = False) -> list[PulseTrain]:
    """The sweeps of a CSV file, device by device, each in the order of its rows.

    Args:
        path: the file; the head of this module says what it holds.
        read_volts: what a `current` was read at, where no column says so; not 0.
        strict: whether every single pulse must go the sweep's way, as a curve to look up must.

    Raises:
        BadInput: the file cannot be read or has no such table, a direction is missing, or a sweep is too short or has
            no trend: the best curve that never turns back must explain 40 % of its variance.
    """
    path = Path(path)
    if read_volts is not None and not (math.isfinite(read_volts) and read_volts):
        raise BadInput(f"read_volts {read_volts:g}: must be a number other than 0")
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            table = _read(path, file, read_volts)
    except UnicodeDecodeError as error:
        raise BadInput(f"{path}: not text in UTF-8 ({error.reason}); save the table as CSV, UTF-8") from error
    except csv.Error as error:
        raise BadInput(f"{path}: not a table ({error}); save it as CSV") from error
    except FileNotFoundError as error:
        raise BadInput(f"{path}: no such file") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise BadInput(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from error
    trains = list(_trains(path, table))
    for train in trains:
        _check(path, train, strict)
    for direction, (word, _) in _WORDS.items():
        if not any(train.direction == direction for train in trains):
            raise BadInput(f"{path}: no {word} sweep; expected {FEWEST_PULSES} pulses or more in either direction")
    return trains


class _Table:
    """What a file holds, column by column; devices and cycles as numbers in the order in which they appear."""

    def __init__(self, path: Path, line: int, header: list[str], read_volts: float | None):
        names = [name.strip().lower().replace("µ", "u").replace("μ", "u") for name in header]
        self.path, self.width, self.read_volts = path, len(names), read_volts
        self.place = {name: place for place, name in enumerate(names) if name in _KNOWN}
        self.columns: dict[str, array] = {
            name: array("d" if name == "conductance" else "q") for name in ("line", *_KNOWN)
        }
        self.labels: dict[str, dict[str, int]] = {"cycle": {}, "device": {}}
        where = f"{path}, line {line}"
        for name in self.place:
            if names.count(name) > 1:
                raise BadInput(f"{where}: {names.count(name)} columns are called {name}; keep one")
        if "pulse" not in self.place:
            raise BadInput(f"{where}: no column pulse among {_listed(header)}; name the columns in the first row")
        values = [name for name in _SCALES if name in self.place]
        if len(values) != 1:
            found = " and ".join(values) or f"none among {_listed(header)}"
            raise BadInput(f"{where}: expected one column of {', '.join(_SCALES)}; found {found}")
        self.value = values[0]
        if self.value == "current" and read_volts is None and "read_volts" not in self.place:
            raise BadInput(f"{where}: column current wants a column read_volts beside it, or read_volts given")

    def add(self, line: int, row: list[str]) -> None:
        """One row, or the fault in it."""
        if len(self.columns["line"]) >= MOST_ROWS:
            raise BadInput(f"{self.path}, line {line}: more than {MOST_ROWS} rows; leave out pulses or split by device")
        if len(row) < self.width or any(cell.strip() for cell in row[self.width :]):
            raise BadInput(f"{self.path}, line {line}: {len(row)} fields where the header has {self.width}")
        pulse = self._number(line, row, "pulse")
        if not (pulse.is_integer() and 0 <= pulse <= MOST_NUMBER):
            raise self._fault(line, "pulse", f"{pulse:g} must be a whole number from 0 to {MOST_NUMBER}")
        siemens = self._number(line, row, self.value) * _SCALES[self.value] / self._volts(line, row)
        if not 0 <= siemens <= MOST_SIEMENS:
            wanted = f"must be from 0 to {MOST_SIEMENS:g} siemens; mend its sign or unit"
            raise self._fault(line, self.value, f"{siemens:g} siemens {wanted}")
        if "direction" in self.place:
            text = row[self.place["direction"]].strip().lower().removesuffix(".0")
            if text not in _DIRECTIONS:
                raise self._fault(line, "direction", f"{_listed([text])} must be up or down, ltp or ltd, +1 or -1")
            self.columns["direction"].append(_DIRECTIONS[text])
        self.columns["line"].append(line)
        self.columns["pulse"].append(int(pulse))
        self.columns["conductance"].append(siemens + 0.0)  # -0 becomes 0
        for name, numbers in self.labels.items():
            label = row[self.place[name]].strip() if name in self.place else ""
            self.columns[name].append(numbers.setdefault(label, len(numbers)))

    def _volts(self, line: int, row: list[str]) -> float:
        if self.value != "current":
            return 1.0
        volts = self._number(line, row, "read_volts") if "read_volts" in self.place else self.read_volts
        if not volts:
            raise self._fault(line, "read_volts", "must be other than 0 volts, which give no conductance")
        return volts

    def _number(self, line: int, row: list[str], name: str) -> float:
        text = row[self.place[name]]
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise self._fault(line, name, f"{_listed([text])} is no number; write it as 1.5e-6, with a point")
        return value

    def _fault(self, line: int, column: str, text: str) -> BadInput:
        return BadInput(f"{self.path}, line {line}, column {column}: {text}")


def _listed(texts: list[str]) -> str:
    text = ", ".join(" ".join(each.split()) for each in texts)
    return repr(text if len(text) <= 60 else text[:57] + "...")


def _read(path: Path, file: TextIO, read_volts: float | None) -> _Table:
    lines, before = _lines(path, file), 0
    for header in lines:
        if header.strip():
            break
        before += 1
    else:
        raise BadInput(f"{path}: empty; expected a header with pulse and conductance, and a row for each reading")
    separator = max(",;\t", key=header.count)
    table = _Table(path, before + 1, next(csv.reader([header], delimiter=separator)), read_volts)
    rows = csv.reader(lines, delimiter=separator, strict=True)
    for row in rows:
        if any(cell.strip() for cell in row):
            table.add(before + 1 + rows.line_num, row)
    if not table.columns["line"]:
        raise BadInput(f"{path}: no rows after the header; expected one for each reading")
    return table


def _lines(path: Path, file: TextIO) -> Iterator[str]:
    """Its lines; comments come as empty ones, so that they still count."""
    number = 0
    while line := file.readline(MOST_LINE):
        number += 1
        if "\0" in line:
            raise BadInput(f"{path}, line {number}: not text; save the table as CSV, UTF-8")
        if len(line) == MOST_LINE:
            raise BadInput(f"{path}, line {number}: {MOST_LINE} characters or more are no row; save the table as CSV")
        yield "" if line.lstrip().startswith("#") else line


def _trains(path: Path, table: _Table) -> Iterator[PulseTrain]:
    """Cuts the rows of each device where cycle or direction change, a count starts again or the conductance turns."""
    columns = {name: np.asarray(values) for name, values in table.columns.items()}
    order = np.lexsort((columns["cycle"], columns["device"]))  # stable: what is equal keeps its order
    columns = {name: values[order] for name, values in columns.items() if len(values)}
    pulse, conductance = columns["pulse"], columns["conductance"]
    way = columns.get("direction", np.zeros_like(pulse))
    is_new_device, is_other_way = np.diff(columns["device"]) != 0, np.diff(way) != 0
    is_cut = is_new_device | (np.diff(columns["cycle"]) != 0) | is_other_way | (np.diff(pulse) < 0)
    _check_counts(path, pulse, columns["line"], is_new_device, is_cut)
    names = {name: list(labels) for name, labels in table.labels.items()}
    for start, stop in pairwise([0, *(np.flatnonzero(is_cut) + 1).tolist(), len(pulse)]):
        runs_on = start > 0 and not is_new_device[start - 1] and pulse[start] >= pulse[start - 1]
        base = int(pulse[start - 1]) if runs_on else _base(pulse[start:stop])
        # Where a sweep goes on from one of the other direction, the state that it begins at is that sweep's last.
        continues = runs_on and bool(is_other_way[start - 1])
        begins = start - 1 if continues and pulse[start] > base else start
        sweeps = [(begins, int(way[start]))]
        if not way[start]:
            sweeps = [(begins + turn, sign) for turn, sign in turns(conductance[begins:stop])]
        for (first, direction), last in zip(sweeps, [*(turn for turn, _ in sweeps[1:]), stop - 1]):
            part, zero = slice(first, last + 1), base if first == begins else int(pulse[first])
            device, cycle = (names[name][columns[name][start]] for name in ("device", "cycle"))
            yield PulseTrain(
                pulse[part] - zero, conductance[part], direction, device, cycle, columns["line"][part],
                continues or first > begins,
            )  # fmt: skip


def _base(pulse: np.ndarray) -> int:
    """The number of the pulse before a sweep's first: counts begin at 0 or 1, or one stride between readings later."""
    stride = int(pulse[1] - pulse[0]) if len(pulse) > 1 else 1
    return max(0, int(pulse[0]) - stride)


def _check_counts(path: Path, pulse: np.ndarray, lines: np.ndarray, is_new: np.ndarray, is_cut: np.ndarray) -> None:
    """Within a sweep pulses must rise; a count that starts again starts as the device's first one did."""
    begins = np.concatenate([[0], np.flatnonzero(is_new) + 1])
    first = np.repeat(pulse[begins], np.diff([*begins, len(pulse)]))[1:]
    is_back = (np.diff(pulse) < 0) & ~is_new & (pulse[1:] > np.maximum(first, 1))
    if (wrong := np.flatnonzero(is_back | (np.diff(pulse) == 0) & ~is_cut)).size:
        place = int(wrong[0])
        allowed = int(first[place]) if first[place] > 1 else "0 or 1"
        raise BadInput(
            f"{path}, line {lines[place + 1]}, column pulse: {pulse[place + 1]} after {pulse[place]}; pulses must rise "
            f"within a sweep, or start again from {allowed}"
        )


def _check(path: Path, train: PulseTrain, strict: bool) -> None:
    """A sweep has pulses enough and goes its way."""
    word, verb = _WORDS[train.direction]
    place = f"{path}, line {train.lines[0]}"
    if len(train.pulses) < FEWEST_PULSES or train.pulses[-1] < FEWEST_PULSES:
        count = len(train.pulses) - int(train.pulses[0] == 0)
        raise BadInput(f"{place}: a {word} sweep of {count} pulses; {FEWEST_PULSES} or more are needed")
    if train.pulses[-1] > MOST_PULSES:
        raise BadInput(f"{place}: a {word} sweep of {train.pulses[-1]} pulses; must be {MOST_PULSES} or fewer")
    if strict and (wrong := np.flatnonzero(train.direction * np.diff(train.conductance) <= 0)).size:
        raise BadInput(
            f"{path}, line {train.lines[wrong[0] + 1]}, column conductance: must {verb} with each pulse of a {word} "
            f"sweep where the curve itself is to be used; average several cycles, or fit the exponential response"
        )
    scaled = train.direction * train.conductance / max(train.conductance.max(), 1e-300)
    scatter = float(((scaled - scaled.mean()) ** 2).sum())
    missed = float(((scaled - isotonic_regression(scaled).x) ** 2).sum())
    explained = 1 - missed / scatter if scatter > 1e-24 else 0.0
    if explained < LEAST_EXPLAINED:
        raise BadInput(
            f"{place}, column conductance: the {word} sweep from here does not {verb} as a whole: the best {word} "
            f"curve explains {explained:.0%} of its variance, {LEAST_EXPLAINED:.0%} are needed; mend its direction or "
            f"leave it out"
        )
