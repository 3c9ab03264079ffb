"""Element-wise operators, activations and casts of the ML program evaluator against torch."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

sys.path.append(str(Path(__file__).parent))
from mil_programs import Case, compare, like

GENERATOR = np.random.default_rng(0)
INPUTS = {
    "x": np.concatenate([[0.0, -0.0, 0.5, 1.5, 2.5, -0.5, -1.5], GENERATOR.normal(size=53) * 3])
    .reshape(2, 3, 2, 5)
    .astype(np.float32),
    "y": (GENERATOR.normal(size=(2, 3, 2, 5)) * 2 + 0.1).astype(np.float32),
    "p": GENERATOR.uniform(0.2, 2, size=(2, 3, 2, 5)).astype(np.float32),
    "u": GENERATOR.uniform(-0.9, 0.9, size=(2, 3, 2, 5)).astype(np.float32),
    "c": GENERATOR.normal(size=(1, 3, 1, 1)).astype(np.float32),
    "i": GENERATOR.integers(-9, 9, size=(2, 3)).astype(np.int32),
    "j": GENERATOR.choice([-4, -3, 2, 5], size=(2, 3)).astype(np.int32),
}


def one(name, expected, value="x", **settings):
    """A unary operator."""
    plain = [str(s).replace(".", "p").replace("-", "m") for s in settings.values() if not isinstance(s, np.ndarray)]

    def build(mb, x):
        typed = {key: like(x, s) if isinstance(s, float) else s for key, s in settings.items()}
        return getattr(mb, name)(x=x, **typed)

    return Case("_".join([name, *plain]), (value,), build, expected)


def two(name, expected, values=("x", "y")):
    return Case(f"{name}_{''.join(values)}", values, lambda mb, x, y: getattr(mb, name)(x=x, y=y), expected)


UNARY = [
    *(
        one(n, getattr(torch, n))
        for n in ("abs", "ceil", "cos", "erf", "floor", "sign", "sin", "square", "tanh", "atan")
    ),
    *(one(n, getattr(torch, n), "u") for n in ("acos", "asin", "atanh", "cosh", "exp", "exp2", "sinh", "tan")),
    one("round", lambda x: torch.from_numpy(np.round(x.numpy()))),
    one("sqrt", torch.sqrt, "p"),
    one("inverse", lambda x: 1 / (x + 0.25), "p", epsilon=0.25),
    one("log", lambda x: torch.log(x + 0.5), "p", epsilon=0.5),
    one("rsqrt", lambda x: 1 / torch.sqrt(x + 0.125), "p", epsilon=0.125),
    one("clip", lambda x: x.clamp(-1, 2), alpha=-1.0, beta=2.0),
    one("threshold", lambda x: x.clamp(min=0.5), alpha=0.5),
    one("identity", lambda x: x),
]
ACTIVATIONS = [
    one("relu", torch.relu),
    one("relu6", functional.relu6),
    one("leaky_relu", lambda x: functional.leaky_relu(x, 0.25), alpha=0.25),
    one("elu", lambda x: functional.elu(x, 0.5), alpha=0.5),
    one("silu", functional.silu),
    one("sigmoid", torch.sigmoid),
    one("softplus", functional.softplus),
    one("softsign", functional.softsign),
    one("gelu", functional.gelu, mode="EXACT"),
    one("gelu", lambda x: functional.gelu(x, approximate="tanh"), mode="TANH_APPROXIMATION"),
    one("gelu", lambda x: x / (1 + torch.exp(-1.702 * x)), mode="SIGMOID_APPROXIMATION"),
    one("sigmoid_hard", lambda x: (0.25 * x + 0.5).clamp(0, 1), alpha=0.25, beta=0.5),
    one("thresholded_relu", lambda x: functional.threshold(x, 0.4999, 0.0), alpha=0.5),
    one("clamped_relu", lambda x: torch.where(x >= 0, x, 0.25 * x).clamp(max=1.5), alpha=0.25, beta=1.5),
    one("linear_activation", lambda x: 0.5 * x - 1, alpha=0.5, beta=-1.0),
    one("scaled_tanh", lambda x: 0.5 * torch.tanh(2 * x), alpha=0.5, beta=2.0),
    one("prelu", lambda x: functional.prelu(x, torch.tensor([0.25, 0.5, -1])), alpha=np.float32([0.25, 0.5, -1])),
    one("softmax", lambda x: functional.softmax(x, 1), axis=1),
    one("softmax", lambda x: functional.softmax(x, -1), axis=-1),
    Case(
        "softplus_parametric",
        ("x",),
        lambda mb, x: mb.softplus_parametric(x=x, alpha=np.float32([1, 2, 3]), beta=np.float32([1, 0.5, 2])),
        lambda x: (
            torch.tensor([1.0, 2, 3]).view(3, 1, 1)
            * torch.log1p(torch.exp(torch.tensor([1, 0.5, 2]).view(3, 1, 1) * x))
        ),
    ),
    Case(  # hard swish, as converters write it
        "hard_swish",
        ("x",),
        lambda mb, x: mb.mul(x=x, y=mb.mul(x=mb.relu6(x=mb.add(x=x, y=like(x, 3))), y=like(x, 0.125))),
        lambda x: x * functional.relu6(x + 3) * 0.125,
    ),
]
BINARY = [
    two("add", torch.add),
    two("sub", torch.sub),
    two("mul", torch.mul),
    two("maximum", torch.maximum),
    two("minimum", torch.minimum),
    two("pow", torch.pow, ("p", "y")),
    two("mul", torch.mul, ("x", "c")),
    two("add", torch.add, ("i", "j")),
    two("real_div", torch.div, ("x", "p")),
    two("floor_div", lambda x, y: torch.floor(x / y), ("x", "p")),
    two("floor_div", lambda x, y: np.floor_divide(x.numpy(), y.numpy()), ("i", "j")),
    two("mod", lambda x, y: np.mod(x.numpy(), y.numpy()), ("i", "j")),
    *(
        two(n, lambda x, y, n=n: getattr(np, n)(x.numpy(), y.numpy()), pair)
        for n in ("equal", "not_equal", "greater", "greater_equal", "less", "less_equal")
        for pair in (("x", "y"), ("i", "j"))
    ),
]
LOGIC = [
    *(
        Case(
            name,
            ("x", "y"),
            lambda mb, x, y, n=name: getattr(mb, n)(x=mb.greater(x=x, y=like(x, 0)), y=mb.less(x=y, y=like(y, 0))),
            lambda x, y, n=name: getattr(torch, n)(x > 0, y < 0).int(),
        )
        for name in ("logical_and", "logical_or", "logical_xor")
    ),
    Case(
        "logical_not", ("x",), lambda mb, x: mb.logical_not(x=mb.greater(x=x, y=like(x, 0))), lambda x: (x <= 0).int()
    ),
    Case(
        "select",
        ("x", "y"),
        lambda mb, x, y: mb.select(cond=mb.greater(x=x, y=y), a=x, b=y),
        lambda x, y: torch.where(x > y, x, y),
    ),
    Case("cast_int32", ("x",), lambda mb, x: mb.cast(x=x, dtype="int32"), lambda x: x.to(torch.int32)),
    Case("cast_fp32", ("i",), lambda mb, x: mb.cast(x=x, dtype="fp32"), lambda x: x.float()),
    Case("cast_bool", ("i",), lambda mb, x: mb.cast(x=x, dtype="bool"), lambda x: (x != 0).int()),
    Case(
        "cast_fp16_and_back",
        ("x",),
        lambda mb, x: mb.cast(x=mb.cast(x=x, dtype="fp16"), dtype="fp32"),
        lambda x: x.half().float(),
    ),
]


@pytest.mark.parametrize("half", [False, True], ids=["float32", "float16"])
@pytest.mark.parametrize("cases", [UNARY, ACTIVATIONS, BINARY, LOGIC], ids=["unary", "activation", "binary", "logic"])
def test_operator_agrees_with_torch(cases, half, tmp_path):
    if half:
        cases = [case for case in cases if case.name not in ("cast_fp16_and_back", "floor_div_xp")]
    compare(cases, INPUTS, tmp_path / "cases.mlpackage", half)


def test_float16_rounds_after_each_operation(tmp_path):
    """(x + 2048) - 2048 loses the bits of x that 2048 + x has no room for; one rounding at the end would keep them."""
    case = Case(
        "rounded",
        ("x",),
        lambda mb, x: mb.sub(x=mb.add(x=x, y=np.float16(2048)), y=np.float16(2048)),
        lambda x: (x + 2048).half().float() - 2048,
    )
    compare([case], {"x": INPUTS["x"]}, tmp_path / "cases.mlpackage", half=True)
