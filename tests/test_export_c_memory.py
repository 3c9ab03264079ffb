"""Where values lie: the arena's plan, the order of axes, and loops over them."""

import re

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from offramp.export.c.arena import ALIGNMENT, Span, least_size, plan
from offramp.export.c.layout import reshaped_order
from offramp.export.c.loops import broadcast, in_order, nest, strides_of

elements = st.sampled_from(["int8_t", "int8_t", "float", "uint64_t"])
rows = st.tuples(st.integers(1, 5000), st.integers(0, 12), st.integers(0, 6), elements)
spans = st.lists(rows, min_size=1, max_size=25).map(
    lambda rows: [Span(f"v{i}", size, first, first + more, kind) for i, (size, first, more, kind) in enumerate(rows)]
)


@given(spans)
def test_neither_what_is_needed_at_one_time_nor_two_types_overlap(found) -> None:
    placed = plan(found)
    for place, one in enumerate(found):
        start = placed.offsets[one.name]
        assert start % ALIGNMENT == 0
        assert start + one.size <= placed.size
        for other in found[place + 1 :]:
            two_types = one.element != other.element and "int8_t" not in (one.element, other.element)
            if two_types or (one.first <= other.last and other.first <= one.last):
                begin = placed.offsets[other.name]
                assert start + one.size <= begin or begin + other.size <= start


@given(spans)
def test_a_plan_is_never_smaller_than_its_busiest_moment(found) -> None:
    assert least_size(found) <= plan(found).size <= sum(-(-s.size // 64) * 64 for s in found)


def test_a_chain_takes_its_two_largest_neighbours() -> None:
    chain = [Span(f"v{i}", size, i, i + 1) for i, size in enumerate((640, 1280, 320, 960, 128))]
    assert plan(chain).size == 640 + 1280


shapes = st.lists(st.sampled_from([1, 2, 3, 4, 6]), min_size=1, max_size=5)


@settings(max_examples=300)
@given(shapes, st.randoms(use_true_random=False), st.data())
def test_a_reshape_in_place_reads_every_element_where_it_lies(shape, random, data) -> None:
    order = list(range(len(shape)))
    random.shuffle(order)
    count = int(np.prod(shape))
    splits = [
        s
        for s in ([count], [1, count], [count, 1], shape, [2, count // 2], [count // 3, 3], [*shape, 1])
        if np.prod(s) == count
    ]
    after = data.draw(st.sampled_from(splits))
    values = np.arange(count).reshape(shape)
    memory = values.transpose(order).ravel()
    found = reshaped_order(shape, tuple(order), after)
    if found is None:
        assert not np.array_equal(memory, values.ravel())
        return
    lying = memory.reshape([after[axis] for axis in found]).transpose(np.argsort(found))
    assert np.array_equal(lying, values.reshape(after))


def test_tokens_of_an_image_lie_as_the_image_does() -> None:
    assert reshaped_order((1, 8, 4, 4), (0, 2, 3, 1), (1, 8, 16)) == (0, 2, 1)
    assert reshaped_order((1, 8, 4, 4), (0, 2, 3, 1), (1, 128)) is None


@settings(max_examples=60)
@given(shapes, st.randoms(use_true_random=False))
def test_loops_visit_every_element_of_both_values(shape, random) -> None:
    first, second = list(range(len(shape))), list(range(len(shape)))
    random.shuffle(first)
    random.shuffle(second)
    strides = [in_order(strides_of(shape, order), first) for order in (first, second)]
    loops = nest(in_order(shape, first), *strides)
    values = np.arange(int(np.prod(shape))).reshape(shape)
    memory = values.transpose(second).ravel()
    found = []
    for index in np.ndindex(*loops.sizes):
        offsets = [sum(i * s for i, s in zip(index, own)) for own in loops.strides]
        found.append((offsets[0], memory[offsets[1]]))
    wanted = values.transpose(first).ravel()
    assert sorted(found) == list(enumerate(wanted))


def test_loops_that_walk_alike_are_merged() -> None:
    loops = nest((1, 4, 5, 8), (160, 40, 8, 1), (160, 40, 8, 1))
    assert loops.sizes == (160,)
    channels = broadcast(strides_of((8, 1, 1), (0, 1, 2)), (8, 1, 1), (1, 8, 4, 5))
    order = (0, 2, 3, 1)
    loops = nest(
        in_order((1, 8, 4, 5), order), in_order(strides_of((1, 8, 4, 5), order), order), in_order(channels, order)
    )
    assert loops.sizes == (20, 8)
    assert loops.offset(1) == "j"
    text = "\n".join(loops.text([f"y[{loops.offset(0)}] = x[{loops.offset(1)}];"]))
    assert re.sub(r"\s+", " ", text).strip() == (
        "for (int32_t i = 0; i < 20; i++) for (int32_t j = 0; j < 8; j++) y[i * 8 + j] = x[j];"
    )
