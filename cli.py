"""The command line: every verb parses, calls one function of the pipeline, and prints.

Nothing heavy is imported before a verb runs, so `--help` answers at once. With `--json`, the last line of standard
output is one JSON document; progress goes to standard error. Exit codes: 0 what was asked holds, 1 a check did not
hold, 2 the input was wrong.
"""

import json
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import click

from . import __version__
from .errors import OfframpError, OfframpWarning

_TARGETS = ("onnx", "coreml", "tflite")
_PRECISIONS = ("float32", "float16", "quantized", "int8")
_CALIBRATIONS = ("minmax", "percentile", "mse", "entropy")
_ESTIMATORS = ("plain", "clipped", "approximate")


def _examples(*lines: str) -> str:
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


class _Verbs(click.Group):
    """Lists verbs in the order of the work, and turns every fault of the user's into one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def main(self, *args: Any, **kwargs: Any) -> Any:
        try:
            with warnings.catch_warnings():
                if not sys.warnoptions:
                    warnings.simplefilter("ignore")  # all others are of other packages, and about their own code
                    warnings.simplefilter("always", OfframpWarning)
                    warnings.showwarning = _show_warning  # type: ignore[assignment]
                sys.exit(super().main(*args, **{**kwargs, "standalone_mode": False}))
        except OfframpError as error:
            _fail(str(error), error.exit_code)
        except click.ClickException as error:
            _fail(error.format_message())
        except click.Abort:
            _fail("interrupted", 130)
        except OSError as error:
            _fail(f"{error.filename or 'disk'}: {error.strerror or error}")


def _show_warning(message: Warning | str, *_: Any) -> None:
    _say(f"note: {' '.join(str(message).split())}")


def _fail(message: str, exit_code: int = 2) -> NoReturn:
    click.echo(f"error: {' '.join(message.split())}", err=True)
    sys.exit(exit_code)


@click.group(
    cls=_Verbs,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="offramp")
@click.pass_context
def main(ctx: click.Context) -> None:
    """One quantized program, every target, every difference accounted for."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def _options(*decorators: Callable) -> Callable:
    def apply(function: Callable) -> Callable:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return apply


_as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document as the last line.")
_seed = click.option("--seed", default=0, show_default=True, help="Of weights, order, splits and random inputs.")
_data = click.option(
    "--data", metavar="DATA", help="digits, a folder (MNIST, CIFAR-10, class folders) or an .npz file."
)
_runs = click.option(
    "--runs", type=click.Path(path_type=Path), default="runs", show_default=True, help="Training runs."
)
_out = click.option(
    "--out", type=click.Path(path_type=Path), default="dist", show_default=True, help="Folder of dists."
)
_what = _options(
    click.option("--target", "targets", multiple=True, type=click.Choice(_TARGETS), help="Repeatable; all by default."),
    click.option(
        "--precision",
        "precisions",
        multiple=True,
        type=click.Choice(_PRECISIONS),
        help="Repeatable; float32 and quantized (also called int8) by default.",
    ),
)
_how = _options(
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
_form = _options(
    click.option("--samples", default=500, show_default=True, help="Held-out samples to verify on, at most."),
    click.option("--dynamic-batch", is_flag=True, help="ONNX with an open batch dimension."),
    click.option("--bake-preprocessing", "bake", is_flag=True, help="Put scale, mean and std into the network."),
    click.option("--integer-io", is_flag=True, help="TFLite with int8 at its border."),
    click.option("--image-input", is_flag=True, help="Core ML with an image as its input."),
    click.option("--class-labels", is_flag=True, help="Class labels inside Core ML and TFLite."),
    click.option(
        "--older-runtime/--no-older-runtime",
        default=True,
        show_default=True,
        help="Also run TFLite in tflite-runtime 2.14.",
    ),
    click.option("--measure/--no-measure", default=True, show_default=True, help="Time the artifacts on this host."),
)


def _chosen(
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
) -> Any:
    """The pipeline's options from the command line's."""
    from .finetune import Finetuning
    from .pipeline import Options
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
        targets=targets or _TARGETS,
        precisions=made,
        scheme=chosen,
        mixed=mixed,
        tuning=tuning,
        held_out=samples,
        **others,
    )


def _wanted(scheme: str, budgets: tuple[str, ...], bits: tuple[str, ...]) -> Any:
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


def _say(line: str) -> None:
    click.echo(f"· {line}", err=True)


def _finish(document: Any, as_json: bool, show: Callable[[Any], None]) -> None:
    if os.environ.get("RANK", "0") != "0":  # under torchrun, one process speaks for all
        return
    if as_json:
        click.echo(json.dumps(document, sort_keys=True))
    else:
        show(document)


