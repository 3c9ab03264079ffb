"""AsCAN: costs in closed form, the layout rule as data, attention against PyTorch's own, what is refused."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from offramp.errors import BadInput
from offramp.models.ascan import XS, Ascan, B, L, T
from offramp.models.ascan_blocks import AscanConfig, Attention, TransformerRun
from offramp.models.data import InMemory, load
from offramp.models.recipe import Recipe
from offramp.models.system import find_system
from offramp.models.training import train
from offramp.reproductions._artifacts import run_on, ship
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

SMALL = AscanConfig(("C", "T"), (8, 16), (1, 2), (8,), 8, pools=(1, 1), num_classes=4, in_channels=1)


def counts(module, *inputs):
    """Parameters, MACs, and MACs by module path."""
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        module.eval()(*inputs)
    name = type(module).__name__
    by_path = {path.removeprefix(f"{name}."): sum(ops.values()) // 2 for path, ops in counter.flop_counts.items()}
    return sum(p.numel() for p in module.parameters()), counter.get_total_flops() // 2, by_path


def conv(inputs, outputs, kernel, side, norm=True):
    """Parameters and MACs of a convolution with a batch norm's two vectors, or with a bias."""
    return outputs * inputs * kernel**2 + outputs * (2 if norm else 1), outputs * inputs * kernel**2 * side**2


