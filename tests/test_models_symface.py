"""SymFace: the embedders' counts, what ships of a training, and the way of a small one to its artifacts."""

import io
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from offramp import sources
from offramp.errors import BadInput
from offramp.manifest import read_manifest
from offramp.models import system as zoo
from offramp.models.data.faces import FaceRecipe, generate_faces
from offramp.models.facial_symmetry import Symmetry
from offramp.models.margin_losses import AdditiveCosine, ArcFace
from offramp.models.recipe import Recipe
from offramp.models.symface import FULL, XS, MobileFaceNet, read_small_faces, to_unit_length
from offramp.models.symface_pictures import illustrate, plot
from offramp.models.symface_training import FaceVerification
from offramp.models.system import find_system
from offramp.models.training import train
from offramp.models.verification import Pairs, roc
from offramp.options import Options
from offramp.pipeline import deploy
from offramp.quant.scheme import Scheme
from PIL import Image
from torch.nn.functional import normalize
from torch.utils.flop_counter import FlopCounterMode

RECIPE = Recipe(epochs=2, batch_size=16, label_smoothing=0.0, warmup_epochs=0.0, threads=1)
FACES = FaceRecipe(train=(8, 4), test=(4, 4))
QUIET = "ignore::offramp.errors.OfframpWarning"


# The networks


def counts(network, image):
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        network.eval()(image)
    return sum(p.numel() for p in network.parameters()), counter.get_total_flops() // 2


def expected_counts(config):
    """Each layer has its kernel, a gain and an offset, and all but linear ones a slope, for each output."""
    total = macs = 0

    def layer(outputs, reads, area, side, slopes=True):
        nonlocal total, macs
        total += outputs * (reads * area + (3 if slopes else 2))
        macs += outputs * reads * area * side**2

    side, width = config.size // config.stem_stride, config.stem
    layer(width, config.in_channels, 9, side)
    layer(width, 1, 9, side)
    for t, outputs, blocks, stride in config.bottlenecks:
        for block in range(blocks):
            layer(t * width, width, 1, side)
            side //= 1 if block else stride
            layer(t * width, 1, 9, side)
            layer(outputs, t * width, 1, side, slopes=False)
            width = outputs
    layer(config.head, width, 1, side)
    layer(config.head, 1, side**2, 1, slopes=False)
    layer(config.embedding, config.head, 1, 1, slopes=False)
    return total, macs


def test_mobilefacenet_has_the_counts_of_its_architecture():
    with torch.device("meta"):
        found = counts(MobileFaceNet(FULL), torch.empty(1, 3, 112, 112))
    assert found == expected_counts(FULL)
    assert found[0] / 1e6 == pytest.approx(1.003, abs=0.0005)
    assert found[1] / 1e9 == pytest.approx(0.221, abs=0.0005)


def test_the_small_embedder_has_the_counts_of_its_architecture():
    assert counts(MobileFaceNet(XS), torch.randn(1, 1, 20, 20)) == expected_counts(XS)


def test_embeddings_have_unit_length_whatever_the_picture():
    torch.manual_seed(0)
    network = MobileFaceNet(XS).eval()
    images = torch.randn(3, 1, 20, 20) * torch.tensor([0.1, 1.0, 1e2]).reshape(3, 1, 1, 1)
    assert network(images).norm(dim=1).tolist() == pytest.approx([1, 1, 1], abs=1e-5)
    assert to_unit_length(torch.zeros(1, 4)).tolist() == [[0, 0, 0, 0]]  # and no NaN


# What ships


def test_training_with_halves_leaves_the_bare_embedder(tmp_path):
    system = replace(find_system("symface_xs"), recipe=RECIPE)
    data = generate_faces(FACES, 0)
    shipped = []
    for number, symmetry in enumerate((None, Symmetry(0.2, labelled=0.5))):
        objective = FaceVerification(XS.embedding, symmetry=symmetry)
        run = train(replace(system, objective=objective), data, None, tmp_path / str(number))
        assert run.weights.keys() == MobileFaceNet(XS).state_dict().keys()
        network = system.build().eval()
        network.load_state_dict(run.weights)
        shipped.append(torch.export.export(network, system.example_inputs()))
    bare = torch.export.export(MobileFaceNet(XS).eval(), system.example_inputs())
    assert len({str(program.graph) for program in (*shipped, bare)}) == 1
    weights = [program.state_dict["stem.0.0.weight"] for program in shipped]
    assert not torch.equal(*weights)  # the loss did change the training


