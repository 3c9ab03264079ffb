"""Numbers as people read them: with units, with three digits, and never rounded to a zero or a whole that is not there.

What was not measured is `NOT_MEASURED`, whatever the quantity.
"""

import math

NOT_MEASURED = "not measured"
_MINUS = "\N{MINUS SIGN}"
_NBSP = "\N{NO-BREAK SPACE}"


def three_digits(value: float) -> str:
    """Three significant digits: 0.0123, 1.23, 12.3, 1,234; powers of ten only below 0.001."""
    if value == 0:
        return "0"
    if abs(value) < 1e-3:
        mantissa, exponent = f"{value:.1e}".split("e")
        power = str(int(exponent)).translate(_SUPERSCRIPT)
        return f"{mantissa}{_NBSP}×{_NBSP}10{power}".replace("-", _MINUS)
    decimals = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{decimals}f}".replace("-", _MINUS)


def bytes_text(size_bytes: int | None) -> str:
    """1234567 -> `1.18 MiB`."""
    if size_bytes is None:
        return NOT_MEASURED
    unit, scale = binary_unit(size_bytes)
    return f"{size_bytes}{_NBSP}B" if scale == 1 else f"{three_digits(size_bytes / scale)}{_NBSP}{unit}"


def binary_unit(size_bytes: float) -> tuple[str, int]:
    """The unit that suits a size, with its bytes."""
    for unit, scale in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if size_bytes >= scale:
            return unit, scale
    return "B", 1


def count_text(count: int | None) -> str:
    """12501632 -> `12.5 M`; exact below 10,000."""
    if count is None:
        return NOT_MEASURED
    for unit, scale in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if count >= max(scale, 10_000):
            return f"{three_digits(count / scale)}{_NBSP}{unit}"
    return f"{count:,}"


def percent_text(share: float | None, decimals: int = 1) -> str:
    """0.8523 -> `85.2 %`; 0.99999 -> `> 99.9 %`, since 100 % means all."""
    if share is None:
        return NOT_MEASURED
    if share in (0, 1):
        return f"{share * 100:.0f}{_NBSP}%"
    smallest = 10**-decimals
    if share * 100 >= 100 - smallest / 2:
        return f">{_NBSP}{100 - smallest:.{decimals}f}{_NBSP}%"
    if share * 100 < smallest / 2:
        return f"<{_NBSP}{smallest:.{decimals}f}{_NBSP}%"
    return f"{share * 100:.{decimals}f}{_NBSP}%"


def points_text(change: float | None) -> str:
    """A change of a share in percentage points, signed: -0.0123 -> `−1.23`."""
    if change is None:
        return ""
    rounded = round(change * 100, 2)
    return "±0.00" if rounded == 0 else f"{rounded:+.2f}".replace("-", _MINUS)


def milliseconds(value_ms: float | None) -> str:
    """Without the unit, for a column whose head carries it."""
    return NOT_MEASURED if value_ms is None else three_digits(value_ms)


def steps_text(steps: float | None) -> str:
    """Differences in quantization steps: `1 step`, `2.5 steps`."""
    if steps is None:
        return NOT_MEASURED
    number = f"{steps:,.0f}" if steps == int(steps) else three_digits(steps)
    return f"{number}{_NBSP}step" if steps == 1 else f"{number}{_NBSP}steps"


def decibels(value_db: float | None) -> str:
    """Without the unit, one decimal."""
    return NOT_MEASURED if value_db is None else f"{value_db:.1f}".replace("-", _MINUS)


_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
