"""A network on emulated arrays of synapse devices in words, for the report and the terminal."""

from typing import Any

from .sweep import break_text, measure_of, sweep_charts, sweep_of, undrawn_text, value_text
from .wording import count_text, percent_text, points_text, three_digits

_NBSP = "\N{NO-BREAK SPACE}"
_UNITS = {"g_min": "S", "g_max": "S", "drift_start": "s", "seconds": "s", "wire_ohms": "Ω"}
_PREFIXES = ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"), (1e-12, "p"))
# Defaults of a device and of arrays: figures that differ are listed.
DEVICE_DEFAULTS = {
    "response": "linear", "pulses_up": 64, "pulses_down": 64, "nonlinearity_up": 0.0, "nonlinearity_down": 0.0,
    "levels": None, "curve_up": [], "curve_down": [], "high_spread": 0.0, "low_spread": 0.0,
    "nonlinearity_spread": 0.0, "nonlinearity_correlation": 0.0, "step_spread": 0.0, "asymmetry_spread": 0.0,
    "cycle_noise": 0.0, "cycle_step_noise": 0.0, "read_noise": 0.0, "program_error": 0.0, "verify_tolerance": 0.01,
    "stuck": 0.0, "stuck_at": "any", "retention": "power-law", "drift": 0.0, "drift_spread": 0.0,
    "drift_start": 1.0, "write_up": None, "write_down": None, "read": None,
}  # fmt: skip
DESIGN_DEFAULTS = {
    "rows": 256, "columns": 256, "reference": "pair", "slice_bits": 0, "dac_bits": 0, "adc_bits": 0, "adc_share": 1.0,
    "clip_share": 1.0, "wire_ohms": 0.0, "verify_rounds": 0, "seconds": 0.0, "compensates_drift": False,
    "corrects_offset": False,
}  # fmt: skip


def spread_text(spread: dict[str, float] | None, chips: int) -> str:
    """`97.3 to 98.1 %`, or that one chip has no interval."""
    if spread is None:
        return ""
    return f"{spread['low'] * 100:.1f} to {percent_text(spread['high'])}" if chips > 1 else "one chip"


def joules_text(joules: float) -> str:
    """Three digits in the unit that suits: `12.3 nJ`, in femtojoules at the least."""
    scale, prefix = _prefix(joules)
    return f"{three_digits(joules / scale)}{_NBSP}{prefix}J"


def converter_text(document: dict[str, Any]) -> str:
    """The ADCs' share of the energy, or that they are ideal."""
    converters = document["converter_joules"]
    return percent_text(converters / (document["cell_joules"] + converters)) if converters else "ideal, not counted"


def write_text(document: dict[str, Any]) -> str:
    """Pulses and joules of writing a chip."""
    joules = document["write_joules"]
    energy = "energy not known" if joules is None else joules_text(joules)
    return f"{count_text(document['write_pulses'])} pulses, {energy}"


def read_text(document: dict[str, Any]) -> str:
    """The read pulse that energies rest on, and whether it is assumed."""
    pulse, read = pulse_text(document["read"]), document["read"]
    if read["assumed"]:
        return f"Cells are read with pulses of {pulse}: an assumption, since the device's entry has none."
    return f"Cells are read with pulses of {pulse}, as the device's entry has them."


def pulse_text(pulse: dict[str, Any]) -> str:
    """`0.2 V for 10 ns`."""
    return f"{_figure(pulse['volts'], 'V')} for {_figure(pulse['seconds'], 's')}"


def figures(values: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    """Figures that are not as the default is, with their units."""
    hidden = ("name", "title", "source")
    return {
        key: _with_unit(key, value)
        for key, value in values.items()
        if key not in hidden and (key not in defaults or value != defaults[key])
    }


def emulation_section(document: dict[str, Any]) -> list[dict[str, Any]]:
    """What the report shows of each of a manifest's emulations."""
    return [_part(emulation, place) for place, emulation in enumerate(document.get("emulations") or (), 1)]


def _part(emulation: dict[str, Any], place: int) -> dict[str, Any]:
    measure, sweep = measure_of(emulation), sweep_of(emulation)
    return {
        "document": emulation,
        "measure": measure,
        "change": points_text(measure.change(emulation)) if measure.key == "accuracy" else "",
        "sweep": sweep,
        "charts": sweep_charts(sweep, f"emulation-{place}") if sweep else [],
        "breaks": break_text(sweep) if sweep else "",
        "undrawn": undrawn_text(sweep) if sweep else "",
        "points": [
            ([value_text(name, point["settings"][name]) for name in sweep.names], point, measure.is_broken(point))
            for point in sweep.points
        ]
        if sweep
        else [],
        "device": figures(emulation["device"], DEVICE_DEFAULTS),
        "design": figures(emulation["design"], DESIGN_DEFAULTS),
    }


def _prefix(value: float) -> tuple[float, str]:
    return next((pair for pair in _PREFIXES if abs(value) >= pair[0]), (1.0, "") if value == 0 else (1e-15, "f"))


def _figure(value: float, unit: str) -> str:
    scale, prefix = (1.0, "") if unit == "V" else _prefix(value)
    return f"{value / scale:.4g}{_NBSP}{prefix}{unit}"


def _with_unit(key: str, value: Any) -> Any:
    if isinstance(value, dict) and set(value) == {"volts", "seconds"}:
        return pulse_text(value)
    if key in _UNITS and isinstance(value, int | float):
        return _figure(value, _UNITS[key])
    return value
