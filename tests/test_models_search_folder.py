"""Folders of searches: read as contrasts, whatever their colours, and refused in one line where they cannot be."""

import numpy as np
import pytest
import torch
from offramp.errors import BadInput, OfframpWarning
from offramp.models.search_fixations import Looking, look
from offramp.models.search_folder import load_trials, read_cells, read_picture
from offramp.models.search_stimuli import TASKS, draw_trials
from PIL import Image

TASK = TASKS[4]
WHITE = 255


def write(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def drawn():
    return draw_trials(TASK, TASK.hard, 4, 3, 6, 16, torch.Generator().manual_seed(0))


@pytest.fixture
def folder(tmp_path, drawn):
    """Three searches as the published data set has them; PNG, so that every grey level comes back."""
    for number in range(3):
        for part, pictures in (("stimuli", drawn.images), ("target", drawn.targets)):
            grey = (WHITE + 255 * pictures[number, 0]).round().byte().numpy()
            write(tmp_path / "task" / "one" / part / f"{number}.png", grey)
        truth = np.uint8(255 * drawn.cells[drawn.target_cells[number]].numpy())
        write(tmp_path / "task" / "one" / "gt" / f"{number}.png", truth)
    np.save(tmp_path / "task" / "gt_mask.npy", drawn.cells.numpy().astype(np.uint8) * 255)
    return tmp_path


def load(folder, channels=1, target_side=16):
    return load_trials(folder, "task", "one", channels, target_side, WHITE)


def test_a_folder_gives_the_searches_that_were_written(folder, drawn):
    found = load(folder)
    torch.testing.assert_close(found.images, drawn.images, atol=0.51 / 255, rtol=0)
    torch.testing.assert_close(found.targets, drawn.targets, atol=0.51 / 255, rtol=0)
    assert torch.equal(found.cells, drawn.cells) and torch.equal(found.target_cells, drawn.target_cells)


def test_what_was_read_can_be_searched(folder):
    trials = load(folder)

    def attend(windows, targets):
        return -windows

    paths = look(attend, trials, Looking(2 * trials.images.shape[-1]))
    assert paths.found.all() and paths.counts.max() <= 4


def test_grey_pictures_become_colour_and_colour_grey(folder):
    grey, colour = load(folder, 1), load(folder, 3)
    assert colour.images.shape[1] == 3 and torch.equal(colour.images, grey.images.expand(-1, 3, -1, -1))
    red = folder / "task" / "one" / "target" / "0.png"
    write(red, np.full((16, 16, 3), (200, 0, 0), np.uint8))
    assert read_picture(red, 1).unique().tolist() == [60.0]  # ITU-R BT.601: 0.299 of red
    assert read_picture(red, 3)[:, 0, 0].tolist() == [200.0, 0.0, 0.0]


def test_targets_of_another_size_are_resized(folder, drawn):
    assert load(folder, target_side=8).targets.shape == (3, 1, 8, 8)


def test_a_search_image_of_another_size_than_the_cells_is_refused(folder):
    write(folder / "task" / "one" / "stimuli" / "1.png", np.zeros((20, 30), np.uint8))
    with pytest.raises(
        BadInput, match=r"1\.png: expected \(68, 68\) pixels as in gt_mask\.npy, got \(20, 30\); resize"
    ):
        load(folder)


def test_where_the_target_is_must_have_the_size_of_the_cells(folder):
    write(folder / "task" / "one" / "gt" / "2.png", np.zeros((8, 8), np.uint8))
    with pytest.raises(BadInput, match=r"gt/2\.png: expected \(68, 68\) pixels .*, got \(8, 8\)"):
        load(folder)


def test_searches_that_cannot_be_read_are_left_out_and_counted(folder, drawn):
    (folder / "task" / "one" / "target" / "0.png").write_bytes(b"\x89PNG cut short")
    with pytest.warns(
        OfframpWarning, match=r"1 of 3 searches cannot be read and are left out, the first: .*target/0\.png"
    ):
        found = load(folder)
    assert torch.equal(found.target_cells, drawn.target_cells[1:])


def test_too_many_that_cannot_be_read_are_an_error(folder):
    (folder / "task" / "one" / "stimuli" / "0.png").write_bytes(b"nothing")
    (folder / "task" / "one" / "gt" / "1.png").unlink()
    with pytest.raises(
        BadInput, match=r"2 of 3 searches cannot be read, the first: .*0\.png: cannot be read as a picture"
    ):
        load(folder)


def test_a_folder_without_pictures_is_refused(folder):
    with pytest.raises(BadInput, match=r"two/stimuli: no pictures; give TASK/CONDITION with stimuli/, target/ and gt/"):
        load_trials(folder, "task", "two", 1, 16, WHITE)


@pytest.mark.parametrize(
    ("array", "found"),
    [
        (np.zeros((4, 4), np.uint8), r"\(4, 4\) of uint8"),
        (np.ones((2, 4, 5), np.uint8), r"\(2, 4, 5\) of uint8"),
        (np.ones((2, 4, 4), np.float32), r"\(2, 4, 4\) of float32"),
        (np.zeros((0, 4, 4), np.uint8), r"\(0, 4, 4\) of uint8"),
    ],
)
def test_cells_of_another_shape_are_refused(tmp_path, array, found):
    np.save(tmp_path / "gt_mask.npy", array)
    with pytest.raises(BadInput, match=rf"gt_mask\.npy: expected the cells of a square picture, .* got {found}"):
        read_cells(tmp_path / "gt_mask.npy")


def test_cells_without_a_pixel_are_refused(tmp_path):
    np.save(tmp_path / "gt_mask.npy", np.zeros((2, 4, 4), np.uint8))
    with pytest.raises(BadInput, match=r"a cell without a pixel; each of the 2 must have some"):
        read_cells(tmp_path / "gt_mask.npy")


def test_cells_that_would_run_code_are_not_read(tmp_path):
    np.save(tmp_path / "gt_mask.npy", np.array([{"a": 1}], object), allow_pickle=True)
    with pytest.raises(BadInput, match=r"gt_mask\.npy: not an array of plain numbers .*; write it with numpy\.save"):
        read_cells(tmp_path / "gt_mask.npy")


def test_missing_cells_are_named(tmp_path):
    with pytest.raises(BadInput, match=r"gt_mask\.npy: no such file; it holds the cells of the grid"):
        read_cells(tmp_path / "gt_mask.npy")
