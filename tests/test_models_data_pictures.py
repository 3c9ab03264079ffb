"""Opening a user's picture: modes, planes, and one line for whatever is wrong with a file."""

import io

import numpy as np
import pytest
import torch
from offramp.errors import BadInput
from offramp.models.data.pictures import COLOUR, GREY, UnreadablePicture, mode_of, open_picture, planes_of
from PIL import Image


@pytest.fixture
def path(tmp_path):
    """4 wide, 3 high, red rising to the right."""
    pixels = np.zeros((3, 4, 3), np.uint8)
    pixels[:, :, 0] = np.arange(4) * 60
    Image.fromarray(pixels).save(tmp_path / "red.png")
    return tmp_path / "red.png"


def test_planes_hold_rows_and_columns_of_each_channel(path):
    planes = planes_of(open_picture(path, mode_of(3)))
    assert planes.shape == (3, 3, 4) and planes.dtype == torch.float32
    assert torch.equal(planes[0], torch.arange(4.0).mul(60).expand(3, 4)) and not planes[1:].any()
    assert planes_of(open_picture(path, mode_of(1))).shape == (1, 3, 4)
    assert (mode_of(3), mode_of(1)) == (COLOUR, GREY)


def test_a_picture_keeps_its_mode_where_none_is_asked_for(path):
    Image.fromarray(np.full((3, 4), 1000, np.uint16)).save(path.with_name("deep.png"))
    assert open_picture(path).mode == COLOUR
    assert open_picture(path.with_name("deep.png")).mode.startswith("I")


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n"])
def test_a_file_that_is_no_picture_is_named(path, content):
    path.write_bytes(content)
    with pytest.raises(UnreadablePicture, match=r"red\.png: cannot be read as a picture \(.*\); replace or remove it"):
        open_picture(path)


def test_bytes_are_called_what_the_caller_says(path):
    cut = io.BytesIO(path.read_bytes()[:40])
    with pytest.raises(BadInput, match=r"^row 3: cannot be read as a picture"):
        open_picture(cut, where="row 3")


def test_a_bomb_is_refused(path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 4)
    with pytest.raises(UnreadablePicture, match="decompression bomb"):
        open_picture(path)
