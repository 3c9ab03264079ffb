"""The user's own slices: what is read, how it is squared and split, and what is said of what cannot be used."""

import io
import re

import numpy as np
import pytest
import torch
from offramp.errors import BadInput, OfframpWarning
from offramp.models.brain_midline import Halves
from offramp.models.data.brain_slices import (
    DEPTHS,
    load_brain_pairs,
    load_brain_slices,
    read_grey,
    read_slices,
    slices_of,
    with_lesions,
)
from offramp.models.data.nifti import Volume, write_nifti
from PIL import Image

HEAD = "id,modality,volume,depth,x1,y1,x2,y2"


def png(values):
    stream = io.BytesIO()
    Image.fromarray(values).save(stream, "PNG")
    return stream.getvalue()


def fill(folder, volumes=5, size=(20, 20), extra=""):
    """Three slices of each volume, level midlines through the middle; pixels of volume i have the value 10 + 40 i."""
    (folder / "images").mkdir()
    lines = [HEAD + ("," + extra if extra else "")]
    height, width = size
    for volume in range(volumes):
        for depth in (76, 101, 126):
            name = f"v{volume}-{depth}"
            picture = np.full((height, width), 10 + 40 * volume, np.uint8)
            (folder / "images" / f"{name}.png").write_bytes(png(picture))
            line = f"{name},T2w,v{volume},{depth},0,{(height - 1) / 2},{width - 1},{(height - 1) / 2}"
            lines.append(line + (f",{int(depth == 76)}" if extra else ""))
    (folder / "lines.csv").write_text("\n".join(lines))
    return folder


@pytest.fixture
def folder(tmp_path):
    return fill(tmp_path)


def with_line(folder, text):
    """The list with its last row replaced."""
    lines = (folder / "lines.csv").read_text().splitlines()
    (folder / "lines.csv").write_text("\n".join([*lines[:-1], text]))
    return folder


# Rows


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("b,T2w,v0,76,1,2,3", r"line 16 has 7 columns, the first line names 8; give each a value"),
        ("b,T2w,v0,76,1,two,3,4", r"line 16 has the line 1, two, 3, 4; expected four numbers x1, y1, x2, y2"),
        ("b,T2w,v0,76,1,nan,3,4", r"line 16 has the line 1, nan, 3, 4; expected four numbers"),
        ("b,T2w,v0,top,1,2,3,4", r"line 16 has the depth 'top'; expected a whole number from 0 to 32767"),
        ("../b,T2w,v0,76,1,2,3,4", r"line 16 has the id '\.\./b'; an id is a picture's name without its ending"),
        ("v0-76,T2w,v0,76,5,5,5,5", r"line 16: a line from .* has no direction; give two points that are apart"),
        ("v0-76,T2w,v0,76,0,99,19,99", r"line 16 has a line that passes by the brain of its 20 x 20 picture; mend it"),
    ],
)
def test_a_bad_row_is_named(folder, line, message):
    with pytest.raises(BadInput, match=r"lines\.csv: " + message):
        load_brain_slices(with_line(folder, line), 20)


# Pictures


@pytest.mark.parametrize(
    ("pixel", "expected", "is_coloured"),
    [
        ((90, 90, 90, 255), 90, False),
        ((90, 90, 90, 51), 18, False),  # a fifth of it over black
        ((100, 50, 200, 255), 0.299 * 100 + 0.587 * 50 + 0.114 * 200, True),
    ],
)
def test_rgba_becomes_grey_over_black_and_colours_by_luma(pixel, expected, is_coloured):
    values, found = read_grey(io.BytesIO(png(np.full((3, 5, 4), pixel, np.uint8))), "here")
    assert values.shape == (3, 5) and found is is_coloured
    np.testing.assert_allclose(values, expected, rtol=1e-5)


def test_sixteen_bits_are_stretched():
    values, _ = read_grey(io.BytesIO(png(np.array([[0, 500], [1000, 250]], np.uint16))), "here")
    np.testing.assert_allclose(values, [[0, 127.5], [255, 63.75]])


def test_coloured_pictures_are_counted(folder):
    (folder / "images" / "v0-76.png").write_bytes(png(np.full((20, 20, 3), (9, 90, 200), np.uint8)))
    with pytest.warns(OfframpWarning, match=r"1 of 15 pictures are coloured and become grey by their luma"):
        load_brain_slices(folder, 20)


