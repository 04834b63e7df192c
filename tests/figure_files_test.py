"""Files of figures are whole, repeatable, and leave nothing behind."""

import os

import pytest
from PIL import Image
from sample_results import make_examples

from inpainting_tf import figure_files, figure_grids


def test_files_are_whole_repeatable_and_leave_nothing_behind(tmp_path):
    def write(folder):
        figure = figure_grids.comparison_grid(make_examples(1))
        return figure_files.save(figure, tmp_path / folder / "grid")

    first, second = write("a"), write("b")
    for one, other in zip(first, second, strict=True):
        with open(one, "rb") as file, open(other, "rb") as again:
            data = file.read()
            assert data == again.read()
        assert b"Date" not in data
    assert sorted(os.listdir(tmp_path / "a")) == ["grid.pdf", "grid.png"]
    with Image.open(first[0]) as picture:
        picture.verify()
    with open(first[1], "rb") as file:
        assert file.read(5) == b"%PDF-"
    # Saving once more replaces; a folder in the way leaves no temporary file.
    figure_files.save(
        figure_grids.comparison_grid(make_examples(2)), tmp_path / "a" / "grid"
    )
    assert sorted(os.listdir(tmp_path / "a")) == ["grid.pdf", "grid.png"]
    os.makedirs(tmp_path / "c" / "grid.png")
    with pytest.raises(OSError):
        write("c")
    assert os.listdir(tmp_path / "c") == ["grid.png"]
