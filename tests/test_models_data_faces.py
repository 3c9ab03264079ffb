"""Generated faces, and the user's own: what is drawn, what is read, and what is said of files that cannot be used."""

import numpy as np
import pytest
import torch
from offramp.errors import BadInput, OfframpWarning
from offramp.models.data.face_folder import TEMPLATE, load_face_folder, read_face
from offramp.models.data.face_lists import read_landmarks, read_pairs
from offramp.models.data.faces import FaceRecipe, generate_faces, landmarks_of, named_faces, turn
from offramp.models.facial_symmetry import frontality
from PIL import Image

SMALL = FaceRecipe(train=(3, 2), test=(2, 4))
QUIET = "ignore::offramp.errors.OfframpWarning"
POINTS = "30,50,80,50,56,70,40,90,70,90"


def picture(path, value=100, size=(8, 8), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value if mode == "L" else (value,) * 3).save(path)


@pytest.fixture
def folder(tmp_path):
    """Ten persons with three pictures each; the pixels of person i have the value 10 i."""
    for person in range(10):
        for number in range(1, 4):
            picture(tmp_path / f"p{person}" / f"p{person}_{number:04d}.png", 10 * person)
    return tmp_path


# Generated


def test_generated_faces_follow_the_seed_and_persons_held_out_are_others():
    first, again, other = (generate_faces(SMALL, seed) for seed in (3, 3, 4))
    assert torch.equal(first.train.samples, again.train.samples) and torch.equal(first.test.labels, again.test.labels)
    assert not torch.equal(first.train.samples, other.train.samples)
    assert first.train.samples.shape == (6, 1, 20, 20) and first.test.samples.shape == (8, 1, 20, 20)
    assert first.train.labels[:, 0].tolist() == [0, 0, 1, 1, 2, 2]
    assert first.test.labels[:, 0].tolist() == [3] * 4 + [4] * 4
    assert first.labels == ()  # a person is no class of the network


def test_a_face_without_nuisance_is_nearly_symmetric_and_the_persons_own():
    faces = generate_faces(FaceRecipe(0.0, (30, 4), (2, 2)), 0).train.samples[:, 0]
    own = faces.unflatten(0, (30, 4)).mean(1)  # grain has half of its spread left
    assert faces.std().item() == pytest.approx((1 + 0.25**2 + 0.3**2) ** 0.5, rel=0.03)
    asymmetric = (own - own.flip(2)) / 2
    # Half of the power of the asymmetric field and of the grain is odd.
    assert asymmetric.square().mean().item() == pytest.approx((0.25**2 + 0.15**2) / 2, rel=0.25)


def test_nuisance_grows_and_comes_from_a_side():
    spread = [generate_faces(FaceRecipe(n, (40, 4), (2, 2)), 0).train.samples.std().item() for n in (0.0, 0.8, 1.5)]
    assert spread[0] < spread[1] < spread[2]
    # Light adds nu^2 / 3 on average over the ramp, a blotch nu^2 / 2, scaling about nu^2 / 4 * 0.39 / 3.
    expected = spread[0] ** 2 + 0.8**2 * (1 / 3 + 1 / 2 + 0.39 / 12)
    assert spread[1] ** 2 == pytest.approx(expected, rel=0.2)


def test_generated_faces_look_ahead_and_turned_ones_by_their_turn():
    ahead, aside = (generate_faces(FaceRecipe(train=(40, 4), test=(2, 2), turned=t), 0) for t in (False, True))
    assert torch.equal(frontality(ahead.train.labels[:, 1:]), torch.ones(160))
    rho = frontality(aside.train.labels[:, 1:])
    assert rho.min() >= 0.4 - 1e-6 and 0.2 < (rho >= 0.8).float().mean() < 0.5
    assert (ahead.name, aside.name) == ("symmetric-faces", "turned-faces")


