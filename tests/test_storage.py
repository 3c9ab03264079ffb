"""Files and folders are written whole or not at all."""

import errno
import os
from pathlib import Path

import pytest
from offramp.errors import BadInput
from offramp.storage import atomic_folder, atomic_path, cache_folder, read_json, sha256_of, size_bytes_of, write_json


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_takes_the_place_of_the_old_one_whole(tmp_path) -> None:
    path = tmp_path / "deep" / "file.txt"
    for text in ("first", "second"):
        with atomic_path(path) as beside:
            beside.write_text(text)
        assert path.read_text() == text
    assert names(path.parent) == ["file.txt"]


def test_a_file_that_fails_halfway_leaves_the_old_one(tmp_path) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), atomic_path(path) as beside:
        beside.write_text("n" * (1 // 0))
    assert path.read_text() == "old"
    assert names(tmp_path) == ["file.txt"]


def test_a_folder_takes_the_place_of_the_old_one_whole(tmp_path) -> None:
    path = tmp_path / "dist" / "net"
    for name in ("a", "b"):
        with atomic_folder(path) as beside:
            (beside / name).write_text(name)
        assert names(path) == [name]
    assert names(path.parent) == ["net"]


def test_a_folder_that_fails_halfway_leaves_the_old_one(tmp_path) -> None:
    path = tmp_path / "net"
    path.mkdir()
    (path / "old").write_text("old")
    with pytest.raises(ZeroDivisionError), atomic_folder(path) as beside:
        _ = (beside / "new").write_text("new") / 0
    assert names(path) == ["old"]
    assert names(tmp_path) == ["net"]


def test_a_first_folder_that_fails_leaves_no_empty_parents(tmp_path) -> None:
    with pytest.raises(ZeroDivisionError), atomic_folder(tmp_path / "dist" / "deep" / "net"):
        raise ZeroDivisionError
    assert names(tmp_path) == []


def test_a_full_disk_is_one_line_and_changes_nothing(tmp_path, monkeypatch) -> None:
    path = tmp_path / "net"
    path.mkdir()
    (path / "old").write_text("old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "replace", full)
    message = r"net: cannot write \(No space left on device\); free some space"
    with pytest.raises(BadInput, match=message), atomic_folder(path) as beside:
        (beside / "new").write_text("new")
    assert names(path) == ["old"]
    assert names(tmp_path) == ["net"]


def test_json_is_read_back_and_damage_is_named(tmp_path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"b": [1, 2.5, None], "a": "ü"})
    assert read_json(path) == {"a": "ü", "b": [1, 2.5, None]}
    path.write_text('{"a": 1')
    with pytest.raises(BadInput, match=r"a\.json: not valid JSON .*write it again"):
        read_json(path)
    with pytest.raises(BadInput, match=r"b\.json: no such file"):
        read_json(tmp_path / "b.json")


def test_nan_is_not_written(tmp_path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"a": float("nan")})
    assert names(tmp_path) == []


def test_a_folders_hash_knows_names_and_contents(tmp_path) -> None:
    folder = tmp_path / "net.mlpackage"
    (folder / "Data").mkdir(parents=True)
    (folder / "Data" / "weights").write_bytes(b"abc")
    (folder / "Manifest").write_bytes(b"de")
    before = sha256_of(folder)
    assert size_bytes_of(folder) == 5
    assert sha256_of(folder) == before
    (folder / "Manifest").rename(folder / "Other")
    renamed = sha256_of(folder)
    (folder / "Other").write_bytes(b"df")
    assert len({before, renamed, sha256_of(folder)}) == 3


def test_the_cache_lies_where_the_environment_says(tmp_path, monkeypatch):
    monkeypatch.delenv("OFFRAMP_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "offramp"
    monkeypatch.setenv("OFFRAMP_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"
