"""Networks, samples and quantized programs that several test files share."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import torch
from offramp.benchmarks.untrained import measure_norms
from offramp.export.artifact import Artifact
from offramp.export.coreml import to_coreml
from offramp.models.system import find_system
from offramp.quant.capture import Captured, capture, to_program
from offramp.quant.program import QuantizedProgram
from offramp.quant.quantize import quantize
from offramp.quant.scheme import Scheme, bits_named
from torch import nn
from torch.export import ExportedProgram

QUICK = Scheme(calibration="minmax", rounding="nearest", correct_bias=False)  # where only the form matters


def randomise(network: nn.Module, seed: int = 0) -> nn.Module:
    """Gives every batch norm statistics and parameters of its own, and every other one-dimensional parameter values."""
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.running_mean.normal_(0, 0.3, generator=draw)
                module.running_var.uniform_(0.5, 1.5, generator=draw)
        for name, value in network.named_parameters():
            if value.numel() == max(value.shape):
                value.normal_(0, 0.3, generator=draw)
                if not name.endswith("bias"):
                    value.add_(1)
    return network.eval()


class Recurrent(nn.Module):
    """One linear layer and ReLU, so many times in a row: (..., width) to (..., width)."""

    def __init__(self, width: int, calls: int):
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.calls = nn.Linear(width, width), calls

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for _ in range(self.calls):
            x = self.layer(x).relu()
        return x


def noise(shape: tuple[int, ...], seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def samples_of(*shapes: tuple[int, ...], count: int = 8) -> list[tuple[torch.Tensor, ...]]:
    """Standard normal samples, the same at every call."""
    return [tuple(noise(shape, 100 * i + place) for place, shape in enumerate(shapes)) for i in range(count)]


@cache
def captured_system(name: str) -> Captured:
    """A network of the zoo, untrained: scales and shifts at random, statistics as measured. With any others a deep
    network answers nearly the same to every input, and a test that compares its outputs sees little."""
    system = find_system(name)
    torch.manual_seed(0)
    network = randomise(system.build())
    batch = tuple(torch.cat(each) for each in zip(*samples_of(*system.input_shapes.values())))
    measure_norms(network, [batch])
    return capture(network, system.example_inputs(), tuple(system.input_shapes), system.output_names)


@cache
def quantized_system(name: str, bits: str = "int8") -> QuantizedProgram:
    shapes = find_system(name).input_shapes.values()
    weights, activations = bits_named(bits)
    scheme = replace(QUICK, weight_bits=weights, activation_bits=activations)
    return quantize(captured_system(name), samples_of(*shapes), scheme)


def program_of(system: str, precision: str) -> ExportedProgram:
    """The program that an exporter is given for a network of the zoo."""
    if precision == "int8":
        return quantized_system(system).program
    captured = captured_system(system)
    return to_program(captured.module, captured.example_inputs)


_PACKAGES: dict[tuple[str, str], tuple[ExportedProgram, Artifact]] = {}


def coreml_package(system: str, precision: str, folder: Path) -> tuple[ExportedProgram, Artifact]:
    """(program, Core ML package) of a network of the zoo; converted once in a test run, into the first folder given."""
    if (system, precision) not in _PACKAGES:
        captured, path = captured_system(system), folder / f"{system}_{precision}.mlpackage"
        names = {"input_names": captured.input_names, "output_names": captured.output_names}
        program = program_of(system, precision)
        _PACKAGES[system, precision] = program, to_coreml(program, path, **names, precision=precision)
    return _PACKAGES[system, precision]


def quantized(network: nn.Module, *shapes: tuple[int, ...], **scheme: object) -> QuantizedProgram:
    """A small network captured and quantized on standard normal samples."""
    captured = capture(network.eval(), tuple(torch.zeros(shape) for shape in shapes))
    return quantize(captured, samples_of(*shapes), Scheme(**{"calibration": "minmax", **scheme}))
