"""The peers of our int8 artifacts; each quantizes the same float artifact on the same samples."""

from pathlib import Path

import numpy as np

from ..runtime.samples import Samples


def quantize_with_onnxruntime(
    float_onnx: Path, path: Path, samples: Samples, method: str = "MinMax", weight_bits: int = 8
) -> None:
    """ONNX Runtime's static quantization as its documentation has it for x86: QDQ, per channel, uint8 activations.

    Args:
        method: of calibration, `MinMax` (its default), `Entropy` or `Percentile`.
        weight_bits: 8, or 4 for its INT4 weights.
    """
    from onnxruntime.quantization import (
        CalibrationDataReader,
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.rows = iter(samples)

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self.rows, None)

    prepared = path.with_suffix(".prepared.onnx")
    quant_pre_process(str(float_onnx), str(prepared), skip_symbolic_shape=True)
    quantize_static(
        str(prepared),
        str(path),
        Reader(),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8 if weight_bits == 8 else QuantType.QInt4,
        calibrate_method=CalibrationMethod[method],
    )


def quantize_with_ai_edge(float_tflite: Path, path: Path, samples: Samples) -> None:
    """ai-edge-quantizer's static int8 recipe, float at the border as ours."""
    from ai_edge_quantizer import quantizer, recipe

    tool = quantizer.Quantizer(str(float_tflite), recipe.static_wi8_ai8())
    calibration = tool.calibrate({"serving_default": list(samples)})
    tool.quantize(calibration).export_model(str(path), overwrite=True)
