"""Training for a precision as a user asks for it: runs that are found again, what is refused, the verbs."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from offramp.cli import main
from offramp.errors import BadInput
from offramp.finetune import Finetuning, finetune
from offramp.models.objectives import objective_of
from offramp.models.recipe import Recipe
from offramp.models.run import load_run
from offramp.quant.capture import capture
from offramp.quant.scheme import Scheme
from offramp.sources import find_source, load_data
from torch.nn import functional

sys.path.append(str(Path(__file__).parent))
from tiny_networks import convnet, write_network

ONE_EPOCH = Finetuning(epochs=1)
QUICK = ("--calibration-samples", "8", "--samples", "16", "--qat", "--qat-epochs", "1", "--data", "samples.npz")


@pytest.fixture
def user(tmp_path, monkeypatch):
    """A folder with a network of the user's and 80 labelled samples: four classes, bright in four corners."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    generator = np.random.default_rng(0)
    labels = np.arange(80) % 4
    images = generator.normal(0, 0.3, (80, 1, 12, 12)).astype(np.float32)
    for image, label in zip(images, labels):
        image[0, 6 * (label // 2) : 6 * (label // 2) + 6, 6 * (label % 2) : 6 * (label % 2) + 6] += 1
    np.savez(tmp_path / "samples.npz", image=images, labels=labels)
    return tmp_path


def trained(source, scheme=Scheme(4, 8), tuning=ONE_EPOCH, folder=Path("runs/tuned_net.w4a8")):  # noqa: B008
    captured = capture(source.network, source.example_inputs, source.input_names, source.output_names)
    data = load_data(source, "samples.npz")
    samples = [(data.train[index][0][None],) for index in range(8)]
    return finetune(source, captured, samples, data, scheme, tuning, folder)


def stamp(folder="runs/tuned_net.w4a8"):
    return (Path(folder) / "weights.safetensors").stat().st_mtime_ns


def test_a_finished_training_is_found_again(user):
    source = find_source(convnet(user, "tuned_net"))
    program, run = trained(source)
    before = stamp()
    again, same = trained(source)
    assert stamp() == before
    assert same.config() == run.config()
    assert all(a == b for a, b in zip(program.constants().values(), again.constants().values()))


@pytest.mark.parametrize("change", ["weights", "scheme", "recipe"])
def test_another_start_or_way_is_trained_anew(user, change):
    source = find_source(convnet(user, "tuned_net"))
    trained(source)
    before = stamp()
    if change == "weights":
        with torch.no_grad():
            source.network.head.bias.add_(1)
    scheme = Scheme(4, 8, samples=7) if change == "scheme" else Scheme(4, 8)
    trained(source, scheme, Finetuning(epochs=2) if change == "recipe" else ONE_EPOCH)
    assert stamp() != before


def test_a_training_cut_off_before_its_float_network_changed_begins_anew(user, monkeypatch):
    source = find_source(convnet(user, "tuned_net"))
    monkeypatch.setattr("offramp.models.training.save_run", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        trained(source)
    monkeypatch.undo()
    monkeypatch.chdir(user)
    assert list(Path("runs/tuned_net.w4a8/training").iterdir())
    with torch.no_grad():
        source.network.head.bias.add_(1)
    _, run = trained(source)
    assert run.metrics["epoch"] == 1
    assert load_run(Path("runs/tuned_net.w4a8")).config() == run.config()


def test_the_float_network_teaches(user):
    source = find_source(convnet(user, "tuned_net"))
    alone, _ = trained(source, tuning=replace(ONE_EPOCH, distillation=0.0), folder=Path("runs/alone"))
    taught, _ = trained(source, tuning=replace(ONE_EPOCH, distillation=1.0), folder=Path("runs/taught"))
    assert any(a != b for a, b in zip(alone.constants().values(), taught.constants().values()))


def test_networks_of_several_inputs_are_refused(user):
    body = """
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 2)

        def forward(self, a, b):
            return self.layer(a + b)
    """
    source = find_source(write_network(user, "tuned_pair", body, "ready(Net, torch.randn(1, 4), torch.randn(1, 4))"))
    with pytest.raises(BadInput, match="takes 2 inputs; training for a precision takes networks of one"):
        finetune(source, capture(source.network, source.example_inputs), [], None, Scheme(4, 8), ONE_EPOCH, user / "r")


def test_an_exported_program_is_fixed_to_one_sample(user):
    source = find_source(convnet(user, "tuned_net"))
    torch.export.save(torch.export.export(source.network, source.example_inputs), user / "net.pt2")
    with pytest.raises(BadInput, match="is fixed to one sample"):
        trained(find_source("net.pt2"))


@pytest.mark.parametrize("shares", [{"frozen": 1.5}, {"real_weights": -0.1}])
def test_shares_lie_between_nothing_and_all(shares):
    with pytest.raises(BadInput, match="must be a share from 0 to 1"):
        Finetuning(**shares)


def test_a_recipe_bends_with_the_scheme():
    base = Recipe(learning_rate=1.0, epochs=90, weight_decay=0.1, ema=0.9)
    rates = [Finetuning().recipe(base, Scheme(*bits)) for bits in ((8, 8), (4, 8), (2, 4), (1, 1))]
    assert [r.learning_rate for r in rates] == sorted(r.learning_rate for r in rates)
    assert [r.epochs for r in rates] == sorted(r.epochs for r in rates)
    assert {r.weight_decay for r in rates} == {0.0}
    assert Finetuning(epochs=3, learning_rate=0.5).recipe(base, Scheme()).epochs == 3
    assert Finetuning().stages(10, 20, Scheme(1, 1)).quantize_weights == 60
    assert Finetuning().stages(10, 20, Scheme(4, 8)).quantize_weights == 0


def test_the_distance_to_a_teacher_is_softened_by_its_temperature():
    mine, theirs = torch.tensor([[1.0, 0.0], [0.0, 3.0]]), torch.tensor([[0.0, 1.0], [0.0, 3.0]])
    distance = objective_of("image-classification").distance
    assert distance(theirs, theirs, 4.0) == pytest.approx(0, abs=1e-6)
    soft = functional.softmax(theirs[:1] / 2, 1)
    wanted = 4 * (soft * (soft.log() - functional.log_softmax(mine[:1] / 2, 1))).sum() / 2
    assert distance(mine, theirs, 2.0) == pytest.approx(wanted.item(), rel=1e-5)
    assert objective_of("anomaly-detection").distance(mine, theirs, 2.0) == pytest.approx(0.5)


# The verbs.


def offramp(*arguments, code=0):
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == code, (result.output, result.exception)
    return result


def test_quantize_trains_and_says_what_keeps_8_bits(user):
    network = convnet(user, "tuned_net")
    text = offramp("quantize", network, "--scheme", "binary", *QUICK).stdout
    assert "the first layer reads the network's input" in " ".join(text.split())
    document = json.loads(offramp("quantize", network, "--scheme", "binary", *QUICK, "--json").stdout.splitlines()[-1])
    assert document["scheme"] == "binary"
    bits = {layer["module"]: (layer["weight"], layer["activation"]) for layer in document["layers"]}
    assert bits == {"stem": (8, 8), "body.0.conv": (1, 1), "body.1.conv": (1, 1), "head": (8, 8)}
    assert (user / "runs/tuned_net.binary/weights.safetensors").is_file()


def test_deploy_ships_what_was_trained(user):
    arguments = ("--scheme", "w4a8", "--target", "onnx", "--no-measure", "--no-older-runtime", *QUICK, "--json")
    document = json.loads(offramp("deploy", convnet(user, "tuned_net"), *arguments).stdout.splitlines()[-1])
    assert document["training"]["recipe"]["epochs"] == 1
    rows = {row["precision"]: row for row in document["artifacts"]}
    assert rows.keys() == {"float32", "w4a8"}
    assert rows["w4a8"]["path"] == "tuned_net.onnx"
    assert all(row["verified"] for row in rows.values())
    assert {layer["weight"] for layer in document["layer_bits"]} == {4, 8}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--scheme", "w9a8"), "scheme w9a8: unknown; say w4a8"),
        (("--scheme", "w4a2"), "activation bits must be 1 or 3 to 8, got 2"),
        (("--scheme", "binary", "--keep-int8", "bodies"), "keep_int8: no layer bodies in the network"),
        (("--scheme", "w4a8", "--qat", "--data", "none.npz"), "none.npz: no such file"),
    ],
)
def test_wrong_schemes_get_one_line(user, arguments, message):
    result = offramp("quantize", convnet(user, "tuned_net"), *arguments, code=2)
    assert message in result.stderr.splitlines()[-1]


def test_a_value_that_calibration_never_saw_is_noted(user):
    body = """
    class Dead(nn.Module):
        def forward(self, x):
            return (-x.abs() - 1).relu()
    """
    network = write_network(
        user, "tuned_dead", body, "ready(lambda: nn.Sequential(Dead(), nn.Linear(4, 2)), torch.ones(1, 4))"
    )
    result = offramp("quantize", network, "--calibration-samples", "2", "--samples", "2")
    assert "· note: always zero on the calibration samples: relu (0)" in result.stderr
