"""Draws: the generator's published answers, the same bits from every kernel and split, and the laws they follow."""

import hashlib
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from offramp.devices.synapse import native
from offramp.devices.synapse.draws import MOST_LAYERS, Draws, Purpose, normals, threefry
from offramp.devices.synapse.pulse_trains import line_trains, rounded_counts
from scipy import stats

sys.path.append(str(Path(__file__).parent))
from small_synapses import BUILDS, kernels_of, line_of, plausible

MASK = 0xFFFFFFFF
MANY = 200_000
words32 = st.integers(0, MASK)
purposes = st.sampled_from(list(Purpose))
layers = st.integers(0, MOST_LAYERS - 1)
builds = pytest.mark.parametrize(("compiler", "kernels"), BUILDS)


def word(value):
    return torch.tensor(value, dtype=torch.int64)


def same_bits(a, b):
    return torch.equal(a.view(torch.int32), b.view(torch.int32))


@pytest.mark.parametrize(
    ("key", "counter", "answer"),
    [
        ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
        ((MASK, MASK), (MASK, MASK), (0x1CB996FC, 0xBB002BE7)),
        ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
    ],
)
def test_threefry_gives_the_answers_that_random123_publishes(key, counter, answer):
    found = threefry(*map(word, (*key, *counter)))
    assert tuple(int(each) for each in found) == answer


def test_every_part_of_an_address_is_in_the_key_or_the_counter():
    draws = Draws(seed=5, layer=7)
    assert draws.key(Purpose.WRITE, 9) == 7 << 16 | int(Purpose.WRITE) << 8 | 9
    found = draws.words(Purpose.WRITE, word([11]), step=13, block=9)
    assert found == threefry(word(5), word(draws.key(Purpose.WRITE, 9)), word([11]), word([13]))
    keys = {Draws(0, layer).key(purpose, block) for layer in (0, 1, 65535) for purpose in Purpose for block in (0, 255)}
    assert len(keys) == 3 * len(Purpose) * 2
    assert max(keys) <= MASK


# The same bits, however they are come by


@builds
def test_kernels_draw_the_bits_of_pytorch(compiler, kernels):
    library = kernels_of(compiler, kernels)

    @settings(max_examples=40, deadline=None)
    @given(words32, layers, purposes, words32, words32, st.integers(0, 2100))
    def check(seed, layer, purpose, step, first, count):
        draws = Draws(seed, layer)
        cells = torch.arange(first, first + count)
        words = draws.words(purpose, cells, step)
        assert same_bits(library.normals(seed, draws.key(purpose), step, first, count), normals(*words)[0])
        found = library.uniforms(seed, draws.key(purpose), step, first, count)
        assert same_bits(found, (words[0] >> 8).float() * 2.0**-24)

    check()


@builds
def test_kernels_agree_where_words_are_at_their_limits(compiler, kernels):
    library = kernels_of(compiler, kernels)
    octants = [max(0, min(MASK, eighth * 2**29 + more)) for eighth in range(9) for more in (-1, 0, 1)]
    radii = [0, 1, 2, 3, 2**24, 2**31 - 1, 2**31, MASK - 255, MASK - 1, MASK]
    for word0, word1 in [(a, b) for a in radii for b in octants]:
        cell, step = counter_of(word0, word1, seed=3, key=4)
        wanted = normals(word([word0]), word([word1]))[0]
        assert same_bits(library.normals(3, 4, step, cell, 1), wanted)


def counter_of(word0, word1, seed, key):
    """The counter at which Threefry gives two words: its rounds from the last to the first."""
    keys, rotations = (seed, key, seed ^ key ^ 0x1BD11BDA), ((13, 15, 26, 6), (17, 29, 16, 24))
    for group in reversed(range(5)):
        word0, word1 = word0 - keys[(group + 1) % 3] & MASK, word1 - keys[(group + 2) % 3] - group - 1 & MASK
        for rotation in reversed(rotations[group % 2]):
            mixed = word0 ^ word1
            word1 = mixed >> rotation | mixed << 32 - rotation & MASK
            word0 = word0 - word1 & MASK
    return word0 - seed & MASK, word1 - key & MASK


