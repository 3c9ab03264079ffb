"""Training on weights as hardware gives them (`--aware synapse=NAME`)."""

from dataclasses import replace
from pathlib import Path

from .devices.synapse.catalogue import find_device
from .devices.synapse.design import ArrayDesign
from .errors import BadInput
from .models.perturbation import Perturbation
from .models.recipe import Recipe
from .models.run import Run, load_run, restore
from .models.training import train
from .options import Options, Say
from .pipeline import trained_source
from .sources import find_source, load_data

_AWARE = "give synapse=NAME, and where wanted time=SECONDS and verify=ROUNDS, as synapse=epiram; see `offramp synapse`"
_EPOCHS, _RATE, _DISTILLATION = 30, 0.5, 0.5  # of fine-tuning; the rate is a share of the system's own


def train_aware(
    reference: str, aware: str, options: Options, epochs: int | None, resume: bool, device: str, say: Say
) -> Run:
    """Trains a system's float weights further on chips of a synapse, into `runs/NAME.SYNAPSE`.

    Args:
        reference: a system of the zoo, which is trained first where it is not, or a run's folder.
        aware: `synapse=NAME`, and where wanted `time=SECONDS` and `verify=ROUNDS`, with commas between.

    Raises:
        BadInput: `aware` is of another form, or the reference is no system or run.
    """
    perturbation = _perturbation(aware, options.seed)
    source = trained_source(find_source(reference, options.seed), options, None, say)
    if source.system is None or not source.trained:
        raise BadInput(f"{reference}: --aware takes a system of the zoo with data, or a run's folder")
    trained, build = load_run(Path(source.origin)), source.system.build
    system = replace(source.system, build=lambda: restore(trained, build()), rule=None)
    recipe = _recipe(system.recipe, epochs)
    folder = options.runs / f"{source.name}.{perturbation.device.name}"
    say(f"training {source.name} on chips of {perturbation.device.name} into {folder}")
    data = load_data(source, options.data)
    data = replace(data, preprocessing=source.preprocessing or data.preprocessing)
    return train(
        system, data, recipe, folder, options.seed, resume, device, teacher=source.network, perturbation=perturbation
    )


def _perturbation(aware: str, seed: int) -> Perturbation:
    """`synapse=pcm-ibm,time=86400,verify=3` as chips of that kind, so long after writing, so carefully written."""
    given = dict(part.partition("=")[::2] for part in aware.split(","))
    try:
        seconds, rounds = float(given.pop("time", "0")), int(given.pop("verify", "0"))
        name = given.pop("synapse")
        ArrayDesign(seconds=seconds, verify_rounds=rounds)
    except (KeyError, ValueError) as error:
        raise BadInput(f"--aware {aware}: {_AWARE}") from error
    if given or not name:
        raise BadInput(f"--aware {aware}: {_AWARE}")
    return Perturbation(find_device(name), seconds, rounds, seed)


def _recipe(base: Recipe, epochs: int | None) -> Recipe:
    """The network's own, shorter and gentler, close to what the float network says."""
    return replace(
        base,
        epochs=_EPOCHS if epochs is None else epochs,
        learning_rate=_RATE * base.learning_rate,
        warmup_epochs=min(0.5, base.warmup_epochs),
        weight_decay=0.0,
        ema=0.0,
        distillation=_DISTILLATION,
    )
