"""The CARE Transformer as it ships, as a backbone, and with parts of its block changed."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from offramp.export.write import write_artifact
from offramp.models.care_blocks import CareBlock, LinearAttention
from offramp.models.care_pyramid import LEVELS, CarePyramid, strides, widths
from offramp.models.care_transformer import S0, S1, S2, XXS, CareConfig, CareTransformer, fold
from offramp.models.care_variants import ASYMMETRIC, VARIANTS, VariantBlock, at_equal_macs, macs, variant_network
from offramp.models.system import find_system
from offramp.quant.capture import capture, to_program
from offramp.runtime.macs import count_program
from offramp.runtime.onnx_graph import read_onnx_graph
from offramp.runtime.tflite_graph import read_tflite
from torch import nn
from torch.nn import functional

TINY = CareConfig((1, 2), (4, 8), ((2, 1), (1, 2)), (0, 4), 64, num_classes=5, in_channels=2, gamma=0.5)
BY_NAME = {variant.name: variant for variant in VARIANTS}


def trained_looking(network, seed):
    """Weights, statistics, gains and gammas as training may leave them: nothing is 0, 1 or equal to its neighbour."""
    draws = torch.Generator().manual_seed(seed)
    for name, tensor in (*network.named_parameters(), *network.named_buffers()):
        if tensor.is_floating_point():
            values = torch.randn(tensor.shape, generator=draws, dtype=torch.float64)
            fan = math.prod(tensor.shape[1:]) if tensor.ndim > 1 else 1
            values = values.abs() + 0.1 if name.endswith("running_var") else values / math.sqrt(fan)
            tensor.data.copy_(values)
    return network.eval()


def elements(module):
    return sum(parameter.numel() for parameter in module.parameters())


def batch_norm_channels(config):
    """Of the stem, of each layer between stages, and of both interactions of each block."""
    stage_widths = [4 * g for g in config.memory_dims]
    in_blocks = sum(depth * (3 * g + 4 * g) for depth, g in zip(config.depths, config.memory_dims))
    return stage_widths[0] + sum(stage_widths[:-1]) + in_blocks


def relative(found, expected):
    return float((found - expected).norm() / expected.norm())


# Foldings


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([(), (2,), (3, 1)]))
def test_folding_changes_nothing_but_rounding(seed, zeroed):
    """In float64, where rounding is 1e-16 a step: what is left of 1e-12 is algebra. Gammas may well be zero."""
    network = trained_looking(CareTransformer(TINY).double(), seed)
    for channel in zeroed:
        network.stages[0][0].gamma.data[0, channel] = 0
    images = torch.randn(3, 2, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with torch.no_grad():
        assert relative(fold(network)(images), network(images)) < 1e-12
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())  # it was a copy


def test_folding_in_float32_costs_roundings_of_float32():
    """Some 200 operations one after another, each off by at most 2**-24 of its values."""
    network = trained_looking(CareTransformer(XXS), 1)
    images = torch.randn(4, 1, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert 0 < relative(fold(network)(images), network(images)) < 200 * 2**-24


def test_both_foldings_happen_and_a_second_time_changes_nothing():
    network = trained_looking(CareTransformer(TINY), 2)
    folded = fold(network)
    assert folded.distillation_head is None and folded.class_head.norm.weight is None
    blocks = [module for module in folded.modules() if isinstance(module, CareBlock)]
    assert len(blocks) == sum(TINY.depths) and all(block.gamma is None for block in blocks)
    assert [block.memory.scale is None for block in blocks] == [False, False, True]  # the last block has no gamma
    again = fold(folded)
    assert all(torch.equal(tensor, again.state_dict()[name]) for name, tensor in folded.state_dict().items())


@pytest.mark.parametrize(("config", "millions"), [(S0, 1.03), (S1, 1.03), (S2, 1.54)], ids=["s0", "s1", "s2"])
def test_one_head_saves_a_classifier_and_two_affine_norms(config, millions):
    with torch.device("meta"):
        network = CareTransformer(config)
        saved = elements(network) - elements(fold(network))
    assert saved == config.num_classes * (config.class_dim + 1) + 2 * 2 * config.class_dim
    assert saved / 1e6 == pytest.approx(millions, abs=0.005)


def test_capturing_the_folded_network_leaves_no_batch_norm_behind():
    """No norm, nor the multiplication and addition that one becomes where it cannot be folded into a layer."""
    network = trained_looking(CareTransformer(TINY), 3)
    images = (torch.randn(1, 2, 16, 16),)
    captured = capture(fold(network), images)
    targets = [str(node.target) for node in captured.module.graph.nodes]
    assert not any("batch_norm" in target for target in targets)
    assert not any(target.endswith("_shift") for target in targets)
    with torch.no_grad():
        assert relative(captured.module(*images)[0], network(*images)) < 200 * 2**-24
    counted = count_program(to_program(captured.module, captured.example_inputs)).parameters
    assert counted == elements(fold(network)) - 2 * batch_norm_channels(TINY)


def test_every_system_of_the_paper_ships_folded():
    for name in ("care_s0", "care_s1", "care_s2", "care_xxs", "care_s0_pyramid"):
        assert find_system(name).ship is fold


# Backbone


def test_the_pyramid_has_a_map_a_stage_at_strides_4_to_32():
    system = find_system("care_s0_pyramid")
    with torch.device("meta"), torch.no_grad():
        maps = system.build().eval()(torch.empty(system.input_shapes["image"]))
    assert system.output_names == LEVELS and strides(S0) == (4, 8, 16, 32)
    expected = [(1, width, 256 // stride, 256 // stride) for width, stride in zip(widths(S0), strides(S0))]
    assert [tuple(each.shape) for each in maps] == expected
    assert widths(S0) == (32, 64, 128, 1024)


def test_the_pyramids_weights_are_the_classifiers():
    classifier = trained_looking(CareTransformer(TINY), 4)
    pyramid = CarePyramid(classifier)
    names = {name for name in classifier.state_dict() if "head" not in name}
    assert set(pyramid.state_dict()) == names
    images = torch.randn(2, 2, 16, 16)
    with torch.no_grad():
        *_, coarsest = pyramid(images)
        logits = classifier.class_head(functional.gelu(coarsest.mean((2, 3))))
        logits = (logits + classifier.distillation_head(functional.gelu(coarsest.mean((2, 3))))) / 2
    torch.testing.assert_close(logits, classifier(images))


def test_a_pyramid_folds_to_the_same_maps():
    pyramid = trained_looking(CarePyramid(CareTransformer(TINY).double()), 5)
    images = torch.randn(2, 2, 16, 16, dtype=torch.float64)
    folded = fold(pyramid)
    assert folded.stages[0][0].gamma is None and pyramid.stages[0][0].gamma is not None
    with torch.no_grad():
        for found, expected in zip(folded(images), pyramid(images), strict=True):
            assert relative(found, expected) < 1e-12


# Attention


def test_linear_attention_is_the_weighted_mean_of_its_definition():
    """Written out with the N x N weights that the network never makes: a_nm = phi(q_n).phi(k_m), each row to sum 1."""
    layer = LinearAttention(8, 4).double()
    x = torch.randn(2, 8, 3, 5, dtype=torch.float64)
    query, key = (functional.elu(part.reshape(2, 2, 4, 15)) + 1 for part in layer.query_key(x).chunk(2, 1))
    weights = torch.einsum("bhdn,bhdm->bhnm", query, key) / 15
    weights = weights / (weights.sum(-1, keepdim=True) + 1e-6)
    expected = torch.einsum("bhnm,bhdm->bhdn", weights, x.reshape(2, 2, 4, 15)).reshape(x.shape)
    torch.testing.assert_close(layer(x), expected)


POSITIONS = 17 * 17  # of stage 2, a number that no other size of the network has


@pytest.mark.parametrize("target", ["onnx", "tflite"])
def test_no_value_of_an_exported_network_is_quadratic_in_the_positions(target, tmp_path):
    network = trained_looking(CareTransformer(replace(TINY, stem=2, depths=(1, 1))), 6)
    image = torch.randn(1, 2, 68, 68)  # 34 x 34 and 17 x 17 positions
    captured = capture(fold(network), (image,), ("image",), ("logits",))
    program = to_program(captured.module, captured.example_inputs)
    names = {"input_names": ("image",), "output_names": ("logits",)}
    artifact = write_artifact(target, program, tmp_path / f"care.{target}", precision="float32", **names)
    shapes = onnx_shapes(artifact.path) if target == "onnx" else tflite_shapes(artifact.path)
    assert any(POSITIONS in shape for shape in shapes)  # attention's tokens are there
    assert [shape for shape in shapes if shape.count(POSITIONS) > 1] == []
    largest = max(math.prod(shape) for shape in shapes)
    assert largest <= 34 * 34 * 32  # hidden channels of the first stage; POSITIONS**2 would be 83,521 a head
    assert largest < POSITIONS**2


def onnx_shapes(path):
    graph = read_onnx_graph(path)
    return [graph.shape(name) for node in graph.nodes for name in node.output if name]


def tflite_shapes(path):
    return [tensor.shape for tensor in read_tflite(path).tensors if tensor.data is None]


# Ablations


def mixers(config, size, attended, near, far):
    """MACs of token mixing by the channels (in units of g) that are attended to and that each convolution sees."""
    count, side = 0, size // config.stem
    for depth, g, head_dim in zip(config.depths, config.memory_dims, config.head_dims):
        a, positions = round(attended * g), side * side
        projections = 2 * a * a  # query and key
        per_head = 2 * head_dim * head_dim + head_dim  # key^T value, its product with the query, the norm
        one = projections + a // head_dim * per_head if head_dim else (11 + 11) * a
        count += depth * positions * (one + 9 * round(near * g) + 49 * round(far * g))
        side //= 2
    return count


@pytest.mark.parametrize(
    ("config", "size", "millions"),
    [(S1, 224, (26.5, 34.5, 118.0)), (XXS, 32, (0.198, 0.220, 0.740))],
    ids=["s1", "xxs"],
)
def test_a_thin_attended_slice_makes_token_mixing_cheap(config, size, millions):
    shares = {"asymmetric": (1, 1, 1), "symmetric": (1.5, 0.75, 0.75), "stacked": (3, 3, 3)}
    for (name, slices), expected in zip(shares.items(), millions):
        counted = macs(BY_NAME[name], config, size)
        assert counted.mixers == mixers(config, size, *slices)
        assert counted.mixers / 1e6 == pytest.approx(expected, rel=0.003)


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)
def test_variants_cost_within_two_percent_of_each_other(variant):
    wanted = macs(ASYMMETRIC, XXS, 32).total
    assert macs(at_equal_macs(variant, XXS, 32), XXS, 32).total == pytest.approx(wanted, rel=0.02)


def test_the_asymmetric_variant_is_the_papers_block():
    torch.manual_seed(0)
    block, variant = CareBlock(4, (2, 3), 4, 0.7, False), VariantBlock(ASYMMETRIC, 4, (2, 3), 4, 0.7, False)
    moved = ("attention.", "conv3.", "conv7.")
    weights = {f"mixer.{k}" if k.startswith(moved) else k: v for k, v in block.state_dict().items()}
    variant.load_state_dict(weights)
    x = torch.randn(2, 16, 5, 5)
    torch.testing.assert_close(variant(x), block(x))


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)
def test_every_variant_trains_in_all_its_parameters(variant):
    torch.manual_seed(0)
    network = variant_network(variant, TINY)
    network(torch.randn(4, 2, 32, 32)).square().sum().backward()
    assert [name for name, p in network.named_parameters() if not p.grad.abs().sum() > 0] == []


def test_variants_change_what_their_names_say():
    blocks = {name: VariantBlock(variant, 8, (2, 2), 4, 1.0, False).eval() for name, variant in BY_NAME.items()}
    x = torch.randn(1, 32, 6, 6)
    moved = {name: (block(x) - x).detach().abs().amax((0, 2, 3)) > 0 for name, block in blocks.items()}
    assert moved["asymmetric"].all() and not moved["memory kept"][:8].any() and moved["memory kept"][8:].all()
    assert blocks["asymmetric"].mixer.widths == (8, 8, 8) and blocks["symmetric"].mixer.widths == (12, 6, 6)
    assert blocks["no memory"].mixer.widths == (8, 12, 12)
    assert [module.in_channels for module in blocks["stacked"].mixer if isinstance(module, nn.Conv2d)] == [24, 24]
    assert isinstance(blocks["second interaction only"].features, nn.Identity)
    assert isinstance(blocks["first interaction only"].memory, nn.Identity)