def test_landmarks_move_with_what_they_mark():
    """Lines at eyes and nose are found where the landmarks of the turned face say."""
    straight = landmarks_of(torch.zeros(1), torch.zeros(1), 201)[0]
    for turns, shift in ((0.0, 3.0), (0.4, 0.0), (-0.5, -2.0)):
        told = landmarks_of(torch.tensor([turns]), torch.tensor([shift]), 201)[0]
        assert frontality(told[None]).item() == pytest.approx(1 - abs(turns), abs=1e-5)
        for place, line in zip(told, straight):
            face = torch.zeros(1, 2, 201)
            face[..., int(line.round())] = 1
            seen = turn(face, torch.tensor([turns]), torch.tensor([shift]))[0, 0]
            assert (seen * torch.arange(201)).sum() / seen.sum() == pytest.approx(place.item(), abs=1.0)


def test_generated_data_are_found_by_name():
    assert len(named_faces("symmetric-faces").train) == 800 and named_faces("turned-faces").name == "turned-faces"
    assert named_faces("digits") is None


# A folder


@pytest.mark.filterwarnings(QUIET)
def test_persons_held_out_are_not_trained_on(folder):
    data = load_face_folder(folder, 3, 8)
    train, test = (set(split.labels[:, 0].tolist()) for split in (data.train, data.test))
    assert train == set(range(8)) and test == {8.0, 9.0}
    assert (len(data.train), len(data.test)) == (24, 6)
    values = [{int(split[i][0][0, 0, 0]) for i in range(len(split))} for split in (data.train, data.test)]
    assert not values[0] & values[1] and len(values[0] | values[1]) == 10
    image, target = data.train[0]
    assert image.shape == (3, 8, 8) and image.dtype == torch.float32 and target.shape == (4,)
    assert data.preprocessing.apply(torch.tensor([0.0, 127.5])).tolist() == [-127.5 / 128, 0]
    again = load_face_folder(folder, 3, 8, seed=0)
    assert [face.path for face in again.test.faces] == [face.path for face in data.test.faces]


@pytest.mark.parametrize(("mode", "channels", "size"), [("L", 3, (8, 8)), ("RGB", 1, (8, 8)), ("RGB", 3, (13, 7))])
def test_grey_colour_and_odd_sizes_become_what_the_network_takes(tmp_path, mode, channels, size):
    picture(tmp_path / "face.png", 90, size, mode)
    image = read_face(tmp_path / "face.png", channels, 8)
    assert image.shape == (channels, 8, 8) and (image == 90).all()


def test_without_landmarks_every_face_looks_ahead(folder):
    with pytest.warns(OfframpWarning, match=r"no landmarks\.csv, so every face counts as looking ahead"):
        data = load_face_folder(folder, 3, 112)
    assert data.train.labels[0, 1:].tolist() == pytest.approx([x * 112 - 0.5 for x in TEMPLATE], abs=1e-4)
    assert (frontality(data.train.labels[:, 1:]) > 0.98).all()


def test_landmarks_are_scaled_with_the_picture_and_a_face_without_does_not_look_ahead(folder):
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.png"))
    lines = [f"{name},1.5,3,5.5,3,3.5,5,2,7,5,7" for name in names[1:]]
    (folder / "landmarks.csv").write_text("\n".join(["path," + ",".join("x" * 10), *lines]))
    data = load_face_folder(folder, 3, 16)  # pictures are 8 wide
    found = {face.path: row for split in (data.train, data.test) for face, row in zip(split.faces, split.labels)}
    assert found[folder / names[1]][1:].tolist() == pytest.approx([3.5, 11.5, 7.5])
    assert frontality(found[folder / names[0]][None, 1:]) == 0


@pytest.mark.filterwarnings(QUIET)
def test_unreadable_and_truncated_pictures_are_left_out_with_a_count(folder):
    (folder / "p0" / "p0_0001.png").write_bytes(b"no picture")
    whole = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    Image.fromarray(whole).save(folder / "p1" / "cut.jpg")
    (folder / "p1" / "cut.jpg").write_bytes((folder / "p1" / "cut.jpg").read_bytes()[:900])
    with pytest.warns(OfframpWarning, match=r"2 of 31 pictures cannot be read and are left out, the first: .*p0_0001"):
        data = load_face_folder(folder, 3, 8)
    assert len(data.train) + len(data.test) == 29


