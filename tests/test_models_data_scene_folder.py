"""Pictures with a class for each pixel: ADE20K's layout, what is cut, what is left out and what is refused."""

from pathlib import Path

import numpy as np
import pytest
import torch
from offramp.errors import BadInput, OfframpWarning
from offramp.models.ascan import XS
from offramp.models.ascan_segmentation import SegmentationConfig, read_scenes
from offramp.models.data.scene_folder import UNLABELLED, SceneFormat, load_scene_folder, read_scene
from PIL import Image

COLOUR = SceneFormat(3, 8, classes=5)


@pytest.fixture
def folder(tmp_path) -> Path:
    """Three scenes in each split, 12 high and 20 wide; column c has class c // 4 (0 to 4) and that much red."""
    classes = np.repeat(np.arange(5, dtype=np.uint8), 4)[None].repeat(12, 0)
    colours = np.stack([classes * 50, np.zeros_like(classes), np.zeros_like(classes)], 2)
    for split in ("training", "validation"):
        for part in ("images", "annotations"):
            (tmp_path / part / split).mkdir(parents=True)
        for number in range(3):
            Image.fromarray(colours).save(tmp_path / f"images/{split}/scene{number}.png")
            Image.fromarray(classes).save(tmp_path / f"annotations/{split}/scene{number}.png")
    return tmp_path


def test_the_centre_is_cut_and_classes_stay_with_their_pixels(folder):
    data = load_scene_folder(folder, COLOUR)
    assert (len(data.train), len(data.test), data.labels) == (3, 3, ())
    image, classes = data.train[0]
    assert image.shape == (3, 8, 8) and classes.shape == (64,)
    row = classes.reshape(8, 8)[0]
    assert row.tolist() == sorted(row.tolist())  # classes 0 to 4 rise from left to right; one less, and 0 is none
    assert set(row.tolist()) <= {UNLABELLED, 0.0, 1.0, 2.0, 3.0}
    inner = slice(1, -1)  # at borders between classes red is mixed, classes are not
    assert (image[0, 0, inner] / 50 - 1 - row[inner]).abs().max() <= 0.6


def test_unlabelled_pixels_have_no_class(folder):
    Image.fromarray(np.zeros((12, 20), np.uint8)).save(folder / "annotations/training/scene0.png")
    _, classes = load_scene_folder(folder, COLOUR).train[0]
    assert (classes == UNLABELLED).all()


def test_a_network_of_grey_pictures_reads_colour_ones(folder):
    image, _ = load_scene_folder(folder, SceneFormat(1, 8, 5)).test[0]
    assert image.shape == (1, 8, 8)


def test_a_system_reads_its_own_sizes(folder):
    config = SegmentationConfig(XS, 32, classes=5, channels=8, pools=(1, 2))
    image, classes = read_scenes(config, str(folder), 0).train[0]
    assert image.shape == (1, 32, 32) and classes.shape == (1024,)


def truncated(path):
    path.write_bytes(path.read_bytes()[:45])


def test_some_unreadable_pictures_are_left_out_and_counted(folder):
    truncated(folder / "images/training/scene1.png")
    with pytest.warns(OfframpWarning, match=r"1 of 3 pictures in training cannot be read and are left out"):
        data = load_scene_folder(folder, COLOUR)
    assert (len(data.train), len(data.test)) == (2, 3)


def test_too_many_unreadable_pictures_are_refused(folder):
    for number in range(2):
        truncated(folder / f"annotations/validation/scene{number}.png")
    with pytest.raises(BadInput, match=r"2 of 3 pictures in validation cannot be read, the first: .*scene0\.png"):
        load_scene_folder(folder, COLOUR)


def test_what_does_not_belong_together_is_refused(folder):
    picture, annotation = folder / "images/training/scene0.png", folder / "annotations/training/scene0.png"
    with pytest.raises(BadInput, match=r"scene0\.png: holds class 4; the network tells 3, numbered from 1"):
        read_scene(picture, annotation, SceneFormat(3, 8, 3))
    with pytest.raises(BadInput, match=r"has colours \(RGB\); an annotation is grey, its values are classes"):
        read_scene(picture, picture, COLOUR)
    Image.fromarray(np.zeros((12, 19), np.uint8)).save(annotation)
    with pytest.raises(BadInput, match=r"scene0\.png and its annotation are of 20 x 12 and 19 x 12"):
        read_scene(picture, annotation, COLOUR)


def test_a_folder_of_another_layout_is_refused(folder):
    with pytest.raises(BadInput, match="pictures come with 1 or 3 channels and the network wants 4"):
        load_scene_folder(folder, SceneFormat(4, 8, 5))
    (folder / "annotations/training/scene2.png").unlink()
    with pytest.raises(BadInput, match=r"scene2\.png: no such annotation \(1 of 3 pictures have none\)"):
        load_scene_folder(folder, COLOUR)
    for path in (folder / "images/training").iterdir():
        path.unlink()
    with pytest.raises(BadInput, match=r"images/training: no picture in it; known endings are \.jpg"):
        load_scene_folder(folder, COLOUR)
    with pytest.raises(BadInput, match=r"images/training: no such folder; give images/training/\*\.jpg"):
        load_scene_folder(folder / "images", COLOUR)


def test_sides_of_any_size_are_resized(folder):
    odd = np.zeros((5, 31), np.uint8)
    Image.fromarray(odd).save(folder / "images/training/scene0.png")
    Image.fromarray(odd).save(folder / "annotations/training/scene0.png")
    image, classes = load_scene_folder(folder, COLOUR).train[0]
    assert image.shape == (3, 8, 8) and torch.equal(classes, torch.full((64,), UNLABELLED))
