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

from . import __version__, flags
from .errors import OfframpError, OfframpWarning


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
@flags.together(flags.what, flags.data, flags.how, flags.form, flags.runs, flags.out, flags.seed, flags.as_json)
@click.option("--epochs", type=int, help="Epochs of training, in place of the recipe's.")
def deploy(network: str, epochs: int | None, as_json: bool, **chosen: Any) -> None:
    """The main job: train, quantize, export, verify, measure, report.

    NETWORK is a system of the zoo (see `offramp list`), a run's folder, your own package.module:build that returns
    (module, example inputs), or a .pt2 file.
    """
    from . import screen
    from .pipeline import deploy as run

    document = run(network, flags.options_of(**chosen), flags.recipe_of(network, epochs), _say)
    _finish(document, as_json, screen.show_dist)
    if not all(artifact["verified"] for artifact in document["artifacts"]):
        sys.exit(1)


@main.command("list", epilog=_examples("offramp list", "offramp list --json"))
@flags.as_json
def list_systems(as_json: bool) -> None:
    """The systems of the zoo, their size and what works for each."""
    from . import screen
    from .catalogue import systems_table

    _finish(systems_table(), as_json, screen.show_systems)


@main.command(
    epilog=_examples(
        "offramp train care_xxs",
        "offramp train resnet8 --data cifar-10/ --epochs 200 --resume",
        "offramp train care_xxs --aware synapse=epiram",
        "offramp train synapse_mlp --rule in-array --synapse epiram --update unidirectional",
    )
)
@click.argument("system")
@flags.together(flags.data, flags.runs, flags.seed, flags.as_json)
@click.option("--epochs", type=int, help="Epochs, in place of the recipe's.")
@click.option("--resume", is_flag=True, help="Go on from the last complete epoch.")
@click.option(
    "--device", default="cpu", show_default=True, help="cpu, cuda or mps; under torchrun, one process a device."
)
@click.option("--rule", type=click.Choice(("in-array",)), help="A learning rule in place of back-propagation.")
@click.option("--synapse", metavar="DEVICE", help="Of --rule in-array: the devices that hold and learn the weights.")
@click.option("--update", type=click.Choice(flags.SCHEMES), help="Of --rule in-array: which devices a pulse goes to.")
@click.option("--counts", type=click.Choice(flags.COUNTS), help="Of --rule in-array: how a change becomes pulses.")
@click.option("--aware", metavar="synapse=DEVICE", help="Train on weights as that device gives them, after float.")
def train(
    system: str,
    epochs: int | None,
    resume: bool,
    device: str,
    rule: str | None,
    synapse: str | None,
    update: str | None,
    counts: str | None,
    aware: str | None,
    as_json: bool,
    **chosen: Any,
) -> None:
    """Trains a system of the zoo into runs/SYSTEM.

    With --aware its float weights are trained further, into runs/SYSTEM.DEVICE.
    """
    from . import screen
    from .errors import BadInput
    from .hardware_aware import in_array_rule, train_aware
    from .pipeline import train_source
    from .sources import find_source

    options = flags.options_of(**chosen)
    given = {"--synapse": synapse, "--update": update, "--counts": counts}
    if rule is None and (stray := [flag for flag, value in given.items() if value is not None]):
        raise BadInput(f"{stray[0]}: belongs to --rule in-array; for fine-tuning write --aware synapse=DEVICE")
    if aware is not None:
        if rule is not None:
            raise BadInput("--aware: trains by back-propagation; leave out --rule")
        run = train_aware(system, aware, options, epochs, resume, device, _say)
        folder = options.runs / f"{Path(system).name}.{run.rule['device']['name']}" if run.rule else options.runs
    else:
        chosen_rule = None if rule is None else in_array_rule(synapse, update, counts)
        recipe = flags.recipe_of(system, epochs)
        run = train_source(find_source(system, options.seed), options, recipe, resume, device, chosen_rule)
        folder = options.runs / system
    _finish({"name": run.system, "run": str(folder), "metrics": run.metrics}, as_json, screen.show_run)


