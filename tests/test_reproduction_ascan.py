"""AsCAN's study: costs, the rules of its claims, training that follows the seed, drawings that are read."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from offramp.errors import BadInput
from offramp.models.ascan_unet import read_digits
from offramp.models.data import InMemory
from offramp.reproductions import Study, _ascan_drawing, _ascan_training, _same_different, ascan, claims_of
from offramp.reproductions._ascan_training import (
    LAYOUTS,
    SIZE,
    Trained,
    config_of,
    draw_digits,
    draw_pairs,
    fresh,
    fresh_layouts,
    held_out,
    train_layouts,
)
from offramp.reproductions._trainings import two_threads

DIGITS, PAIRS = [0.9, 0.96], [0.7, 0.8]


def trained(**digits):
    """Every layout with the same accuracies, but those named."""
    return {
        name: Trained(digits.get(name.split("-")[0].replace(" ", "_"), DIGITS), PAIRS, fresh(name, 0))
        for name in LAYOUTS
    }


def test_all_layouts_have_ten_blocks_at_the_same_widths():
    assert {sum(map(len, layout)) for layout in LAYOUTS.values()} == {10}
    assert {config_of(name).widths for name in LAYOUTS} == {(8, 16, 32, 64)}
    assert LAYOUTS["all C"] == tuple(blocks.replace("T", "C") for blocks in LAYOUTS["asymmetric"])


def test_the_asymmetric_layout_costs_least_and_so_the_claims_hold():
    parameters, macs = ascan.costs()
    assert (parameters.holds, macs.holds) == (True, True)
    assert parameters.ours.mean == sum(p.numel() for p in fresh("asymmetric", 0).parameters())
    assert parameters.baseline.mean == sum(p.numel() for p in fresh("CoAtNet-like", 0).parameters())
    assert macs.ours.mean < macs.baseline.mean
    assert len(parameters.table["rows"]) == 5


@pytest.mark.parametrize(
    ("ours", "holds"), [([0.9, 0.96], True), ([0.895, 0.955], True), ([0.88, 0.94], False), ([0.88, 0.97], False)]
)
def test_a_point_below_the_better_symmetric_layout_is_within_one(ours, holds):
    digits, _ = ascan.accuracies(trained(asymmetric=ours, alternating=[0.0, 0.0]))
    assert digits.holds is holds
    assert digits.baseline.mean == pytest.approx(0.93)
    assert "CoAtNet-like" in digits.note


@pytest.mark.parametrize(("ours", "holds"), [([0.8, 0.9], True), ([0.8, 0.8], False), ([0.7, 0.8], False)])
def test_on_pairs_every_seed_counts(ours, holds):
    found = trained()
    found["asymmetric"] = replace(found["asymmetric"], pairs=ours)
    assert ascan.accuracies(found)[1].holds is holds


@pytest.mark.parametrize(
    ("ms", "right", "holds"), [(1.9, 0.95, True), (1.9, 0.94, True), (1.9, 0.93, False), (2.1, 0.99, False)]
)
def test_the_trade_off_asks_for_both_speed_and_accuracy(ms, right, holds):
    times = {("asymmetric", "int8"): ms, ("alternating", "int8"): 2.0}
    shares = {("asymmetric", "int8"): right, ("alternating", "int8"): 0.95}
    found = ascan._trade_off("alternating", "int8", times, shares)
    assert (found.holds, found.ours.mean, found.baseline.mean) == (holds, ms, 2.0)


@pytest.mark.parametrize(("reversed_ms", "holds"), [(9.0, True), (3.5, False)])
def test_growth_is_that_of_the_slower_of_two_against_the_fastest_of_others(monkeypatch, reversed_ms, holds):
    last = {"asymmetric": 3.0, "CoAtNet-like": 4.0, "alternating": 5.0, "all C": 2.0, "reversed": reversed_ms}
    values = iter([ms for name in LAYOUTS for ms in (1.0, 2.0, last[name])])
    monkeypatch.setattr(ascan, "_least_ms", lambda network, image: next(values))
    found = ascan.scaling(Study())
    assert (found.holds, found.baseline.mean, found.ours.mean) == (holds, 4.0, min(5.0, reversed_ms))


def test_times_are_taken_of_the_network():
    assert 0 < ascan._least_ms(fresh("asymmetric", 0).eval(), torch.zeros(1, 1, SIZE, SIZE), runs=2) < 10_000


def test_pictures_hold_digits_of_the_split_and_labels_that_the_network_has():
    images, labels = draw_pairs(50, 0, "train")
    assert images.shape == (50, 1, SIZE, SIZE)
    assert sorted(labels.unique().tolist()) == [10, 11]
    assert draw_digits(50, 0, "test")[1].max() < 10
    prepared, _ = held_out(200)
    assert abs(prepared.mean().item()) < 0.5 and 0.3 < prepared.std().item() < 2


def test_training_follows_the_seed_whatever_runs_beside_it(monkeypatch):
    monkeypatch.setattr(_same_different, "TEST_COUNT", 20)
    monkeypatch.setattr(_ascan_training, "LAYOUTS", {name: LAYOUTS[name] for name in ("asymmetric", "all C")})
    before = torch.get_num_threads()
    with two_threads() as pool:
        both = train_layouts(pool, fresh_layouts((0, 1)), 2, 2, ("asymmetric",))
        alone = train_layouts(pool, fresh_layouts((1,)), 2, 2, ("asymmetric",))
    assert torch.get_num_threads() == before
    assert both["asymmetric"].digits[1] == alone["asymmetric"].digits[0]
    assert both["asymmetric"].pairs[1] == alone["asymmetric"].pairs[0]
    assert (len(both["all C"].digits), both["all C"].pairs) == (2, [])


def test_the_judge_of_drawings_reads_real_digits():
    data = read_digits("digits", 0)
    reader, right = _ascan_drawing._reader(data)
    assert right > 0.97
    assert isinstance(data.test, InMemory)
    _, targets = data.test.batch(range(50))
    found = reader(targets[:, 1:].reshape(-1, 1, 16, 16))
    assert np.mean(found == targets[:, 0].numpy()) > 0.9


@pytest.mark.parametrize(
    ("float32", "int8", "holds"), [(0.95, 0.9, [True, True]), (0.85, 0.85, [False, True]), (0.95, 0.89, [True, False])]
)
def test_drawings_are_held_to_a_share_and_int8_to_floats(monkeypatch, float32, int8, holds):
    monkeypatch.setattr(_ascan_drawing, "restore", lambda run: float32)
    monkeypatch.setattr(_ascan_drawing, "run_file", lambda path: path)
    monkeypatch.setattr(_ascan_drawing, "in_batches", lambda run: int8)
    monkeypatch.setattr(_ascan_drawing, "_reader", lambda data: (None, 0.99))
    monkeypatch.setattr(_ascan_drawing, "_recognised", lambda share, seed, reader: share)
    run = type("Run", (), {"metrics": {"noise_error": 0.05}})()
    assert [claim.holds for claim in _ascan_drawing.drawings(Study((0, 1)), run, "file")] == holds


def test_the_study_takes_no_data_of_the_users():
    with pytest.raises(
        BadInput, match="folder: this study draws its pictures from the bundled digits; leave out --data"
    ):
        ascan.reproduce(Study(data="folder"))


@pytest.mark.slow
def test_the_whole_study_runs_at_small_effort(monkeypatch, quick_codes):
    """With a block in each stage, on two sizes, and drawings of few steps."""
    for name, stages in LAYOUTS.items():
        monkeypatch.setitem(LAYOUTS, name, tuple(blocks[0] for blocks in stages))
    monkeypatch.setattr(ascan, "_SIZES", (32, 64))
    monkeypatch.setattr(_ascan_drawing, "Sampler", partial(_ascan_drawing.Sampler, steps=2))
    said = []
    claims = claims_of("ascan", Study((0,), effort=0.02, say=said.append))
    assert len({row["claim"] for row in claims}) == len(claims) == 9
    assert all(isinstance(row["holds"], bool) for row in claims)
    assert len(said) >= 6
