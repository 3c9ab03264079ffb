"""Layout, slicing, gathering, reduction and normalization of the ML program evaluator against torch and NumPy."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

sys.path.append(str(Path(__file__).parent))
from mil_programs import Case, compare, like

GENERATOR = np.random.default_rng(2)
INPUTS = {
    "x": GENERATOR.normal(size=(2, 4, 6, 3)).astype(np.float32),
    "y": GENERATOR.normal(size=(2, 4, 6, 3)).astype(np.float32),
    "m": GENERATOR.permutation(35).reshape(5, 7).astype(np.float32),
    "n": GENERATOR.integers(-5, 5, size=(3, 4)).astype(np.int32),
    "k": np.array([[0, 2, 1], [3, -1, 0]], np.int32),
}
GAMMA, BETA = np.float32([0.5, 1, 2, -1]), np.float32([0, 1, -1, 0.25])
MEAN, VARIANCE = np.float32([0.1, -0.2, 0, 1]), np.float32([0.5, 1, 2, 0.25])


def case(name, inputs, build, expected):
    return Case(name, tuple(inputs), build, expected)


def tensor(array):
    return torch.from_numpy(array)


LAYOUT = [
    case("reshape", "x", lambda mb, x: mb.reshape(x=x, shape=[0, -1, 3]), lambda x: x.reshape(4, -1, 3)),
    case("reshape_longer", "m", lambda mb, x: mb.reshape(x=x, shape=[1, 0, -1, 0]), lambda x: x.reshape(1, 1, 5, 7)),
    case("transpose", "x", lambda mb, x: mb.transpose(x=x, perm=[2, 0, 3, 1]), lambda x: x.permute(2, 0, 3, 1)),
    case("expand", "m", lambda mb, x: mb.expand_dims(x=x, axes=[0, -1]), lambda x: x[None, :, :, None]),
    case("squeeze", "m", lambda mb, x: mb.squeeze(x=mb.expand_dims(x=x, axes=[1]), axes=[1]), lambda x: x),
    case("concat", "xy", lambda mb, x, y: mb.concat(values=[x, y, x], axis=-2), lambda x, y: torch.cat([x, y, x], 2)),
    case(
        "interleaved",
        "xy",
        lambda mb, x, y: mb.concat(values=[x, y], axis=1, interleave=True),
        lambda x, y: torch.stack([x, y], 2).reshape(2, 8, 6, 3),
    ),
    case("stack", "xy", lambda mb, x, y: mb.stack(values=[x, y], axis=1), lambda x, y: torch.stack([x, y], 1)),
    case("split_even", "x", lambda mb, x: mb.split(x=x, num_splits=3, axis=2)[1], lambda x: x[:, :, 2:4]),
    case("split_sizes", "x", lambda mb, x: mb.split(x=x, split_sizes=[1, 5], axis=2)[1], lambda x: x[:, :, 1:]),
    case("tile", "m", lambda mb, x: mb.tile(x=x, reps=[2, 3]), lambda x: x.repeat(2, 3)),
    case("flatten2d", "x", lambda mb, x: mb.flatten2d(x=x, axis=2), lambda x: x.reshape(8, 18)),
    case("reverse", "x", lambda mb, x: mb.reverse(x=x, axes=[1, 3]), lambda x: x.flip(1, 3)),
    case("cumsum", "m", lambda mb, x: mb.cumsum(x=x, axis=1), lambda x: x.cumsum(1)),
    case(
        "cumsum_before_from_the_end",
        "m",
        lambda mb, x: mb.cumsum(x=x, axis=1, exclusive=True, reverse=True),
        lambda x: x.flip(1).cumsum(1).flip(1) - x,
    ),
    case("band", "m", lambda mb, x: mb.band_part(x=x, lower=1, upper=2), lambda x: x.triu(-1).tril(2)),
    case("shape", "x", lambda mb, x: mb.shape(x=x), lambda x: np.array(x.shape)),
    case("fill", "m", lambda mb, x: mb.add(x=x, y=mb.fill(shape=[5, 1], value=like(x, 2.5))), lambda x: x + 2.5),
    case("fill_like", "m", lambda mb, x: mb.fill_like(ref_tensor=x, value=2.0), lambda x: torch.full_like(x, 2)),
    case("one_hot", "k", lambda mb, x: mb.one_hot(indices=x, one_hot_vector_size=4, axis=1), lambda x: hot(x)),
    case(
        "pad_constant",
        "x",
        lambda mb, x: mb.pad(x=x, pad=[0, 0, 1, 2, 0, 3, 2, 1], mode="constant", constant_val=like(x, -1)),
        lambda x: functional.pad(x, [2, 1, 0, 3, 1, 2], value=-1),
    ),
    *(
        case(
            f"pad_{mode}",
            "x",
            lambda mb, x, mode=mode: mb.pad(x=x, pad=[1, 3, 2, 1], mode=mode),
            lambda x, mode=mode: functional.pad(x, [2, 1, 1, 3], mode=mode),
        )
        for mode in ("reflect", "replicate")
    ),
    case(
        "crop",
        "x",
        lambda mb, x: mb.crop(x=x, crop_height=[1, 2], crop_width=[0, 1]),
        lambda x: x[:, :, 1:4, :2],
    ),
    case(
        "range",
        "n",
        lambda mb, x: mb.range_1d(start=np.int32(1), end=np.int32(11), step=np.int32(3)),
        lambda x: np.arange(1, 11, 3),
    ),
    case(
        "depth_to_space",
        "x",
        lambda mb, x: mb.space_to_depth(x=mb.depth_to_space(x=x, block_size=2), block_size=2),
        lambda x: x,
    ),
]


def hot(indices):
    """Negative indices are nobody's."""
    return (indices.unsqueeze(1) == torch.arange(4).reshape(1, 4, 1)).int()


