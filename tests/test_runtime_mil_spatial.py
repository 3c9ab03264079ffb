"""Convolution, pooling, resizing and matrix products of the ML program evaluator against torch."""

import itertools
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

sys.path.append(str(Path(__file__).parent))
from mil_programs import Case, compare

GENERATOR = np.random.default_rng(1)


def normal(*shape):
    return GENERATOR.normal(size=shape).astype(np.float32)


INPUTS = {"x": normal(2, 4, 9, 8), "s": normal(2, 4, 11), "v": normal(1, 2, 5, 6, 4), "m": normal(2, 3, 5)}
BIAS = normal(6)
WEIGHTS = {
    (groups, k): normal(6 if groups < 4 else 4, 4 // groups, *k) for groups in (1, 2, 4) for k in ((3, 3), (2, 4))
}


def same(x, kernel, stride, dilation, lower=False):
    """x padded as TensorFlow's SAME: ceil(size / stride) positions, the odd element after (lower: before)."""
    sides = []
    for size, k, s, d in reversed(list(zip(x.shape[2:], kernel, stride, dilation))):
        total = max((int(np.ceil(size / s)) - 1) * s + (k - 1) * d + 1 - size, 0)
        first = -(-total // 2) if lower else total // 2
        sides += [first, total - first]
    return sides


def conv_case(number, groups, kernel, stride, dilation, pad_type):
    weight = WEIGHTS[groups, kernel]
    bias = BIAS[: len(weight)] if number % 2 else None
    pad = [1, 2, 0, 3]

    def expected(x):
        sides = {"valid": [0] * 4, "custom": [0, 3, 1, 2]}.get(pad_type)
        if sides is None:
            sides = same(x, kernel, stride, dilation, pad_type == "same_lower")
        b = None if bias is None else torch.from_numpy(bias)
        return functional.conv2d(functional.pad(x, sides), torch.from_numpy(weight), b, stride, 0, dilation, groups)

    def build(mb, x):
        optional = {} if bias is None else {"bias": bias}
        optional |= {"pad": pad} if pad_type == "custom" else {}
        return mb.conv(
            x=x, weight=weight, strides=stride, dilations=dilation, groups=groups, pad_type=pad_type, **optional
        )

    return Case(f"conv_{number}", ("x",), build, expected)


CONVOLUTIONS = [
    conv_case(number, *setting)
    for number, setting in enumerate(
        itertools.product(
            (1, 2, 4), ((3, 3), (2, 4)), ((1, 1), (2, 3)), ((1, 1), (2, 1)), ("valid", "same", "same_lower", "custom")
        )
    )
]


def transposed_case(number, groups, kernel, stride, dilation, pad):
    weight = normal(4, 6 // groups, *kernel)

    def build(mb, x):
        return mb.conv_transpose(
            x=x,
            weight=weight,
            bias=BIAS,
            strides=stride,
            dilations=dilation,
            groups=groups,
            pad_type="custom",
            pad=[pad[0], pad[0], pad[1], pad[1]],
        )

    def expected(x):
        w, b = torch.from_numpy(weight), torch.from_numpy(BIAS)
        return functional.conv_transpose2d(x, w, b, stride, pad, 0, groups, dilation)

    return Case(f"conv_transpose_{number}", ("x",), build, expected)


TRANSPOSED = [
    *(
        transposed_case(number, *setting)
        for number, setting in enumerate(
            itertools.product((1, 2), ((3, 3), (4, 2)), ((1, 1), (2, 3)), ((1, 1), (1, 2)), ((0, 0), (1, 1)))
        )
    ),
    Case(
        "conv_transpose_output_shape",
        ("x",),
        lambda mb, x: mb.conv_transpose(
            x=x, weight=WEIGHTS[1, (3, 3)][:4], bias=BIAS[:4], strides=[2, 2], output_shape=[2, 4, 20, 18]
        ),
        lambda x: functional.conv_transpose2d(
            x, torch.from_numpy(WEIGHTS[1, (3, 3)][:4]), torch.from_numpy(BIAS[:4]), 2, output_padding=1
        ),
    ),
    Case(
        "conv_1d",
        ("s",),
        lambda mb, x: mb.conv(
            x=x, weight=WEIGHTS[2, (3, 3)][..., 0], groups=2, strides=[2], pad_type="custom", pad=[2, 1]
        ),
        lambda x: functional.conv1d(
            functional.pad(x, [2, 1]), torch.from_numpy(WEIGHTS[2, (3, 3)][..., 0]).contiguous(), None, 2, groups=2
        ),
    ),
    Case(
        "conv_3d",
        ("v",),
        lambda mb, x: mb.conv(x=x, weight=VOLUME, pad_type="same"),
        lambda x: functional.conv3d(x, torch.from_numpy(VOLUME), padding=1),
    ),
]
VOLUME = normal(3, 2, 3, 3, 3)


def pooling_case(number, kind, kernel, stride, pad, ceil, exclude):
    """torch's own padding, floor and ceil, and count_include_pad."""

    def build(mb, x):
        settings = {"kernel_sizes": kernel, "strides": stride, "pad_type": "custom", "ceil_mode": ceil}
        settings["pad"] = [pad[0], pad[0], pad[1], pad[1]]
        if kind == "avg_pool":
            settings["exclude_padding_from_average"] = exclude
        return getattr(mb, kind)(x=x, **settings)

    def expected(x):
        if kind == "avg_pool":
            return functional.avg_pool2d(x, kernel, stride, pad, ceil, not exclude)
        return functional.max_pool2d(x, kernel, stride, pad, 1, ceil)

    return Case(f"{kind}_{number}", ("x",), build, expected)


def same_pooling(kind, pad_type):
    def expected(x):
        sides = same(x, (3, 2), (2, 2), (1, 1), pad_type == "same_lower")
        if kind == "max_pool":
            return functional.max_pool2d(functional.pad(x, sides, value=-torch.inf), (3, 2), 2)
        total = functional.avg_pool2d(functional.pad(x, sides), (3, 2), 2)
        return total / functional.avg_pool2d(functional.pad(torch.ones_like(x), sides), (3, 2), 2)

    def build(mb, x):
        extra = {"exclude_padding_from_average": True} if kind == "avg_pool" else {}
        return getattr(mb, kind)(x=x, kernel_sizes=[3, 2], strides=[2, 2], pad_type=pad_type, **extra)

    return Case(f"{kind}_{pad_type}", ("x",), build, expected)


POOLING = [
    *(
        pooling_case(number, *setting)
        for number, setting in enumerate(
            itertools.product(
                ("avg_pool", "max_pool"),
                ((3, 3), (2, 4)),
                ((1, 1), (2, 3)),
                ((0, 0), (1, 1)),
                (False, True),
                (False, True),
            )
        )
    ),
    *(same_pooling(kind, pad_type) for kind in ("avg_pool", "max_pool") for pad_type in ("same", "same_lower")),
    Case(
        "avg_pool_1d",
        ("s",),
        lambda mb, x: mb.avg_pool(x=x, kernel_sizes=[3], strides=[2], pad_type="valid"),
        lambda x: functional.avg_pool1d(x, 3, 2),
    ),
    Case(
        "max_pool_3d",
        ("v",),
        lambda mb, x: mb.max_pool(x=x, kernel_sizes=[2, 3, 2], strides=[1, 2, 2], pad_type="valid"),
        lambda x: functional.max_pool3d(x, (2, 3, 2), (1, 2, 2)),
    ),
    Case(
        "l2_pool",
        ("x",),
        lambda mb, x: mb.l2_pool(x=x, kernel_sizes=[3, 2], strides=[2, 2], pad_type="valid"),
        lambda x: functional.lp_pool2d(x, 2, (3, 2), 2),
    ),
]
RESIZING = [
    Case(
        "upsample_nearest",
        ("x",),
        lambda mb, x: mb.upsample_nearest_neighbor(x=x, scale_factor_height=2, scale_factor_width=3),
        lambda x: functional.interpolate(x, scale_factor=(2, 3), mode="nearest"),
    ),
    Case(
        "resize_nearest",
        ("x",),
        lambda mb, x: mb.resize_nearest_neighbor(x=x, target_size_height=13, target_size_width=5),
        lambda x: functional.interpolate(x, size=(13, 5), mode="nearest"),
    ),
    *(
        Case(
            f"upsample_bilinear_{align}",
            ("x",),
            lambda mb, x, align=align: mb.upsample_bilinear(
                x=x, scale_factor_height=2.5, scale_factor_width=3.0, align_corners=align
            ),
            lambda x, align=align: functional.interpolate(x, size=(22, 24), mode="bilinear", align_corners=align),
        )
        for align in (False, True)
    ),
    *(
        Case(
            f"resize_bilinear_{mode}",
            ("x",),
            lambda mb, x, mode=mode: mb.resize_bilinear(
                x=x, target_size_height=17, target_size_width=6, sampling_mode=mode
            ),
            lambda x, align=align: functional.interpolate(x, size=(17, 6), mode="bilinear", align_corners=align),
        )
        for mode, align in (("UNALIGN_CORNERS", False), ("ALIGN_CORNERS", True), ("STRICT_ALIGN_CORNERS", True))
    ),
    Case(
        "pixel_shuffle",
        ("x",),
        lambda mb, x: mb.pixel_shuffle(x=x, upscale_factor=2),
        lambda x: functional.pixel_shuffle(x, 2),
    ),
]
PRODUCTS = [
    Case(
        "linear",
        ("m",),
        lambda mb, x: mb.linear(x=x, weight=WEIGHTS[1, (3, 3)].reshape(-1, 36)[:, :5], bias=BIAS),
        lambda x: functional.linear(
            x, torch.from_numpy(WEIGHTS[1, (3, 3)].reshape(-1, 36)[:, :5].copy()), torch.from_numpy(BIAS)
        ),
    ),
    Case(
        "matmul_transposed",
        ("m",),
        lambda mb, x: mb.matmul(x=x, y=x, transpose_y=True),
        lambda x: x @ x.transpose(1, 2),
    ),
    Case(
        "matmul_transposed_first",
        ("m",),
        lambda mb, x: mb.matmul(x=x, y=x, transpose_x=True),
        lambda x: x.transpose(1, 2) @ x,
    ),
    Case(
        "einsum",
        ("x",),
        lambda mb, x: mb.einsum(values=(x, np.float32(EINSUM)), equation="bchw,bwhu->bchu"),
        lambda x: torch.einsum("bchw,bwhu->bchu", x, torch.from_numpy(EINSUM)),
    ),
]
EINSUM = normal(2, 8, 9, 3)
GROUPS = {
    "conv": CONVOLUTIONS,
    "conv_transpose": TRANSPOSED,
    "pooling": POOLING,
    "resizing": RESIZING,
    "products": PRODUCTS,
}


@pytest.mark.parametrize("group", GROUPS)
def test_operator_agrees_with_torch(group, tmp_path):
    compare(GROUPS[group], INPUTS, tmp_path / "cases.mlpackage")


@pytest.mark.parametrize(
    ("mode", "size", "out", "expected"),
    [
        ("UNALIGN_CORNERS", 2, 5, [0, 0.1, 0.5, 0.9, 1]),
        ("STRICT_ALIGN_CORNERS", 2, 5, [0, 0.25, 0.5, 0.75, 1]),
        ("DEFAULT", 2, 5, [0, 0.4, 0.8, 1, 1]),
        ("OFFSET_CORNERS", 2, 5, [0.1, 0.3, 0.5, 0.7, 0.9]),
        ("UNALIGN_CORNERS", 2, 6, [0, 0, 1 / 3, 2 / 3, 1, 1]),
        ("DEFAULT", 2, 6, [0, 1 / 3, 2 / 3, 1, 1, 1]),
        ("ALIGN_CORNERS", 7, 1, [3]),
        ("STRICT_ALIGN_CORNERS", 7, 1, [0]),
    ],
)
def test_sampling_grid_is_that_of_the_documentation(mode, size, out, expected):
    """The examples in the notes of `resize_bilinear`."""
    from offramp.runtime.mil.resizing import grid

    np.testing.assert_allclose(grid(size, out, mode).numpy(), expected, atol=1e-12)