@builds
def test_kernels_draw_the_trains_of_pytorch(compiler, kernels, monkeypatch):
    library = kernels_of(compiler, kernels)
    monkeypatch.setattr(native, "library", lambda: None)

    @settings(max_examples=25, deadline=None)
    @given(words32, st.integers(0, 2**24), st.integers(1, 4), st.integers(1, 35), st.integers(1, 31))
    def check(seed, step, batch, lines, slots):
        values = torch.randn(batch, lines, generator=torch.Generator().manual_seed(seed)) * 0.7
        values[0, 0], values[-1, -1] = -0.0, 1.0
        draws = Draws(seed, 3)
        wanted = line_trains(values, slots, draws, Purpose.ROW_TRAIN, step)
        found = library.draw_trains(seed, draws.key(Purpose.ROW_TRAIN), step, values, slots)
        assert torch.equal(found, wanted)

    check()


@settings(max_examples=60, deadline=None)
@given(words32, layers, purposes, words32, st.lists(st.integers(0, 70), min_size=1, max_size=6), st.integers(0, 2**31))
def test_a_draw_is_its_parts(seed, layer, purpose, step, parts, first):
    draws = Draws(seed, layer)
    for draw in (draws.normal, draws.uniform):
        starts = [first + sum(parts[:place]) for place in range(len(parts))]
        pieces = [draw(purpose, count, step, start) for count, start in zip(parts, starts)]
        assert same_bits(torch.cat(pieces), draw(purpose, sum(parts), step, first))


def test_steps_drawn_together_are_steps_drawn_one_by_one():
    draws, cells = Draws(1), torch.arange(5)
    together = draws.words(Purpose.READ, cells[None], torch.arange(3)[:, None])
    for step in range(3):
        assert torch.equal(together[1][step], draws.words(Purpose.READ, cells, step)[1])


@pytest.mark.parametrize("compiles", [True, False])
def test_threads_do_not_change_a_bit(compiles, monkeypatch):
    if not compiles:
        monkeypatch.setattr(native, "library", lambda: None)
    threads, found = torch.get_num_threads(), []
    try:
        for count in (1, 4):
            torch.set_num_threads(count)
            found.append(torch.cat([Draws(8).normal(Purpose.WRITE, MANY), Draws(8).uniform(Purpose.STUCK, MANY)]))
    finally:
        torch.set_num_threads(threads)
    assert same_bits(*found)


def test_without_a_compiler_all_draws_are_the_same(monkeypatch):
    def drawn():
        draws = Draws(2**32 - 1, 65535)
        values = torch.linspace(-1, 1, 37).reshape(1, 37)
        counts = rounded_counts(values * 3, draws, 4)
        numbers = draws.normal(Purpose.HIGH, 5000, 9, 77), draws.uniform(Purpose.STUCK, 5000, 9, 77)
        return *numbers, line_trains(values, 7, draws, Purpose.ROW_TRAIN, 5), counts

    with_compiler = drawn()
    monkeypatch.setattr(native, "library", lambda: None)
    assert all(torch.equal(a, b) for a, b in zip(with_compiler, drawn()))


def test_the_generator_has_not_changed():
    """Whoever changes this changes what every seed means, in results that users hold."""
    digest = hashlib.sha256()
    for purpose in list(Purpose)[:20]:  # more may follow
        for draw in (Draws(2024, 3).normal, Draws(2024, 3).uniform):
            digest.update(draw(purpose, 1000, step=17, first=5).numpy().astype("<f4").tobytes())
    assert digest.hexdigest() == "3e88ef0a7c454e3343a69eb3bce76f615a8875f36f9dfb6fbd70f774dd4db9d7"


# What they are distributed like


@pytest.mark.parametrize("place", [0, 1])
def test_both_numbers_of_a_pair_are_normal(place):
    def p_value(seed):
        return stats.kstest(normals(*Draws(seed).words(Purpose.WRITE, torch.arange(MANY)))[place], "norm").pvalue

    assert plausible(p_value)


def test_tails_are_normal_too():
    def p_value(seed):
        beyond = int((Draws(seed).normal(Purpose.READ, MANY).abs() > 3.5).sum())
        return stats.binomtest(beyond, MANY, 2 * stats.norm.sf(3.5)).pvalue

    assert plausible(p_value)