SLICING = [
    case(
        "by_index",
        "x",
        lambda mb, x: mb.slice_by_index(x=x, begin=[0, 1, -5, 0], end=[2, 4, -1, 3], stride=[1, 2, 1, 2]),
        lambda x: x[:, 1:4:2, -5:-1, ::2],
    ),
    case(
        "by_index_open",
        "x",
        lambda mb, x: mb.slice_by_index(
            x=x,
            begin=[1, 1, 0, 0],
            end=[0, 0, 3, 0],
            begin_mask=[True, False, False, True],
            end_mask=[True, True, False, True],
        ),
        lambda x: x[:, 1:, :3],
    ),
    case(
        "by_index_backwards",
        "x",
        lambda mb, x: mb.slice_by_index(
            x=x,
            begin=[0, 3, 0, 0],
            end=[2, 0, 6, 0],
            stride=[1, -2, 1, -1],
            begin_mask=[False] * 3 + [True],
            end_mask=[False] * 3 + [True],
        ),
        lambda x: x.numpy()[:, 3:0:-2, :, ::-1].copy(),
    ),
    case(
        "by_index_squeezed",
        "x",
        lambda mb, x: mb.slice_by_index(
            x=x, begin=[-1, 0, 2, 0], end=[0, 4, 3, 3], squeeze_mask=[True, False, True, False]
        ),
        lambda x: x[-1, :, 2],
    ),
    case(
        "by_size",
        "x",
        lambda mb, x: mb.slice_by_size(x=x, begin=[0, 1, 2, 0], size=[2, -1, 3, 1]),
        lambda x: x[:, 1:, 2:5, :1],
    ),
    case("gather", "xk", lambda mb, x, k: mb.gather(x=x, indices=k, axis=1), lambda x, k: x[:, k.long()]),
    case(
        "gather_batched",
        "xk",
        lambda mb, x, k: mb.gather(x=x, indices=k, axis=1, batch_dims=1),
        lambda x, k: torch.stack([x[0][k[0].long()], x[1][k[1].long()]]),
    ),
    case(
        "gather_along",
        "mk",
        lambda mb, x, k: mb.gather_along_axis(x=mb.slice_by_size(x=x, begin=[0, 0], size=[5, 3]), indices=k, axis=0),
        lambda x, k: np.take_along_axis(x[:, :3].numpy(), k.numpy(), 0),
    ),
    case(
        "gather_nd",
        "x",
        lambda mb, x: mb.gather_nd(x=x, indices=np.int32([[[0, 1], [1, 3]], [[1, 0], [0, 0]]])),
        lambda x: torch.stack([torch.stack([x[0, 1], x[1, 3]]), torch.stack([x[1, 0], x[0, 0]])]),
    ),
    case(
        "gather_nd_batched",
        "x",
        lambda mb, x: mb.gather_nd(x=x, indices=np.int32([[[3, 5]], [[0, 1]]]), batch_dims=1),
        lambda x: torch.stack([x[0, 3, 5], x[1, 0, 1]])[:, None],
    ),
    case("argsort", "m", lambda mb, x: mb.argsort(x=x, axis=1, ascending=True), lambda x: x.argsort(1)),
    case("argsort_down", "m", lambda mb, x: mb.argsort(x=x, axis=0), lambda x: x.argsort(0, descending=True)),
    case("topk", "m", lambda mb, x: mb.topk(x=x, k=3, axis=1)[0], lambda x: x.topk(3, 1).values),
    case("topk_index", "m", lambda mb, x: mb.topk(x=x, k=3, axis=0)[1], lambda x: x.topk(3, 0).indices),
]


def reduction(name, expected, value="x", **settings):
    label = "_".join([name, value, *(str(s).replace("-", "m") for s in settings.values())])
    label = "".join(letter for letter in label if letter.isalnum() or letter == "_")
    return Case(label, (value,), lambda mb, x: getattr(mb, name)(x=x, **settings), expected)


