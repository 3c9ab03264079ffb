"""The study of multitasking networks: its dynamics against direct computation, its laws, and its claims' rules."""

import numpy as np
import pytest
from offramp.errors import BadInput
from offramp.reproductions import Study, _exported_spins, multitasking_hebbian, reproductions
from offramp.reproductions._spins import (
    Spins,
    archetypes,
    examples_of,
    hierarchy,
    learnt_overlap,
    noise_of,
    noisy_overlap,
    overlaps_of,
    random_states,
    ranked,
    relax,
    sweep,
    thermal_overlaps,
)

SLUG = "multitasking-hebbian"


def network(seed=0, count=2, spins=30):
    rng = np.random.default_rng(seed)
    rows = archetypes(count, 3, spins, 0.3, rng)
    return Spins(rows, np.full(count, 0.7 * spins)), random_states((count, spins), rng), rng


def test_fields_are_those_of_couplings_without_a_diagonal():
    spins, state, _ = network()
    for rows, s, found in zip(spins.rows, state, spins.fields(state)):
        couplings = rows.T @ rows
        np.fill_diagonal(couplings, 0)
        assert np.array_equal(couplings @ s, found)


def test_states_at_rest_follow_every_field():
    spins, state, rng = network()
    rest = relax(spins, state, 50, rng)
    assert (spins.fields(rest) * rest >= 0).all() and np.array_equal(sweep(spins, rest, None, rng), rest)


def test_a_sweep_never_raises_the_energy():
    spins, state, rng = network(1)
    after = sweep(spins, state, None, rng)
    assert ((spins.fields(after) * after).sum(1) >= (spins.fields(state) * state).sum(1)).all()


def test_very_cold_dynamics_stays_with_a_pattern_and_very_hot_forgets_it():
    rng = np.random.default_rng(0)
    rows = archetypes(2, 1, 400, 0.0, rng)
    spins = Spins(rows, np.full(2, 400.0))
    cold, hot = thermal_overlaps(spins, rows[:, 0], np.array([0.1, 50.0]), 12, 4, rng)[:, 0]
    assert cold > 0.99 and hot < 0.15


def test_examples_are_right_as_often_as_their_quality_says():
    rng = np.random.default_rng(0)
    patterns = archetypes(1, 2, 2000, 0.3, rng)[0]
    seen = examples_of(patterns, 5, 0.4, rng)
    assert np.array_equal(seen == 0, np.repeat(patterns[:, None] == 0, 5, 1))
    assert (seen * patterns[:, None]).sum() / (5 * np.abs(patterns).sum()) == pytest.approx(0.4, abs=0.03)


def test_laws_have_their_known_values():
    assert hierarchy(0.5, 3).tolist() == [0.5, 0.25, 0.125]
    assert learnt_overlap(noise_of(0.2, 80)) == pytest.approx(0.932, abs=5e-4)
    assert learnt_overlap(noise_of(0.5, 5)) == pytest.approx(0.803, abs=5e-4)
    for t in (0.2, 0.8):
        assert noisy_overlap(t) == pytest.approx(np.tanh(noisy_overlap(t) / t))
    assert noisy_overlap(1.0) == 0 == noisy_overlap(1.2)


def test_overlaps_are_ranked_by_magnitude():
    patterns = np.array([[[1.0, 1, 0, 0], [0, -1, -1, -1]]])
    assert overlaps_of(patterns, np.ones((1, 4))).tolist() == [[0.5, -0.75]]
    assert ranked(np.array([[0.5, -0.75]])).tolist() == [[0.75, 0.5]]


def test_one_step_follows_the_law_with_labels_and_without():
    found = multitasking_hebbian.one_step(5, 0.5, 20)
    assert found == pytest.approx([learnt_overlap(noise_of(0.5, 20))] * 2, abs=0.02)


def test_claims_of_recall_hold_by_the_rules_they_state(monkeypatch):
    for name, value in (("SPINS", 300), ("MANY_SPINS", 400)):
        monkeypatch.setattr(multitasking_hebbian, name, value)
    claims = multitasking_hebbian._recall((9,))
    margins = (0.3, 0.3, 0, 0.05)
    for claim, margin, sign in zip(claims, margins, (1, 1, -1, 1), strict=True):
        assert claim.holds == (sign * (claim.ours.mean - claim.baseline.mean) > sign * margin)
    assert [len(claim.table["rows"]) for claim in claims[1:]] == [6, 6, 6]
    assert all(len(row) == len(c.table["columns"]) for c in claims[1:] for row in c.table["rows"])


def test_claims_of_learning_compare_both_protocols():
    claims = multitasking_hebbian._learning((9,))
    assert len(claims) == 3 and len(claims[0].table["rows"]) == 5
    assert claims[2].holds == (claims[2].ours.mean - claims[2].baseline.mean > -0.02)


def test_an_int8_step_comes_to_rest_where_asynchronous_dynamics_would(monkeypatch):
    monkeypatch.setattr(_exported_spins, "CUES", 9)
    monkeypatch.setattr(_exported_spins, "CALIBRATED", 3)
    found = _exported_spins.exported_step(3)
    assert found.resting == 1.0 and len(found.step) == len(found.asynchronous) == 2
    assert found.step[0] > 0.8


def test_the_study_is_found_and_takes_no_data_of_the_users():
    assert SLUG in reproductions()
    with pytest.raises(BadInput, match="folder: this study draws patterns whose overlaps are known; leave out --data"):
        multitasking_hebbian.reproduce(Study(data="folder"))