@main.command(
    epilog=_examples(
        "offramp quantize runs/care_xxs --calibration entropy",
        "offramp quantize mypkg.net:build --data x.npz --out programs",
        "offramp quantize runs/care_xxs --scheme auto --budget size=0.1",
    )
)
@click.argument("network")
@flags.together(flags.data, flags.how, flags.runs, flags.seed, flags.as_json)
@click.option(
    "--out", type=click.Path(path_type=Path), default="programs", show_default=True, help="Folder of programs."
)
@click.option("--samples", default=500, show_default=True, help="Held-out samples to compare on, at most.")
def quantize(network: str, out: Path, as_json: bool, **chosen: Any) -> None:
    """Quantizes a network once, for every artifact.

    Writes OUT/NAME/program.pt2 and scheme.json, and with --scheme auto mixed.json.
    """
    from . import screen
    from .pipeline import quantize_to

    _finish(
        quantize_to(network, out, flags.options_of(precisions=("int8",), **chosen), _say), as_json, screen.show_program
    )


@main.command(
    epilog=_examples(
        "offramp export runs/care_xxs --target onnx --precision float16", "offramp export care_s0 --precision int8"
    )
)
@click.argument("network")
@flags.together(flags.what, flags.data, flags.how, flags.form, flags.runs, flags.out, flags.seed, flags.as_json)
def export(network: str, as_json: bool, **chosen: Any) -> None:
    """Writes artifacts without training or verifying: OUT/NAME/."""
    from . import screen
    from .pipeline import export_to

    _finish(export_to(network, flags.options_of(**chosen), _say), as_json, screen.show_files)


@main.command(
    epilog=_examples(
        "offramp verify dist/care_xxs", "offramp verify foreign.tflite", "offramp verify mine.onnx --against net.pt2"
    )
)
@click.argument("what", type=click.Path(path_type=Path))
@click.option("--against", type=click.Path(path_type=Path), help="Program or artifact to hold a single file against.")
@flags.together(flags.again, flags.as_json)
def verify(what: Path, against: Path | None, as_json: bool, **chosen: Any) -> None:
    """Executes a dist again, or a foreign file, and compares.

    A dist is held against its own program. A foreign .onnx, .tflite, .mlpackage or .c is held against --against, or
    else its optimized engine against the plain one, on up to 500 samples.
    """
    from . import screen
    from .errors import BadInput
    from .foreign import verify_file
    from .inspection import is_dist, options_for, verify_dist

    if not is_dist(what):
        given = {name: value for name, value in chosen.items() if value is not None}
        document = verify_file(what, against, flags.options_of(**given), _say)
    elif against is not None:
        raise BadInput(f"--against: {what} is a dist, which is held against its own program; leave it out")
    else:
        document = verify_dist(what, options_for(what, **chosen), _say)
    _finish(document, as_json, screen.show_dist)
    if not all(artifact["verified"] for artifact in document["artifacts"]):
        sys.exit(1)


@main.command(
    epilog=_examples(
        "offramp profile dist/care_xxs",
        "offramp profile foreign.onnx --threads 2",
        "offramp profile dist/care_xxs --on cortex-m4",
    )
)
@click.argument("what", type=click.Path(path_type=Path))
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True, help="Threads of the engines.")
@click.option("--runs", type=click.IntRange(1), default=50, show_default=True, help="Timed runs, at least.")
@click.option("--seconds", type=click.FloatRange(0), default=1.0, show_default=True, help="Timed seconds, at least.")
@click.option("--on", "board", metavar="BOARD", help="An emulated board for C networks, as cortex-m4 or aarch64.")
@click.option("--samples", type=click.IntRange(1), help="Of --on: held-out samples to run there; 8 by default.")
@flags.as_json
def profile(
    what: Path, threads: int, runs: int, seconds: float, board: str | None, samples: int | None, as_json: bool
) -> None:
    """MACs, parameters, bytes, memory, islands and latency.

    WHAT is a dist, or a foreign .onnx, .tflite, .c or .mlpackage. With --on, the C networks of a dist run on an
    emulated board: the same bits as here, and flash, RAM and instructions by function.
    """
    from . import screen, screen_devices
    from .errors import BadInput
    from .inspection import profile_path

    if board is not None:
        from .onboard import holds, profile_on

        document = profile_on(board, what, samples, _say)
        _finish(document, as_json, screen_devices.show_board)
        if not holds(document):
            sys.exit(1)
        return
    if samples is not None:
        raise BadInput("--samples: belongs to --on BOARD; leave it out")
    _finish(profile_path(what, threads, runs, seconds), as_json, screen.show_dist)