def test_unreadable_and_truncated_pictures_are_left_out_with_a_count(folder):
    (folder / "images" / "v0-76.png").write_bytes(b"no picture")
    noise = np.random.default_rng(0).integers(0, 255, (20, 20), np.uint8)
    (folder / "images" / "v1-101.png").write_bytes(png(noise)[:200])
    (folder / "images" / "v2-126.png").unlink()
    with pytest.warns(OfframpWarning, match=r"3 of 15 slices cannot be read and are left out, the first: .*v0-76\.png"):
        data = load_brain_slices(folder, 20)
    assert len(data.train) + len(data.test) == 12


def test_more_than_half_unreadable_is_an_error(folder):
    for path in sorted((folder / "images").iterdir())[:8]:
        path.write_bytes(b"")
    with pytest.raises(BadInput, match=r"8 of 15 slices cannot be read, the first: .*v0-76\.png: cannot be read as a "):
        load_brain_slices(folder, 20)


@pytest.mark.parametrize(("shape", "size"), [((20, 20), 40), ((21, 33), 32), ((33, 21), 17)])
def test_lines_follow_their_pictures_when_these_are_squared_and_scaled(tmp_path, shape, size):
    """A bright row stays on the line that was drawn along it, in odd and oblong pictures too."""
    fill(tmp_path, 2, shape)
    width = shape[1]
    bright = np.zeros(shape, np.uint8)
    bright[7] = 200
    for path in (tmp_path / "images").iterdir():
        path.write_bytes(png(bright))
    lines = (tmp_path / "lines.csv").read_text().splitlines()
    moved = [re.sub(r"(,\d+),0,.*", rf"\1,0,7,{width - 1},7", line) for line in lines]
    (tmp_path / "lines.csv").write_text("\n".join(moved))
    slices = read_slices(tmp_path, size)
    assert slices.images.shape == (6, 1, size, size) and slices.images.dtype == torch.uint8
    rows = slices.images[0, 0].float().sum(1)
    seen = ((rows * torch.arange(size)).sum() / rows.sum()).item() - (size - 1) / 2
    assert slices.lines.angles[0] == 0 and slices.lines.offsets[0].item() == pytest.approx(seen, abs=0.35)


# Splits


def test_slices_of_a_volume_are_never_torn_apart(folder):
    data = load_brain_slices(folder, 20, seed=1)
    values = [{int(split[i][0].max()) for i in range(len(split))} for split in (data.train, data.test)]
    assert not values[0] & values[1] and [len(data.train), len(data.test)] == [12, 3]
    image, target = data.train[0]
    assert image.shape == (1, 20, 20) and image.dtype == torch.float32 and target.tolist() == [0, 0]
    assert data.labels == () and data.name == folder.name
    mean = data.train.samples.float().mean().item()
    assert data.preprocessing.mean[0] == pytest.approx(mean, abs=1e-3)


def test_a_subject_keeps_its_modalities_together(folder):
    text = (folder / "lines.csv").read_text().replace("volume", "subject").replace("v1,", "v0,")
    (folder / "lines.csv").write_text(text)
    assert len(set(read_slices(folder, 20).groups)) == 4


def test_without_volumes_three_in_a_row_are_one(folder):
    text = re.sub(r",v\d,", ",,", (folder / "lines.csv").read_text())
    (folder / "lines.csv").write_text(text)
    with pytest.warns(OfframpWarning, match=r"15 of 15 slices have no subject and no volume; each 3 that follow"):
        groups = read_slices(folder, 20).groups
    assert groups == [f"rows {i // 3}" for i in range(15)]


def test_one_volume_cannot_be_split(tmp_path):
    with pytest.raises(BadInput, match=r"1 subject or volume with pictures; give at least two, one to hold out"):
        load_brain_slices(fill(tmp_path, 1), 20)


# Pairs


def test_every_other_pair_is_given_a_lesion_near_the_midline():
    still = Halves(torch.zeros(40, 1, 112, 224), torch.zeros(40, 1, 112, 224))
    halves, kinds = with_lesions(still, torch.Generator().manual_seed(0))
    assert kinds.tolist() == [0, 1] * 20 and still.upper.sum() == 0
    for place in range(40):
        spots = [(half[place, 0] > 0).nonzero() for half in (halves.upper, halves.lower)]
        found = [spot for spot in spots if len(spot)]
        assert len(found) == int(kinds[place])
        for spot in found:
            low, high = spot.amin(0), spot.amax(0)
            assert (high - low + 1).tolist() == [23, 23] and low[1] >= 60 and high[1] <= 169
            assert low[0] >= 0.59 * 112 and high[0] <= 0.96 * 112
    values = halves.upper[halves.upper > 0]
    assert values.min() >= 140 and values.max() <= 215
    assert (halves.upper > 0).any() and (halves.lower > 0).any()