def test_more_than_half_unreadable_is_an_error(folder):
    for path in sorted(folder.rglob("*.png"))[:16]:
        path.write_bytes(b"")
    with pytest.raises(BadInput, match=r"16 of 30 pictures cannot be read, the first: .*p0_0001\.png"):
        load_face_folder(folder, 3, 8)


@pytest.mark.filterwarnings(QUIET)
def test_a_person_held_out_with_one_picture_is_left_out_with_a_count(folder):
    for person in ("q1", "q2", "q3"):  # of thirteen persons, three are held out
        picture(folder / person / "a.png")
        picture(folder / person / "b.png")
    faces = load_face_folder(folder, 3, 8).test.faces
    single, *others = sorted({face.person for face in faces})
    for face in [face for face in faces if face.person == single][1:]:
        face.path.unlink()
    with pytest.warns(OfframpWarning, match=r"1 of 3 identities held out have one picture and are left out"):
        data = load_face_folder(folder, 3, 8)
    assert sorted({face.person for face in data.test.faces}) == others
    assert single not in {face.person for face in data.train.faces}


@pytest.mark.filterwarnings(QUIET)
def test_one_picture_each_cannot_be_verified(tmp_path):
    for person in range(5):
        picture(tmp_path / f"p{person}" / "a.png")
    with pytest.raises(BadInput, match=r"2 of 2 identities held out have one picture; verification needs two"):
        load_face_folder(tmp_path, 3, 8)


@pytest.mark.filterwarnings(QUIET)
@pytest.mark.parametrize("persons", [1, 3])
def test_too_few_persons_are_an_error(tmp_path, persons):
    for person in range(persons):
        picture(tmp_path / f"p{person}" / "a.png")
    with pytest.raises(BadInput, match=rf"{persons} identities with pictures; give at least four"):
        load_face_folder(tmp_path, 3, 8)


def test_what_is_no_folder_of_faces_is_named(tmp_path):
    with pytest.raises(BadInput, match=r"nowhere: no such folder; give one with IDENTITY/\*\.jpg"):
        load_face_folder(tmp_path / "nowhere", 3, 8)
    with pytest.raises(BadInput, match=r"no pictures in it; give a folder with IDENTITY/\*\.jpg"):
        load_face_folder(tmp_path, 3, 8)


@pytest.mark.filterwarnings(QUIET)
def test_pickled_pair_lists_are_never_opened(folder):
    (folder / "lfw.bin").write_bytes(b"cos\nsystem\n(S'exit 1'\ntR.")
    with pytest.raises(BadInput, match=r"lfw\.bin: a pickled list could run code and is not read; .*pairs\.txt"):
        load_face_folder(folder / "lfw.bin", 3, 8)
    with pytest.warns(OfframpWarning, match=r"pickled pair lists \(\.bin\) could run code and are not read"):
        load_face_folder(folder, 3, 8)


# Lists


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("p0/a.png,1,2", r"line 2 has 3 columns; each is a path and x, y of five points"),
        (f"p0/a.png,left{POINTS[2:]}", r"line 2: could not convert string to float: 'left'; after the path"),
        (f"p0/a.png,nan{POINTS[2:]}", r"line 2 holds a number that is not finite"),
    ],
)
def test_a_malformed_line_of_landmarks_is_named(tmp_path, line, message):
    (tmp_path / "landmarks.csv").write_text(f"a.png,{POINTS}\n{line}\n")
    with pytest.raises(BadInput, match=r"landmarks\.csv: " + message):
        read_landmarks(tmp_path / "landmarks.csv")


