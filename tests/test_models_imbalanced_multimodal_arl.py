"""ARL: what trains, what ships, and one graph that serves with both inputs and with one."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from offramp.errors import BadInput
from offramp.models.data import Data, InMemory, Preprocessing
from offramp.models.data.paired import two_view_digits
from offramp.models.imbalanced_multimodal_arl import VIEWS, Arl, Warmup, modes
from offramp.models.late_fusion import perceptrons
from offramp.models.modality_balance import asymmetry, dependence, inverse_variance
from offramp.models.objectives import Batch, evaluate
from offramp.models.recipe import Recipe
from offramp.models.run import restore
from offramp.models.system import find_system
from offramp.models.training import train
from offramp.reproductions._artifacts import run_file, ship

RECIPE = Recipe(label_smoothing=0.0, batch_size=8)
DRAWS = torch.Generator().manual_seed(0)


@pytest.fixture
def batch():
    draws = torch.Generator().manual_seed(1)
    return (torch.randn(8, 32, generator=draws), torch.randn(8, 32, generator=draws)), torch.arange(8)


def network_of(seed=0):
    torch.manual_seed(seed)
    return perceptrons()


def gradients(mode, batch, warm=True):
    """Of a new network, by parameter, and the loss."""
    network, counter = network_of(), Warmup(8)
    if warm:
        counter.steps += 10
    outcome = mode.loss(network, counter, Batch(*batch, RECIPE, DRAWS))
    outcome.loss.backward()
    return {name: parameter.grad for name, parameter in network.named_parameters()}, outcome


def coefficients(batch, temperature):
    (first, second), _ = batch
    with torch.no_grad():
        alone = network_of()(first, second, torch.ones(8, 2))[1:]
    return asymmetry(dependence(alone), inverse_variance(alone), temperature).tolist()


def assert_scaled(found, plain, factors):
    for name, gradient in found.items():
        factor = {"first": factors[0], "second": factors[1], "head": 1.0}[name.split(".")[0]]
        torch.testing.assert_close(gradient, factor * plain[name], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("temperature", [4.0, 8.0])
def test_encoders_get_one_and_their_coefficient_times_the_gradient_and_the_head_the_gradient(batch, temperature):
    ways = modes(VIEWS, temperature=temperature)
    (plain, before), (found, after) = gradients(ways["ur"], batch), gradients(ways["arl"], batch)
    first, second = coefficients(batch, temperature)
    assert abs(first - 0.5) > 1e-4
    assert_scaled(found, plain, (1 + first, 1 + second))
    assert torch.equal(before.loss, after.loss) and torch.equal(before.outputs, after.outputs)


def test_the_equal_scale_is_one_and_a_half(batch):
    ways = modes(VIEWS)
    assert_scaled(gradients(ways["code"], batch)[0], gradients(ways["ur"], batch)[0], (1.5, 1.5))


def test_the_loss_is_the_fused_one_and_gamma_times_those_of_each_alone(batch):
    (first, second), labels = batch
    outputs = network_of()(first, second, torch.ones(8, 2))
    each = [torch.nn.functional.cross_entropy(logits, labels) for logits in outputs]
    expected = each[0] + 3 * (each[1] + each[2])
    assert gradients(modes(VIEWS, gamma=3.0)["arl"], batch)[1].loss.item() == pytest.approx(expected.item())
    assert gradients(modes(VIEWS)["joint"], batch)[1].loss.item() == pytest.approx(each[0].item())


@pytest.mark.parametrize(("gamma", "expected"), [(4.0, 1.0), (0.5, 0.5)])
def test_the_warmup_does_not_scale_and_weighs_single_losses_by_one_at_most(batch, gamma, expected):
    found, _ = gradients(modes(VIEWS, gamma=gamma)["arl"], batch, warm=False)
    plain, _ = gradients(modes(VIEWS, gamma=expected)["ur"], batch)
    assert_scaled(found, plain, (1.0, 1.0))


def test_the_warmup_counts_epochs_by_whole_batches():
    counter = Warmup(20)
    assert [counter.epoch(8) for _ in range(5)] == [0, 0, 1, 1, 2]
    assert [Warmup(3).epoch(8), Warmup(8).epoch(8)] == [0, 0]


def test_the_count_of_steps_is_kept_in_checkpoints_and_not_with_the_network():
    counter = Warmup(20)
    counter.epoch(8)
    assert counter.state_dict()["steps"] == 1
    assert not any("steps" in name for name in network_of().state_dict())


def test_mixed_samples_have_both_labels(batch):
    network, counter = network_of(), Warmup(8)
    outcome = modes(VIEWS)["joint"].loss(network, counter, Batch(*batch, replace(RECIPE, mixup=0.4), DRAWS))
    first, second, present = outcome.inputs
    assert not torch.equal(first, batch[0][0]) and torch.equal(present, torch.ones(8, 2))
    logs = network(first, second, present)[0].log_softmax(1)
    assert outcome.loss.item() != pytest.approx(-logs[torch.arange(8), batch[1]].mean().item())


def test_inputs_are_all_present_unless_the_samples_say_otherwise(batch):
    samples, labels = batch
    objective = modes(VIEWS)["arl"]
    assert torch.equal(objective.inputs(samples, labels, DRAWS)[2], torch.ones(8, 2))
    present = torch.eye(2).repeat(4, 1)
    assert objective.inputs((*samples, present), labels, DRAWS)[2] is present


def test_figures_are_of_the_fusion_and_of_each_alone():
    logits = [torch.tensor(rows) for rows in ([[2.0, 0.0], [0.0, 3.0]], [[1.0, 0.0], [1.0, 0.0]], [[0.0, 1.0]] * 2)]
    objective = Arl(("left", "right"), modes(VIEWS)["ur"].factors)
    figures = objective.metrics(objective.scores(tuple(logits), (), torch.tensor([0, 0])).double())
    loss = (math.log(1 + math.exp(-2)) + math.log(1 + math.exp(3))) / 2
    assert figures == {
        "accuracy": 0.5,
        "loss": pytest.approx(loss),
        "accuracy_left_alone": 1.0,
        "accuracy_right_alone": 0.0,
    }


def small_digits():
    data = two_view_digits()
    (views, labels), (held_out, wanted) = (part.batch(range(256)) for part in (data.train, data.test))
    return Data("small", InMemory(views, labels), InMemory(held_out, wanted), data.labels, data.preprocessing)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The system with one epoch of warm-up and seven after it; the data; the network's figures."""
    system = find_system("arl_digits")
    system = replace(system, objective=replace(system.objective, warmup_epochs=1))
    recipe = replace(system.recipe, epochs=8, batch_size=16, learning_rate=5e-3)
    data = small_digits()
    run = train(system, data, recipe, tmp_path_factory.mktemp("arl") / "run")
    return restore(run, system.build()).eval(), data, run.metrics


