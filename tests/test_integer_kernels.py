"""int8 care_s0, MobileNetV2 and ResNet-8: every product on integer kernels in each target, in 0.30 of the bytes."""

import pytest
from offramp.export.write import write_artifact
from offramp.options import Options
from offramp.pipeline import programs_of
from offramp.quant.scheme import Scheme
from offramp.runtime.islands import find_islands
from offramp.sources import find_samples, find_source

PRODUCTS = {
    *("Conv", "Gemm", "MatMul"),
    *("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "BATCH_MATMUL"),
    *("conv", "linear", "matmul"),
}
SUFFIX = {"onnx": ".onnx", "coreml": ".mlpackage", "tflite": ".tflite"}


@pytest.fixture(scope="module", params=["resnet8", "mobilenet_v2", "care_s0"])
def programs(request):
    source = find_source(request.param)
    options = Options(precisions=("float32", "int8"), scheme=Scheme(calibration="minmax", samples=2))
    return source.name, programs_of(source, find_samples(source, None, 2, 2), options)


@pytest.mark.slow
@pytest.mark.parametrize("target", ["onnx", "coreml", "tflite"])
def test_every_product_runs_on_integers(programs, target, tmp_path) -> None:
    name, made = programs
    path = tmp_path / f"{name}{SUFFIX[target]}"
    captured = made.captured
    artifact = write_artifact(
        target,
        made.quantized.program,
        path,
        input_names=captured.input_names,
        output_names=captured.output_names,
        precision="int8",
    )
    report = find_islands(path, artifact.modules)
    assert [island for island in report.islands if island.operator in PRODUCTS] == []
    assert report.integer_mac_share == 1.0
    if name == "care_s0":
        floating = write_artifact(
            target,
            made.floating,
            tmp_path / f"float{SUFFIX[target]}",
            input_names=captured.input_names,
            output_names=captured.output_names,
            precision="float32",
        )
        assert artifact.size_bytes <= 0.30 * floating.size_bytes