def c_block(inputs, outputs, stride, side):
    hidden, squeezed = 4 * inputs, max(1, inputs // 4)
    parts = [conv(inputs, hidden, 3, side), conv(hidden, outputs, 1, side)]
    parts += [conv(hidden, squeezed, 1, 1, norm=False), conv(squeezed, hidden, 1, 1, norm=False)]
    if stride > 1 or inputs != outputs:
        parts.append(conv(inputs, outputs, 1, side, norm=False))
    return sum(p for p, _ in parts), sum(m for _, m in parts)


def t_block(width, side, pool=1):
    """Two layer norms; query and output, key and value, two layers of the MLP; scores and weighted values."""
    positions, keys = side**2, (side // pool) ** 2
    linear = [(width, width, positions)] * 2 + [(width, 2 * width, keys)]
    linear += [(width, 4 * width, positions), (4 * width, width, positions)]
    parameters = 2 * 2 * width + sum(i * o + o for i, o, _ in linear)
    return parameters, sum(i * o * count for i, o, count in linear) + 2 * positions * keys * width


def stages(config, size):
    """Parameters and MACs of each stage."""
    found, inputs, side = [], config.stem[-1], size // 2
    for blocks, width, stride, pool in zip(config.layout, config.widths, config.strides, config.pools):
        side //= stride
        parts, step = [], stride
        if blocks[0] == "T" and (stride > 1 or inputs != width):
            parts, step, inputs = [conv(inputs, width, stride, side, norm=False)], 1, width
        for kind in blocks:
            parts.append(c_block(inputs, width, step, side) if kind == "C" else t_block(width, side, pool))
            step, inputs = 1, width
        found.append((sum(p for p, _ in parts), sum(m for _, m in parts)))
    return found


def whole(config, size):
    channels = [config.in_channels, *config.stem]
    stem = [conv(before, after, 3, size // 2) for before, after in pairwise(channels)]
    head = [(2 * config.widths[-1], 0), conv(config.widths[-1], config.num_classes, 1, 1, norm=False)]
    parts = [*stem, *stages(config, size), *head]
    return sum(p for p, _ in parts), sum(m for _, m in parts)


def on_meta(config, size):
    with torch.device("meta"):
        return counts(Ascan(config), torch.empty(1, config.in_channels, size, size))


# Published million parameters and GMACs; then those of the reconstruction's stages.
BUDGETS = {
    "ascan_t": (T, 55, 7.7, [(0.70, 2.07), (1.78, 1.49), (7.60, 1.49), (43.51, 2.15)]),
    "ascan_b": (B, 98, 16.7, [(0.58, 1.71), (3.99, 3.23), (47.65, 9.17), (43.90, 2.17)]),
    "ascan_l": (L, 173, 30.7, [(0.89, 2.65), (7.09, 5.63), (91.32, 17.52), (77.68, 3.83)]),
}


@pytest.mark.parametrize("name", BUDGETS)
def test_reconstructions_cost_what_the_paper_publishes(name):
    config, million_parameters, giga_macs, by_stage = BUDGETS[name]
    parameters, macs, by_path = on_meta(config, 224)
    assert (parameters, macs) == whole(config, 224)
    assert parameters / 1e6 == pytest.approx(million_parameters, rel=0.03)
    assert macs / 1e9 == pytest.approx(giga_macs, rel=0.03)
    closed = stages(config, 224)
    for place, (million, giga) in enumerate(by_stage):
        assert closed[place][0] / 1e6 == pytest.approx(million, abs=0.0051)
        assert closed[place][1] == by_path[f"backbone.stages.{place}"]
        assert closed[place][1] / 1e9 == pytest.approx(giga, abs=0.0051)


LAYOUTS = ("CC/CCT/CTT/TT", "CC/CCC/TTT/TT", "CT/CTC/TCT/CT", "CC/CCC/CCC/CC", "TT/TTC/TCC/CC")


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("size", [32, 64])
def test_any_layout_has_the_cost_of_its_blocks(layout, size):
    config = replace(XS, layout=tuple(layout.split("/")))
    assert on_meta(config, size)[:2] == whole(config, size)


def test_the_system_for_digits_has_the_cost_of_its_blocks():
    module = find_system("ascan_xs").build()
    assert counts(module, torch.randn(1, 1, 32, 32))[:2] == whole(XS, 32)
    assert whole(XS, 32) == (170_160, 3_547_136)


@pytest.mark.parametrize("name", BUDGETS)
def test_reconstructions_say_so_and_put_c_before_t_with_more_t_in_each_stage(name):
    assert "reconstructed" in find_system(name).source
    layout = BUDGETS[name][0].layout
    assert all("TC" not in blocks for blocks in layout)
    shares = [blocks.count("T") / len(blocks) for blocks in layout]
    assert shares == sorted(set(shares)) and shares[0] == 0


def test_pooled_keys_and_values_cost_a_quarter_of_the_attention():
    config = replace(SMALL, pools=(1, 2))
    assert on_meta(config, 32)[:2] == whole(config, 32)
    assert t_block(16, 8)[1] - t_block(16, 8, pool=2)[1] == (2 * 64 * 16 + 2 * 16 * 16) * (64 - 16)


@settings(max_examples=20, deadline=None)
@given(heads=st.integers(1, 4), positions=st.integers(1, 9), keys=st.integers(1, 9), seed=st.integers(0, 99))
def test_attention_equals_the_fused_operator(heads, positions, keys, seed):
    torch.manual_seed(seed)
    attention = Attention(8 * heads, 8)
    x, read = torch.randn(2, positions, 8 * heads), torch.randn(2, keys, 8 * heads)

    def split(y):
        return y.reshape(2, -1, heads, 8).transpose(1, 2)

    query, (key, value) = attention.query(x), attention.key_value(read).chunk(2, -1)
    mixed = functional.scaled_dot_product_attention(split(query), split(key), split(value))
    expected = attention.project(mixed.transpose(1, 2).reshape(2, positions, -1))
    torch.testing.assert_close(attention(x, read), expected, rtol=0, atol=1e-5)


@settings(max_examples=10, deadline=None)
@given(depth=st.integers(1, 3), pool=st.sampled_from([1, 2]), seed=st.integers(0, 99))
def test_transformer_blocks_know_no_direction(depth, pool, seed):
    """Positions come from convolutions alone: mirrored maps give mirrored results."""
    torch.manual_seed(seed)
    run = TransformerRun(16, depth, pool, SMALL)
    x = torch.randn(1, 16, 4, 6)
    torch.testing.assert_close(run(x.flip(3)), run(x).flip(3), rtol=0, atol=1e-5)


def test_a_run_of_transformer_blocks_changes_the_layout_twice():
    """What moves channels from axis 1 to the last and back stands outside the blocks."""
    graph = torch.export.export(TransformerRun(16, 3, 1, SMALL).eval(), (torch.randn(1, 16, 4, 4),)).graph
    targets = [str(node.target) for node in graph.nodes]
    assert targets.count("aten.flatten.using_ints") == 1 + 3  # the map once, heads in each block


@pytest.mark.parametrize(
    ("image", "pool", "found"), [(64, 1, "32 x 32 with pool 1 reads 1024"), (4, 4, "2 x 2 with pool 4 reads 0")]
)
def test_a_map_that_attention_cannot_read_is_refused(image, pool, found):
    module = Ascan(replace(SMALL, strides=(1, 1), pools=(1, pool), most_keys=1023))
    with pytest.raises(BadInput, match=f"{found} positions, and may read 1 to 1023; change the image's size"):
        module(torch.zeros(1, 1, image, image))


def test_an_image_that_does_not_halve_evenly_is_refused():
    with pytest.raises(BadInput, match="an image of 32 x 40; its sides must be multiples of 16"):
        Ascan(XS)(torch.zeros(1, 1, 32, 40))


def test_faults_of_a_layout_come_in_one_error():
    with pytest.raises(
        BadInput, match=r"widths must have .* \(2\), got \(12,\); .* word of C and T, got 'CX'; the width 12 of T"
    ):
        replace(SMALL, layout=("T", "CX"), widths=(12,))


def tiny_digits():
    digits = load("digits", 1, 16)
    part = InMemory(*digits.train.batch(range(96)))
    return replace(digits, train=part, test=part)


def test_a_small_classifier_trains_quantizes_and_runs(tmp_path):
    network = Ascan(replace(SMALL, num_classes=10))
    data = tiny_digits()
    run = train(network, data, Recipe(epochs=4, batch_size=16, threads=1), tmp_path / "run", progress=False)
    assert run.metrics["train_loss"] < run.history[0]["train_loss"]
    network.load_state_dict(run.weights)
    network.eval()
    image = data.preprocessing.apply(data.train.batch(range(16))[0])
    paths = ship("small", network, {"image": image[:1]}, {"image": image.numpy()}, tmp_path, targets=("onnx",))
    with torch.no_grad():
        expected = network(image).numpy()
    for (_, precision), path in paths.items():
        (found,) = run_on(path, {"image": image.numpy()}).values()
        error = np.abs(found - expected).max() / np.abs(expected).max()
        assert error < (1e-4 if precision == "float32" else 0.15), precision


def test_without_squeeze_a_block_has_no_gate():
    gated, plain = Ascan(SMALL), Ascan(replace(SMALL, squeeze=0))
    difference = sum(p.numel() for p in gated.parameters()) - sum(p.numel() for p in plain.parameters())
    assert difference == 8 * 4 * 2 * 2 + 2 + 8 * 4
    assert not any(isinstance(m, nn.Sigmoid) for m in plain.modules())
