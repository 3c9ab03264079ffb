"""Diffusion against its formulas; the AsCAN generator's cost in closed form, its conditions, sampling with a file."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from offramp.errors import BadInput
from offramp.models.ascan_unet import PIXELS, XS, AscanUnet, AscanUnetConfig, draw_digits, read_digits
from offramp.models.data import InMemory, load
from offramp.models.diffusion import (
    NoisePrediction,
    Sampler,
    Schedule,
    in_batches,
    noise_by,
    one_hot,
    with_clean_targets,
)
from offramp.models.objectives import evaluate
from offramp.models.recipe import Recipe
from offramp.models.system import find_system
from offramp.models.training import train
from offramp.reproductions._artifacts import run_file, ship
from torch.utils.flop_counter import FlopCounterMode

SMALL = AscanUnetConfig(("C", "T"), "T", (8, 16), classes=2, embedding=16, groups=4, head_dim=8)
SEEDS = st.integers(0, 99)


def drawn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@settings(max_examples=30, deadline=None)
@given(steps=st.integers(2, 2000), offset=st.floats(0.001, 0.1), seed=SEEDS)
def test_the_schedule_is_the_cosine_of_its_paper(steps, offset, seed):
    """The share of the signal in the variance is equation 17 without its constant f(0), in closed form."""
    schedule = Schedule(steps, offset)
    angles = schedule.angles(torch.arange(steps).double())
    assert (angles > 0).all() and (angles < math.pi / 2).all() and (angles.diff() > 0).all()
    t = seed % steps
    expected = math.cos((t / steps + offset) / (1 + offset) * math.pi / 2) ** 2
    assert angles[t].cos().square().item() == pytest.approx(expected, abs=1e-9)


def test_noised_images_keep_the_variance():
    clean, noise = drawn(500, 1, 8, 8), drawn(500, 1, 8, 8, seed=1)
    for t in (0, 500, 999):
        noisy = Schedule().noised(clean, noise, torch.full((500,), t))
        assert noisy.var().item() == pytest.approx(1, abs=0.03)
    torch.testing.assert_close(Schedule().noised(clean, noise, torch.full((500,), 999)), noise, rtol=0, atol=0.01)
    torch.testing.assert_close(Schedule().noise_in(noisy, clean, torch.full((500,), 999)), noise, rtol=0, atol=1e-4)


class Oracle:
    """Knows the one clean image of each class, and counts its calls."""

    def __init__(self, images, schedule=Schedule()):  # noqa: B008
        self.images, self.schedule, self.calls = images, schedule, 0

    def __call__(self, image, timestep, label):
        self.calls += 1
        angles = self.schedule.angles(timestep.double()).reshape(-1, 1, 1, 1)
        return (image - angles.cos() * self.images[label.argmax(1)]) / angles.sin()


@settings(max_examples=20, deadline=None)
@given(steps=st.integers(1, 30), guidance=st.sampled_from([1.0, 2.0]), seed=SEEDS)
def test_a_perfect_denoiser_is_walked_to_the_clean_image(steps, guidance, seed):
    images = drawn(4, 1, 4, 4, seed=seed).clamp(-1, 1)
    images[3] = images[:3].mean(0)  # what no class looks like
    oracle = Oracle(images)
    sampler = Sampler(steps=steps, guidance=1.0)
    found = sampler(oracle, drawn(3, 1, 4, 4, seed=seed + 1), torch.tensor([2, 0, 1]), 3)
    torch.testing.assert_close(found, images[[2, 0, 1]].double(), rtol=0, atol=1e-4)
    assert oracle.calls == steps
    replace(sampler, guidance=guidance)(oracle, drawn(1, 1, 4, 4), torch.tensor([0]), 3)
    assert oracle.calls == steps + steps * (1 if guidance == 1 else 2)


def test_guidance_leads_away_from_what_no_class_looks_like():
    """One step from noise: the image is that of no class, plus guidance times its difference to the class's."""
    images = torch.tensor([0.3, -0.2, 0.1]).reshape(3, 1, 1, 1).expand(3, 1, 2, 2)
    found = Sampler(steps=1, guidance=2.0)(Oracle(images), drawn(2, 1, 2, 2), torch.tensor([0, 1]), 2)
    expected = torch.tensor([0.1 + 2 * 0.2, 0.1 - 2 * 0.3]).reshape(2, 1, 1, 1).expand(2, 1, 2, 2)
    torch.testing.assert_close(found, expected.double(), rtol=0, atol=1e-4)


def test_time_steps_of_a_sampler_fall_from_last_to_first():
    assert Sampler(steps=5, schedule=Schedule(101)).timesteps().tolist() == [100, 75, 50, 25, 0]


@pytest.mark.parametrize("steps", [0, 1001])
def test_a_sampler_cannot_have_more_steps_than_training(steps):
    with pytest.raises(BadInput, match=f"steps must be 1 to the schedule's 1000, got {steps}"):
        Sampler(steps=steps)


