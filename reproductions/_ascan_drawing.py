"""Digits drawn by AsCAN's generator and by its int8 artifact, and how many are recognised as what was asked for."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor

from ..estimate import share_of
from ..models.ascan_unet import PIXELS, XS, read_digits
from ..models.data import Data, InMemory
from ..models.diffusion import Denoise, NoisePrediction, Sampler, in_batches, noise_by
from ..models.run import Run, restore
from ..models.system import find_system
from ..models.training import train
from . import Claim, Study
from ._artifacts import Key, run_file, ship

_EPOCHS, _BATCH = 12, 32  # shorter than the system's own recipe
_EACH = 2  # drawings of a class with each seed
_CALIBRATION = 32
_SHARE, _LOSS = 0.9, 0.05
Reader = Callable[[Tensor], np.ndarray]  # images (N, 1, H, W) to classes (N,)


def train_generator(study: Study) -> Run:
    """With the first seed."""
    system = find_system("ascan_unet_xs")
    recipe = replace(system.recipe, epochs=study.epochs(_EPOCHS), batch_size=_BATCH, warmup_epochs=1)
    with TemporaryDirectory() as folder:
        return train(system, read_digits("digits", 0), recipe, Path(folder) / "run", study.seeds[0], progress=False)


def drawings(study: Study, run: Run, artifact: Path) -> list[Claim]:
    """Of one generator and its int8 artifact; each seed draws from noise of its own, the same in both."""
    reader, on_real = _reader(read_digits("digits", 0))
    denoisers: dict[str, Denoise] = {"float32": restore(run), "int8": in_batches(run_file(artifact))}
    found = {}
    for precision, tell_clean in denoisers.items():
        study.say(f"drawing digits in {precision}")
        found[precision] = share_of([_recognised(tell_clean, seed, reader) for seed in study.seeds])
    return [
        Claim(
            f"at least {_SHARE:.0%} of the digits that the generator draws are recognised as what was asked for",
            "accuracy",
            share_of([_SHARE]),
            found["float32"],
            found["float32"].mean >= _SHARE,
            f"the baseline is the bound; {Sampler().steps} steps with guidance {Sampler().guidance:g}, "
            f"{XS.classes * _EACH} drawings a seed; a support vector machine judges, right on {on_real:.1%} of "
            f"held-out digits; mean squared error of the noise {run.metrics['noise_error']:.3f}",
        ),
        Claim(
            f"drawn by the int8 artifact from the same noise, at most {_LOSS:.0%} fewer of the digits are recognised",
            "accuracy",
            found["float32"],
            found["int8"],
            found["int8"].mean >= found["float32"].mean - _LOSS,
            "ONNX Runtime; the same generator, quantized after training",
        ),
    ]


def writing_of_generator(run: Run, folder: Path) -> partial[dict[Key, Path]]:
    """The call that writes its int8 ONNX file."""
    data = read_digits("digits", 0)
    assert isinstance(data.train, InMemory)
    samples, targets = data.train.batch(range(_CALIBRATION))
    assert isinstance(samples, Tensor)
    draws = torch.Generator().manual_seed(0)
    inputs = NoisePrediction(XS.classes, XS.schedule).inputs(PIXELS.apply(samples), targets, draws)
    named = dict(zip(("image", "timestep", "label"), inputs))
    example = {name: tensor[:1] for name, tensor in named.items()}
    calibration = {name: tensor.numpy() for name, tensor in named.items()}
    return partial(ship, "generator", restore(run), example, calibration, folder, ("onnx",), ("int8",))


def _reader(data: Data) -> tuple[Reader, float]:
    """Who judges the drawings, and its accuracy on held-out digits; it knows nothing of the generator."""
    from sklearn.svm import SVC

    parts = []
    for split in (data.train, data.test):
        assert isinstance(split, InMemory)
        targets = split.batch(range(len(split)))[1].numpy()  # the class, then the clean image
        parts.append((targets[:, 1:], targets[:, 0].astype(int)))
    machine = SVC(C=10).fit(*parts[0])
    return lambda images: machine.predict(images.flatten(1).numpy()), float(machine.score(*parts[1]))


def _recognised(tell_clean: Denoise, seed: int, reader: Reader) -> float:
    """Share of a seed's drawings."""
    classes = torch.arange(XS.classes).repeat(_EACH)
    noise = torch.randn(len(classes), 1, 16, 16, generator=torch.Generator().manual_seed(seed))
    images = Sampler()(noise_by(tell_clean, XS.schedule), noise, classes, XS.classes)
    return float((reader(images) == classes.numpy()).mean())