def test_landmarks_that_are_no_text_are_refused(tmp_path):
    (tmp_path / "landmarks.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadInput, match=r"cannot be read .*write it as UTF-8 text"):
        read_landmarks(tmp_path / "landmarks.csv")


def test_landmarks_that_name_no_picture_are_refused(folder):
    (folder / "landmarks.csv").write_text(f"elsewhere.png,{POINTS}\n")
    with pytest.raises(BadInput, match=r"names none of the 30 pictures; write paths as IDENTITY/picture\.jpg"):
        load_face_folder(folder, 3, 8)


def test_pairs_are_dealt_out_by_their_first_line(tmp_path):
    path = tmp_path / "pairs.txt"
    path.write_text("2 1\nAnn 1 2\nAnn 1 Bob 2\nBob 1 3\nBob 1 Cy 1\n")
    found = read_pairs(path)
    assert [pair.fold for pair in found] == [0, 0, 1, 1]
    assert (found[1].first, found[1].second) == (("Ann", 1), ("Bob", 2)) and found[2].second == ("Bob", 3)
    path.write_text("Ann\t1\t2\nAnn\t1\tBob\t2\n")
    assert [pair.fold for pair in read_pairs(path)] == [0, 1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ten folds\nA 1 2\nA 1 B 1", r"line 1 is ten folds; expected the number of folds and of pairs in each"),
        ("1 1\nA 1 2\nA one B 1", r"line 3 is 'A one B 1'; expected `name 1 2`, or `name 1 other 2`"),
        ("1 1\nA 1 2\n../A 1 B 1", r"line 3 is '\.\./A 1 B 1'"),
        ("1 1\nA 1 2 3 4\nA 1 B 1", r"line 2 is 'A 1 2 3 4'"),
        ("1 1\nA 1 2\nB 1 2", r"needs pairs of the same person and of different ones, got 2 of one kind"),
        ("", r"needs pairs of the same person and of different ones, got 0"),
    ],
)
def test_a_malformed_pair_is_named(tmp_path, text, message):
    (tmp_path / "pairs.txt").write_text(text)
    with pytest.raises(BadInput, match=r"pairs\.txt: " + message):
        read_pairs(tmp_path / "pairs.txt")


@pytest.mark.filterwarnings(QUIET)
def test_listed_pairs_are_what_is_held_out(folder):
    (folder / "pairs.txt").write_text("2 1\np0 1 2\np0 1 p1 2\np1 1 3\np1 1 p2 9\n")
    with pytest.warns(OfframpWarning, match=r"1 of 4 pairs name pictures NAME/NAME_0001\.jpg that are not there; left"):
        data = load_face_folder(folder, 3, 8)
    assert [face.path.stem for face in data.test.faces] == [
        "p0_0001",
        "p0_0002",
        "p0_0001",
        "p1_0002",
        "p1_0001",
        "p1_0003",
    ]
    assert data.test.labels[:, 5].tolist() == [0, 0, 1, 1, 2, 2] and data.test.labels[:, 6].tolist() == [
        0,
        0,
        0,
        0,
        1,
        1,
    ]
    assert data.test.labels[0, 4] == data.test.labels[2, 4] != data.test.labels[1, 4]
    assert {face.person for face in data.train.faces} == {f"p{person}" for person in range(3, 10)}


@pytest.mark.filterwarnings(QUIET)
def test_pairs_without_pictures_or_persons_to_train_on_are_refused(folder):
    (folder / "pairs.txt").write_text("p0 1 2\np0 1 p1 9\np1 8 9\n")
    with pytest.raises(BadInput, match=r"2 of 3 pairs name pictures .*put the pictures in the folder"):
        load_face_folder(folder, 3, 8)
    (folder / "pairs.txt").write_text("".join(f"p{i} 1 2\np{i} 1 p{i + 1} 2\n" for i in range(9)))
    with pytest.raises(BadInput, match=r"0 identities left to train on; add folders that pairs\.txt does not name"):
        load_face_folder(folder, 3, 8)