def test_the_last_entry_of_a_label_means_no_class():
    assert one_hot(torch.tensor([0, 2]), 2).tolist() == [[1, 0, 0], [0, 0, 1]]


def test_an_artifact_is_called_one_sample_at_a_time_by_its_names():
    def run(inputs):
        assert {name: value.shape for name, value in inputs.items()} == {
            "image": (1, 1, 2, 2),
            "timestep": (1,),
            "label": (1, 3),
        }
        return {"clean": inputs["image"] * inputs["timestep"] + inputs["label"].argmax().astype(np.float32)}

    images = drawn(4, 1, 2, 2)
    times, labels = torch.tensor([1.0, 2.0, 3.0, 4.0]), one_hot(torch.tensor([0, 1, 2, 1]), 2)
    expected = images * times.reshape(-1, 1, 1, 1) + torch.tensor([0, 1, 2, 1]).reshape(-1, 1, 1, 1)
    torch.testing.assert_close(in_batches(run)(images, times, labels), expected)


@settings(max_examples=15, deadline=None)
@given(seed=SEEDS)
def test_the_noise_error_is_that_of_the_noise_drawn(seed):
    objective = NoisePrediction(3)
    clean, draws = drawn(5, 1, 4, 4, seed=seed), torch.Generator().manual_seed(seed)
    targets = torch.cat([torch.arange(5.0).remainder(3).unsqueeze(1), clean.flatten(1)], 1)
    inputs = objective.inputs(clean, targets, draws)
    repeated = torch.Generator().manual_seed(seed)
    torch.randint(1000, (5,), generator=repeated)
    noise = torch.randn(clean.shape, generator=repeated)
    assert objective.scores((clean,), inputs, targets).max() < 1e-6
    angles = Schedule().angles(inputs[1]).reshape(-1, 1, 1, 1)
    without_noise = inputs[0] / angles.cos()  # takes the noise for a part of the image
    expected = noise.square().flatten(1).mean(1, keepdim=True)
    torch.testing.assert_close(objective.scores((without_noise,), inputs, targets), expected, rtol=1e-3, atol=1e-4)


def test_one_class_in_ten_is_dropped():
    objective, targets = NoisePrediction(3), torch.zeros(4000, 5)
    targets[:, 0] = 1
    _, timestep, label = objective.inputs(torch.zeros(4000, 1, 2, 2), targets, torch.Generator().manual_seed(0))
    assert label[:, 3].mean().item() == pytest.approx(0.1, abs=0.015)
    assert label[:, 1].mean().item() == pytest.approx(0.9, abs=0.015)
    assert (timestep.min(), timestep.max()) == (0, 999)


def test_targets_hold_class_and_clean_image():
    digits, data = load("digits", 1, 16), read_digits("digits", 0)
    raw, targets = data.test.batch([3, 5])
    torch.testing.assert_close(raw, digits.test.batch([3, 5])[0])
    assert targets[:, 0].tolist() == digits.test.labels[[3, 5]].tolist()
    torch.testing.assert_close(targets[:, 1:].reshape(raw.shape), raw / 127.5 - 1, rtol=0, atol=1e-6)
    assert (data.labels, data.preprocessing) == ((), PIXELS)


def conv(inputs, outputs, kernel, side):
    return outputs * inputs * kernel**2 + outputs, outputs * inputs * kernel**2 * side**2


def c_block(width, side, embedding):
    """Two convolutions, the first norm's gain and offset, the second's from the condition."""
    parts = [conv(width, width, 3, side), conv(width, width, 3, side), conv(embedding, 2 * width, 1, 1), (2 * width, 0)]
    return sum(p for p, _ in parts), sum(m for _, m in parts)


def t_block(width, side, embedding):
    """Query, output, key and value; the MLP; what the condition says; scores and weighted values."""
    positions = side**2
    linear = [(width, width), (width, width), (width, 2 * width), (width, 4 * width), (4 * width, width)]
    parts = [(i * o + o, i * o * positions) for i, o in linear]
    parts += [conv(embedding, 4 * width, 1, 1), (0, 2 * positions**2 * width)]
    return sum(p for p, _ in parts), sum(m for _, m in parts)