def test_training_makes_the_fusion_and_each_view_alone_useful(trained):
    network, data, figures = trained
    untrained = evaluate(network_of(), data.test, data.preprocessing, find_system("arl_digits").objective)
    assert figures.keys() >= {"accuracy", "loss", "accuracy_top_alone", "accuracy_bottom_alone"} == untrained.keys()
    for name in ("accuracy", "accuracy_top_alone", "accuracy_bottom_alone"):
        assert figures[name] > untrained[name] + 0.1
    assert network.state_dict().keys() == network_of().state_dict().keys()


def test_the_exported_program_is_that_of_the_plain_network(trained):
    system = find_system("arl_digits")
    operators = [
        [str(node.target) for node in torch.export.export(module, system.example_inputs()).graph.nodes]
        for module in (trained[0], network_of().eval())
    ]
    assert operators[0] == operators[1]
    known = {"linear", "relu", "mul", "add", "slice"}
    called = {name.split(".")[1] for name in operators[0] if name.startswith("aten.")}
    assert called <= known and {"linear", "mul"} <= called


@pytest.fixture(scope="module")
def artifacts(trained, tmp_path_factory):
    """Runs an artifact on one sample, by target and precision."""
    network, data, _ = trained
    calibration = {name: values.numpy() for name, values in inputs_of(data, data.train, 32).items()}
    example = {name: torch.from_numpy(values[:1]) for name, values in calibration.items()}
    paths = ship("arl", network, example, calibration, tmp_path_factory.mktemp("dist"), ("onnx", "c"))
    return {key: run_file(path) for key, path in paths.items()}


