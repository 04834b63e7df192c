"""Holes are outlined where they are, and what is shown of them hides the truth."""

import numpy as np
from sample_results import make_examples

from inpainting_tf import figure_tiles


def test_outline_joins_the_borders_of_a_hole_into_few_lines():
    mask = np.zeros([6, 8])
    mask[1:3, 2:7] = 1
    lines = figure_tiles.hole_outline(mask)
    corners = {tuple(sorted(map(tuple, line))) for line in lines.tolist()}
    left, right, top, bottom = 1.5, 6.5, 0.5, 2.5
    assert corners == {
        ((left, top), (right, top)),
        ((left, bottom), (right, bottom)),
        ((left, top), (left, bottom)),
        ((right, top), (right, bottom)),
    }


def test_outline_covers_every_border_between_missing_and_known():
    rng = np.random.default_rng(1)
    mask = np.kron(rng.integers(0, 2, [4, 5]), np.ones([6, 6]))
    lines = figure_tiles.hole_outline(mask[..., np.newaxis])
    padded = np.pad(mask, 1)
    borders = np.abs(np.diff(padded, axis=0)).sum() + np.abs(np.diff(padded)).sum()
    assert np.abs(lines[:, 1] - lines[:, 0]).sum() == borders
    # Halfway along each unit of a line lie a missing and a known pixel.
    for (x0, y0), (x1, y1) in lines:
        for t in np.arange(0.5, max(x1 - x0, y1 - y0)):
            if y0 == y1:
                row, column = int(y0 + 0.5), int(x0 + t + 0.5)
                pair = padded[row, column + 1], padded[row + 1, column + 1]
            else:
                row, column = int(y0 + t + 0.5), int(x0 + 0.5)
                pair = padded[row + 1, column], padded[row + 1, column + 1]
            assert set(pair) == {0, 1}


def test_holes_of_single_pixels_and_empty_holes_have_no_outline():
    rng = np.random.default_rng(0)
    assert figure_tiles.hole_outline(rng.random([32, 32]) < 0.8) is None
    assert figure_tiles.hole_outline(np.zeros([8, 8])) is None


def test_shown_input_hides_the_truth_in_the_hole():
    (example,) = make_examples(1)
    shown = figure_tiles.shown_input(example)
    missing = example.mask[..., 0] > 0
    assert shown.dtype == np.uint8
    assert (shown[missing] == figure_tiles.MISSING_LEVEL).all()
    np.testing.assert_array_equal(shown[~missing], example.image[~missing])
