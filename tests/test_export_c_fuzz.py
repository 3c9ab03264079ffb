"""Random small networks as C, with sanitizers and without a warning, against the arithmetic in whole numbers."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from offramp.c_compiler import KERNEL_SETS, WARNINGS, runnable_kernels
from offramp.export.c.program import source_of_program
from offramp.quant.capture import capture, to_program
from offramp.quant.integer.evaluate import evaluate
from offramp.quant.integer.lowering import integer_program
from offramp.quant.integer.operations import FloatOperation
from offramp.quant.quantize import quantize
from offramp.quant.scheme import Scheme, bits_named

sys.path.append(str(Path(__file__).parent))
from random_networks import networks
from small_networks import samples_of

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("cc") is None, reason="not run: no C compiler (apt-get install gcc)"),
]
SANITIZED = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-Werror")
MAIN = """
#include <stdio.h>
static float image[NET_IMAGE_LENGTH], logits[NET_LOGITS_LENGTH];
int main(int count, char **files)
{
    FILE *in = fopen(files[1], "rb"), *out = fopen(files[2], "wb");
    (void)count;
    while (fread(image, sizeof image, 1, in) == 1) {
        net_run(image, logits);
        fwrite(logits, sizeof logits, 1, out);
    }
    return fclose(out);
}
"""


def run_sanitized(source, inputs: np.ndarray, kernels: str, folder: Path) -> np.ndarray:
    (folder / "net.h").write_text(source.header)
    (folder / "net.c").write_text(source.source + MAIN)
    inputs.astype(np.float32).tofile(folder / "inputs")
    command = ["cc", *WARNINGS, *SANITIZED, *KERNEL_SETS[kernels], "net.c", "-o", "net", "-lm"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    done = subprocess.run(["./net", "inputs", "outputs"], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return np.fromfile(folder / "outputs", np.float32).reshape(len(inputs), -1)


@settings(max_examples=24, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(networks(), st.sampled_from(["int8", "w4a4", "binary"]), st.sampled_from(runnable_kernels()))
def test_random_quantized_networks_are_exact(tmp_path, found, scheme, kernels) -> None:
    network, shape = found
    captured = capture(network, samples_of(shape, count=1)[0], ("image",), ("logits",))
    chosen = Scheme(*bits_named(scheme), calibration="minmax", rounding="nearest", correct_bias=False)
    program = quantize(captured, samples_of(shape, count=4), chosen)
    inputs = np.concatenate([s[0].numpy() for s in samples_of(shape, count=3)])
    source = source_of_program(program.program, "net", ("image",), ("logits",))
    outputs = run_sanitized(source, inputs, kernels, tmp_path)
    integers = integer_program(program.program, ("image",), ("logits",))
    wanted = np.concatenate([evaluate(integers, [sample[None]])[0] for sample in inputs])
    step = program.output_steps()[0]
    if any(isinstance(operation, FloatOperation) for operation in integers.operations):
        assert np.abs(outputs - wanted).max() <= 3.001 * step
    else:
        assert np.array_equal(outputs, wanted)


@settings(max_examples=8, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(networks())
def test_random_float_networks_agree(tmp_path, found) -> None:
    network, shape = found
    captured = capture(network, samples_of(shape, count=1)[0], ("image",), ("logits",))
    program = to_program(captured.module, captured.example_inputs)
    inputs = np.concatenate([s[0].numpy() for s in samples_of(shape, count=3)])
    outputs = run_sanitized(source_of_program(program, "net", ("image",), ("logits",)), inputs, "portable", tmp_path)
    wanted = np.concatenate([program.module()(sample[0])[0].detach().numpy() for sample in samples_of(shape, count=3)])
    assert np.allclose(outputs, wanted, rtol=1e-4, atol=1e-4 * np.abs(wanted).max())
