"""The command line: every verb parses, calls one function of the pipeline, and prints.

Verbs of devices are in cli_devices.py.
"""

import sys
from pathlib import Path
from typing import Any

import click

from . import __version__, flags
from .cli_devices import emulate, reproduce, synapse
from .cli_netlist import netlist
from .verbs import Verbs, examples, finish, say


@click.group(
    cls=Verbs,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="offramp")
@click.pass_context
def main(ctx: click.Context) -> None:
    """One quantized program, every target, every difference accounted for."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


@main.command(
    epilog=examples(
        "offramp deploy care_xxs",
        "offramp deploy mypkg.net:build --data samples.npz --precision int8",
        "offramp deploy net.pt2 --target tflite --integer-io",
    )
)
@click.argument("network")
@flags.together(flags.what, flags.data, flags.how, flags.form, flags.runs, flags.out, flags.training)
@flags.together(flags.seed, flags.as_json)
def deploy(
    network: str, epochs: int | None, optimizer: str | None, rate: float | None, as_json: bool, **chosen: Any
) -> None:
    """The main job: train, quantize, export, verify, measure, report.

    NETWORK is a system of the zoo (see `offramp list`), a run's folder, your own package.module:build that returns
    (module, example inputs), or a .pt2 file.
    """
    from . import screen
    from .pipeline import deploy as run

    recipe = flags.recipe_of(network, epochs, optimizer, rate)
    document = run(network, flags.options_of(**chosen), recipe, say)
    finish(document, as_json, screen.show_dist)
    if not all(artifact["verified"] for artifact in document["artifacts"]):
        sys.exit(1)


@main.command("list", epilog=examples("offramp list", "offramp list --json"))
@flags.as_json
def list_systems(as_json: bool) -> None:
    """The systems of the zoo, their size and what works for each."""
    from . import screen
    from .catalogue import systems_table

    finish(systems_table(), as_json, screen.show_systems)


@main.command(epilog=examples("offramp rules", "offramp rules resnet8", "offramp rules care_xxs --json"))
@click.argument("system", required=False)
@flags.together(flags.data, flags.seed, flags.as_json)
def rules(system: str | None, as_json: bool, **chosen: Any) -> None:
    """The learning rules, and of a SYSTEM which train it.

    Where a rule does not, it says what stands in the way.
    """
    from . import screen
    from .rules import rules_table

    finish(rules_table(system, flags.options_of(**chosen)), as_json, screen.show_rules)


@main.command(
    epilog=examples(
        "offramp train care_xxs",
        "offramp train resnet8 --data cifar-10/ --epochs 200 --resume",
        "offramp train care_xxs --aware synapse=epiram",
        "offramp train resnet8 --rule counter-current --set strength=1",
        "offramp train care_xxs --optimizer muon",
        "offramp train synapse_mlp --rule in-array --synapse epiram --update unidirectional",
    )
)
@click.argument("system")
@flags.together(flags.data, flags.runs, flags.training, flags.seed, flags.as_json)
@click.option("--resume", is_flag=True, help="Go on from the last complete epoch.")
@click.option(
    "--device", default="cpu", show_default=True, help="cpu, cuda or mps; under torchrun, one process a device."
)
@click.option("--rule", metavar="RULE", help="Of `offramp rules`; by default the system's own, or back-propagation.")
@click.option(
    "--set", "settings", multiple=True, metavar="NAME=VALUE", help="Of --rule, or of the system's own; repeatable."
)
@click.option("--synapse", metavar="DEVICE", help="Of --rule in-array: the devices that hold and learn the weights.")
@click.option("--update", type=click.Choice(flags.SCHEMES), help="Of --rule in-array: which devices a pulse goes to.")
@click.option("--counts", type=click.Choice(flags.COUNTS), help="Of --rule in-array: how a change becomes pulses.")
@click.option("--aware", metavar="synapse=DEVICE", help="Train on weights as that device gives them, after float.")
def train(
    system: str,
    epochs: int | None,
    optimizer: str | None,
    rate: float | None,
    resume: bool,
    device: str,
    rule: str | None,
    settings: tuple[str, ...],
    synapse: str | None,
    update: str | None,
    counts: str | None,
    aware: str | None,
    as_json: bool,
    **chosen: Any,
) -> None:
    """Trains a system of the zoo into runs/SYSTEM.

    With --aware its float weights are trained further, into runs/SYSTEM.DEVICE. A training that searches or relaxes and
    does not converge is kept, marked, and ends with exit code 1.
    """
    from . import screen
    from .errors import BadInput
    from .hardware_aware import train_aware
    from .pipeline import train_source
    from .sources import find_source

    options = flags.options_of(**chosen)
    chosen_rule = flags.rule_of(system, rule, settings, synapse, update, counts)
    if aware is not None:
        if chosen_rule is not None or optimizer is not None or rate is not None:
            raise BadInput("--aware: trains on by back-propagation; leave out --rule, --set, --optimizer and --rate")
        run = train_aware(system, aware, options, epochs, resume, device, say)
        folder = options.runs / f"{Path(system).name}.{run.rule['device']['name']}" if run.rule else options.runs
    else:
        recipe = flags.recipe_of(system, epochs, optimizer, rate, chosen_rule)
        run = train_source(find_source(system, options.seed), options, recipe, resume, device, chosen_rule)
        folder = options.runs / system
    about = {"name": run.system, "run": str(folder), "rule": run.rule}
    document = {**about, "metrics": run.metrics, "converged": run.converged, "left": run.left}
    finish(document, as_json, screen.show_run)
    if not run.converged:
        sys.exit(1)


@main.command(
    epilog=examples(
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

    finish(
        quantize_to(network, out, flags.options_of(precisions=("int8",), **chosen), say), as_json, screen.show_program
    )


@main.command(
    epilog=examples(
        "offramp export runs/care_xxs --target onnx --precision float16", "offramp export care_s0 --precision int8"
    )
)
@click.argument("network")
@flags.together(flags.what, flags.data, flags.how, flags.form, flags.runs, flags.out, flags.seed, flags.as_json)
def export(network: str, as_json: bool, **chosen: Any) -> None:
    """Writes artifacts without training or verifying: OUT/NAME/."""
    from . import screen
    from .pipeline import export_to

    finish(export_to(network, flags.options_of(**chosen), say), as_json, screen.show_files)


@main.command(
    epilog=examples(
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
        document = verify_file(what, against, flags.options_of(**given), say)
    elif against is not None:
        raise BadInput(f"--against: {what} is a dist, which is held against its own program; leave it out")
    else:
        document = verify_dist(what, options_for(what, **chosen), say)
    finish(document, as_json, screen.show_dist)
    if not all(artifact["verified"] for artifact in document["artifacts"]):
        sys.exit(1)


@main.command(
    epilog=examples(
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

        document = profile_on(board, what, samples, say)
        finish(document, as_json, screen_devices.show_board)
        if not holds(document):
            sys.exit(1)
        return
    if samples is not None:
        raise BadInput("--samples: belongs to --on BOARD; leave it out")
    finish(profile_path(what, threads, runs, seconds), as_json, screen.show_dist)


main.add_command(netlist)
main.add_command(emulate)
main.add_command(synapse)


@main.command(
    epilog=examples(
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
    document = check_dist(dist, baseline, update, recorded, options_for(dist, **chosen), say)
    if junit is not None:
        write_junit(junit, document)
    finish(document, as_json, screen.show_check)
    if not document["holds"]:
        sys.exit(1)


@main.command(epilog=examples("offramp report dist/care_xxs"))
@click.argument("dist", type=click.Path(path_type=Path))
@flags.as_json
def report(dist: Path, as_json: bool) -> None:
    """Writes dist/NAME/report.html again from the manifest."""
    from . import screen
    from .inspection import rewrite_report

    finish(rewrite_report(dist), as_json, screen.show_report)


main.add_command(reproduce)


@main.command(epilog=examples("offramp doctor"))
@flags.as_json
def doctor(as_json: bool) -> None:
    """Which targets work here, and what enables the others."""
    from . import screen
    from .devices.boards.doctor import examine

    document = examine()
    finish(document, as_json, screen.show_doctor)