@main.command(
    epilog=_examples(
        "offramp emulate dist/care_xxs --synapse epiram --adc 8 --samples 5",
        "offramp emulate dist/care_xxs --synapse pcmo --sweep levels=2,4,8,16,64 --sweep d2d=0,.1,.2",
        "offramp emulate mypkg.net:build --data x.npz --synapse mine.toml --set read_noise=.01",
    )
)
@click.argument("network")
@flags.synapse
@click.option("--samples", "chips", type=click.IntRange(1, 1000), default=5, show_default=True, help="Chips to sample.")
@click.option("--held-out", type=click.IntRange(1), help="Held-out samples, at most; 500, or a dist's own, by default.")
@click.option("--plot", type=click.Path(path_type=Path), metavar="FILE.svg", help="Where to draw a sweep.")
@flags.together(flags.data, flags.runs, flags.seed, flags.as_json)
def emulate(
    network: str,
    chips: int,
    held_out: int | None,
    plot: Path | None,
    data: str | None,
    runs: Path,
    seed: int,
    as_json: bool,
    **arrays: Any,
) -> None:
    """Runs a network on emulated arrays of synapse devices.

    NETWORK is a dist, or what deploy takes, which is then quantized to int8. Each layer's weights are written into
    devices of the catalogue (see `offramp synapse`) or of your own .toml; all else stays digital. A dist keeps the
    figures in its manifest and report.
    """
    from . import screen_devices
    from .emulation.run import emulate_network, options_like

    wanted = flags.wanted_arrays(chips=chips, seed=seed, **arrays)
    options = options_like(network, data, held_out, seed, runs)
    _finish(emulate_network(network, wanted, options, plot, _say), as_json, screen_devices.show_emulation)


@main.command(
    epilog=_examples(
        "offramp synapse",
        "offramp synapse epiram",
        "offramp synapse pulses.csv --plot fit.svg --out mine.toml",
    )
)
@click.argument("what", required=False)
@click.option("--plot", type=click.Path(path_type=Path), metavar="FILE.svg", help="Of a .csv: draw points and fit.")
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE.toml", help="Of a .csv: write the device.")
@click.option("--name", help="Of a .csv: what the device is called; the file's name by default.")
@click.option("--curve", is_flag=True, help="Of a .csv: take the measured curve itself instead of a fitted one.")
@click.option("--read-volts", type=click.FloatRange(0, min_open=True), help="Of a .csv with currents.")
@flags.as_json
def synapse(
    what: str | None,
    plot: Path | None,
    out: Path | None,
    name: str | None,
    curve: bool,
    read_volts: float | None,
    as_json: bool,
) -> None:
    """Published synapse devices, and fits of measured ones.

    WHAT is nothing (lists the catalogue), a device's name or .toml (shows its figures), or a .csv of pulses and
    conductances, which is fitted: levels, nonlinearities, noise, smallest and largest conductance with intervals.
    """
    from . import screen_devices
    from .errors import BadInput
    from .synapses import device_figures, devices_table, fit_file

    if what is not None and Path(what).suffix.lower() == ".csv":
        document = fit_file(Path(what), name, curve, read_volts, plot, out)
        _finish(document, as_json, screen_devices.show_synapse)
        return
    if given := [flag for flag, value in (("--plot", plot), ("--out", out), ("--name", name)) if value is not None]:
        raise BadInput(f"{given[0]}: belongs to a .csv of pulses; name one")
    if what is None:
        _finish(devices_table(), as_json, screen_devices.show_synapses)
    else:
        _finish(device_figures(what), as_json, screen_devices.show_synapse)