@main.command(
    epilog=_examples(
        "offramp deploy care_xxs",
        "offramp deploy mypkg.net:build --data samples.npz --precision int8",
        "offramp deploy net.pt2 --target tflite --integer-io",
    )
)
@click.argument("network")
@_options(_what, _data, _how, _form, _runs, _out, _seed, _as_json)
@click.option("--epochs", type=int, help="Epochs of training, in place of the recipe's.")
def deploy(network: str, epochs: int | None, as_json: bool, **chosen: Any) -> None:
    """The main job: train, quantize, export, verify, measure, report.

    NETWORK is a system of the zoo (see `offramp list`), a run's folder, your own package.module:build that returns
    (module, example inputs), or a .pt2 file.
    """
    from . import screen
    from .pipeline import deploy as run

    document = run(network, _chosen(**chosen), _recipe(network, epochs), _say)
    _finish(document, as_json, screen.show_dist)
    if not all(artifact["verified"] for artifact in document["artifacts"]):
        sys.exit(1)


@main.command("list", epilog=_examples("offramp list", "offramp list --json"))
@_as_json
def list_systems(as_json: bool) -> None:
    """The systems of the zoo, their size and what works for each."""
    from . import screen
    from .catalogue import systems_table

    _finish(systems_table(), as_json, screen.show_systems)


@main.command(
    epilog=_examples("offramp train care_xxs", "offramp train resnet8 --data cifar-10/ --epochs 200 --resume")
)
@click.argument("system")
@_options(_data, _runs, _seed, _as_json)
@click.option("--epochs", type=int, help="Epochs, in place of the recipe's.")
@click.option("--resume", is_flag=True, help="Go on from the last complete epoch.")
@click.option(
    "--device", default="cpu", show_default=True, help="cpu, cuda or mps; under torchrun, one process a device."
)
def train(system: str, epochs: int | None, resume: bool, device: str, as_json: bool, **chosen: Any) -> None:
    """Trains a system of the zoo into runs/SYSTEM."""
    from . import screen
    from .pipeline import train_source
    from .sources import find_source

    options = _chosen(**chosen)
    run = train_source(find_source(system, options.seed), options, _recipe(system, epochs), resume, device)
    _finish({"name": run.system, "run": str(options.runs / system), "metrics": run.metrics}, as_json, screen.show_run)


@main.command(
    epilog=_examples(
        "offramp quantize runs/care_xxs --calibration entropy",
        "offramp quantize mypkg.net:build --data x.npz --out programs",
        "offramp quantize runs/care_xxs --scheme auto --budget size=0.1",
    )
)
@click.argument("network")
@_options(_data, _how, _runs, _seed, _as_json)
@click.option(
    "--out", type=click.Path(path_type=Path), default="programs", show_default=True, help="Folder of programs."
)
@click.option("--samples", default=500, show_default=True, help="Held-out samples to compare on, at most.")
def quantize(network: str, out: Path, as_json: bool, **chosen: Any) -> None:
    """Quantizes a network once, into the program behind every artifact.

    Writes OUT/NAME/program.pt2 and scheme.json, and with --scheme auto mixed.json.
    """
    from . import screen
    from .pipeline import quantize_to

    _finish(quantize_to(network, out, _chosen(precisions=("int8",), **chosen), _say), as_json, screen.show_program)


@main.command(
    epilog=_examples(
        "offramp export runs/care_xxs --target onnx --precision float16", "offramp export care_s0 --precision int8"
    )
)
@click.argument("network")
@_options(_what, _data, _how, _form, _runs, _out, _seed, _as_json)
def export(network: str, as_json: bool, **chosen: Any) -> None:
    """Writes artifacts without training or verifying: OUT/NAME/."""
    from . import screen
    from .pipeline import export_to

    _finish(export_to(network, _chosen(**chosen), _say), as_json, screen.show_files)


@main.command(
    epilog=_examples(
        "offramp verify dist/care_xxs", "offramp verify foreign.tflite", "offramp verify mine.onnx --against net.pt2"
    )
)
@click.argument("what", type=click.Path(path_type=Path))
@click.option("--against", type=click.Path(path_type=Path), help="Program or artifact to hold a single file against.")
@_options(_data, _seed, _as_json)
@click.option("--samples", default=500, show_default=True, help="Held-out samples, at most.")
@click.option(
    "--older-runtime/--no-older-runtime",
    default=True,
    show_default=True,
    help="Also run TFLite in tflite-runtime 2.14.",
)
def verify(what: Path, against: Path | None, as_json: bool, **chosen: Any) -> None:
    """Executes a dist again, or a foreign file, and compares.

    A dist is held against its own program. A foreign .onnx, .tflite or .mlpackage is held against --against, or else
    its optimized engine against the plain one.
    """
    from . import screen
    from .errors import BadInput
    from .foreign import verify_file
    from .inspection import is_dist, verify_dist

    options = _chosen(**chosen)
    if is_dist(what) and against is not None:
        raise BadInput(f"--against: {what} is a dist, which is held against its own program; leave it out")
    document = verify_dist(what, options, _say) if is_dist(what) else verify_file(what, against, options, _say)
    _finish(document, as_json, screen.show_dist)
    if not all(artifact["verified"] for artifact in document["artifacts"]):
        sys.exit(1)


