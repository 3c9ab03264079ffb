"""The options that verbs share, and what they mean to the pipeline.

Like `cli`, it imports nothing heavy before a verb runs.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from .emulation.run import WantedArrays
    from .mixed import Wanted
    from .models.learning import LearningRule
    from .models.recipe import Recipe
    from .options import Options

_TARGETS = ("onnx", "coreml", "tflite", "c")
_BY_DEFAULT = ("onnx", "coreml", "tflite")
_PRECISIONS = ("float32", "float16", "quantized", "int8")
_CALIBRATIONS = ("minmax", "percentile", "mse", "entropy")
_ESTIMATORS = ("plain", "clipped", "approximate")
SCHEMES = ("unidirectional", "bidirectional", "single")
COUNTS = ("proportional", "nearest", "adaptive")
_OPTIMIZERS = ("adamw", "sgd", "muon")
_USUAL_RATES = {"adamw": 2e-3, "muon": 2e-3, "sgd": 0.05}  # where a recipe's own belongs to another optimizer


def together(*decorators: Callable) -> Callable:
    """Several options as one decorator, shown by `--help` in this order."""

    def apply(function: Callable) -> Callable:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return apply


as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document as the last line.")
seed = click.option("--seed", default=0, show_default=True, help="Of weights, order, splits and random inputs.")
data = click.option("--data", metavar="DATA", help="digits, a folder (MNIST, CIFAR-10, class folders) or an .npz file.")
runs = click.option("--runs", type=click.Path(path_type=Path), default="runs", show_default=True, help="Training runs.")
out = click.option("--out", type=click.Path(path_type=Path), default="dist", show_default=True, help="Folder of dists.")
older_runtime = click.option(
    "--older-runtime/--no-older-runtime",
    default=True,
    show_default=True,
    help="Also run TFLite in tflite-runtime 2.14.",
)
again = together(
    click.option("--data", metavar="DATA", help="As of deploy; by default what the deployment took."),
    click.option("--seed", type=int, help="Of splits and random inputs; by default the deployment's."),
    click.option("--samples", type=int, help="Held-out samples, at most; by default the deployment's."),
    older_runtime,
)
what = together(
    click.option(
        "--target", "targets", multiple=True, type=click.Choice(_TARGETS), help="Repeatable; all but c by default."
    ),
    click.option(
        "--precision",
        "precisions",
        multiple=True,
        type=click.Choice(_PRECISIONS),
        help="Repeatable; float32 and quantized (also called int8) by default.",
    ),
)
how = together(
    click.option(
        "--scheme",
        default="int8",
        show_default=True,
        metavar="SCHEME",
        help="int8, w4a8 (bits of weights and of what layers read), ternary, binary-weights, binary, or auto: "
        "each layer's own bits within --budget.",
    ),
    click.option(
        "--budget",
        "budgets",
        multiple=True,
        metavar="BUDGET",
        help="Of --scheme auto: size=0.1 (of float32 weights), size=40KB or macbits=0.5 (of 8 by 8 bits); repeatable.",
    ),
    click.option(
        "--bits",
        multiple=True,
        metavar="BITS",
        help="Bits that --scheme auto gives layers; repeatable; w2a8, w3a8, w4a8, w6a8 and w8a8 by default.",
    ),
    click.option("--qat", is_flag=True, help="Train the network for the scheme, starting from its float weights."),
    click.option("--qat-epochs", type=click.IntRange(1), help="Epochs of that training; the scheme's own by default."),
    click.option("--qat-rate", type=click.FloatRange(0, min_open=True), help="Its peak learning rate."),
    click.option(
        "--distill",
        type=click.FloatRange(0, 1),
        help="Share of its loss that is the distance to the float network; the scheme's own by default.",
    ),
    click.option(
        "--estimator",
        type=click.Choice(_ESTIMATORS),
        default="approximate",
        show_default=True,
        help="How gradients pass a sign.",
    ),
    click.option(
        "--calibration",
        type=click.Choice(_CALIBRATIONS),
        default="mse",
        show_default=True,
        help="How activation ranges are chosen.",
    ),
    click.option(
        "--percentile", default=99.99, show_default=True, help="Share of values kept by --calibration percentile."
    ),
    click.option("--calibration-samples", default=256, show_default=True, help="Samples that ranges are chosen on."),
    click.option("--keep-float", multiple=True, metavar="MODULE", help="Module path that stays in float; repeatable."),
    click.option("--keep-int8", multiple=True, metavar="MODULE", help="Module path that keeps 8 bits; repeatable."),
)
form = together(
    click.option("--samples", default=500, show_default=True, help="Held-out samples to verify on, at most."),
    click.option("--dynamic-batch", is_flag=True, help="ONNX with an open batch dimension."),
    click.option("--bake-preprocessing", "bake", is_flag=True, help="Put scale, mean and std into the network."),
    click.option("--integer-io", is_flag=True, help="TFLite and C with int8 at their border."),
    click.option("--ram", type=click.IntRange(0), help="Bytes of memory that a C network may compute in, at most."),
    click.option("--flash", type=click.IntRange(0), help="Bytes that a C network's constants may take, at most."),
    click.option("--image-input", is_flag=True, help="Core ML with an image as its input."),
    click.option("--class-labels", is_flag=True, help="Class labels inside Core ML and TFLite."),
    older_runtime,
    click.option("--measure/--no-measure", default=True, show_default=True, help="Time the artifacts on this host."),
)

training = together(
    click.option("--epochs", type=click.IntRange(1), help="Epochs of training, in place of the recipe's."),
    click.option(
        "--optimizer", type=click.Choice(_OPTIMIZERS), help="In place of the recipe's; muon is for hidden matrices."
    ),
    click.option(
        "--rate", type=click.FloatRange(0, min_open=True), help="Peak learning rate, in place of the recipe's."
    ),
)

synapse = together(
    click.option("--synapse", required=True, metavar="DEVICE", help="Of `offramp synapse`, or a .toml of your own."),
    click.option("--adc", type=click.IntRange(0, 16), help="Bits of the ADCs; ideal ones by default."),
    click.option("--dac", type=click.IntRange(0, 16), help="Bits of the DACs; ideal ones by default."),
    click.option("--tile", metavar="ROWSxCOLUMNS", help="Size of an array; 256x256 by default."),
    click.option("--slice-bits", type=click.IntRange(0, 16), help="Bits of a weight in one device; all by default."),
    click.option("--reference", type=click.Choice(("pair", "column")), help="What a device is held against; pair."),
    click.option("--verify", type=click.IntRange(0, 1000), help="Rounds of write-and-verify; none by default."),
    click.option("--time", "seconds", type=click.FloatRange(0), help="Seconds from writing to reading; 0 by default."),
    click.option("--compensate-drift", is_flag=True, help="One factor a layer makes up for the mean drift."),
    click.option("--correct-offset", is_flag=True, help="Subtract what each column gives too much."),
    click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="Another figure; repeatable."),
    click.option("--sweep", "sweeps", multiple=True, metavar="NAME=V,V,...", help="Values to try; repeatable."),
)


def options_of(
    targets: tuple[str, ...] = (),
    precisions: tuple[str, ...] = (),
    scheme: str = "int8",
    budgets: tuple[str, ...] = (),
    bits: tuple[str, ...] = (),
    qat: bool = False,
    qat_epochs: int | None = None,
    qat_rate: float | None = None,
    distill: float | None = None,
    estimator: str = "approximate",
    calibration: str = "mse",
    percentile: float = 99.99,
    calibration_samples: int = 256,
    keep_float: tuple[str, ...] = (),
    keep_int8: tuple[str, ...] = (),
    samples: int = 500,
    **others: Any,
) -> "Options":
    """The pipeline's options from the command line's."""
    from .finetune import Finetuning
    from .options import Options
    from .quant.scheme import Scheme, bits_named

    mixed = _wanted(scheme, budgets, bits)
    weight_bits, activation_bits = bits_named("int8" if mixed else scheme)
    chosen = Scheme(
        weight_bits,
        activation_bits,
        calibration=calibration,
        percentile=percentile,
        samples=calibration_samples,
        keep_float=keep_float,
        keep_int8=keep_int8,
    )
    tuning = Finetuning(qat_epochs, qat_rate, distill, estimator) if qat else None
    order = [name for name in _PRECISIONS if name in (precisions or ("float32", "int8"))]
    made = tuple("int8" if name == "quantized" else name for name in order)
    return Options(
        targets=targets or _BY_DEFAULT,
        precisions=made,
        scheme=chosen,
        mixed=mixed,
        tuning=tuning,
        held_out=samples,
        **others,
    )


def _wanted(scheme: str, budgets: tuple[str, ...], bits: tuple[str, ...]) -> "Wanted | None":
    """What `--scheme auto` is asked for; None for another scheme."""
    from .errors import BadInput
    from .mixed import Wanted
    from .quant.mixed.budget import parse_budget
    from .quant.scheme import bits_named

    for option, given in (("--budget", budgets), ("--bits", bits)):
        if given and scheme != "auto":
            raise BadInput(f"{option} {given[0]}: belongs to --scheme auto, not to {scheme}")
    if scheme != "auto":
        return None
    if not budgets:
        raise BadInput("--scheme auto: needs a --budget, as size=0.1, size=40KB or macbits=0.5")
    return Wanted(tuple(map(parse_budget, budgets)), tuple(map(bits_named, bits)))


def recipe_of(
    reference: str,
    epochs: int | None,
    optimizer: str | None = None,
    rate: float | None = None,
    rule: "LearningRule | None" = None,
) -> "Recipe | None":
    """The system's own recipe with other epochs, optimizer or rate; None where nothing was asked.

    Raises:
        BadInput: it is no system, or the rule (by default the system's own) goes by no such thing.
    """
    given = {"--epochs": epochs, "--optimizer": optimizer, "--rate": rate}
    asked = [flag for flag, value in given.items() if value is not None]
    if not asked:
        return None
    from dataclasses import replace

    from .errors import BadInput
    from .models.system import all_systems

    if reference not in all_systems():
        raise BadInput(f"{asked[0]}: only a system of the zoo is trained here; {reference} is taken as it is")
    system = all_systems()[reference]
    own, rule = system.recipe, rule or system.rule
    for flag, field in (("--optimizer", "optimizer"), ("--rate", "learning_rate")):
        if rule is not None and flag in asked and field not in rule.heeds:
            raise BadInput(f"{flag}: {rule.name} uses none; leave it out")
    chosen = optimizer or own.optimizer
    usual = own.learning_rate if (chosen == "sgd") == (own.optimizer == "sgd") else _USUAL_RATES[chosen]
    return replace(own, epochs=epochs or own.epochs, optimizer=chosen, learning_rate=rate or usual)


def rule_of(
    system: str,
    name: str | None,
    settings: tuple[str, ...],
    synapse: str | None,
    update: str | None,
    counts: str | None,
) -> "LearningRule | None":
    """The learning rule that was named, or the system's own where settings alone are; None where neither is given.

    Settings that are not given are the system's where the rule is its own, and the rule's defaults otherwise.

    Raises:
        BadInput: there is no such rule or setting, or a setting is given for a system without a rule of its own.
    """
    from .errors import BadInput
    from .models.learning import find_rule
    from .models.system import all_systems

    devices = {"--synapse": synapse, "--update": update, "--counts": counts}
    stray = [flag for flag, value in devices.items() if value is not None]
    if stray and name != "in-array":
        raise BadInput(f"{stray[0]}: belongs to --rule in-array; for fine-tuning write --aware synapse=DEVICE")
    own = all_systems()[system].rule if system in all_systems() else None
    if name is None:
        if not settings:
            return None
        if own is None:
            raise BadInput(f"--set {settings[0]}: belongs to a learning rule; name it with --rule")
        name = own.name
    given = {"synapse": synapse, "scheme": update, "counts": counts}
    chosen = {key: value for key, value in given.items() if value is not None}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise BadInput(f"--set {setting}: give NAME=VALUE, as nudge=0.5; see `offramp rules`")
        chosen[key.strip().replace("-", "_")] = value.strip()
    return find_rule(name, chosen, own)


def wanted_arrays(
    synapse: str,
    adc: int | None,
    dac: int | None,
    tile: str | None,
    slice_bits: int | None,
    reference: str | None,
    verify: int | None,
    seconds: float | None,
    compensate_drift: bool,
    correct_offset: bool,
    settings: tuple[str, ...],
    sweeps: tuple[str, ...],
    chips: int,
    seed: int,
) -> "WantedArrays":
    """What to emulate, from the command line's options."""
    from .devices.synapse.design import ArrayDesign
    from .emulation.run import WantedArrays
    from .emulation.settings import parse_axis, parse_setting

    rows, columns = _tile(tile) if tile else (ArrayDesign.rows, ArrayDesign.columns)
    design = ArrayDesign(
        rows=rows,
        columns=columns,
        reference=reference or ArrayDesign.reference,
        slice_bits=slice_bits or 0,
        dac_bits=dac or 0,
        adc_bits=adc or 0,
        verify_rounds=verify or 0,
        seconds=seconds or 0.0,
        compensates_drift=compensate_drift,
        corrects_offset=correct_offset,
    )
    axes = tuple(map(parse_axis, sweeps))
    return WantedArrays(synapse, design, tuple(map(parse_setting, settings)), axes, chips, seed)


def _tile(text: str) -> tuple[int, int]:
    """`64x128` as rows and columns."""
    from .errors import BadInput

    rows, _, columns = text.lower().partition("x")
    if not (rows.isdecimal() and columns.isdecimal()):
        raise BadInput(f"--tile {text}: give rows and columns, as 128x128")
    return int(rows), int(columns)
