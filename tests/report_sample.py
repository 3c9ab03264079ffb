"""A realistic manifest: care_xxs in nine artifacts, one that disagrees, one that nothing executed, noise and gaps."""

ENGINES = {
    "onnx": ["onnxruntime 1.32.0"],
    "coreml": ["offramp ML program evaluator"],
    "tflite": ["ai-edge-litert 2.3.0", "tflite-runtime 2.14.0"],
}
SUFFIX = {"onnx": "onnx", "coreml": "mlpackage", "tflite": "tflite"}
BYTES = {"float32": 2_246_311, "float16": 1_134_902, "int8": 641_220}


def engine(name, precision, **changes):
    steps = 1 if precision == "int8" else None
    row = {"engine": name, "ran": True, "reason": None, "agreement": 0.9985, "accuracy": 0.8587}
    return {**row, "max_step_difference": steps, "max_abs_difference": 3.1e-6 if steps is None else 0.031, **changes}


def sample_artifact(target, precision):
    integer = precision == "int8"
    row = {"target": target, "precision": precision, "path": f"care_xxs_{precision}.{SUFFIX[target]}"}
    row |= {"bytes": BYTES[precision] + 9_000 * len(target), "sha256": f"{len(target) * 31 + integer:064x}"}
    row |= {"verified": True, "not_verified_because": None}
    row |= {"engines": [engine(name, precision) for name in ENGINES[target]]}
    row |= {"accuracy": 0.8587 if integer else 0.8615, "agreement": 0.9985 if integer else 1.0}
    row |= {"max_step_difference": 1 if integer else None, "first_difference": None}
    row |= {"constants": {"compared": 118, "identical": 118, "differing": []}}
    row |= {"integer_mac_share": 0.9731 if integer else 0.0, "islands": [], "parameters": 559_210}
    row |= {"macs": {"8": 36_391_212, "32": 1_006_780} if integer else {precision[5:]: 37_397_992}}
    base = {"float32": 6.1, "float16": 6.6, "int8": 2.93}[precision] * (1.0 if target == "onnx" else 1.22)
    row |= {"latency_ms": {"p50": base, "p90": base * 1.08, "p99": base * 1.4, "min": base * 0.96}, "noisy": False}
    row |= {"load_ms": 14.2, "peak_activation_bytes": 262_144 if integer else 1_048_576, "board": "host"}
    return {**row, "details": {"opset": "21"} if target == "onnx" else {"minimum target": "iOS 17"}}


def sample_layers():
    modules = ["stem.0", "stem.3"]
    modules += [
        f"stages.{stage}.blocks.{block}.{part}"
        for stage, depth in enumerate((2, 3, 4, 2))
        for block in range(depth)
        for part in ("local.horizontal", "mixer.qkv", "mixer.project", "mlp.expand", "mlp.contract")
    ]
    modules += ["downsample.0", "norm", "classifier"]
    layers = []
    for place, module in enumerate(modules):
        operator = "aten.linear.default" if place > len(modules) - 2 else "aten.conv2d.default"
        macs = 0 if module == "norm" else 120_000 + 87_131 * (place * 7 % 19)
        loss = {12: 7.0, 33: 17.2, 47: 7.0}.get(place, 0.0)
        sqnr = None if module == "norm" else 24 + 9 * ((place * 13 % 17) / 17) - loss
        layers.append({"name": f"conv2d_{place}", "module": module, "operator": operator, "macs": macs})
        layers[-1] |= {"precision": "float32" if module == "norm" else "int8", "sqnr_db": sqnr}
    return layers


