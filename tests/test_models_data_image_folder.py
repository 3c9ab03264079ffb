"""Pictures in class folders, good and damaged."""

import io

import numpy as np
import pytest
import torch
from offramp.errors import BadInput
from offramp.models.batches import in_order, read_batches
from offramp.models.data import load
from offramp.models.data.image_folder import read_image
from PIL import Image


def write_pictures(folder, classes=("ant", "bee"), parts=("train", "val")):
    for part in parts:
        for value, name in enumerate(classes):
            (folder / part / name).mkdir(parents=True)
            Image.new("RGB", (40, 20), (200, 100 * value, 0)).save(folder / part / name / "one.png")


def test_class_folders_give_labels_by_name(tmp_path):
    write_pictures(tmp_path)
    data = load(tmp_path, channels=3, size=16)
    assert data.labels == ("ant", "bee")
    image, label = data.test[1]
    assert (label, image.shape) == (1, (3, 16, 16))
    assert torch.equal(image, torch.tensor([200.0, 100.0, 0.0]).reshape(3, 1, 1).expand(3, 16, 16))


def test_a_picture_is_cropped_in_its_centre(tmp_path):
    pixels = np.zeros((16, 64, 3), np.uint8)
    pixels[:, 24:40] = 255  # the centre crop of a 64x16 picture lies inside columns 24 to 40
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    image = read_image(tmp_path / "wide.png", 1, 14)
    assert image.shape == (1, 14, 14)
    assert image.min().item() == 255


def test_a_class_only_in_the_held_out_part_is_refused(tmp_path):
    write_pictures(tmp_path)
    (tmp_path / "val" / "cow").mkdir()
    with pytest.raises(BadInput, match=r"val: classes that .*train does not have: cow"):
        load(tmp_path, 3, 16)


def test_a_class_without_a_picture_is_refused(tmp_path):
    write_pictures(tmp_path)
    (tmp_path / "train" / "cow").mkdir()
    with pytest.raises(BadInput, match=r"train: no picture in cow"):
        load(tmp_path, 3, 16)


def test_channels_that_pictures_do_not_have_are_refused(tmp_path):
    write_pictures(tmp_path)
    with pytest.raises(BadInput, match="1 or 3 channels and the network wants 4"):
        load(tmp_path, 4, 16)


@pytest.mark.parametrize("content", [b"", b"not a picture", "half"])
def test_a_bad_picture_is_named_in_one_line(tmp_path, content):
    write_pictures(tmp_path)
    if content == "half":
        whole = io.BytesIO()
        Image.effect_noise((64, 64), 90).save(whole, "JPEG")
        content = whole.getvalue()[:-900]
    (tmp_path / "train" / "bee" / "two.jpg").write_bytes(content)
    data = load(tmp_path, 3, 16)
    with pytest.raises(BadInput, match=r"bee.two.jpg: cannot be read as a picture") as caught:  # through workers
        list(read_batches(data.train, in_order(data.train, 2, 0, 1)))
    assert "\n" not in str(caught.value)