def test_a_few_epochs_tell_unseen_persons_apart(tmp_path):
    system = find_system("symface_xs")
    data = generate_faces(FaceRecipe(train=(40, 8), test=(10, 6)), 0)
    run = train(system, data, replace(system.recipe, epochs=4), tmp_path / "run")
    assert run.metrics["auc"] > 0.85 and run.metrics["tar_at_far_1"] > 0.25


@pytest.mark.filterwarnings(QUIET)
def test_an_artifact_has_the_figures_of_verification_and_its_pictures(tmp_path, monkeypatch):
    system = replace(
        find_system("symface_xs"), recipe=RECIPE, read=lambda name, seed: generate_faces(FACES, seed), dataset="faces"
    )
    for module in (zoo, sources):
        monkeypatch.setattr(module, "all_systems", lambda: {"symface_xs": system})
    options = Options(
        targets=("onnx",),
        scheme=Scheme(samples=16),
        held_out=16,
        measure=False,
        older_runtime=False,
        runs=tmp_path / "runs",
        out=tmp_path / "dist",
    )
    deploy("symface_xs", options)
    document = read_manifest(tmp_path / "dist" / "symface_xs")
    expected = document["float"]["metrics"]
    assert expected.keys() == {"auc", "tar_at_far_1", "pair_accuracy"}
    for row in document["artifacts"]:
        assert row["verified"], row["not_verified_because"]
        assert row["metrics"]["auc"] == pytest.approx(
            expected["auc"], abs=1e-6 if "float" in row["precision"] else 0.05
        )
    assert [picture["title"] for picture in document["pictures"]] == ["Faces and their halves", "Verification"]


def test_pictures_show_halves_and_a_curve():
    data = generate_faces(FACES, 0)
    images, targets = data.test.batch(range(16))
    calls = []

    def run(inputs):
        calls.append(inputs["image"].shape)
        return {"embedding": normalize(torch.from_numpy(inputs["image"]).flatten(1), dim=1).numpy()}

    shown = illustrate(run, {"image": images.numpy()}, targets.numpy())
    assert calls == [(1, 1, 20, 20)] * 16
    sizes = [Image.open(io.BytesIO(picture.png)).size for picture in shown]
    assert sizes == [(4 * 21 * 5, 3 * 21 * 5), (240, 240)]  # of four persons, 21 pixels a face with its edge
    assert "24 same and 96 other pairs" in shown[1].caption
    colour = torch.rand(4, 3, 112, 112).numpy()
    (alone,) = illustrate(
        lambda inputs: {"embedding": np.ones((1, 2), np.float32)}, {"image": colour}, targets[:4].numpy()
    )
    assert Image.open(io.BytesIO(alone.png)).mode == "RGB"


def test_a_perfect_curve_runs_along_the_top():
    same = np.array([True] * 5 + [False] * 5)
    pixels = plot(roc(Pairs(same * 1.0, same, np.zeros(10, int))))
    assert (pixels[0] < 0.1).all() and (pixels[120:, 130:] > 0.5).all()


# Data


@pytest.mark.filterwarnings(QUIET)
def test_data_are_generated_by_name_or_read_from_a_folder(tmp_path):
    assert read_small_faces("symmetric-faces", 0).name == "symmetric-faces"
    with pytest.raises(BadInput, match=r"mine: no such data; give symmetric-faces, turned-faces or a folder"):
        read_small_faces("mine", 0)
    for person in range(4):
        (tmp_path / str(person)).mkdir()
        for number in range(2):
            Image.new("RGB", (30, 30), (60 * person,) * 3).save(tmp_path / str(person) / f"{number}.jpg")
    assert read_small_faces(str(tmp_path), 0).train[0][0].shape == (1, 20, 20)
    assert find_system("mobilefacenet").read(str(tmp_path), 0).test[0][0].shape == (3, 112, 112)


def test_both_systems_train_as_the_paper_sums_it():
    """L = L_f + L_rho: ArcFace with lambda 1 at full size, a small lambda and margin on generated faces."""
    full, small = (find_system(name).objective for name in ("mobilefacenet", "symface_xs"))
    assert isinstance(full.margin(2, 128), ArcFace) and full.symmetry == Symmetry(1.0, "blank", ramp_steps=1000)
    assert isinstance(small.margin(2, 32), AdditiveCosine) and small.symmetry == Symmetry(0.2)
    assert isinstance(FaceVerification(4, partial(ArcFace, margin=0.3)).margin(2, 4), ArcFace)
