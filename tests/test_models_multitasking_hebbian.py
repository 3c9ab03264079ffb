"""Multitasking networks: energy never rises, several patterns in one state, and int8 that is exact."""

import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from offramp.export.write import write_artifact
from offramp.models.diluted_patterns import PATTERNS, PatternRecipe, draw_archetypes, read_patterns
from offramp.models.hebbian_objective import Retrieval
from offramp.models.hebbian_pictures import WRONG, illustrate
from offramp.models.multitasking_hebbian import (
    PARTS,
    Move,
    Multitasking,
    Pooled,
    ShippedMultitasking,
    parts_of,
    ship,
)
from offramp.models.run import restore
from offramp.models.system import find_system
from offramp.models.training import train
from offramp.quant.capture import capture
from offramp.quant.quantize import quantize
from offramp.quant.scheme import Scheme
from offramp.runtime.session import open_session
from PIL import Image


def signs(shape, seed):
    return torch.randint(0, 2, shape, generator=torch.Generator().manual_seed(seed)).float() * 2 - 1


def energy(patterns, state):
    """-1/2 s J s with J between different parts only, in whole numbers."""
    part = torch.arange(patterns.shape[1]) % PARTS
    couplings = patterns.T @ patterns * (part[:, None] != part)
    return -((state @ couplings) * state).sum(1) / 2


PATTERNS_DRAWN = st.tuples(st.integers(4, 40), st.integers(1, 4), st.floats(0, 0.7), st.integers(0, 10**6))


@settings(deadline=None, max_examples=30)
@given(PATTERNS_DRAWN)
def test_no_step_raises_the_energy_and_states_stay_signs(drawn):
    spins, count, dilution, seed = drawn
    patterns = draw_archetypes(PatternRecipe(n=spins, k=count, d=dilution), torch.Generator().manual_seed(seed))
    step, state = Multitasking(patterns, 1), signs((3, spins), seed)
    for _ in range(8):
        with torch.no_grad():
            after, overlaps = step(state)
        assert set(after.unique().tolist()) <= {-1.0, 1.0}
        assert (energy(patterns, after) <= energy(patterns, state)).all()
        assert torch.equal(overlaps, after @ patterns.T)
        state = after


@settings(deadline=None, max_examples=30)
@given(PATTERNS_DRAWN)
def test_what_ships_computes_the_same(drawn):
    spins, count, dilution, seed = drawn
    patterns = draw_archetypes(PatternRecipe(n=spins, k=count, d=dilution), torch.Generator().manual_seed(seed))
    cues = signs((4, spins), seed)
    for trained in (Multitasking(patterns, 2), Pooled(patterns.T @ patterns, 2)):
        with torch.no_grad():
            expected, found = trained(cues), ship(trained)(cues)
        for one, other in zip(expected, found):
            assert torch.equal(one, other)


def test_blank_spins_keep_their_value_and_others_follow_the_pattern():
    pattern = torch.tensor([[1.0, -1, 1, -1, 1, -1, 1, -1, 0, 0, 0, 0]])
    cue = torch.tensor([[1.0, -1, 1, -1, 1, -1, -1, 1, 1, -1, 1, -1]])
    state, overlaps = Multitasking(pattern, 1)(cue)
    assert state[0].tolist() == [1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1] and overlaps.item() == 8


def test_a_field_of_zero_keeps_a_spin_that_a_pattern_uses():
    """Spins 0 to 3 move apart; the field on spin 0 is s1 + s2 - s1 - s2 = 0 over two patterns that differ there."""
    patterns = torch.tensor([[1.0, 1, 1, 0], [-1.0, 1, 1, 0]])
    for sign in (1.0, -1.0):
        state, _ = Multitasking(patterns, 1)(torch.tensor([[sign, 1.0, 1.0, 1.0]]))
        assert state[0, 0] == sign


def test_spins_move_in_four_parts_that_are_not_coupled_to_themselves():
    assert torch.equal(parts_of(8).sum(0), torch.ones(8)) and parts_of(8)[1].tolist() == [0, 1, 0, 0] * 2
    patterns = torch.ones(1, 8)
    move = Move(patterns, parts_of(8)[0])
    assert move.count.weight[0].tolist() == [0, 1, 1, 1] * 2
    assert move.field.weight[:, 0].tolist() == [2, 0, 0, 0] * 2 + [-2, 0, 0, 0] * 2


def test_rows_read_at_most_127_spins_so_that_counts_fit_8_bits():
    patterns = torch.ones(1, 400)  # 300 spins of other parts: rows of 127, 127 and 46
    move = Move(patterns, parts_of(400)[0])
    assert move.count.weight.sum(1).tolist() == [127, 127, 46, 0, 0]
    assert move.count.bias.tolist() == [0, 0, 0, -128, 127]
    assert (ShippedMultitasking(Multitasking(patterns, 1)).overlap.bias[1:] == 4 * torch.tensor([-128.0, 127])).all()


@pytest.mark.parametrize("steps", [1, 3])
def test_parameters_of_what_ships_are_those_of_the_low_rank_form(steps):
    """For each quarter, 3 rows and 2 constants read 240 spins, and 2 x 240 fields read these; then the overlaps."""
    patterns = draw_archetypes(PatternRecipe(n=240, k=3, d=0.5), torch.Generator().manual_seed(0))
    shipped = ship(Multitasking(patterns, steps))
    move = (3 + 2) * 240 + (3 + 2) + 2 * 240 * (3 + 2)
    assert sum(p.numel() for p in shipped.parameters()) == 4 * move + (3 + 2) * 240 + (3 + 2)


