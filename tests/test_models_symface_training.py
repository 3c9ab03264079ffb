"""The objective of SymFace: what enters the loss of a batch, and the figures of a split."""

from dataclasses import replace

import pytest
import torch
from offramp.errors import BadInput
from offramp.models.data import Data, InMemory, Preprocessing
from offramp.models.facial_symmetry import Symmetry, blank, distance
from offramp.models.margin_losses import AdaFace
from offramp.models.objectives import Batch
from offramp.models.recipe import Recipe
from offramp.models.symface_training import FaceVerification, mirrored
from torch import nn
from torch.nn.functional import normalize

RECIPE = Recipe(epochs=2, batch_size=16, label_smoothing=0.0, warmup_epochs=0.0, threads=1)


class Flat(nn.Module):
    """The first four pixels are the features."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(4))

    def features(self, image):
        return image.flatten(1)[:, :4] * self.scale

    def forward(self, image):
        return normalize(self.features(image), dim=1)


def faces(*landmarks):
    """One face of 4 x 4 pixels for each x of the nose; eyes are at 0 and 3."""
    images = torch.randn(len(landmarks), 1, 4, 4, generator=torch.Generator().manual_seed(0))
    targets = torch.tensor([[float(i % 2), 0.0, 3.0, nose] for i, nose in enumerate(landmarks)])
    return images, targets


def data_of(images, targets):
    part = InMemory(images, targets)
    return Data("faces", part, part, (), Preprocessing())


def loss_of(objective, images, targets, network=None, companion=None, recipe=RECIPE):
    torch.manual_seed(0)
    network = network or Flat()
    companion = companion or objective.companion(network, data_of(images, targets))
    return objective.loss(network, companion, Batch(images, targets, recipe, torch.Generator().manual_seed(1)))


# The loss


def test_the_loss_is_the_margin_loss_and_lambda_times_the_mean_distance_of_halves():
    images, targets = faces(1.5, 1.5, 0.0)  # the third looks aside
    network = Flat()
    plain = loss_of(FaceVerification(4), images, targets, network)
    with_halves = loss_of(FaceVerification(4, symmetry=Symmetry(0.3)), images, targets, network)
    left, right = blank(images[:2], torch.tensor([1.5, 1.5]))
    gap = distance(network(left), network(right)).mean()
    assert with_halves.loss.item() == pytest.approx((plain.loss + 0.3 * gap).item(), rel=1e-5)
    torch.testing.assert_close(with_halves.outputs, network(images))
    assert with_halves.inputs[0] is images


def test_labelled_halves_each_add_their_own_margin_loss():
    images, targets = faces(1.5, 0.0, 1.5)
    objective = FaceVerification(4, symmetry=Symmetry(0.0, labelled=0.5))
    network, companion = Flat(), objective.companion(Flat(), data_of(images, targets))
    persons, ahead = targets[:, 0].long(), torch.tensor([0, 2])
    halves = blank(images[ahead], torch.tensor([1.5, 1.5]))
    expected = companion.margin(network(images), persons)
    expected = expected + 0.5 * sum(companion.margin(network(half), persons[ahead]) for half in halves)
    assert loss_of(objective, images, targets, network, companion).loss.item() == pytest.approx(
        expected.item(), rel=1e-5
    )


def test_a_mirrored_face_is_held_against_the_face():
    images, targets = faces(1.5, 1.5)
    network = Flat()
    plain = loss_of(FaceVerification(4), images, targets, network).loss
    found = loss_of(FaceVerification(4, symmetry=Symmetry(1.0, "flip")), images, targets, network).loss
    gap = distance(network(images), network(images.flip(3))).mean()
    assert found.item() == pytest.approx((plain + gap).item(), rel=1e-5)


def test_where_no_face_looks_ahead_the_margin_loss_is_left():
    images, targets = faces(0.0, 3.0)
    plain = loss_of(FaceVerification(4), images, targets).loss
    assert loss_of(FaceVerification(4, symmetry=Symmetry()), images, targets).loss == plain


def test_lambda_grows_with_the_steps_of_the_training():
    images, targets = faces(1.5, 1.5)
    objective = FaceVerification(4, symmetry=Symmetry(1.0, ramp_steps=2))
    network, companion = Flat(), objective.companion(Flat(), data_of(images, targets))
    losses = [loss_of(objective, images, targets, network, companion).loss.item() for _ in range(4)]
    assert losses[1] - losses[0] == pytest.approx(losses[2] - losses[1], rel=1e-4) and losses[1] > losses[0]
    assert losses[3] == losses[2] and companion.steps == 4


def test_every_network_sees_faces_and_halves_in_one_batch():
    """Batch norms would otherwise learn the statistics of halves and of faces in turn."""
    images, targets = faces(1.5, 1.5, 0.0)
    sizes = []
    network = Flat()
    features = network.features
    network.features = lambda image: sizes.append(len(image)) or features(image)
    loss_of(FaceVerification(4, symmetry=Symmetry()), images, targets, network)
    assert sizes == [3 + 2 + 2]


def test_faces_are_mirrored_with_their_landmarks():
    images, landmarks = torch.arange(8.0).reshape(1, 1, 2, 4).repeat(20, 1, 1, 1), torch.tensor([[0.0, 2.0, 1.5]] * 20)
    seen, moved = mirrored(images, landmarks, torch.Generator().manual_seed(0))
    for image, row in zip(seen, moved):
        is_mirrored = bool(image[0, 0, 0] == 3)
        assert torch.equal(image, images[0].flip(2) if is_mirrored else images[0])
        assert row.tolist() == ([1.0, 3.0, 1.5] if is_mirrored else [0.0, 2.0, 1.5])
    assert len({image[0, 0, 0].item() for image in seen}) == 2


def test_adaface_measures_whole_faces_only():
    images, targets = faces(1.5, 1.5)
    objective = FaceVerification(4, AdaFace, Symmetry(labelled=0.5))
    network, companion = Flat(), objective.companion(Flat(), data_of(images, targets))
    loss_of(objective, images, targets, network, companion).loss.backward()
    norms = network.features(images).norm(dim=1)
    assert companion.margin.mean.item() == pytest.approx(norms.mean().item()) and companion.margin.batches == 1


def test_what_the_objective_cannot_use_is_refused():
    images, targets = faces(1.5, 1.5)
    with pytest.raises(BadInput, match=r"digits: targets are not a person and three landmarks; give a folder of faces"):
        FaceVerification(4).companion(Flat(), replace(data_of(images, torch.tensor([0, 1])), name="digits"))
    with pytest.raises(BadInput, match=r"AdaFace reads the length of features, .*choose another margin"):
        FaceVerification(4, AdaFace).companion(nn.Identity(), data_of(images, targets))
    for change in ({"flip": True}, {"shift_pixels": 1}, {"mixup": 0.2}):
        with pytest.raises(
            BadInput, match=r"flip, shift_pixels and mixup of the recipe know no landmarks; set them to 0"
        ):
            loss_of(FaceVerification(4), images, targets, recipe=replace(RECIPE, **change))


# The figures


def test_figures_are_those_of_the_embeddings_given():
    embeddings = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.1, 0.9]])
    targets = torch.tensor([[4.0, 0, 1, 0.5], [4.0, 0, 1, 0.5], [7.0, 0, 1, 0.5], [7.0, 0, 1, 0.5]])
    objective = FaceVerification(2)
    assert objective.metrics(objective.scores((embeddings,), (), targets).double()) == {"auc": 1.0, "tar_at_far_1": 1.0}
    worst = objective.scores((embeddings[[0, 2, 1, 3]],), (), targets)
    assert objective.metrics(worst.double())["auc"] == 0.25  # 2 of 8 same and different pairs are in order
    assert objective.distance(embeddings, embeddings, 4.0) == 0


def test_listed_pairs_are_measured_apart_and_a_picture_counts_once():
    embeddings = torch.tensor([[1.0, 0.0], [0.9, 0.1], [1.0, 0.0], [0.0, 1.0]] * 2)
    same, other = [1.0, 0, 1, 0.5], [2.0, 0, 1, 0.5]
    rows = [[*same, 0, 0, 0], [*same, 1, 0, 0], [*same, 0, 1, 0], [*other, 2, 1, 0]]
    rows += [[*same, 0, 2, 1], [*same, 1, 2, 1], [*same, 0, 3, 1], [*other, 2, 3, 1]]
    objective = FaceVerification(2)
    scores = objective.scores((embeddings,), (), torch.tensor(rows)).double()
    assert objective.metrics(scores) == {"auc": 1.0, "tar_at_far_1": 1.0, "listed_pair_accuracy": 1.0}
    # Half of a pair is no pair.
    assert "listed_pair_accuracy" not in objective.metrics(scores[::2])