@main.command(epilog=_examples("offramp profile dist/care_xxs", "offramp profile foreign.onnx --threads 2"))
@click.argument("what", type=click.Path(path_type=Path))
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True, help="Threads of the engines.")
@click.option("--runs", type=click.IntRange(1), default=50, show_default=True, help="Timed runs, at least.")
@click.option("--seconds", type=click.FloatRange(0), default=1.0, show_default=True, help="Timed seconds, at least.")
@_as_json
def profile(what: Path, threads: int, runs: int, seconds: float, as_json: bool) -> None:
    """MACs, parameters, bytes, memory, islands and latency.

    WHAT is a dist, or a foreign .onnx, .tflite or .mlpackage.
    """
    from . import screen
    from .inspection import profile_path

    _finish(profile_path(what, threads, runs, seconds), as_json, screen.show_dist)


@main.command(
    epilog=_examples(
        "offramp check dist/care_xxs --update",
        "offramp check dist/care_xxs",
        "offramp check dist/care_xxs --baseline ci/care_xxs.json --junit check.xml",
        "offramp check dist/mynet --data samples.npz",
    )
)
@click.argument("dist", type=click.Path(path_type=Path))
@click.option("--baseline", type=click.Path(path_type=Path), help="Figures to hold; baselines/NAME.json by default.")
@click.option("--update", is_flag=True, help="Write the dist's figures to the baseline; its tolerances stay.")
@click.option("--recorded", is_flag=True, help="Compare the manifest's figures and run nothing.")
@click.option("--junit", type=click.Path(path_type=Path), help="Also write JUnit XML, a test case for each figure.")
@_options(_data, _seed, _as_json)
@click.option("--samples", type=int, help="Held-out samples, at most; as many as the dist's by default.")
@click.option(
    "--older-runtime/--no-older-runtime",
    default=True,
    show_default=True,
    help="Also run TFLite in tflite-runtime 2.14.",
)
def check(
    dist: Path, baseline: Path | None, update: bool, recorded: bool, junit: Path | None, as_json: bool, **chosen: Any
) -> None:
    """Executes a dist again and holds it to a baseline.

    Accuracy is compared sample by sample and fails where a drop is significant and above the tolerance. Ends with
    exit code 1 and a table of what moved where something does not hold.
    """
    from . import screen
    from .errors import BadInput
    from .gate.check import check_dist, options_for
    from .gate.junit import write_junit

    if recorded and (chosen["data"] or chosen["samples"] is not None):
        raise BadInput("--recorded runs nothing, so it takes no samples; leave out --data and --samples")
    document = check_dist(dist, baseline, update, recorded, options_for(dist, **chosen), _say)
    if junit is not None:
        write_junit(junit, document)
    _finish(document, as_json, screen.show_check)
    if not document["holds"]:
        sys.exit(1)


@main.command(epilog=_examples("offramp report dist/care_xxs"))
@click.argument("dist", type=click.Path(path_type=Path))
@_as_json
def report(dist: Path, as_json: bool) -> None:
    """Writes dist/NAME/report.html again from the manifest."""
    from . import screen
    from .inspection import rewrite_report

    _finish(rewrite_report(dist), as_json, screen.show_report)


@main.command(epilog=_examples("offramp doctor"))
@_as_json
def doctor(as_json: bool) -> None:
    """Which targets and engines work here, and what enables the others."""
    from . import screen
    from .devices.boards.doctor import examine

    document = examine()
    _finish(document, as_json, screen.show_doctor)


def _recipe(reference: str, epochs: int | None) -> Any:
    """The system's own recipe with other epochs; None where nothing was asked."""
    if epochs is None:
        return None
    from dataclasses import replace

    from .errors import BadInput
    from .models.system import all_systems

    if reference not in all_systems():
        raise BadInput(f"--epochs: only a system of the zoo is trained here; {reference} is taken as it is")
    return replace(all_systems()[reference].recipe, epochs=epochs)
