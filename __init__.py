"""offramp: one quantized program, every target, every difference accounted for.

    import offramp

    document = offramp.deploy("mynet:build", offramp.Options(data="samples.npz"))

    captured = offramp.capture(network, example_inputs)
    program = offramp.quantize(captured, samples, offramp.Scheme())
    artifact = offramp.write_artifact("tflite", program.program, path, input_names=program.input_names,
                                      output_names=program.output_names, precision="int8")
    session = offramp.open_session(artifact.path)

Names are imported when they are first used, so that `import offramp` costs nothing.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    ".errors": ("BadInput", "OfframpError", "UnsupportedOperator"),
    ".models.recipe": ("Recipe",),
    ".models.run": ("Run", "load_run", "restore"),
    ".models.system": ("System", "all_systems", "find_system"),
    ".models.training": ("train",),
    ".quant.capture": ("Captured", "capture", "to_program"),
    ".quant.program": ("QuantizedProgram", "load_program", "save_program"),
    ".quant.quantize": ("quantize",),
    ".quant.scheme": ("Scheme",),
    ".export.artifact": ("Artifact", "TensorSpec"),
    ".export.write": ("write_artifact",),
    ".runtime.measurement": ("Measurement",),
    ".runtime.reference": ("run_reference",),
    ".runtime.samples": ("Samples",),
    ".runtime.session": ("Session", "open_session"),
    ".runtime.verify": ("Verification", "verify_artifact"),
    ".options": ("Options",),
    ".pipeline": ("deploy",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}
__all__ = ["__version__", *sorted(_HOME_OF)]  # noqa: PLE0604


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"offramp has no {name}; it offers {', '.join(sorted(_HOME_OF))}")
    return getattr(import_module(_HOME_OF[name], __name__), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME_OF])
