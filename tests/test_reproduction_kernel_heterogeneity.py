"""The study of heterogeneous kernels: what it measures, by which rule a claim holds, and a quick run of the whole."""

import math
from dataclasses import replace

import pytest
import torch
from offramp.errors import BadInput
from offramp.estimate import estimate_of
from offramp.models.log_gabor import LogGabors
from offramp.models.sparse_coding import Circular, admm, psnr, without_small
from offramp.models.system import find_system
from offramp.reproductions import Study, find_reproduction
from offramp.reproductions import kernel_heterogeneity as study_of_kernels
from offramp.reproductions._sparse_codes import COLUMNS, CUTOFF, Coded, closely, coded, read_crops, weight_for

KERNELS = LogGabors(4, (0.2, 0.5), size=6).kernels().float()
CROPS = torch.randn(2, 1, 12, 12, generator=torch.Generator().manual_seed(0))


def made(counts, decibels=(30.0, 32.0), weight=0.1, gaps=(0.001, 0.002)):
    return Coded("a", weight, 7, list(counts), list(decibels), [20.0, 20.0], [1.0, 2.0], [0.5, 0.7], list(gaps))


def test_figures_of_a_code_are_per_pixel_and_crop_by_crop():
    found = coded("mine", KERNELS, CROPS, 0.3, 20)
    operator = Circular(KERNELS, 12, 12)
    code = admm(operator, CROPS, 0.3, 20).code
    counts = [float((each != 0).sum()) / 144 for each in code]
    assert found.counts == pytest.approx(counts) and min(counts) > 0
    assert found.bits == pytest.approx([count * (math.log2(16 * 144) + 8) for count in counts])
    left = operator.synthesise(without_small(code, CUTOFF))
    assert found.dropped == pytest.approx(psnr(CROPS, left).tolist(), abs=1e-3)
    assert found.decibels[0] > found.dropped[0]
    assert (found.dictionary, found.weight, found.iterations) == ("mine", 0.3, 20)
    assert len(found.row()) == len(COLUMNS) and all(isinstance(cell, str) for cell in found.row())


def test_what_has_not_converged_is_shown_so():
    assert made([1.0, 2.0]).row()[-2:] == ["0.20%", "yes"]
    assert made([1.0, 2.0], gaps=(0.001, 0.011)).row()[-2:] == ["1.10%", "no"]


def test_the_close_solver_ends_nearer_to_the_optimum():
    operator = Circular(KERNELS, 12, 12)
    assert (closely(operator, CROPS, 0.3, 400).objective <= admm(operator, CROPS, 0.3, 400).objective * 1.0001).all()
    assert closely(operator, CROPS, 0.3, 400).gap.max() < 0.01


def test_the_weight_for_a_quality_lies_between_those_tried():
    curve = [made([1.0, 1.0], (decibels, decibels), weight) for decibels, weight in ((30.0, 0.1), (20.0, 1.0))]
    assert weight_for(30.0, curve) == pytest.approx(0.1) and weight_for(20.0, curve) == pytest.approx(1.0)
    assert weight_for(25.0, curve) == pytest.approx(math.sqrt(0.1))
    assert weight_for(40.0, curve) == pytest.approx(0.1)  # the nearest tried, and no further


@pytest.mark.parametrize(("counts", "holds"), [([1.3, 2.6], True), ([1.2, 2.6], False)])
def test_fewer_coefficients_means_by_a_third_nearly(counts, holds):
    found = study_of_kernels._fewer("here", made(counts), made([1.0, 2.0]))
    assert found.holds is holds and found.metric == "coefficients per pixel"
    assert (found.baseline, found.ours) == (estimate_of(counts), estimate_of([1.0, 2.0]))


def test_codes_without_a_coefficient_hold_nothing():
    found = study_of_kernels._fewer("here", made([0.0, 0.0]), made([0.0, 0.0]))
    assert not found.holds and found.note.startswith("– times fewer")


@pytest.mark.parametrize(("ours", "holds"), [([22.0, 22.0], True), ([20.0, 23.9], False)])
def test_better_means_by_the_margin_that_the_claim_states(ours, holds):
    assert study_of_kernels._more("better", [20.0, 20.0], ours, 2.0).holds is holds


def test_each_seed_has_a_crop_of_its_own():
    crops = read_crops(None, (0, 1, 2, 3, 4), 32)
    assert crops.held_out.shape == (5, 1, 32, 32) and crops.training.shape[1:] == (1, 32, 32)
    flat = crops.held_out.flatten(1)
    assert (torch.cdist(flat, flat) + 100 * torch.eye(5)).min() > 1
    assert torch.equal(read_crops(None, (3,), 32).held_out[0], crops.held_out[3])


def test_other_photographs_are_refused_where_there_are_none(tmp_path):
    with pytest.raises(BadInput, match="no picture in it"):
        read_crops(str(tmp_path), (0,), 32)


def test_the_whole_study_runs_and_says_what_it_found(monkeypatch):
    system = find_system("sparse_coder_xs")

    def few(name, seed):
        data = system.read(name, seed)
        return replace(data, train=torch.utils.data.Subset(data.train, range(32)))

    monkeypatch.setattr(study_of_kernels, "find_system", lambda name: replace(system, read=few))
    said = []
    claims = find_reproduction("kernel-heterogeneity")(Study((0,), effort=0.02, say=said.append))
    assert len(said) >= 6 and len({claim.claim for claim in claims}) == len(claims) == 17
    for claim in claims:
        assert isinstance(claim.holds, bool) and math.isfinite(claim.ours.mean) and math.isfinite(claim.baseline.mean)
    tables = {claim.table["title"]: claim.table for claim in claims if claim.table}
    assert set(tables) == {
        "Sparseness against quality",
        "Near the optimum",
        "Learned dictionaries",
        "Kernels of ±1",
        "Learned steps",
    }
    for table in tables.values():
        assert all(len(row) == len(table["columns"]) for row in table["rows"])
    names = [row[0] for row in tables["Learned dictionaries"]["rows"]]
    assert len(names) == 6 and sum("and a constant" in name for name in names) == 2
    # At 2 % of the iterations nothing has converged, and the tables say so.
    assert {row[COLUMNS.index("converged to 1%")] for row in tables["Near the optimum"]["rows"]} == {"no"}