@pytest.mark.parametrize(
    ("name", "least"),
    [("hopfield_multitask", 0.97), ("hopfield_step", 0.97), ("hopfield_digits", 0.8), ("hopfield_unsupervised", 0.9)],
)
def test_one_pass_recalls_several_patterns_at_once(name, least, tmp_path):
    system = find_system(name)
    run = train(system, system.read(system.dataset, 0), None, tmp_path / "run", 0)
    assert run.metrics["accuracy"] > least and run.metrics["epoch"] == 1
    assert 0 <= run.metrics["residual"] < 0.05 and run.metrics["converged"] in (0.0, 1.0)
    if name == "hopfield_multitask":
        ranked = [run.metrics[f"overlap_{rank}"] for rank in (1, 2, 3)]
        assert ranked == pytest.approx([0.5, 0.25, 0.125], abs=0.05)


def test_an_int8_step_is_exact_from_random_states(tmp_path):
    patterns = draw_archetypes(PatternRecipe(n=60, k=3), torch.Generator().manual_seed(0))
    network = ship(Multitasking(patterns, 1).eval())
    captured = capture(network, (signs((1, 60), 0),), ("spins",))
    samples = [(signs((1, 60), seed),) for seed in range(8)]
    scheme = Scheme(rounding="nearest", correct_bias=False)
    program = quantize(captured, samples, scheme).program
    path, outputs = tmp_path / "step.c", ("recalled", "overlaps")
    write_artifact("c", program, path, input_names=("spins",), output_names=outputs, precision="int8")
    run = open_session(path).run
    state = signs((1, 60), 99)
    for _ in range(5):
        with torch.no_grad():
            expected = network(state)
        found = run({"spins": state.numpy()})
        assert np.array_equal(found["recalled"], expected[0].numpy())
        assert np.array_equal(found["overlaps"], expected[1].numpy())
        state = expected[0]


@pytest.mark.parametrize("target", ["onnx", "tflite", "c"])
def test_an_int8_step_by_couplings_keeps_spins_whole_and_fields_of_zero(target, tmp_path):
    """Couplings of -127, 0 and 127, which 8 bits hold: sums cancel out often, and must to the last bit."""
    draw = torch.Generator().manual_seed(0)
    couplings = 127.0 * torch.randint(-1, 2, (60, 60), generator=draw)
    network = ship(Pooled(couplings.triu(1) + couplings.triu(1).T, 1).eval())
    captured = capture(network, (signs((1, 60), 0),), ("spins",))
    samples = [(signs((1, 60), seed),) for seed in range(8)]
    program = quantize(captured, samples, Scheme(rounding="nearest", correct_bias=False)).program
    path = tmp_path / f"step.{target}"
    write_artifact(target, program, path, input_names=("spins",), output_names=("recalled",), precision="int8")
    run = open_session(path).run
    for seed in range(100, 120):
        state = signs((1, 60), seed)
        with torch.no_grad():
            expected = network(state)
        assert np.array_equal(run({"spins": state.numpy()})["recalled"], expected.numpy())


def test_retrieval_is_measured_on_the_archetype_and_by_ranked_overlaps():
    objective = Retrieval()
    targets = torch.tensor([[0.0, 1, -1, 0, 0], [1.0, 0, 0, 1, 1]])
    states = torch.tensor([[0.99, -1.01, 1, 1], [1, 1, -1, 1.0]])
    overlaps = torch.tensor([[2.0, -1.0], [-3.0, 0.0]])
    found = objective.metrics(objective.scores((states, overlaps), (), targets).double())
    assert found == pytest.approx({"accuracy": 0.75, "loss": 0.5, "overlap_1": 2.5 / 4, "overlap_2": 0.5 / 4})
    blanks = torch.tensor([[1.0, 0.0, -1.0, 0.0]])
    (cue,) = objective.inputs(blanks, targets[:1], torch.Generator().manual_seed(0))
    assert set(cue.unique().tolist()) <= {-1.0, 1.0} and cue[0, 0] == 1 and cue[0, 2] == -1


def test_a_picture_shows_wrong_entries_and_says_how_many_are_right():
    data = read_patterns(PATTERNS, 0, PatternRecipe(n=16, k=2, d=0.25, cues=4))
    cues, targets = (part.numpy() for part in data.test.batch(range(8)))
    (picture,) = illustrate(lambda inputs: {"recalled": -inputs["spins"]}, {"spins": cues}, targets)
    chosen = [0, 1, 3, 4, 6, 7]
    right = ((-cues == targets[:, 1:]).sum(1) / 12)[chosen]
    assert f"after: {', '.join(f'{share:.2f}' for share in right)}." in picture.caption
    pixels = np.asarray(Image.open(io.BytesIO(picture.png)))
    assert pixels.shape == (3 * (4 * 24 + 6), 6 * (4 * 24 + 6), 3)
    wrong = (np.abs(pixels.astype(int) - np.array(WRONG) * 255).max(2) <= 1).sum()
    assert wrong == 24 * 24 * 12 * 6  # each entry of an archetype is wrong in the cue or in its negative


def test_a_run_is_restored_to_the_same_network(tmp_path):
    system = find_system("hopfield_step")
    data = read_patterns(PATTERNS, 0, replace(PatternRecipe(), m=3, cues=2))
    run = train(system, data, None, tmp_path / "run", 0)
    network = restore(run, system.build())
    assert set(network.patterns.unique().tolist()) == {-1.0, 0.0, 1.0}