@main.command(
    epilog=_examples(
        "offramp check dist/care_xxs --update",
        "offramp check dist/care_xxs",
        "offramp check dist/care_xxs --baseline ci/care_xxs.json --junit check.xml",
    )
)
@click.argument("dist", type=click.Path(path_type=Path))
@click.option("--baseline", type=click.Path(path_type=Path), help="Figures to hold; baselines/NAME.json by default.")
@click.option("--update", is_flag=True, help="Write the dist's figures to the baseline; its tolerances stay.")
@click.option("--recorded", is_flag=True, help="Compare the manifest's figures and run nothing.")
@click.option("--junit", type=click.Path(path_type=Path), help="Also write JUnit XML, a test case for each figure.")
@flags.together(flags.again, flags.as_json)
def check(
    dist: Path, baseline: Path | None, update: bool, recorded: bool, junit: Path | None, as_json: bool, **chosen: Any
) -> None:
    """Executes a dist again and holds it to a baseline.

    Accuracy is compared sample by sample and fails where a drop is significant and above the tolerance. Ends with
    exit code 1 and a table of what moved where something does not hold.
    """
    from . import screen
    from .errors import BadInput
    from .gate.check import check_dist
    from .gate.junit import write_junit
    from .inspection import options_for

    if recorded and any(chosen[name] is not None for name in ("data", "seed", "samples")):
        raise BadInput("--recorded runs nothing, so it takes no samples; leave out --data, --seed and --samples")
    document = check_dist(dist, baseline, update, recorded, options_for(dist, **chosen), _say)
    if junit is not None:
        write_junit(junit, document)
    _finish(document, as_json, screen.show_check)
    if not document["holds"]:
        sys.exit(1)


@main.command(epilog=_examples("offramp report dist/care_xxs"))
@click.argument("dist", type=click.Path(path_type=Path))
@flags.as_json
def report(dist: Path, as_json: bool) -> None:
    """Writes dist/NAME/report.html again from the manifest."""
    from . import screen
    from .inspection import rewrite_report

    _finish(rewrite_report(dist), as_json, screen.show_report)


@main.command(
    epilog=_examples(
        "offramp reproduce adaptive-learning-rule-synapse", "offramp reproduce adaptive-learning-rule-synapse --seeds 3"
    )
)
@click.argument("paper")
@click.option("--seeds", type=click.IntRange(1, 100), default=5, show_default=True, help="Runs of every condition.")
@click.option("--data", metavar="DATA", help="Other data than the bundled, as a folder with MNIST.")
@click.option("--effort", type=click.FloatRange(0, 1, min_open=True), default=1.0, help="Share of the full epochs.")
@flags.as_json
def reproduce(paper: str, seeds: int, data: str | None, effort: float, as_json: bool) -> None:
    """A paper's claims at small scale, and what holds.

    Each claim comes with its baseline, over several seeds. PAPER is a slug; a wrong one lists them. Leaves with 1 if a
    claim does not hold.
    """
    from . import screen_devices
    from .models.reproductions import Study, claims_of

    claims = claims_of(paper, Study(tuple(range(seeds)), data, effort, _say))
    _finish(claims, as_json, screen_devices.show_claims)
    if not all(claim["holds"] for claim in claims):
        sys.exit(1)


@main.command(epilog=_examples("offramp doctor"))
@flags.as_json
def doctor(as_json: bool) -> None:
    """Which targets work here, and what enables the others."""
    from . import screen
    from .devices.boards.doctor import examine

    document = examine()
    _finish(document, as_json, screen.show_doctor)
