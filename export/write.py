"""One door to the exporters: the same arguments for every target, each taking those that it knows."""

from pathlib import Path

from torch.export import ExportedProgram

from .artifact import Artifact


def write_artifact(
    target: str,
    program: ExportedProgram,
    path: Path,
    *,
    input_names: tuple[str, ...],
    output_names: tuple[str, ...],
    precision: str,
    labels: tuple[str, ...] = (),
    metadata: dict[str, str] | None = None,
    dynamic_batch: bool = False,
    integer_io: bool = False,
    image_input: bool = False,
    ram: int | None = None,
    flash: int | None = None,
) -> Artifact:
    """Writes `program` for `target` at `path`; see `to_onnx`, `to_tflite`, `to_c` and `to_coreml`."""
    if target == "onnx":
        from .onnx import to_onnx

        return to_onnx(
            program,
            path,
            input_names=input_names,
            output_names=output_names,
            precision=precision,
            dynamic_batch=dynamic_batch,
            metadata=metadata,
        )
    if target == "tflite":
        from .tflite import to_tflite

        return to_tflite(
            program,
            path,
            input_names=input_names,
            output_names=output_names,
            precision=precision,
            integer_io=integer_io,
            labels=labels or None,
            metadata=metadata,
        )
    if target == "c":
        from .c.program import to_c

        return to_c(
            program,
            path,
            input_names=input_names,
            output_names=output_names,
            precision=precision,
            integer_io=integer_io,
            metadata=metadata,
            ram=ram,
            flash=flash,
        )
    from .coreml import to_coreml

    return to_coreml(
        program,
        path,
        input_names=input_names,
        output_names=output_names,
        precision=precision,
        labels=labels or None,
        image_input=image_input,
        metadata=metadata,
    )
