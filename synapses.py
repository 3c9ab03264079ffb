"""Synapse devices as a user sees them: the catalogue as a table, one device's figures, fits of measured pulses."""

import re
from pathlib import Path
from typing import Any

from .devices.synapse.catalogue import catalogue, check_name, find_device
from .devices.synapse.device import SynapseDevice
from .devices.synapse.fit import device_toml, fit_pulses, measured_device
from .devices.synapse.fit_plot import write_fit_plot
from .devices.synapse.pulse_file import read_pulses
from .errors import BadInput
from .storage import atomic_path


def devices_table() -> list[dict[str, Any]]:
    """One row for each device of the catalogue, with its figures."""
    return [figures_of(device) for device in catalogue().values()]


def device_figures(reference: str) -> dict[str, Any]:
    """One device of the catalogue, or of a .toml.

    Raises:
        BadInput: there is none of that name, or the file holds no device.
    """
    return {"device": figures_of(find_device(reference)), "intervals": {}, "fit": None}


def figures_of(device: SynapseDevice) -> dict[str, Any]:
    """Every figure of a device as plain values, its on/off ratio, and what a pulse takes at mid range."""
    pulses = {name: getattr(device, name) for name in ("write_up", "write_down", "read")}
    joules = {f"{name}_joules": None if pulse is None else device.joules(pulse) for name, pulse in pulses.items()}
    return device.to_json() | {"on_off": device.on_off if device.g_min else None} | joules


def fit_file(
    path: Path, name: str | None, takes_curve: bool, read_volts: float | None, plot: Path | None, out: Path | None
) -> dict[str, Any]:
    """Fits a device to measured pulses.

    Args:
        path: a .csv, as `pulse_file` reads it.
        takes_curve: also make the measured curve itself the device's response.
        read_volts: that currents were measured at.
        plot, out: where to draw the fit, and where to write the device as a .toml that `--synapse` takes.

    Returns:
        `{"device", "intervals", "fit": {"sweeps", "residual", "method"}, "plot", "out"}`.

    Raises:
        BadInput: the file or what it holds cannot be used.
    """
    if plot is not None and plot.suffix.lower() != ".svg":
        raise BadInput(f"{plot}: the plot is an SVG; name a file that ends in .svg")
    if out is not None and out.suffix.lower() != ".toml":
        raise BadInput(f"{out}: a device is written as TOML; name a file that ends in .toml")
    name = name or re.sub(r"[^A-Za-z0-9._-]", "_", path.stem)
    check_name(name)
    trains = read_pulses(path, read_volts=read_volts, strict=takes_curve)
    fit = fit_pulses(trains, name)
    device = measured_device(trains, name) if takes_curve else fit.device
    if plot is not None:
        write_fit_plot(plot, fit, trains)
    if out is not None:
        with atomic_path(out) as beside:
            beside.write_text(device_toml(device, f"Fitted to {path.name} by `offramp synapse`."), encoding="utf-8")
    return {
        "device": figures_of(device),
        "intervals": {figure: list(ends) for figure, ends in fit.intervals.items()},
        "fit": {"sweeps": fit.sweeps, "residual": fit.residual, "method": fit.method},
        "plot": None if plot is None else str(plot),
        "out": None if out is None else str(out),
    }
