"""Folders that appear whole or not at all."""

import os

import pytest

from inpainting_tf import run_folder


def contents(folder):
    """Files below a folder: relative path -> text."""
    return {
        os.path.relpath(os.path.join(place, name), folder): open(
            os.path.join(place, name), encoding="utf-8"
        ).read()
        for place, _, names in os.walk(folder)
        for name in names
    }


def write(folder, text):
    with open(os.path.join(folder, "file"), "w", encoding="utf-8") as file:
        file.write(text)


def test_a_folder_appears_when_its_block_ends_and_not_before(tmp_path):
    path = tmp_path / "deep" / "folder"
    with run_folder.written_whole(path) as folder:
        write(folder, "new")
        assert not path.exists()
    assert contents(tmp_path) == {"deep/folder/file": "new"}
    assert os.listdir(tmp_path / "deep") == ["folder"]


@pytest.mark.parametrize("replace", [False, True])
@pytest.mark.parametrize("error", [KeyError("k"), OSError(28, "No space left")])
def test_an_error_in_the_block_leaves_what_was_there(tmp_path, replace, error):
    write(tmp_path, "beside")
    (tmp_path / "folder").mkdir()
    write(tmp_path / "folder", "old")
    said = run_folder.RunFolderError if isinstance(error, OSError) else type(error)
    with (
        pytest.raises(said),
        run_folder.written_whole(tmp_path / "folder", replace) as folder,
    ):
        write(folder, "new")
        raise error
    assert contents(tmp_path) == {"file": "beside", "folder/file": "old"}
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


def test_a_folder_that_holds_something_is_replaced_only_if_asked(tmp_path):
    (tmp_path / "folder").mkdir()
    write(tmp_path / "folder", "old")
    with (
        pytest.raises(run_folder.RunFolderError, match="folder: cannot write there"),
        run_folder.written_whole(tmp_path / "folder") as folder,
    ):
        write(folder, "new")
    assert contents(tmp_path) == {"folder/file": "old"}
    with run_folder.written_whole(tmp_path / "folder", replace=True) as folder:
        assert contents(tmp_path / "folder") == {"file": "old"}
        write(folder, "new")
    assert contents(tmp_path) == {"folder/file": "new"}
    assert os.listdir(tmp_path) == ["folder"]


@pytest.mark.parametrize("old_stays_away", [False, True])
def test_the_old_folder_is_not_lost_where_the_new_one_cannot_take_its_place(
    tmp_path, monkeypatch, old_stays_away
):
    (tmp_path / "folder").mkdir()
    write(tmp_path / "folder", "old")
    rename = os.rename

    def rename_but_the_new(source, target):
        if "unfinished" in str(source) or (old_stays_away and ".old" in str(source)):
            raise OSError(5, "Input/output error")
        rename(source, target)

    monkeypatch.setattr(os, "rename", rename_but_the_new)
    with (
        pytest.raises(run_folder.RunFolderError, match="Input/output error"),
        run_folder.written_whole(tmp_path / "folder", replace=True) as folder,
    ):
        write(folder, "new")
    assert list(contents(tmp_path).values()) == ["old"]
    assert os.path.exists(tmp_path / "folder") == (not old_stays_away)