def whole(config, image):
    def blocks(layout, width, side):
        return [{"C": c_block, "T": t_block}[kind](width, side, config.embedding) for kind in layout]

    side, e = image // config.patch, config.embedding
    sides = [side >> stage for stage in range(len(config.widths))]
    parts = [conv(e, e, 1, 1), conv(e, e, 1, 1), ((config.classes + 1) * e, (config.classes + 1) * e)]
    parts += [conv(config.in_channels, config.widths[0], config.patch, side)]
    for layout, width, at in zip(config.layout, config.widths, sides):
        parts += [*blocks(layout, width, at) * 2, conv(2 * width, width, 1, at)]
    for fine, coarse, at in zip(config.widths, config.widths[1:], sides):
        parts += [conv(fine, coarse, 3, at // 2), conv(coarse, fine, 3, at)]
    parts += blocks(config.middle, config.widths[-1], sides[-1])
    parts += [(2 * config.widths[0], 0), conv(config.widths[0], config.in_channels * config.patch**2, 3, side)]
    return sum(p for p, _ in parts), sum(m for _, m in parts)


@pytest.mark.parametrize("config", [XS, SMALL, AscanUnetConfig(("CCC", "CCT", "CTT"), "T", (32, 64, 128), groups=32)])
def test_a_generator_has_the_cost_of_its_blocks(config):
    inputs = torch.randn(1, 1, 16, 16), torch.rand(1), torch.randn(1, config.classes + 1)
    module, counter = AscanUnet(config), FlopCounterMode(display=False)
    with counter, torch.no_grad():
        module.eval()(*inputs)
    assert (sum(p.numel() for p in module.parameters()), counter.get_total_flops() // 2) == whole(config, 16)


def test_a_fresh_generator_takes_for_noise_what_the_schedule_says():
    """Blocks start near zero, so that `cos(w_t) image` is left: next to nothing at the last time step."""
    module, image = AscanUnet(SMALL).eval(), drawn(2, 1, 16, 16)
    for t in (0.0, 500.0, 999.0):
        found = module(image, torch.full((2,), t), one_hot(torch.tensor([0, 1]), 2))
        expected = image * math.cos((t / 1000 + 0.008) / 1.008 * math.pi / 2)
        torch.testing.assert_close(found, expected, rtol=0, atol=0.02)


def test_every_condition_reaches_the_image():
    torch.manual_seed(0)
    module, image = AscanUnet(SMALL), drawn(1, 1, 16, 16)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    label = torch.tensor([[1.0, 0.0, 0.0]]).requires_grad_()
    timestep = torch.tensor([500.0]).requires_grad_()
    module(image, timestep, label).square().sum().backward()
    assert label.grad.abs().min() > 0
    assert timestep.grad.abs().item() > 0


def test_layouts_that_do_not_fit_are_refused():
    with pytest.raises(BadInput, match="2 stages and 1 widths; give one of each"):
        replace(SMALL, widths=(8,))
    with pytest.raises(BadInput, match="a stage must be a word of C and T, got 'X'"):
        replace(SMALL, middle="X")
    with pytest.raises(BadInput, match="the width 12 of T must be a multiple of groups 4 and head_dim 8"):
        replace(SMALL, widths=(8, 12))


def test_a_small_generator_learns_quantizes_and_is_sampled_from_its_file(tmp_path, quick_codes):
    digits = load("digits", 1, 16)
    raw, classes = digits.train.batch(range(len(digits.train)))
    chosen = (classes < 2).nonzero().flatten()[:64]
    part = InMemory(raw[chosen], classes[chosen])
    data = with_clean_targets(replace(digits, train=part, test=part), PIXELS)
    objective = NoisePrediction(2)
    system = replace(find_system("ascan_unet_xs"), build=lambda: AscanUnet(SMALL), objective=objective)
    recipe = Recipe(learning_rate=5e-3, epochs=12, batch_size=16, warmup_epochs=1, threads=1)
    run = train(system, data, recipe, tmp_path / "run", progress=False)
    network = AscanUnet(SMALL)
    before = evaluate(network, data.test, PIXELS, objective)
    assert run.metrics["noise_error"] < 0.8 * before["noise_error"]
    network.load_state_dict(run.weights, strict=False)
    samples, targets = data.train.batch(range(16))
    inputs = objective.inputs(PIXELS.apply(samples), targets, torch.Generator().manual_seed(0))
    named = {name: tensor.numpy() for name, tensor in zip(("image", "timestep", "label"), inputs)}
    paths = ship(
        "small",
        network.eval(),
        {name: torch.from_numpy(value[:1]) for name, value in named.items()},
        named,
        tmp_path,
        targets=("onnx",),
    )
    noise, asked = drawn(2, 1, 16, 16), torch.tensor([0, 1])
    expected = Sampler(steps=4)(noise_by(network, SMALL.schedule), noise, asked, 2)
    for (_, precision), path in paths.items():
        found = Sampler(steps=4)(noise_by(in_batches(run_file(path)), SMALL.schedule), noise, asked, 2)
        assert (found - expected).abs().mean() < (1e-4 if precision == "float32" else 0.1)


def test_the_report_shows_a_column_for_each_class():
    inputs = {"image": np.zeros((3, 1, 16, 16), np.float32), "label": np.zeros((3, 11), np.float32)}
    (picture,) = draw_digits(lambda values: {"clean": values["image"]}, inputs, np.zeros(3))
    assert picture.png.startswith(b"\x89PNG")
    assert "each column was asked for its class, 0 to 9" in picture.caption
