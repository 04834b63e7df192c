"""Figures of pictures show what they were given, pixel by pixel."""

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from sample_results import make_examples, pixels_of

from inpainting_tf import figure_grids, figure_style, figure_tiles
from inpainting_tf.contextual_attention import offsets_to_color

CYAN = np.round(255 * np.array(to_rgb(figure_tiles.HOLE_COLOR))).astype(int)


def tile_corners(figure):
    """Pixel (left, top, right, bottom) of every tile."""
    dpi = figure.dpi
    corners = []
    for image in figure.axes[0].images:
        left, right, bottom, top = image.get_extent()
        corners.append([round(x * dpi) for x in (left, top, right, bottom)])
    return corners


def test_grid_shows_rows_and_columns_pixel_by_pixel():
    examples = make_examples(3)
    figure = figure_grids.comparison_grid(examples, ["glcic", "telea"])
    shown = [np.asarray(image.get_array()) for image in figure.axes[0].images]
    assert len(shown) == 3 * 4
    for i, example in enumerate(examples):
        expected = [figure_tiles.shown_input(example), example.image]
        expected += [example.completed[label] for label in ("glcic", "telea")]
        for picture, wanted in zip(shown[4 * i : 4 * i + 4], expected, strict=True):
            np.testing.assert_array_equal(picture, wanted)
    texts = {text.get_text() for text in figure.axes[0].texts}
    assert {"input", "truth", "telea", "glcic", "face 0", "face 2"} <= texts
    canvas = pixels_of(figure)
    left, top, right, bottom = tile_corners(figure)[1]
    assert (right - left, bottom - top) == (128, 128)
    assert (canvas[top:bottom, left:right] == 40).all()


def test_grid_outlines_the_hole_boldly_on_input_finely_on_completions_not_on_truth():
    figure = figure_grids.comparison_grid(make_examples(1))
    canvas = pixels_of(figure)
    background = [[40, figure_tiles.MISSING_LEVEL], [40, 40], [100, 100], [110, 110]]
    amounts = []
    for (left, top, right, bottom), levels in zip(
        tile_corners(figure), background, strict=True
    ):
        tile = canvas[top:bottom, left:right]
        # How far each pixel goes from the picture towards the outline's colour.
        is_plain = np.isin(tile, levels).all(axis=-1)
        amounts.append((~is_plain).sum())
        touched = np.argwhere(~is_plain)
        if len(touched):
            assert (touched.min(axis=0) >= [31, 47]).all()
            assert (touched.min(axis=0) <= [32, 48]).all()
            assert (touched.max(axis=0) >= [95, 79]).all()
            assert (touched.max(axis=0) <= [96, 80]).all()
            assert is_plain[36:92, 52:76].all()
    is_bold, truth, *fine = amounts
    assert truth == 0
    assert min(fine) >= 2 * (64 + 32) - 8
    assert is_bold > 1.5 * max(fine)
    left, top, _, _ = tile_corners(figure)[0]
    on_border = canvas[top + 31 : top + 33, left + 60]
    assert np.abs(on_border - CYAN).sum(axis=1).min() <= 30


def test_small_and_wide_pictures_are_enlarged_whole_times():
    examples = make_examples(2, height=96, width=100)
    figure = figure_grids.comparison_grid(examples)
    for left, top, right, bottom in tile_corners(figure):
        assert (right - left, bottom - top) == (200, 192)


def test_print_size_fits_the_page_whatever_the_columns():
    labels = [f"a_rather_long_method_name/step {i}" for i in range(9)]
    figure = figure_grids.comparison_grid(make_examples(1, labels=labels), size="print")
    width, _ = figure.get_size_inches()
    assert figure.dpi == 300
    assert width <= figure_style.PAPER_WIDTH + 0.02
    figure.draw_without_rendering()
    boxes = [t.get_window_extent() for t in figure.axes[0].texts]
    edges = figure.bbox
    for box in boxes:
        assert box.x0 >= edges.x0 - 3
        assert box.x1 <= edges.x1 + 3
        assert box.y1 <= edges.y1 + 3


