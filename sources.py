"""From what a user names (a system, a run, `package.module:build`, a `.pt2` file) to a network and its samples."""

import importlib
import sys
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .errors import BadInput
from .export.artifact import TensorSpec
from .models.batches import each, size_of, stacked
from .models.data import Data, Preprocessed, Preprocessing, load, load_arrays
from .models.objectives import Objective, objective_of
from .models.run import load_run, restore
from .models.system import System, all_systems
from .quant.capture import forward_names
from .quant.program import load_exported
from .runtime.samples import Measure, Samples, fit_samples, random_samples

PIXEL_SCALE = 1 / 255  # of preprocessing that takes bytes


@dataclass(frozen=True)
class Source:
    """A network that is to be shipped.

    Attributes:
        name: names the artifacts.
        network: the module, weights in place.
        example_inputs: one sample of each input, batch dimension of 1 included.
        input_names: in order.
        output_names: in order; None takes them from what the network returns.
        origin: what the user named, for the manifest.
        task, paper, labels, preprocessing: as far as they are known.
        dataset: data to use where the user gives none.
        system: the zoo's system behind it, if any.
        trained: whether the weights come from training.
    """

    name: str
    network: nn.Module
    example_inputs: tuple[Tensor, ...]
    input_names: tuple[str, ...]
    output_names: tuple[str, ...] | None
    origin: str
    task: str = ""
    paper: str = ""
    labels: tuple[str, ...] = ()
    preprocessing: Preprocessing | None = None
    dataset: str | None = None
    system: System | None = None
    trained: bool = True

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """Names, shapes and dtypes of the inputs."""
        return tuple(
            TensorSpec(name, tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."))
            for name, tensor in zip(self.input_names, self.example_inputs)
        )


@dataclass(frozen=True)
class SampleSets:
    """Real samples for choosing ranges, and others, held out, for measuring."""

    calibration: Samples
    held_out: Samples


def find_source(reference: str, seed: int = 0) -> Source:
    """The network behind a system's name, a run's folder, `package.module:build` or a `.pt2` file.

    A system named alone comes with random weights drawn from `seed`; training it is the pipeline's step.

    Raises:
        BadInput: nothing of that name exists, or what was found is no network.
    """
    path = Path(reference)
    if path.suffix == ".pt2":
        return _from_exported(path)
    if ":" in reference and not path.exists():
        return _from_builder(reference, seed)
    if (path / "config.json").is_file():
        return _from_run(path)
    systems = all_systems()
    if reference in systems:
        return _from_system(systems[reference], seed)
    raise BadInput(
        f"{reference}: no such system, run folder or .pt2 file; systems are {', '.join(systems)}; "
        "your own network goes as package.module:build"
    )


def find_samples(source: Source, data: str | None, calibration: int, held_out: int, seed: int = 0) -> SampleSets:
    """Calibration and held-out samples, as the network takes them.

    Args:
        data: a data set's name or path; None takes the source's own, or random inputs where it has none.
        calibration, held_out: how many samples of each at most.

    Raises:
        BadInput: the data do not fit the network.
    """
    data = data or source.dataset
    if data is None:
        sets = SampleSets(
            random_samples(source.inputs, calibration, seed + 1), random_samples(source.inputs, held_out, seed + 2)
        )
    elif Path(data).suffix == ".npz" and (source.system is None or source.system.read is None):
        sets = _from_arrays(Path(data), calibration, held_out, seed)
    else:
        sets = _from_data_set(source, data, calibration, held_out)
    return SampleSets(fit_samples(sets.calibration, source.inputs), fit_samples(sets.held_out, source.inputs))


def load_data(source: Source, data: str | None) -> Data:
    """The data set for training a source: its own, or the one the user names.

    Raises:
        BadInput: there is none, or it does not fit.
    """
    data = data or source.dataset
    if data is None:
        raise BadInput(f"{source.name}: no data set is bundled for it; give one with --data")
    if source.system is not None and source.system.read is not None:
        return source.system.read(data, 0)
    shape = source.example_inputs[0].shape
    channels, size = (shape[1], shape[2]) if len(shape) == 4 else (1, 32)
    return load(data, channels, size)


def with_preprocessing(source: Source, data: str | None) -> Source:
    """The source with its preprocessing in front of the network, which then takes raw values (pixels 0 to 255).

    Raises:
        BadInput: no preprocessing is known.
    """
    preprocessing = source.preprocessing
    if preprocessing is None and (data or source.dataset):
        preprocessing = load_data(source, data).preprocessing
    if preprocessing is None:
        raise BadInput(f"{source.name}: no preprocessing is known that could be baked in; name its data with --data")
    network = Preprocessed(source.network, preprocessing).eval()
    return replace(source, network=network, preprocessing=preprocessing)


def baked_samples(source: Source, data: str | None, calibration: int, held_out: int) -> SampleSets:
    """The samples of a source before preprocessing; pixels are whole, as an image input takes them."""
    raw = _from_data_set(
        replace(source, preprocessing=Preprocessing()), str(data or source.dataset), calibration, held_out
    )
    if source.preprocessing is None or source.preprocessing.scale != PIXEL_SCALE:
        return raw
    return SampleSets(
        *(replace(s, inputs={n: v.round() for n, v in s.inputs.items()}) for s in (raw.calibration, raw.held_out))
    )


def _from_system(system: System, seed: int) -> Source:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = system.build().eval()
    return _shipped(_of_network(system, network, seed))


def _shipped(source: Source) -> Source:
    """As it goes to devices."""
    ship = source.system.ship if source.system is not None else None
    if ship is None:
        return source
    with torch.random.fork_rng(devices=[]):  # new layers draw first weights
        return replace(source, network=ship(source.network).eval())


def _of_network(system: System, network: nn.Module, seed: int) -> Source:
    inputs = system.example_inputs(seed)
    return Source(
        name=system.name,
        network=network,
        example_inputs=inputs,
        input_names=tuple(system.input_shapes),
        output_names=system.output_names,
        origin=system.name,
        task=system.task,
        paper=system.paper,
        preprocessing=system.preprocessing,
        dataset=system.dataset,
        system=system,
        trained=False,
    )


def _from_run(folder: Path) -> Source:
    run = load_run(folder)
    systems = all_systems()
    if run.system not in systems:
        raise BadInput(
            f"{folder}: trained from {run.system}, which is no system of the zoo; deploy its builder instead"
        )
    system = systems[run.system]
    source = _shipped(_of_network(system, restore(run, system.build()), run.seed))
    return replace(
        source,
        name=folder.name,
        origin=str(folder),
        labels=run.labels,
        preprocessing=run.preprocessing,
        trained=True,
    )


def _from_builder(reference: str, seed: int) -> Source:
    module_name, _, function_name = reference.partition(":")
    sys.path.insert(0, "")
    try:
        build: Any = getattr(importlib.import_module(module_name), function_name)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            built = build()
    except Exception as error:  # the user's own code may raise anything; its error is what helps
        raise _fault_of(error, module_name, function_name) from error
    finally:
        sys.path.remove("")
    if not isinstance(built, tuple | list) or len(built) != 2 or not isinstance(built[0], nn.Module):
        found = (
            f"({', '.join(type(b).__name__ for b in built)})"
            if isinstance(built, tuple | list)
            else type(built).__name__
        )
        raise BadInput(f"{reference}: must return (module, example inputs), got {found}")
    network, examples = built
    inputs = _examples(reference, network, examples)
    return Source(
        name=function_name if function_name not in ("build", "model", "main") else module_name.rpartition(".")[2],
        network=network.eval(),
        example_inputs=tuple(inputs.values()),
        input_names=tuple(inputs),
        output_names=None,
        origin=reference,
    )


def _fault_of(error: Exception, module_name: str, function_name: str) -> BadInput:
    """One line for what went wrong in the user's code, with the place in it."""
    is_missing = isinstance(error, ModuleNotFoundError) and error.name
    if is_missing and (module_name == error.name or module_name.startswith(f"{error.name}.")):  # type: ignore[attr-defined]
        return BadInput(f"{module_name}: no such module; run from the folder that holds it, or install it")
    frames = traceback.extract_tb(error.__traceback__)
    if len(frames) == 1 and isinstance(error, AttributeError):
        return BadInput(f"{module_name} has no {function_name}; name the function that builds the network")
    where = f"{frames[-1].filename}, line {frames[-1].lineno}"
    return BadInput(f"{module_name}:{function_name}: {type(error).__name__}: {error} ({where})")


def _from_exported(path: Path) -> Source:
    program = load_exported(path)
    if program.example_inputs is None:
        raise BadInput(f"{path}: holds no example inputs; export it with them")
    args, kwargs = program.example_inputs
    placeholders = [node.name for node in program.graph.nodes if node.op == "placeholder"]
    names = [name for name in placeholders if name in set(program.graph_signature.user_inputs)]
    return Source(
        name=path.stem,
        network=program.module(check_guards=False),
        example_inputs=tuple(args) + tuple(kwargs.values()),
        input_names=tuple(names),
        output_names=None,
        origin=str(path),
    )


def _examples(reference: str, network: nn.Module, examples: Any) -> dict[str, Tensor]:
    """Example inputs by name: a dict as given, else under the argument names of `forward`."""
    if isinstance(examples, Mapping):
        named = dict(examples)
    else:
        values = tuple(examples) if isinstance(examples, tuple | list) else (examples,)
        named = dict(zip(forward_names(network), values))
        if len(named) != len(values):
            raise BadInput(f"{reference}: {len(values)} example inputs for {len(named)} arguments of forward")
    wrong = [name for name, value in named.items() if not isinstance(value, Tensor)]
    if wrong or not named:
        found = ", ".join(f"{name} is {type(named[name]).__name__}" for name in wrong) or "there is none"
        raise BadInput(f"{reference}: example inputs must be tensors, {found}")
    known = forward_names(network)
    unknown = [name for name in named if known and name not in known]
    if unknown:
        raise BadInput(f"{reference}: forward takes {', '.join(known)}, and no {', '.join(unknown)}")
    return {name: named[name] for name in known if name in named} or named


def _from_arrays(path: Path, calibration: int, held_out: int, seed: int) -> SampleSets:
    arrays, labels = load_arrays(path)
    count = len(next(iter(arrays.values())))
    if count < 2:
        raise BadInput(f"{path}: {count} sample; give at least two, some to calibrate on and others to measure on")
    order = np.random.default_rng(seed).permutation(count)
    first = min(calibration, count // 2)
    parts = order[:first], order[first : first + held_out]
    chosen = [
        Samples(
            {name: values[part] for name, values in arrays.items()}, None if labels is None else labels[part], path.name
        )
        for part in parts
    ]
    return SampleSets(chosen[0], chosen[1])


def _from_data_set(source: Source, data: str, calibration: int, held_out: int) -> SampleSets:
    loaded = load_data(source, data)
    own = source.system.objective if source.system is not None else None
    if own is None and len(source.inputs) != 1:
        raise BadInput(f"{source.name}: takes {len(source.inputs)} inputs; give an .npz with one array for each")
    objective = own or objective_of(source.task)
    preprocessing = source.preprocessing or loaded.preprocessing

    def read(split: Any, count: int, what: str) -> Samples:
        # Spread over the split: class folders lie one class after the other.
        indices = np.unique(np.linspace(0, size_of(split) - 1, min(count, size_of(split))).round().astype(int))
        raw, targets = stacked([split[int(index)] for index in indices])
        inputs = objective.inputs(each(preprocessing.apply, raw), targets, torch.Generator().manual_seed(0))
        return Samples(
            {name: tensor.numpy() for name, tensor in zip(source.input_names, inputs, strict=True)},
            targets.numpy() if objective.classes else None,
            f"{loaded.name}, {what}",
            classes=objective.classes,
            measure=None if own is None else _measure(source, objective, inputs, targets),
            targets=targets.numpy(),
        )

    return SampleSets(read(loaded.train, calibration, "training split"), read(loaded.test, held_out, "held out"))


def _measure(source: Source, objective: Objective, inputs: tuple[Tensor, ...], targets: Tensor) -> Measure:
    """The objective's figures of outputs by name, on these samples."""

    def measure(outputs: dict[str, np.ndarray]) -> dict[str, float]:
        ordered = tuple(torch.from_numpy(outputs[name]) for name in source.output_names or outputs)
        with torch.no_grad():
            return objective.metrics(objective.scores(ordered, inputs, targets).double())

    return measure
