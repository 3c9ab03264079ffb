"""`python -m offramp.benchmarks.export_time`: exporting and verifying a network, against the three converters alone.

The converters alone: `torch.onnx.export`, coremltools' `convert` and litert-torch's `convert` on the same quantized
program, in the spelling that each takes, without names, rewrites, reading back or execution. Imports are paid before
either is timed. Ours: the three exports, then every artifact executed on 256 held-out samples in every engine, integers
read back and compared.
"""

import argparse
import json
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from ..devices.boards.host import describe_host
from ..export.artifact import SUFFIX
from ..export.coreml_program import lower, prepare
from ..export.onnx import _translations
from ..export.quiet import quiet
from ..export.unfold import unfold
from ..export.write import write_artifact
from ..options import Options
from ..pipeline import programs_of, references_of, trained_source
from ..runtime.verify import verify_artifact
from ..sources import find_samples, find_source


def converters_alone(program: torch.export.ExportedProgram) -> dict[str, float]:
    """Seconds of each converter on the quantized program."""
    import coremltools
    import litert_torch
    from litert_torch.quantize import pt2e_quantizer, quant_config

    static = pt2e_quantizer.PT2EQuantizer().set_global(pt2e_quantizer.get_symmetric_quantization_config())
    config = quant_config.QuantConfig(pt2e_quantizer=static)
    unfolded = unfold(program)
    examples = tuple(torch.zeros(n.meta["val"].shape) for n in unfolded.graph.nodes if n.op == "placeholder")

    def to_coreml() -> None:
        lowered = lower(program)  # coremltools takes no program without it
        prepare(lowered)
        coremltools.convert(
            lowered,
            convert_to="mlprogram",
            minimum_deployment_target=coremltools.target.iOS17,
            compute_precision=coremltools.precision.FLOAT32,
            skip_model_load=True,
        )

    calls = {
        "onnx": lambda: torch.onnx.export(
            program, dynamo=True, opset_version=20, custom_translation_table=_translations(), verbose=False
        ),
        "coreml": to_coreml,
        "tflite": lambda: litert_torch.convert(unfolded, examples, quant_config=config).model_content(),
    }
    return {name: _seconds(call) for name, call in calls.items()}


def ours(source: Any, programs: Any, samples: Any) -> dict[str, float]:
    """Seconds of our exports and of our verification."""
    captured, quantized = programs.captured, programs.quantized
    names = {"input_names": captured.input_names, "output_names": captured.output_names}
    times: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        artifacts = []
        for target in ("onnx", "coreml", "tflite"):
            path = Path(folder) / f"{source.name}{SUFFIX[target]}"
            start = perf_counter()
            artifacts.append(write_artifact(target, quantized.program, path, precision="int8", **names))
            times[f"export {target}"] = perf_counter() - start
        start = perf_counter()
        _, reference = references_of(programs, samples)
        times["run the programs"] = perf_counter() - start
        for artifact in artifacts:
            start = perf_counter()
            assert reference is not None
            verify_artifact(artifact, reference, samples.held_out, quantized)
            times[f"verify {artifact.target}"] = perf_counter() - start
    return times


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("network", nargs="?", default="care_xxs")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--samples", type=int, default=256)
    arguments = parser.parse_args(argv)
    options = Options(precisions=("int8",), held_out=arguments.samples, runs=arguments.runs)
    source = trained_source(find_source(arguments.network), options)
    samples = find_samples(source, None, 256, arguments.samples)
    programs = programs_of(source, samples, options)
    assert programs.quantized is not None
    with quiet():
        import coremltools  # noqa: F401
        import litert_torch  # noqa: F401

    rounds = []
    for _ in range(2):  # the first round pays caches for both; the second is reported
        rounds.append((converters_alone(programs.quantized.program), ours(source, programs, samples)))
    alone, mine = rounds[-1]
    for name, seconds in [*((f"{n} converter", s) for n, s in alone.items()), *mine.items()]:
        print(f"  {name:20} {seconds:7.2f} s")
    ratio = sum(mine.values()) / sum(alone.values())
    print(f"ours {sum(mine.values()):.1f} s, the converters alone {sum(alone.values()):.1f} s, ratio {ratio:.2f}")
    ratios = {f"{arguments.network}_ours_over_converters": round(ratio, 3)}
    print(json.dumps({"benchmark": "export_time", "ratios": ratios, "machine": str(describe_host()), "seconds": mine}))
    return 0


def _seconds(call: Any) -> float:
    with quiet():
        start = perf_counter()
        call()
        return perf_counter() - start


if __name__ == "__main__":
    raise SystemExit(main())
