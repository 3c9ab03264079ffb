"""Float islands and peak memory of Core ML packages: small nets by hand, whole networks against their program."""

import sys
from pathlib import Path

import pytest
import torch
from offramp.export.coreml import to_coreml
from offramp.runtime.islands import find_islands
from offramp.runtime.memory import peak_of_coreml, peak_of_file, peak_of_program
from torch import nn
from torch.nn import functional

sys.path.append(str(Path(__file__).parent))
from small_networks import coreml_package, quantized, quantized_system


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("packages")
    return lambda system, precision: coreml_package(system, precision, folder)


def test_the_islands_of_a_package_are_the_float_operators_of_its_program(packages):
    _, artifact = packages("care_xxs", "int8")
    report = find_islands(artifact.path, artifact.modules)
    wanted = {entry.name: entry.module for entry in quantized_system("care_xxs").float_operators}
    assert {island.name: island.module for island in report.islands} == wanted
    assert {island.reason for island in report.islands if island.operator in ("layer_norm", "real_div")} == {
        "no integer form"
    }
    assert report.integer_mac_share == 1.0


def test_an_int8_residual_network_has_no_islands_and_a_float_one_only_islands(packages):
    in_int8, in_float = (find_islands(packages("resnet8", p)[1].path) for p in ("int8", "float32"))
    assert (in_int8.islands, in_int8.integer_mac_share) == ((), 1.0)
    assert (in_float.integer_operators, in_float.integer_mac_share) == (0, 0.0)
    assert len(in_float.islands) == in_int8.integer_operators
    reasons = {island.operator: island.reason for island in in_float.islands}
    assert reasons["conv"].endswith("is not dequantized codes")


class Kept(nn.Module):
    """A convolution that stays in float between two that do not."""

    def __init__(self):
        super().__init__()
        self.first, self.middle, self.last = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 2, 3)

    def forward(self, image):
        return self.last(self.middle(self.first(image).relu()).relu())


def test_a_layer_kept_in_float_is_an_island_with_its_module_and_reason(tmp_path):
    program = quantized(Kept(), (1, 3, 12, 12), keep_float=("middle",))
    artifact = to_coreml(
        program.program, tmp_path / "kept.mlpackage", input_names=["image"], output_names=["y"], precision="int8"
    )
    report = find_islands(artifact.path, artifact.modules)
    # The ReLU before it, which nothing else reads, is spared a rounding.
    assert [(island.operator, island.module) for island in report.islands] == [("relu", ""), ("conv", "middle")]
    assert report.islands[0].reason == "output relu is not quantized"
    assert report.islands[1].reason == "input relu is not dequantized codes"
    assert [entry.name for entry in program.float_operators] == [island.name for island in report.islands]
    first, middle, last = 8 * 3 * 9 * 10 * 10, 8 * 8 * 10 * 10, 2 * 8 * 9 * 8 * 8
    assert report.integer_mac_share == pytest.approx((first + last) / (first + middle + last))


class Plain(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, image):
        return functional.gelu(self.conv(image)).flatten(1)


def test_the_peak_of_a_float_package_is_that_of_its_program(packages):
    for system in ("care_xxs", "resnet8"):
        program, artifact = packages(system, "float32")
        assert peak_of_coreml(artifact.path).size_bytes == peak_of_program(program).size_bytes


def test_the_peak_in_codes_is_a_quarter_of_the_peak_in_floats(packages):
    for system in ("care_xxs", "resnet8"):
        in_float, in_int8 = (peak_of_file(packages(system, p)[1].path) for p in ("float32", "int8"))
        assert in_int8.size_bytes * 4 == in_float.size_bytes
    in_float, in_int8 = (peak_of_file(packages("care_xxs", p)[1].path) for p in ("float32", "int8"))
    assert in_int8.operator == f"{in_float.operator}_codes"
    assert in_int8.live == tuple(f"{name}_codes" for name in in_float.live)


def test_peak_by_hand_with_a_reshape_that_shares_its_input(tmp_path):
    program = torch.export.export(Plain().eval(), (torch.zeros(1, 3, 8, 8),))
    artifact = to_coreml(
        program, tmp_path / "plain.mlpackage", input_names=["image"], output_names=["y"], precision="float32"
    )
    peak = peak_of_coreml(artifact.path)
    # The convolution's result and its gelu; the image is dead by then, and the reshape costs nothing.
    assert peak.size_bytes == 2 * 4 * (4 * 8 * 8)
