"""The unrolled sparse coder: its cost in closed form, FISTA where untrained, what training and int8 make of it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from offramp.errors import BadInput
from offramp.models.data import InMemory
from offramp.models.data.photographs import load_photographs
from offramp.models.kernel_heterogeneity import FULL, XS, CoderConfig, SparseCoding, Strided, UnrolledCoder
from offramp.models.log_gabor import LogGabors
from offramp.models.objectives import evaluate
from offramp.models.run import restore
from offramp.models.sparse_coding import fista, objective, psnr, sparseness
from offramp.models.system import find_system
from offramp.models.training import train
from offramp.reproductions._artifacts import run_on, ship
from torch.utils.flop_counter import FlopCounterMode

SMALL = CoderConfig(LogGabors(4, (0.2, 0.5), size=6), stride=2, steps=3, weight=0.2)
CONFIGS = {"sparse_coder": (FULL, 48), "sparse_coder_xs": (XS, 32)}
NAMES = tuple(CONFIGS)


def drawn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


# The operator


@settings(max_examples=20, deadline=None)
@given(stride=st.integers(1, 3), taps=st.integers(1, 5), places=st.integers(3, 7), seed=st.integers(0, 99))
def test_analysis_is_the_adjoint_of_synthesis_and_its_norm_is_bounded(stride, taps, places, seed):
    operator = Strided(drawn(5, stride * taps, stride * taps, seed=seed).double(), stride)
    code = drawn(1, 5, places, places, seed=seed + 1).double()
    images = drawn(1, 1, stride * places, stride * places, seed=seed + 2).double()
    made = operator.synthesise(code)
    assert made.shape == images.shape
    assert (made * images).sum().item() == pytest.approx((code * operator.analyse(images)).sum().item())
    for _ in range(30):
        code = operator.analyse(operator.synthesise(code))
        code /= code.norm()
    assert operator.synthesise(code).square().sum() <= operator.lipschitz * 1.01


def test_a_single_coefficient_puts_its_kernel_on_the_grid():
    kernels = drawn(2, 6, 6)
    code = torch.zeros(1, 2, 5, 5)
    code[0, 1, 2, 2] = 3.0
    image = Strided(kernels, 2).synthesise(code)[0, 0]
    torch.testing.assert_close(image[2:8, 2:8], 3 * kernels[1])
    assert image.count_nonzero() == 36


# The network


@pytest.mark.parametrize("name", NAMES)
def test_parameters_and_macs_have_their_closed_form(name):
    config, size = CONFIGS[name]
    kernels, places, steps = len(config.bank), (size // config.stride) ** 2, config.steps
    network = find_system(name).build().eval()
    learned = kernels * config.bank.size**2 + steps + steps * kernels + (steps - 2)
    assert sum(parameter.numel() for parameter in network.parameters()) == learned
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        network(*find_system(name).example_inputs())
    # Each step analyses; all but the first, and the end, synthesise; the image is sorted into its phases once.
    macs = 2 * steps * kernels * config.bank.size**2 * places + config.stride**4 * places
    assert counter.get_total_flops() // 2 == macs
    assert (learned, macs) == {"sparse_coder": (21_610, 63_721_728), "sparse_coder_xs": (3_402, 9_834_496)}[name]


@pytest.mark.parametrize("config", [SMALL, replace(SMALL, stride=3, steps=5), replace(XS, weight=0.5)])
def test_untrained_it_is_fista(config):
    images = drawn(2, 1, 24, 24)
    code, reconstruction = UnrolledCoder(config)(images)
    operator = Strided(config.bank.kernels().float(), config.stride)
    expected = fista(operator, images, config.weight, config.steps)
    torch.testing.assert_close(code, expected.code, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(reconstruction, expected.reconstruction, rtol=1e-4, atol=1e-5)


def test_coders_that_cannot_be_are_refused():
    message = r"stride 4, 3 steps and weight 0.2; give a stride that divides the kernels' size of 6, 2 steps or more"
    with pytest.raises(BadInput, match=message):
        replace(SMALL, stride=4)
    with pytest.raises(BadInput, match="1 steps"):
        replace(SMALL, steps=1)
    with pytest.raises(BadInput, match="weight 0;"):
        replace(SMALL, weight=0.0)


def test_figures_are_those_of_sparse_coding():
    images, code, made = drawn(3, 1, 8, 8), drawn(3, 4, 4, 4, seed=1).clamp(min=0), drawn(3, 1, 8, 8, seed=2)
    task = SparseCoding(0.3)
    scores = task.scores((code, made), (images,), torch.zeros(3))
    found = task.metrics(scores.double())
    assert found == pytest.approx(
        {
            "objective": objective(images, made, code, 0.3).mean().item() / 64,
            "psnr": psnr(images, made).mean().item(),
            "sparseness": sparseness(code).mean().item(),
        }
    )


# Training and shipping


def read_small(name_or_path, seed):
    """A few crops of 16x16 of the bundled photographs."""
    data = load_photographs(name_or_path, 16, seed)
    parts = [InMemory(part.samples[::4], part.labels[::4]) for part in (data.train, data.test)]
    return replace(data, train=parts[0], test=parts[1])


SYSTEM = replace(
    find_system("sparse_coder_xs"),
    name="small",
    build=lambda: UnrolledCoder(SMALL),
    input_shapes={"image": (1, 1, 16, 16)},
    objective=SparseCoding(SMALL.weight),
    read=read_small,
    recipe=replace(find_system("sparse_coder_xs").recipe, epochs=1),
    illustrate=None,
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The small coder's run, and its data."""
    data = read_small("photographs", 0)
    return train(SYSTEM, data, None, tmp_path_factory.mktemp("coder") / "run"), data


def test_training_lowers_the_objective_of_held_out_crops(trained):
    run, data = trained
    untrained = evaluate(UnrolledCoder(SMALL), data.test, data.preprocessing, SYSTEM.objective)
    assert run.metrics["objective"] < 0.97 * untrained["objective"]
    assert 0 < run.metrics["sparseness"] < 1 and run.metrics["psnr"] > untrained["psnr"]
    first = UnrolledCoder(SMALL).state_dict()
    moved = {name for name, value in run.weights.items() if not torch.equal(value, first[name])}
    assert moved == {"analysis", "log_step", "log_threshold", "momentum"}  # and never the dictionary


def test_exact_zeros_survive_int8_in_c(trained, tmp_path):
    run, data = trained
    network = restore(run, UnrolledCoder(SMALL))
    images, held_out = data.train.samples[:32].numpy(), data.test.samples[:16]
    paths = ship("coder", network, {"image": held_out[:1]}, {"image": images}, tmp_path, targets=("c",))
    whole = SYSTEM.objective.scores(network(held_out), (held_out,), torch.zeros(16)).mean(0)
    for (_, precision), path in paths.items():
        outputs = tuple(map(torch.from_numpy, run_on(path, {"image": held_out.numpy()}).values()))
        value, ratio, zeros = SYSTEM.objective.scores(outputs, (held_out,), torch.zeros(16)).mean(0)
        slack = 0.002 if precision == "float32" else 0.05
        assert zeros > whole[2] - slack and ratio > whole[1] - 10 * slack
        assert value.item() == pytest.approx(whole[0].item(), rel=slack)


def test_the_systems_read_photographs_of_their_size():
    data = find_system("sparse_coder_xs").read("photographs", 0)
    assert data.test[0][0].shape == (1, 32, 32)
    assert isinstance(data.test.samples.numpy(), np.ndarray) and len(data.test) >= 40
