"""Training: equal bits for equal seeds, cut off or not, alone or in two processes; and what stops it."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from offramp.errors import BadInput, OfframpError
from offramp.models.data import Data, InMemory, Preprocessing, load
from offramp.models.objectives import evaluate
from offramp.models.recipe import Recipe
from offramp.models.run import load_run
from offramp.models.system import System, find_system
from offramp.models.training import train
from PIL import Image
from torch import nn

sys.path.append(str(Path(__file__).parent))
from small_stripes import Stops

EVERYTHING = Recipe(epochs=4, batch_size=8, mixup=0.4, ema=0.9, shift_pixels=1, flip=True, threads=1)
PLAIN = Recipe(epochs=2, batch_size=8, threads=1)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.dropout, self.classify = nn.Dropout(0.2), nn.Linear(8, 3)

    def forward(self, x):
        return self.classify(self.dropout(torch.relu(self.norm(self.conv(x))).mean((2, 3))))


class PlainNet(nn.Module):
    """No batch norm and no dropout: only then two processes compute what one does."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.classify = nn.Conv2d(1, 8, 3, padding=1), nn.Linear(8, 3)

    def forward(self, x):
        return self.classify(torch.relu(self.conv(x)).mean((2, 3)))


def net(build=Net) -> System:
    return System("net", "", "image-classification", build, {"image": (1, 1, 8, 8)})