@pytest.mark.parametrize("size", [20, 21])
def test_pairs_of_a_folder_are_its_halves(folder, size):
    data = load_brain_pairs(folder, size)
    (upper, lower), target = data.train[0]
    assert upper.shape == lower.shape == (1, size // 2, size) and target.shape == (1,)
    assert {target.item() for _, target in data.train} == {0.0, 1.0}


def test_labels_of_the_list_are_taken_and_must_be_of_both_kinds(tmp_path):
    fill(tmp_path, extra="lesion")
    assert torch.cat([target for _, target in load_brain_pairs(tmp_path, 20).train]).sum() == 4
    text = (tmp_path / "lines.csv").read_text()
    (tmp_path / "lines.csv").write_text(re.sub(r",1$", ",0", text, flags=re.M))
    with pytest.raises(BadInput, match=r"a split has 12 pairs with the label 0 only; give slices with"):
        load_brain_pairs(tmp_path, 20)
    (tmp_path / "lines.csv").write_text(re.sub(r",1$", ",", text, flags=re.M))
    with pytest.raises(BadInput, match=r"10 of 15 slices have a lesion of 0 or 1; give all, or none"):
        load_brain_pairs(tmp_path, 20)


# Volumes


def test_slices_of_a_volume_lie_as_far_along_as_the_authors(tmp_path):
    voxels = np.zeros((4, 6, 203), np.float32)
    for depth in DEPTHS:
        voxels[1, 2, depth] = depth
    found = slices_of(Volume(voxels, (1, 1, 1)))
    assert found.shape == (3, 4, 6) and (found[:, 1, 2] == 255).all() and found.sum() == 3 * 255
    small = Volume(np.broadcast_to(np.arange(20.0), (2, 2, 20)) * [[[1.0], [0.0]]], (1, 1, 1))
    assert slices_of(small).shape == (3, 2, 2)
    voxels[0, 0, 76] = np.nan
    assert np.isfinite(slices_of(Volume(voxels, (1, 1, 1)))).all()
    with pytest.raises(BadInput, match=r"slices 20: the volume has 20; give depths from 0 to 19"):
        slices_of(small, (20,))


def test_a_list_may_name_slices_of_volumes(tmp_path):
    """And a truncated volume is one slice that cannot be read."""
    draws = np.random.default_rng(0)
    lines = [HEAD]
    for number in range(4):
        write_nifti(tmp_path / f"sub-{number}_T2w.nii.gz", draws.integers(0, 900, (12, 16, 9)).astype("i2"))
        lines += [f"s{number}-{depth},T2w,sub-{number}_T2w.nii.gz,{depth},0,6,15,5" for depth in (3, 4)]
    (tmp_path / "lines.csv").write_text("\n".join(lines))
    whole = read_slices(tmp_path, 16)
    assert whole.images.shape == (8, 1, 16, 16) and len(set(whole.groups)) == 4
    assert (whole.images[:, 0, :2] == 0).all() and whole.images.max() == 255  # 12 rows in the middle of 16
    path = tmp_path / "sub-0_T2w.nii.gz"
    path.write_bytes(path.read_bytes()[:500])
    with pytest.warns(OfframpWarning, match=r"2 of 8 slices cannot be read and are left out, .*sub-0_T2w\.nii\.gz"):
        assert len(read_slices(tmp_path, 16).images) == 6


@pytest.mark.filterwarnings("ignore::offramp.errors.OfframpWarning")
def test_a_volume_outside_of_the_folder_is_not_opened(folder):
    write_nifti(folder.parent / "other.nii", np.ones((4, 4, 4), "u1"))
    with_line(folder, "a,T2w,../other.nii,1,0,2,3,2")
    with pytest.warns(OfframpWarning, match=r"names \.\./other\.nii, outside of the folder; copy the volume into it"):
        read_slices(folder, 20)


# Folders


def test_what_is_no_folder_of_slices_is_named(tmp_path):
    with pytest.raises(BadInput, match=r"nowhere: no such folder; give one with lines\.csv and images/ID\.png"):
        load_brain_slices(tmp_path / "nowhere", 20)
    with pytest.raises(BadInput, match=r"expected lines\.csv with images/ID\.png, or \*\.parquet; found nothing"):
        load_brain_slices(tmp_path, 20)
    (tmp_path / "labels.txt").touch()
    write_nifti(tmp_path / "a.nii", np.ones((2, 2, 2), "u1"))
    with pytest.raises(BadInput, match=r"found a\.nii, labels\.txt \(volumes have no midlines: list them with a depth"):
        load_brain_slices(tmp_path, 20)
