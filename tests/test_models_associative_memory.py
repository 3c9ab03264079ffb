"""Associative memories: the networks' forms, facts by frequency, accuracy by group, and the way to artifacts."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from offramp import sources
from offramp.errors import BadInput
from offramp.manifest import read_manifest
from offramp.models import system as zoo
from offramp.models.associative_memory import (
    ANSWERS,
    FACT_COUNT,
    FACT_EDGES,
    KEY_WIDTH,
    RELATIONS,
    SUBJECT_EDGES,
    SUBJECTS,
    TOKENS,
    ByFrequency,
    BySubject,
    FactTransformer,
    FeedForwardMemory,
    read_biographies,
    read_facts,
    transformer,
)
from offramp.models.associative_memory_data import (
    BIOGRAPHIES,
    FACTS,
    Biographies,
    biographies,
    frequencies,
    keyed_facts,
    one_hot,
    repeated,
)
from offramp.models.optimizers import hidden_matrices
from offramp.models.system import find_system
from offramp.models.training import train
from offramp.options import Options
from offramp.pipeline import deploy
from offramp.quant.scheme import Scheme
from torch.utils.flop_counter import FlopCounterMode


def counts(network, *inputs):
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        network.eval()(*inputs)
    return sum(p.numel() for p in network.parameters()), counter.get_total_flops() // 2


# The networks


def test_the_feed_forward_memory_has_two_matrices_and_fixed_values():
    matrices, values = KEY_WIDTH * 128 + 128 * KEY_WIDTH, FACT_COUNT * KEY_WIDTH
    assert counts(FeedForwardMemory(), torch.randn(1, KEY_WIDTH)) == (matrices, matrices + values)
    assert (matrices, values) == (16_384, 32_768)
    lengths = FeedForwardMemory().values.norm(dim=1)
    assert 0.9 < lengths.mean() < 1.1


def test_the_memory_reads_values_through_two_products():
    memory = FeedForwardMemory(5, 3, 4)
    key = torch.randn(2, 3)
    expected = (memory.second.weight @ (memory.first.weight @ key.T).clamp(min=0)).T @ memory.values.T
    torch.testing.assert_close(memory(key), expected)


def test_the_transformer_has_the_counts_of_one_block():
    width, hidden = 32, 128
    attention, feed_forward = 4 * width * width, 2 * width * hidden
    total = TOKENS * width + 3 * 2 * width + attention + feed_forward + width * ANSWERS + ANSWERS
    # Keys and values of three tokens, everything else of the last one alone.
    macs = 3 * TOKENS * width + (2 * 3 + 2) * width**2 + 2 * 3 * width + feed_forward + width * ANSWERS
    assert counts(transformer(), torch.randn(1, 3, TOKENS)) == (total, macs)
    assert TOKENS == SUBJECTS + RELATIONS + 1


def test_only_what_the_prompt_says_matters_not_its_order():
    """Tokens differ by place, so the first two may trade places; the last asks."""
    torch.manual_seed(0)
    network = FactTransformer(9, 4).eval()
    prompt = one_hot(torch.tensor([[1, 5, 8], [5, 1, 8], [1, 6, 8]]), 9)
    first, swapped, other = network(prompt)
    torch.testing.assert_close(first, swapped)
    assert not torch.allclose(first, other)


def test_muon_takes_the_matrices_between_embedding_and_answers():
    network = transformer()
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    assert {names[id(matrix)].split(".")[0] for matrix in hidden_matrices(network)} == {"attention", "feed_forward"}
    assert len(hidden_matrices(network)) == 6


# Facts


@settings(deadline=None, max_examples=30)
@given(st.integers(2, 300), st.floats(0, 3))
def test_shares_follow_the_power_law(count, alpha):
    found = frequencies(count, alpha)
    assert found.sum().item() == pytest.approx(1, abs=1e-4)
    assert (found[0] / found[-1]).item() == pytest.approx(count**alpha, rel=1e-3)


def test_every_fact_is_there_and_frequent_ones_often():
    times = repeated(512, 8192).bincount(minlength=512)
    assert times.min() == 1 and times[0] == round(8192 * frequencies(512)[0].item())
    assert (times.diff() <= 0).all()


def test_keys_are_asked_for_once_each_in_order():
    data = keyed_facts(3, 20, 4, 100)
    keys, facts = data.test.batch(range(20))
    assert facts.tolist() == list(range(20)) and data.name == FACTS
    seen, numbers = data.train.batch(range(len(data.train)))
    assert torch.equal(seen, keys[numbers])
    assert torch.equal(keyed_facts(3, 20, 4, 100).test.samples, data.test.samples)
    assert not torch.equal(keyed_facts(4, 20, 4, 100).test.samples, data.test.samples)


def test_prompts_name_subject_relation_and_question():
    known = Biographies.draw(6, 2, 8, torch.Generator().manual_seed(0))
    prompts, answers = known.everything()
    assert prompts.shape == (12, 3) and known.tokens == 9
    assert prompts[3].tolist() == [1, 6 + 1, 8]
    assert answers.tolist() == known.truth.flatten().tolist()
    assert (known.truth[:, 0] < 4).all() and (known.truth[:, 1] >= 4).all()


def test_biographies_are_one_hot_and_hold_every_prompt():
    data = biographies(0, 6, 2, 8, 100)
    inputs, answers = data.test.batch(range(12))
    assert data.name == BIOGRAPHIES and inputs.shape == (12, 3, 9)
    assert inputs.dtype == torch.float32 and (inputs.sum(2) == 1).all()
    trained, given = data.train.batch(range(len(data.train)))
    asked = {tuple(row.argmax(1).tolist()): answer.item() for row, answer in zip(trained, given)}
    assert asked == {tuple(row.argmax(1).tolist()): answer.item() for row, answer in zip(inputs, answers)}


def test_data_of_other_names_and_impossible_facts_are_refused():
    assert len(read_facts(FACTS, 0).test) == FACT_COUNT
    assert len(read_biographies(BIOGRAPHIES, 0).test) == SUBJECTS * RELATIONS
    with pytest.raises(BadInput, match=r"mine: no such data; facts are generated, give power-law-facts"):
        read_facts("mine", 0)
    with pytest.raises(BadInput, match=r"mine: no such data; facts are generated, give power-law-biographies"):
        read_biographies("mine", 0)
    with pytest.raises(BadInput, match=r"10 answers for 4 relations; give each relation the same number of answers"):
        Biographies.draw(3, 4, 10, torch.Generator())
    with pytest.raises(BadInput, match=r"4 answers for 4 relations; .* 2 or more"):
        Biographies.draw(3, 4, 4, torch.Generator())
    for count, alpha in ((0, 1.0), (3, -1.0)):
        with pytest.raises(BadInput, match=rf"1 fact or more and alpha of 0 or more, got {count} and {alpha:g}"):
            frequencies(count, alpha)


# Accuracy by group


def test_accuracy_is_told_by_group():
    objective = ByFrequency((1, 3))
    targets = torch.arange(6)
    guesses = torch.tensor([0, 1, 0, 3, 4, 0])
    logits = 5 * torch.eye(6)[guesses]
    found = objective.metrics(objective.scores((logits,), (), targets).double())
    assert found["accuracy"] == pytest.approx(4 / 6)
    assert found["accuracy_head"] == 1
    assert found["accuracy_middle"] == pytest.approx(1 / 2)
    assert found["accuracy_tail"] == pytest.approx(2 / 3)


def test_groups_without_samples_have_no_figure():
    objective = ByFrequency((1, 3))
    scores = objective.scores((torch.eye(6)[3:],), (), torch.arange(3, 6))
    assert objective.metrics(scores.double()).keys() == {"accuracy", "loss", "accuracy_tail"}


def test_prompts_count_by_their_subject():
    inputs = one_hot(torch.tensor([[0, 7, 8], [2, 6, 8], [5, 6, 8]]), 9)
    assert BySubject((1, 3)).ranks((inputs,), torch.tensor([3, 3, 3])).tolist() == [0, 2, 5]
    scores = BySubject((1, 3)).scores((torch.zeros(3, 8),), (inputs,), torch.tensor([3, 0, 3]))
    assert scores[:, 2].tolist() == [0, 1, 2]


def test_the_zoos_groups_are_those_of_the_facts():
    assert find_system("assoc_memory").objective.edges == FACT_EDGES
    assert find_system("fact_transformer").objective.edges == SUBJECT_EDGES
    assert FACT_EDGES[1] < FACT_COUNT and SUBJECT_EDGES[1] < SUBJECTS


# Training and artifacts


@pytest.mark.parametrize("name", ["assoc_memory", "fact_transformer"])
def test_a_short_training_learns_the_head_first(name, tmp_path):
    system = find_system(name)
    run = train(system, system.read(system.dataset, 0), replace(system.recipe, epochs=2), tmp_path / "run")
    assert run.metrics["accuracy_head"] > 0.9
    assert run.metrics["accuracy_head"] >= run.metrics["accuracy_middle"] > run.metrics["accuracy_tail"]


@pytest.mark.filterwarnings("ignore::offramp.errors.OfframpWarning")
def test_every_artifact_tells_accuracy_by_group(tmp_path, monkeypatch):
    system = find_system("assoc_memory")
    system = replace(system, recipe=replace(system.recipe, epochs=2))
    for module in (zoo, sources):
        monkeypatch.setattr(module, "all_systems", lambda: {system.name: system})
    scheme, folders = Scheme(samples=32, rounding="nearest"), {"runs": tmp_path / "runs", "out": tmp_path / "dist"}
    options = Options(targets=("onnx",), scheme=scheme, held_out=128, measure=False, older_runtime=False, **folders)
    deploy(system.name, options)
    document = read_manifest(tmp_path / "dist" / system.name)
    assert {row["precision"] for row in document["artifacts"]} == {"float32", "int8"}
    for row in document["artifacts"]:
        assert row["verified"], row["not_verified_because"]
        within = 1e-6 if row["precision"] == "float32" else 0.1
        for figure in ("accuracy_head", "accuracy_middle", "accuracy_tail"):
            assert row["metrics"][figure] == pytest.approx(document["float"]["metrics"][figure], abs=within)