def stripes(count: int = 48) -> Data:
    """Horizontal, vertical or no stripes, with noise."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % 3
    wave = 90 * (torch.arange(8) % 2).float()
    clean = torch.stack([wave.expand(8, 8), wave.reshape(8, 1).expand(8, 8), torch.full((8, 8), 45.0)])
    images = clean[labels].unsqueeze(1) + 60 * torch.rand(count, 1, 8, 8, generator=generator)
    halves = (
        InMemory(images[: count // 2], labels[: count // 2]),
        InMemory(images[count // 2 :], labels[count // 2 :]),
    )
    return Data("stripes", *halves, ("across", "down", "none"), Preprocessing(1 / 255, (0.3,), (0.2,)))


class KillsItself(Stops):
    """Ends its process, as a power cut would."""

    def end(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


def train_and_die(folder: str, at: int) -> None:
    data = stripes()
    train(net(), replace(data, train=KillsItself(data.train, at)), EVERYTHING, Path(folder), seed=3)


def train_in_two(folder: str) -> None:
    run = train(net(PlainNet), stripes(), replace(PLAIN, epochs=1), Path(folder), seed=3)
    total = sum(tensor.double().sum().item() for tensor in run.weights.values())
    Path(f"{folder}-rank{os.environ['RANK']}").write_text(f"{total!r} {run.metrics['accuracy']}")


def child(tmp_path: Path, call: str, *launcher: str) -> subprocess.CompletedProcess:
    """Runs a function of this file in a process of its own."""
    here = Path(__file__)
    script = tmp_path / "child.py"
    script.write_text(
        f"import runpy\nrunpy.run_path({str(here.with_name('conftest.py'))!r})\nthis = runpy.run_path({str(here)!r})\n"
        f"if __name__ == '__main__':\n    this{call}\n"
    )
    return subprocess.run(
        [sys.executable, *launcher, str(script)], capture_output=True, text=True, timeout=120, check=False
    )


def same_bits(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


# --- train ---


def test_two_equal_runs_give_equal_bits_and_another_seed_does_not(tmp_path):
    first = train(net(), stripes(), EVERYTHING, tmp_path / "a", seed=3)
    torch.manual_seed(99)  # the caller's generator has no say
    again = train(net(), stripes(), EVERYTHING, tmp_path / "b", seed=3)
    other = train(net(), stripes(), EVERYTHING, tmp_path / "c", seed=4)
    assert same_bits(first.weights, again.weights)
    assert not same_bits(first.weights, other.weights)
    assert (tmp_path / "a/weights.safetensors").read_bytes() == (tmp_path / "b/weights.safetensors").read_bytes()


def test_training_leaves_the_callers_generator_and_threads_alone(tmp_path):
    state, threads = torch.random.get_rng_state(), torch.get_num_threads()
    train(net(), stripes(), replace(PLAIN, threads=threads + 1), tmp_path / "run")
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_a_network_learns_the_stripes(tmp_path, optimizer):
    recipe = Recipe(optimizer, learning_rate=0.05, epochs=15, batch_size=8, weight_decay=1e-4, threads=1)
    run = train(net(), stripes(96), recipe, tmp_path / "run")
    assert run.metrics["accuracy"] > 0.9
    assert run.history[-1]["train_loss"] < run.history[0]["train_loss"]


def test_what_is_returned_is_what_lies_on_disk(tmp_path):
    run = train(net(), stripes(), EVERYTHING, tmp_path / "run", seed=3)
    loaded = load_run(tmp_path / "run")
    assert same_bits(run.weights, loaded.weights)
    assert (loaded.metrics, loaded.history, loaded.config()) == (run.metrics, run.history, run.config())
    rows = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
    assert rows[-1]["accuracy"] == run.metrics["accuracy"]
    assert not (tmp_path / "run/training").exists()


def test_the_figures_are_those_of_the_weights_that_are_kept(tmp_path):
    data = stripes()
    run = train(net(), data, EVERYTHING, tmp_path / "run", seed=3)
    module = Net()
    module.load_state_dict(run.weights)
    measured = evaluate(module, data.test, data.preprocessing)
    assert measured["accuracy"] == run.metrics["accuracy"]
    assert measured["loss"] == pytest.approx(run.metrics["loss"], rel=1e-6)


def test_a_bare_module_is_copied_and_named_after_its_class(tmp_path):
    module = Net()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    run = train(module, stripes(), PLAIN, tmp_path / "run")
    assert run.system == "Net"
    assert same_bits(module.state_dict(), before)
    assert not same_bits(run.weights, before)


@pytest.mark.parametrize("at", [1, 2, 8, 12])  # of 3 batches an epoch: in epochs 1, 1, 3 and 4
def test_a_killed_training_resumes_to_the_bits_of_an_uninterrupted_one(tmp_path, at):
    folder = tmp_path / "run"
    assert child(tmp_path, f"['train_and_die']({str(folder)!r}, {at})").returncode == -signal.SIGKILL
    assert not (folder / "config.json").exists()
    assert (folder / "training").exists() == (at > 3)
    resumed = train(net(), stripes(), EVERYTHING, folder, seed=3, resume=True)
    whole = train(net(), stripes(), EVERYTHING, tmp_path / "whole", seed=3)
    assert same_bits(resumed.weights, whole.weights)
    drop = ("seconds",)
    for mine, theirs in zip(resumed.history, whole.history, strict=True):
        assert {k: v for k, v in mine.items() if k not in drop} == {k: v for k, v in theirs.items() if k not in drop}


def test_resume_refuses_the_checkpoint_of_another_training(tmp_path):
    folder = tmp_path / "run"
    child(tmp_path, f"['train_and_die']({str(folder)!r}, 8)")
    with pytest.raises(BadInput, match=r"checkpoint.safetensors: belongs to a training with another seed; leave out"):
        train(net(), stripes(), EVERYTHING, folder, seed=4, resume=True)
    with pytest.raises(BadInput, match=r"checkpoint.safetensors: holds other tensors than the network has; leave out"):
        train(net(lambda: nn.Linear(8, 3)), stripes(), EVERYTHING, folder, seed=3, resume=True)
    checkpoint = folder / "training/checkpoint.safetensors"
    checkpoint.write_bytes(checkpoint.read_bytes()[:-100])
    with pytest.raises(BadInput, match=r"checkpoint.safetensors: damaged or cut short"):
        train(net(), stripes(), EVERYTHING, folder, seed=3, resume=True)


def test_resuming_a_finished_training_returns_it(tmp_path):
    run = train(net(), stripes(), PLAIN, tmp_path / "run")
    before = (tmp_path / "run/metrics.jsonl").stat().st_mtime_ns
    again = train(net(), stripes(), PLAIN, tmp_path / "run", resume=True)
    assert same_bits(run.weights, again.weights)
    assert (tmp_path / "run/metrics.jsonl").stat().st_mtime_ns == before
    longer = train(net(), stripes(), replace(PLAIN, epochs=3), tmp_path / "run", resume=True)
    assert len(longer.history) == 3


def test_a_diverging_loss_stops_and_keeps_the_previous_run(tmp_path):
    run = train(net(), stripes(), PLAIN, tmp_path / "run")
    wild = replace(PLAIN, learning_rate=1e30, gradient_clip=0.0, warmup_epochs=0.0, optimizer="sgd")
    with pytest.raises(
        OfframpError, match=r"net: the loss became (nan|inf) in epoch 1, step \d; lower .* \(now 1e\+30"
    ):
        train(net(PlainNet), stripes(), wild, tmp_path / "run")
    assert same_bits(load_run(tmp_path / "run").weights, run.weights)


def test_a_folder_with_foreign_files_is_refused_before_training(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(BadInput, match=r"holds thesis.tex, which is no part of a run; choose another folder"):
        train(net(), stripes(), PLAIN, tmp_path)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_unknown_devices_are_refused(tmp_path):
    with pytest.raises(BadInput, match="device tpu9: unknown; use cpu"):
        train(net(), stripes(), PLAIN, tmp_path / "run", device="tpu9")
    if not torch.cuda.is_available():
        with pytest.raises(BadInput, match="device cuda: no CUDA device works here"):
            train(net(), stripes(), PLAIN, tmp_path / "run", device="cuda")


def test_progress_is_shown_when_asked_for_and_not_off_a_terminal(tmp_path, capsys):
    train(net(), stripes(), PLAIN, tmp_path / "run")
    assert capsys.readouterr().err == ""
    train(net(), stripes(), PLAIN, tmp_path / "run", progress=True)
    captured = capsys.readouterr()
    assert "epoch 2/2 loss" in captured.err
    assert captured.out == ""


def pictures(folder: Path) -> Data:
    for part in ("train", "val"):
        for name, colour in (("dark", 20), ("light", 220)):
            (folder / part / name).mkdir(parents=True)
            for number in range(6):
                Image.new("L", (12, 12), colour + 5 * number).save(folder / part / name / f"{number}.png")
    return load(folder, channels=1, size=8)


def test_pictures_on_disk_are_trained_on_and_give_equal_bits(tmp_path):
    data = pictures(tmp_path / "pictures")
    recipe = replace(EVERYTHING, mixup=0.0, learning_rate=0.05, epochs=8, ema=0.0)
    runs = [train(net(), data, recipe, tmp_path / name, seed=1) for name in ("a", "b")]
    assert same_bits(runs[0].weights, runs[1].weights)
    assert runs[0].metrics["accuracy"] == 1
    assert runs[0].labels == ("dark", "light")


def test_a_bad_picture_stops_training_with_its_name(tmp_path):
    data = pictures(tmp_path / "pictures")
    (tmp_path / "pictures/train/light/3.png").write_bytes(b"\x89PNG and no more")
    with pytest.raises(BadInput, match=r"light.3.png: cannot be read as a picture"):
        train(net(), data, PLAIN, tmp_path / "run")


@pytest.mark.slow
def test_torchrun_with_two_processes_computes_what_one_does(tmp_path):
    folder = tmp_path / "run"
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    done = child(tmp_path, f"['train_in_two']({str(folder)!r})", *launcher)
    assert done.returncode == 0, done.stderr[-2000:]
    first, second = (Path(f"{folder}-rank{rank}").read_text() for rank in (0, 1))
    assert first == second
    alone = train(net(PlainNet), stripes(), replace(PLAIN, epochs=1), tmp_path / "alone", seed=3)
    together = load_run(folder)
    for name, tensor in alone.weights.items():
        torch.testing.assert_close(together.weights[name], tensor, rtol=1e-4, atol=1e-6)
    assert together.metrics["accuracy"] == alone.metrics["accuracy"]
    assert together.metrics["loss"] == pytest.approx(alone.metrics["loss"], rel=1e-4)


def test_an_autoencoder_learns_to_reconstruct_and_tells_anomalies(tmp_path):
    generator = torch.Generator().manual_seed(0)
    basis = torch.randn(2, 640, generator=generator)
    normal = torch.randn(160, 2, generator=generator) @ basis
    odd = torch.randn(16, 640, generator=generator) * 1.4
    test = InMemory(torch.cat([normal[128:], odd]), torch.cat([torch.zeros(32), torch.ones(16)]))
    data = Data("waves", InMemory(normal[:128], torch.zeros(128)), test, ("normal", "odd"), Preprocessing())
    recipe = Recipe(learning_rate=3e-3, epochs=12, batch_size=32, weight_decay=0.0, threads=1)
    run = train(find_system("fc_autoencoder"), data, recipe, tmp_path / "run")
    assert run.metrics["mean_squared_error"] < 0.8 * run.history[0]["mean_squared_error"]
    assert run.metrics["auc"] > 0.9


def test_the_smallest_network_learns_the_digits_in_a_few_epochs(tmp_path):
    system = find_system("mobilenet_v2_xs")
    run = train(system, load("digits", 1, 32), replace(system.recipe, epochs=10), tmp_path / "run")
    assert run.metrics["accuracy"] >= 0.97