def test_grid_refuses_what_does_not_fit_together():
    with pytest.raises(ValueError, match="no examples"):
        figure_grids.comparison_grid([])
    with pytest.raises(ValueError, match="face 0 was not completed by siidgm"):
        figure_grids.comparison_grid(make_examples(1), ["siidgm"])
    with pytest.raises(ValueError, match="face 0 has the shape"):
        figure_grids.comparison_grid(make_examples(1) + make_examples(1, 64, 64))
    with pytest.raises(ValueError, match="telea is 20x10, the image is 32x16"):
        picture = np.zeros([16, 32, 3], np.uint8)
        completed = {"telea": picture[:10, :20]}
        figure_tiles.Example("x", picture, picture[..., 0], completed)
    with pytest.raises(ValueError, match="figure size 'poster'"):
        figure_grids.comparison_grid(make_examples(1), size="poster")


def test_search_shows_every_iteration_and_one_panel_per_loss():
    iterations = [0, 5, 20]
    examples = [
        figure_tiles.Example(
            f"face {i}",
            np.full([64, 64, 3], 50, np.uint8),
            np.pad(np.ones([32, 32]), 16),
            {
                kind: np.full([3, 64, 64, 3], 90, np.uint8)
                for kind in ("found", "completed")
            },
        )
        for i in range(2)
    ]
    curves = np.geomspace(1000, 1, 21) * np.array([[1], [2]])
    losses = {"context": curves, "prior": -curves}
    figure = figure_grids.search_iterations(examples, iterations, losses)
    pictures, context, prior = figure.axes
    # Each example: found with input and truth, completed without.
    assert len(pictures.images) == 2 * (3 + 2) + 2 * 3
    assert context.get_yscale() == "log"
    assert prior.get_yscale() == "linear"
    marked = [line for line in context.lines if line.get_linestyle() == "None"]
    for i, line in enumerate(marked):
        np.testing.assert_array_equal(line.get_xdata(), iterations)
        np.testing.assert_array_equal(line.get_ydata(), curves[i][iterations])
    with pytest.raises(ValueError, match="3 pictures of found for 2 iterations"):
        figure_grids.search_iterations(examples, [0, 1], losses)
    with pytest.raises(ValueError, match="1 curves of context for 2 examples"):
        figure_grids.search_iterations(examples, iterations, {"context": curves[:1]})


def test_offsets_stand_beside_their_picture_with_a_legend():
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, [2, 64, 64, 3]).astype(np.uint8)
    offsets = rng.integers(-5, 6, [2, 16, 16, 2])
    offsets[0, 0, 0] = [3, -40]
    masks = np.zeros([2, 64, 64, 1])
    masks[:, 20:40, 20:40] = 1
    figure = figure_grids.attention_offsets(pictures, offsets, masks, ["a", "b"])
    tiles, wheel = figure.axes
    assert len(tiles.images) == 4
    for i in range(2):
        expected = (offsets_to_color(offsets[i : i + 1])[0] + 1) * 127.5
        shown = np.asarray(tiles.images[2 * i + 1].get_array())
        np.testing.assert_allclose(shown, expected, atol=0.51)
        np.testing.assert_array_equal(tiles.images[2 * i].get_array(), pictures[i])
    texts = {text.get_text() for text in tiles.texts}
    assert "longest: 40 positions" in texts
    # The legend's right is the colour of offsets to the right.
    disc = np.asarray(wheel.images[0].get_array()).astype(float)
    right = (offsets_to_color(np.array([[[[0, 7], [0, 0]]]]))[0, 0, 0] + 1) * 127.5
    np.testing.assert_allclose(disc[75, 150], right, atol=1)
    assert (disc[0, 0] == 255).all()
    with pytest.raises(ValueError, match="2 pictures, 1 offsets"):
        figure_grids.attention_offsets(pictures, offsets[:1])