REDUCTIONS = [
    *(
        reduction(name, lambda x, f=function, k=keep: f(x, (1, -1), k), axes=[1, -1], keep_dims=keep)
        for keep in (False, True)
        for name, function in {
            "reduce_mean": torch.mean,
            "reduce_sum": torch.sum,
            "reduce_max": torch.amax,
            "reduce_min": torch.amin,
            "reduce_l1_norm": lambda x, d, k: torch.linalg.vector_norm(x, 1, d, k),
            "reduce_l2_norm": lambda x, d, k: torch.linalg.vector_norm(x, 2, d, k),
            "reduce_sum_square": lambda x, d, k: (x**2).sum(d, k),
            "reduce_log_sum_exp": torch.logsumexp,
            "reduce_prod": lambda x, d, k: tensor(np.prod(x.numpy(), axis=d, keepdims=k)),
        }.items()
    ),
    Case(
        "reduce_log_sum",
        ("x",),
        lambda mb, x: mb.reduce_log_sum(x=mb.exp(x=x), axes=[2]),
        lambda x: torch.logsumexp(x, 2),
    ),
    reduction("reduce_sum", lambda x: x.sum(0), "n", axes=[0]),
    reduction("reduce_max", lambda x: x.amax(1), "n", axes=[1]),
    reduction("reduce_argmax", lambda x: x.argmax(1), "m", axis=1),
    reduction("reduce_argmin", lambda x: x.argmin(0, keepdim=True), "m", axis=0, keep_dims=True),
    Case(
        "first_of_equals",
        ("m",),
        lambda mb, x: mb.reduce_argmax(x=mb.minimum(x=x, y=like(x, 3)), axis=1),
        lambda x: np.argmax(np.minimum(x.numpy(), 3), 1),
    ),
]
NORMALIZATIONS = [
    Case(
        "batch_norm",
        ("x",),
        lambda mb, x: mb.batch_norm(
            x=x, mean=MEAN, variance=VARIANCE, gamma=GAMMA, beta=BETA, epsilon=np.float32(1e-3)
        ),
        lambda x: functional.batch_norm(x, tensor(MEAN), tensor(VARIANCE), tensor(GAMMA), tensor(BETA), eps=1e-3),
    ),
    Case(
        "batch_norm_plain",
        ("x",),
        lambda mb, x: mb.batch_norm(x=x, mean=MEAN, variance=VARIANCE),
        lambda x: functional.batch_norm(x, tensor(MEAN), tensor(VARIANCE)),
    ),
    Case(
        "instance_norm",
        ("x",),
        lambda mb, x: mb.instance_norm(x=x, gamma=GAMMA, beta=BETA, epsilon=np.float32(1e-3)),
        lambda x: functional.instance_norm(x, weight=tensor(GAMMA), bias=tensor(BETA), eps=1e-3),
    ),
    Case(
        "layer_norm_last",
        ("x",),
        lambda mb, x: mb.layer_norm(x=x, axes=[-1], gamma=GAMMA[:3], beta=BETA[:3], epsilon=np.float32(1e-3)),
        lambda x: functional.layer_norm(x, (3,), tensor(GAMMA[:3]), tensor(BETA[:3]), 1e-3),
    ),
    Case(
        "layer_norm_channels",
        ("x",),
        lambda mb, x: mb.layer_norm(x=x, axes=[1], gamma=GAMMA, beta=BETA, epsilon=np.float32(1e-3)),
        lambda x: functional.layer_norm(x.movedim(1, -1), (4,), tensor(GAMMA), tensor(BETA), 1e-3).movedim(-1, 1),
    ),
    Case(
        "l2_norm",
        ("x",),
        lambda mb, x: mb.l2_norm(x=x, epsilon=np.float32(1e-3)),
        lambda x: x / torch.sqrt((x**2).flatten(1).sum(1) + 1e-3).reshape(2, 1, 1, 1),
    ),
    Case(
        "local_response_norm",
        ("x",),
        lambda mb, x: mb.local_response_norm(
            x=x, size=3, alpha=np.float32(0.5), beta=np.float32(0.75), k=np.float32(2)
        ),
        lambda x: functional.local_response_norm(x, 3, 0.5, 0.75, 2),
    ),
]
GROUPS = {"layout": LAYOUT, "slicing": SLICING, "reduction": REDUCTIONS, "normalization": NORMALIZATIONS}


@pytest.mark.parametrize("group", GROUPS)
def test_operator_agrees_with_torch(group, tmp_path):
    compare(GROUPS[group], INPUTS, tmp_path / "cases.mlpackage")


@pytest.mark.parametrize("group", ["slicing", "reduction"])
def test_operator_agrees_with_torch_in_float16(group, tmp_path):
    compare(GROUPS[group], INPUTS, tmp_path / "cases.mlpackage", half=True)
