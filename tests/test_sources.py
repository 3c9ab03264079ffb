"""From what a user names to a network and its samples."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from offramp.errors import BadInput
from offramp.models.system import find_system
from offramp.sources import baked_samples, find_samples, find_source, load_data, with_preprocessing

sys.path.append(str(Path(__file__).parent))
from tiny_networks import convnet, write_network


@pytest.fixture
def user(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_a_bare_system_has_weights_of_the_seed_and_leaves_the_generator_alone():
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first, again, other = (find_source("care_xxs", seed) for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), before)
    weights = [source.network.state_dict()["stem.0.weight"] for source in (first, again, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert (first.name, first.trained, first.dataset, first.output_names) == ("care_xxs", False, "digits", ("logits",))
    assert first.system is find_system("care_xxs")
    assert not first.network.training


def test_a_run_brings_its_weights_labels_and_preprocessing(care_run):
    from safetensors.torch import load_file

    source, system = find_source(str(care_run)), find_system("care_xxs")
    trained = system.build()
    trained.load_state_dict(load_file(care_run / "weights.safetensors"))
    shipped = system.ship(trained).state_dict()
    assert source.network.state_dict().keys() == shipped.keys()
    assert all(torch.equal(value, shipped[name]) for name, value in source.network.state_dict().items())
    assert source.trained
    assert source.labels == tuple("0123456789")
    assert source.preprocessing.scale == 1 / 255


@pytest.mark.parametrize(
    ("build", "names"),
    [
        ("nn.Bilinear(2, 3, 4), (torch.zeros(1, 2), torch.zeros(1, 3))", ("input1", "input2")),
        ("nn.Bilinear(2, 3, 4), [torch.zeros(1, 2), torch.zeros(1, 3)]", ("input1", "input2")),
        ("nn.Bilinear(2, 3, 4), {'input2': torch.zeros(1, 3), 'input1': torch.zeros(1, 2)}", ("input1", "input2")),
        ("nn.Linear(2, 3), torch.zeros(1, 2)", ("input",)),
    ],
)
def test_a_builder_s_inputs_go_under_the_arguments_of_forward(user, build, names, request):
    name = f"built_{abs(hash(request.node.name))}"
    source = find_source(write_network(user, name, "", build))
    assert source.input_names == names
    assert [tuple(example.shape) for example in source.example_inputs] == [(1, 2), (1, 3)][: len(names)]
    assert source.name == name  # the module's, where the function is called `build`
    assert source.output_names is None


def test_a_builder_of_another_name_names_the_artifacts(user):
    (user / "zoo_of_mine.py").write_text(
        "from torch import nn, zeros\ndef small(): return nn.Linear(2, 2), zeros(1, 2)\n"
    )
    assert find_source("zoo_of_mine:small").name == "small"


def test_a_builder_draws_its_weights_from_the_seed(user):
    name = write_network(user, "drawn_net", "", "nn.Linear(4, 4), torch.zeros(1, 4)")
    first, again, other = (find_source(name, seed).network.weight for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_an_exported_program_keeps_its_inputs_names(user):
    class Two(torch.nn.Module):
        def forward(self, left, right):
            return left @ right

    examples = (torch.ones(1, 2), torch.ones(2, 3))
    torch.export.save(torch.export.export(Two(), examples), user / "two.pt2")
    source = find_source("two.pt2")
    assert (source.name, source.input_names, source.origin) == ("two", ("left", "right"), "two.pt2")
    assert torch.equal(source.network(*source.example_inputs), torch.full((1, 3), 2.0))


def test_samples_of_a_file_are_split_without_overlap(user):
    source = find_source(convnet(user, "split_net"))
    images = np.arange(10 * 144, dtype=np.float64).reshape(10, 1, 12, 12)
    np.savez(user / "x.npz", image=images, labels=np.arange(10))
    sets = find_samples(source, "x.npz", calibration=100, held_out=100, seed=1)
    assert (len(sets.calibration), len(sets.held_out)) == (5, 5)
    assert {*sets.calibration.labels} | {*sets.held_out.labels} == set(range(10))
    assert sets.held_out.inputs["image"].dtype == np.float32
    for samples in (sets.calibration, sets.held_out):
        np.testing.assert_array_equal(samples.inputs["image"], images[samples.labels])
    few = find_samples(source, "x.npz", calibration=2, held_out=3, seed=1)
    assert (len(few.calibration), len(few.held_out)) == (2, 3)
    assert not {*few.calibration.labels} & {*few.held_out.labels}


def test_without_data_inputs_are_random_and_the_two_sets_differ(user):
    sets = find_samples(find_source(convnet(user, "random_net")), None, 6, 6)
    assert sets.held_out.drawn
    assert not np.array_equal(sets.calibration.inputs["image"], sets.held_out.inputs["image"])


def test_samples_of_a_data_set_are_spread_over_it_and_preprocessed():
    sets = find_samples(find_source("care_xxs"), None, 50, 50)
    assert (sets.calibration.name, sets.held_out.name) == ("digits, training split", "digits, held out")
    assert set(sets.held_out.labels) == set(range(10))
    assert abs(sets.calibration.inputs["image"].mean()) < 0.2
    assert abs(sets.calibration.inputs["image"].std() - 1) < 0.2


def test_baked_preprocessing_is_the_same_network_on_raw_pixels(care_run):
    source = find_source(str(care_run))
    baked = with_preprocessing(source, None)
    raw = baked_samples(baked, None, 4, 8).held_out.inputs["image"]
    assert np.array_equal(raw, raw.round())
    assert 200 < raw.max() <= 255
    ready = source.preprocessing.apply(torch.from_numpy(raw))
    with torch.no_grad():
        torch.testing.assert_close(baked.network(torch.from_numpy(raw)), source.network(ready))


def test_a_network_without_a_data_set_asks_for_one(user):
    source = find_source(convnet(user, "dataless_net"))
    with pytest.raises(BadInput, match="dataless_net: no data set is bundled for it; give one with --data"):
        load_data(source, None)
    with pytest.raises(BadInput, match="dataless_net: no preprocessing is known that could be baked in"):
        with_preprocessing(source, None)