def test_normal_numbers_are_those_of_box_and_muller_in_float64():
    drawn, edges = Draws(6).words(Purpose.READ, torch.arange(MANY)), ([0, 0, MASK, MASK], [0, MASK, 0, MASK])
    word0, word1 = (torch.cat([word(edge), each]) for edge, each in zip(edges, drawn))
    uniform = ((word0 >> 1).float() + 0.5).double() / 2**31
    radius, angle = (-2 * uniform.log()).sqrt(), word1.double() * (2 * math.pi / 2**32)
    for found, wanted in zip(normals(word0, word1), (radius * angle.cos(), radius * angle.sin())):
        assert float((found - wanted).abs().max()) < 2e-6
    assert float(normals(word0, word1)[0].abs().max()) == pytest.approx(math.sqrt(64 * math.log(2)), rel=1e-6)


def test_uniform_numbers_are_even():
    uniform = Draws(4).uniform(Purpose.STUCK, MANY)
    assert 0.0 <= float(uniform.min()) < 1e-4
    assert 1 - 1e-4 < float(uniform.max()) < 1.0
    assert torch.equal((uniform * 2**24).round() * 2.0**-24, uniform)

    def p_value(seed):
        bins = (Draws(seed).uniform(Purpose.STUCK, MANY) * 256).long()
        return stats.chisquare(torch.bincount(bins, minlength=256).numpy()).pvalue

    assert plausible(p_value)


def test_both_words_have_even_bits():
    def p_value(seed):
        drawn = torch.stack(Draws(seed).words(Purpose.REFERENCE, torch.arange(20_000)))
        ones = torch.stack([(drawn >> bit & 1).sum(1) for bit in range(32)]).flatten().numpy()
        return stats.chi2.sf(float(((ones - 10_000) ** 2 / 5_000).sum()), ones.size)

    assert plausible(p_value)


def test_no_two_cells_draw_the_same_words():
    word0, word1 = Draws(9).words(Purpose.HIGH, torch.arange(MANY))
    assert len(torch.unique(word0 << 31 ^ word1)) == MANY
    assert len(torch.unique(Draws(9).normal(Purpose.HIGH, 1000))) == 1000


KINDS = {
    "purposes": lambda seed, count: [Draws(seed).normal(each, count) for each in Purpose],
    "layers": lambda seed, count: [
        Draws(seed, each).normal(Purpose.HIGH, count) for each in (0, 1, 2, 255, 256, 65535)
    ],
    "seeds": lambda seed, count: [Draws(seed ^ 1 << bit).normal(Purpose.HIGH, count) for bit in range(0, 32, 4)],
    "steps": lambda seed, count: [Draws(seed).normal(Purpose.WRITE, count, each) for each in (0, 1, 2, 2**24, 2**31)],
    "cells": lambda seed, count: [Draws(seed).normal(Purpose.WRITE, count, first=each) for each in (0, 1, 2, 16, 256)],
    "blocks": lambda seed, count: [
        number
        for block in (0, 1, 255)
        for number in normals(*Draws(seed).words(Purpose.WRITE, torch.arange(count), block=block))
    ],
}


@pytest.mark.parametrize("kind", KINDS)
def test_draws_for_different_things_are_uncorrelated(kind):
    count = 20_000

    def largest(seed):
        found = np.corrcoef(torch.stack(KINDS[kind](seed, count)).numpy())
        return np.abs(found - np.eye(len(found))).max()

    # One of 190 pairs exceeds four deviations by chance for one seed in a hundred.
    assert min(largest(1), largest(2)) < 4 / math.sqrt(count)


def test_the_sign_of_one_cell_tells_nothing_of_the_next():
    def p_value(seed):
        signs = Draws(seed).normal(Purpose.HIGH, MANY) > 0
        pairs = torch.bincount(signs[:-1:2].long() * 2 + signs[1::2].long(), minlength=4)
        return stats.chisquare(pairs.numpy()).pvalue

    assert plausible(p_value)


@pytest.mark.parametrize(
    ("seed", "layer", "line"),
    [
        (-1, 0, "seed -1: must be from 0 to 4294967295"),
        (2**32, 0, "seed 4294967296: must be from 0 to 4294967295"),
        (0, 65536, "layer 65536: must be from 0 to 65535"),
        (0, -1, "layer -1: must be from 0 to 65535"),
    ],
)
def test_seeds_and_layers_have_bounds(seed, layer, line):
    assert line_of(Draws, seed, layer) == line