def inputs_of(data, part, count):
    (top, bottom), _ = part.batch(range(count))
    return {
        "top": data.preprocessing.apply(top),
        "bottom": data.preprocessing.apply(bottom),
        "present": torch.ones(count, 2),
    }


@pytest.mark.parametrize("target", ["onnx", "c"])
@pytest.mark.parametrize("missing", [0, 1])
def test_with_an_input_missing_an_artifact_gives_the_others_own_logits(trained, artifacts, target, missing):
    network, data, _ = trained
    inputs = inputs_of(data, data.test, 64)
    with torch.no_grad():
        alone = network(*inputs.values())[2 - missing].numpy()
    inputs["present"][:, missing] = 0
    inputs[VIEWS[missing]] = torch.full((64, 32), 3.0)  # what a broken sensor may give
    samples = [{name: values[i : i + 1].numpy() for name, values in inputs.items()} for i in range(64)]
    exact, coded = (
        np.concatenate([artifacts[target, precision](sample)["output_0"] for sample in samples])
        for precision in ("float32", "int8")
    )
    np.testing.assert_allclose(exact, alone, rtol=1e-4, atol=1e-4)
    assert np.square(coded - alone).sum() < 0.01 * np.square(alone).sum()  # 20 dB
    assert (coded.argmax(1) == alone.argmax(1)).mean() > 0.95


def test_systems_take_two_inputs_and_what_is_present():
    shapes = [find_system(name).input_shapes for name in ("arl_digits", "arl_xs", "arl_resnet18")]
    assert shapes == [
        {"top": (1, 32), "bottom": (1, 32), "present": (1, 2)},
        {"image": (1, 1, 32, 32), "spectrogram": (1, 1, 65, 32), "present": (1, 2)},
        {"image": (1, 3, 224, 224), "spectrogram": (1, 1, 257, 188), "present": (1, 2)},
    ]
    assert find_system("arl_xs").output_names == ("logits", "image_logits", "spectrogram_logits")


@pytest.mark.parametrize("name", ["arl_digits", "arl_xs"])
def test_systems_take_the_data_they_name(name):
    system = find_system(name)
    data = system.read(system.dataset, 0)
    samples, labels = data.test.batch(range(4))
    inputs = system.objective.inputs(samples, labels, DRAWS)
    for values, shape in zip(inputs, system.input_shapes.values(), strict=True):
        assert values.shape[1:] == shape[1:]
    assert [logits.shape for logits in system.build().eval()(*inputs)] == [(4, 10)] * 3


def test_systems_take_the_users_arrays(tmp_path):
    count, path = 20, tmp_path / "own.npz"
    labels = np.arange(count) % 2
    views = {name: np.zeros((count, 32), np.float32) for name in VIEWS}
    np.savez(path, **views, labels=labels)
    assert len(find_system("arl_digits").read(str(path), 0).train) == 16
    senses = {
        "image": np.zeros((count, 1, 32, 32), np.float32),
        "spectrogram": np.zeros((count, 1, 65, 32), np.float32),
    }
    np.savez(path, **senses, labels=labels)
    data = find_system("arl_xs").read(str(path), 0)
    assert len(data.test) == 4 and data.preprocessing == Preprocessing()


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("arl_digits", r"nothing: no such data; give two-view-digits, or an \.npz with top, bottom and labels"),
        ("arl_xs", r"nothing: no such data; give an \.npz with image, spectrogram and labels, or a folder with Audio"),
        ("arl_resnet18", r"nothing: no such data; give an \.npz with image, spectrogram and labels, or a folder"),
    ],
)
def test_unknown_data_says_what_is_known(name, match):
    with pytest.raises(BadInput, match=match):
        find_system(name).read("nothing", 0)


def test_the_large_network_takes_no_small_sounds():
    with pytest.raises(BadInput, match="digits-with-tones: no such data"):
        find_system("arl_resnet18").read("digits-with-tones", 0)