def sample_document():
    """A fresh document, valid but for the artifacts' hashes, which are of nothing."""
    artifacts = [sample_artifact(t, p) for t in ("onnx", "coreml", "tflite") for p in ("float32", "float16", "int8")]
    by_name = {(a["target"], a["precision"]): a for a in artifacts}
    for precision in BYTES:
        by_name["coreml", precision] |= {"latency_ms": None, "noisy": None, "load_ms": None, "board": None}
    late = engine("ai-edge-litert 2.3.0", "int8", agreement=0.981, max_step_difference=7)
    absent = engine("tflite-runtime 2.14.0", "int8", ran=False, reason="no environment with numpy 1 on this machine")
    absent |= {"agreement": None, "accuracy": None, "max_step_difference": None, "max_abs_difference": None}
    by_name["tflite", "int8"] |= {
        "verified": False, "engines": [late, absent], "agreement": 0.981, "max_step_difference": 7, "accuracy": 0.8552,
        "not_verified_because": "7 steps from the program, 1 is allowed", "noisy": True,
        "first_difference": {"value": "mul_14", "module": "stages.2.blocks.1.mixer.project", "difference_steps": 3},
        "islands": [
            {"name": f"mul_{place}", "operator": "MUL", "module": f"stages.{place}.blocks.0.mixer",
             "reason": "no quantize and dequantize around it"} for place in range(3)
        ],
    }  # fmt: skip
    tried = {"max_abs_difference": None, "agreement": None, "accuracy": None}
    by_name["coreml", "float16"] |= {
        "verified": False, "accuracy": None, "agreement": None, "not_verified_because": "no engine on this machine",
        "engines": [engine("Core ML", "float16", ran=False, reason="needs macOS", **tried)],
        "constants": None, "peak_activation_bytes": None,
    }  # fmt: skip
    network = {"system": "care_xxs", "source": "offramp.models.care_transformer:care_xxs", "parameters": 559_210}
    network |= {"paper": "CARE Transformer, CVPR 2025", "task": "Image classification, CIFAR-10, 10 classes"}
    return {
        "schema": 1,
        "name": "care_xxs",
        "network": {**network, "macs": {"32": 37_397_992}},
        "inputs": [{"name": "image", "shape": [None, 3, 32, 32], "dtype": "float32"}],
        "outputs": [{"name": "logits", "shape": [None, 10], "dtype": "float32"}],
        "labels": ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"],
        "preprocessing": {"scale": 1 / 255, "mean": [0.491, 0.482, 0.447], "std": [0.247, 0.243, 0.262], "baked": True},
        "scheme": {"weights": "int8 per channel", "activations": "int8 per tensor", "ranges": {"conv": [-1.5, 1.5]}},
        "calibration": {"data": "cifar10, training split", "samples": 512},
        "float_operators": [
            {"name": "norm", "operator": "aten.layer_norm.default", "module": "norm", "reason": "float statistics"}
        ],
        "data": {"name": "cifar10, test split", "samples": 2000},
        "float": {"accuracy": 0.8615},
        "program": {"accuracy": 0.8587, "agreement": 0.9823},
        "artifacts": artifacts,
        "layers": sample_layers(),
        "files": {},
        "environment": {"python": "3.11.2", "torch": "2.13.0", "processor": "AVX-512, 2 cores", "threads": "1"},
    }  # fmt: skip


def spread(mean, half):
    return {"mean": mean, "low": max(0.0, mean - half), "high": min(1.0, mean + half)}


def emulated(loss, adc=6):
    """What chips give where accuracy falls by a share, with ADCs of so many bits."""
    accuracy = spread(0.8587 - loss, 0.002 + loss / 8)
    return {
        "accuracy": accuracy,
        "agreement": spread(0.995 - loss, 0.001 + loss / 8),
        "accuracies": [accuracy["low"], accuracy["mean"], accuracy["high"]],
        "arrays": 62,
        "cells": 1_118_420,
        "energy_joules": 3.1e-8 + (1.2e-10 * 2**adc if adc else 0.0),
        "cell_joules": 3.1e-8,
        "converter_joules": 1.2e-10 * 2**adc if adc else 0.0,
        "write_pulses": 35_789_440,
        "write_joules": 1.7e-6,
    }


def sample_emulation(**axes):
    """What `offramp emulate` found on one device, with a sweep over the named values; accuracy breaks below 6 bits.

    Args:
        axes: figures by name, each with its values; none for no sweep.
    """
    combinations = [{}]
    for name, values in axes.items():
        combinations = [{**known, name: float(value)} for known in combinations for value in values]
    points = []
    for settings in combinations:
        adc, levels = settings.get("adc", 6.0), settings.get("levels", 64.0)
        loss = (0.0 if adc == 0 else 0.9 / 2.8**adc) + (0.0 if levels == 0 else 0.5 / levels**2)
        loss += settings.get("c2c", 0.0) + 0.0002 * settings.get("wire", 0.0)
        points.append({"settings": settings, **emulated(min(loss, 0.75), int(adc))})
    sweep = {"axes": [{"name": name, "values": [*map(float, values)]} for name, values in axes.items()]}
    sweep |= {"points": points, "plot": "emulation-gst-pcm.svg"}
    device = {"name": "gst-pcm", "title": "GST phase-change memory", "source": "a letter of 2012", "g_min": 1.1e-8}
    device |= {"g_max": 2.13e-7, "response": "exponential", "pulses_up": 100, "pulses_down": 64, "levels": None}
    device |= {"curve_up": [], "cycle_noise": 0.015, "write_up": {"volts": 0.7, "seconds": 6e-6}, "read": None}
    return {
        "name": "care_xxs",
        "synapse": "gst-pcm",
        "digital_accuracy": 0.8587,
        **emulated(0.004),
        "chips": 5,
        "seed": 0,
        "samples": 500,
        "read": {"volts": 0.2, "seconds": 1e-8, "assumed": True},
        "device": device,
        "design": {"rows": 128, "columns": 256, "reference": "pair", "adc_bits": 6, "corrects_offset": True},
        "sweep": sweep if axes else None,
    }  # fmt: skip
