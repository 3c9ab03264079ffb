"""The time of each operation of a C network."""

import shutil
import sys
from pathlib import Path

import pytest
from offramp.export.c.program import to_c
from offramp.runtime.c_layers import layer_times
from offramp.runtime.c_session import CSession

sys.path.append(str(Path(__file__).parent))
from small_networks import noise, quantized_system


@pytest.mark.skipif(shutil.which("cc") is None, reason="not run: no C compiler (apt-get install gcc)")
def test_every_operation_has_a_time(tmp_path) -> None:
    program = quantized_system("resnet8")
    names = program.input_names, program.output_names
    path = tmp_path / "net.c"
    to_c(program.program, path, input_names=names[0], output_names=names[1], precision="int8")
    session = CSession(path)
    times = layer_times(session, {names[0][0]: noise((1, 3, 32, 32)).numpy()}, runs=5)
    assert [layer.call for layer in times] == list(session.source.calls)
    assert all(layer.ms >= 0 for layer in times)
    convolutions = sum(layer.ms for layer in times if layer.call.operation == "Convolution")
    assert convolutions > 0
    assert {layer.call.module for layer in times} >= {"stem.0", "classify"}
