"""Figures show what they were given: tiles, outlines, panels, files."""

import io
import json
import os

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from inpainting_tf import comparison_figures as figures
from inpainting_tf.contextual_attention import offsets_to_color

CYAN = np.round(255 * np.array(to_rgb(figures.HOLE_COLOR))).astype(int)


def pixels_of(figure):
    with Image.open(io.BytesIO(figures.png_bytes(figure))) as picture:
        return np.array(picture.convert("RGB")).astype(int)


def make_examples(count=2, height=128, width=128, labels=("telea", "glcic")):
    mask = np.zeros([height, width, 1], np.float32)
    mask[32:96, 48:80] = 1
    return [
        figures.Example(
            f"face {i}",
            np.full([height, width, 3], 40 + i, np.uint8),
            mask,
            {
                label: np.full([height, width, 3], 100 + 10 * j + i, np.uint8)
                for j, label in enumerate(labels)
            },
        )
        for i in range(count)
    ]


def test_outline_joins_the_borders_of_a_hole_into_few_lines():
    mask = np.zeros([6, 8])
    mask[1:3, 2:7] = 1
    lines = figures.hole_outline(mask)
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
    lines = figures.hole_outline(mask[..., np.newaxis])
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
    assert figures.hole_outline(rng.random([32, 32]) < 0.8) is None
    assert figures.hole_outline(np.zeros([8, 8])) is None


def test_shown_input_hides_the_truth_in_the_hole():
    (example,) = make_examples(1)
    shown = figures.shown_input(example)
    missing = example.mask[..., 0] > 0
    assert shown.dtype == np.uint8
    assert (shown[missing] == figures.MISSING_LEVEL).all()
    np.testing.assert_array_equal(shown[~missing], example.image[~missing])


def test_methods_keep_their_colours_in_any_company():
    alone = figures.method_styles(["glcic"])
    together = figures.method_styles(["telea", "glcic", "my own", "giica"])
    assert alone["glcic"] == together["glcic"]
    assert len({style.color for style in together.values()}) == 4
    many = figures.method_styles([f"run {i}" for i in range(30)])
    assert len(set(many.values())) == 30


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
    figure = figures.comparison_grid(examples, ["glcic", "telea"])
    shown = [np.asarray(image.get_array()) for image in figure.axes[0].images]
    assert len(shown) == 3 * 4
    for i, example in enumerate(examples):
        expected = [figures.shown_input(example), example.image]
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
    figure = figures.comparison_grid(make_examples(1))
    canvas = pixels_of(figure)
    background = [[40, figures.MISSING_LEVEL], [40, 40], [100, 100], [110, 110]]
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
    figure = figures.comparison_grid(examples)
    for left, top, right, bottom in tile_corners(figure):
        assert (right - left, bottom - top) == (200, 192)


def test_print_size_fits_the_page_whatever_the_columns():
    labels = [f"a_rather_long_method_name/step {i}" for i in range(9)]
    figure = figures.comparison_grid(make_examples(1, labels=labels), size="print")
    width, _ = figure.get_size_inches()
    assert figure.dpi == 300
    assert width <= figures.PAPER_WIDTH + 0.02
    figure.draw_without_rendering()
    boxes = [t.get_window_extent() for t in figure.axes[0].texts]
    edges = figure.bbox
    for box in boxes:
        assert box.x0 >= edges.x0 - 3
        assert box.x1 <= edges.x1 + 3
        assert box.y1 <= edges.y1 + 3


def test_grid_refuses_what_does_not_fit_together():
    with pytest.raises(ValueError, match="no examples"):
        figures.comparison_grid([])
    with pytest.raises(ValueError, match="face 0 was not completed by siidgm"):
        figures.comparison_grid(make_examples(1), ["siidgm"])
    with pytest.raises(ValueError, match="face 0 has the shape"):
        figures.comparison_grid(make_examples(1) + make_examples(1, 64, 64))
    with pytest.raises(ValueError, match="telea is 20x10, the image is 32x16"):
        picture = np.zeros([16, 32, 3], np.uint8)
        completed = {"telea": picture[:10, :20]}
        figures.Example("x", picture, picture[..., 0], completed)
    with pytest.raises(ValueError, match="figure size 'poster'"):
        figures.comparison_grid(make_examples(1), size="poster")


def test_search_shows_every_iteration_and_one_panel_per_loss():
    iterations = [0, 5, 20]
    examples = [
        figures.Example(
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
    figure = figures.search_iterations(examples, iterations, losses)
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
        figures.search_iterations(examples, [0, 1], losses)
    with pytest.raises(ValueError, match="1 curves of context for 2 examples"):
        figures.search_iterations(examples, iterations, {"context": curves[:1]})


def write_run(folder, entries, tail=""):
    os.makedirs(folder)
    lines = [json.dumps(entry) + "\n" for entry in entries]
    (folder / "metrics.jsonl").write_text("".join(lines) + tail)


def test_loss_curves_draw_runs_over_each_other_and_scale_by_range(tmp_path):
    steps = np.arange(1, 200)
    write_run(
        tmp_path / "a",
        [{"step": 0, "validation/psnr": 10.0, "mean_color_fill/psnr": 9.0}]
        + [
            {"step": int(s), "wide": 1e4 / s**2, "narrow": 1 + 1 / s, "phase": 0.0}
            for s in steps
        ]
        + [{"step": 200, "validation/psnr": 20.0}],
        tail='{"step": 201, "wide": 1',
    )
    write_run(tmp_path / "b", [{"step": i, "wide": float(i % 2)} for i in range(9)])
    logged = figures.read_metrics(tmp_path / "a")
    assert set(logged) == {"validation/psnr", "mean_color_fill/psnr", "wide", "narrow"}
    np.testing.assert_array_equal(logged["wide"][1], 1e4 / steps**2)
    figure = figures.loss_curves({"run a": tmp_path / "a", "run b": tmp_path / "b"})
    assert [axes.get_title() for axes in figure.axes] == [
        "validation/psnr",
        "wide",
        "narrow",
    ]
    psnr, wide, narrow = figure.axes
    assert [axes.get_yscale() for axes in figure.axes] == ["linear", "log", "linear"]
    np.testing.assert_array_equal(psnr.lines[0].get_ydata(), [10, 20])
    # Raw and averaged curve of run a; run b is too short for an average.
    raw, average, other = wide.lines
    np.testing.assert_array_equal(raw.get_ydata(), 1e4 / steps**2)
    window = len(steps) // 50
    expected = [np.mean(raw.get_ydata()[i : i + window]) for i in range(len(steps) - 2)]
    np.testing.assert_allclose(average.get_ydata(), expected)
    np.testing.assert_array_equal(np.isnan(other.get_ydata()), np.arange(9) % 2 == 0)
    assert len(narrow.lines) == 2
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["run a", "run b"]
    with pytest.raises(ValueError, match="no run logged 'loss'; they logged"):
        figures.loss_curves({"a": tmp_path / "a"}, ["loss"])
    with pytest.raises(ValueError, match="holds no run"):
        figures.loss_curves({"c": tmp_path / "c"})


def test_hole_area_shows_each_image_and_the_mean_of_each_range():
    areas = np.array([0.10, 0.15, 0.20, 0.25, 0.29, 0.41])
    values = {
        "telea": np.array([1.0, 3.0, 5.0, 7.0, np.nan, 9.0]),
        "_b": np.arange(6.0),
    }
    asked = []

    def interval(chosen):
        asked.append(list(chosen))
        return chosen.mean() - 1, chosen.mean() + 2

    edges = [0.1, 0.2, 0.3, 0.4, 0.5]
    figure = figures.metric_against_hole_area(
        areas, values, "psnr", "dB", "higher", edges, interval
    )
    (axes,) = figure.axes
    dots = [line for line in axes.lines if line.get_marker() == "."]
    np.testing.assert_allclose(dots[0].get_xdata(), 100 * areas[[0, 1, 2, 3, 5]])
    np.testing.assert_array_equal(dots[0].get_ydata(), [1, 3, 5, 7, 9])
    assert asked == [[1, 3], [5, 7], [9], [0, 1], [2, 3, 4], [5]]
    bars = [c.get_segments() for c in axes.collections]
    low_high = [[(s[0][1], s[1][1]) for s in segments] for segments in bars]
    assert low_high[0] == [(1, 4), (5, 8), (8, 11)]
    # Means lie inside their range.
    for segments in bars:
        x = [segment[0][0] for segment in segments]
        np.testing.assert_array_equal(np.floor(np.array(x) / 10), [1, 2, 4])
    assert axes.get_ylabel() == "psnr (dB), higher is better"
    labels = [t.get_text() for t in figure.legends[0].get_texts()]
    assert labels == ["telea", "_b"]
    with pytest.raises(ValueError, match="telea has 2 values for 6 images"):
        figures.metric_against_hole_area(areas, {"telea": [1, 2]}, "l1")


def test_offsets_stand_beside_their_picture_with_a_legend():
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, [2, 64, 64, 3]).astype(np.uint8)
    offsets = rng.integers(-5, 6, [2, 16, 16, 2])
    offsets[0, 0, 0] = [3, -40]
    masks = np.zeros([2, 64, 64, 1])
    masks[:, 20:40, 20:40] = 1
    figure = figures.attention_offsets(pictures, offsets, masks, ["a", "b"])
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
        figures.attention_offsets(pictures, offsets[:1])


def test_poses_are_drawn_side_by_side_with_their_intervals():
    groups = {
        "frontal": {
            "telea": {"psnr": (20.0, 19.0, 21.0)},
            "$x$": {"psnr": (9, None, None)},
        },
        "turned": {"telea": {"psnr": (18.0, 17.5, 18.5)}},
    }
    metrics = [("psnr", "dB", "higher"), ("fid", "", "lower")]
    figure = figures.frontal_against_turned(groups, metrics)
    psnr, fid = figure.axes
    drawn = [tuple(line.get_xdata()) for line in psnr.lines]
    assert drawn == [(19, 21), (20,), (17.5, 18.5), (18,), (20, 18), (9,)]
    assert not fid.lines
    assert [text.get_text() for text in psnr.get_yticklabels()] == ["telea", "$x$"]
    pixels_of(figure)
    with pytest.raises(ValueError, match="needs two groups, got frontal"):
        figures.frontal_against_turned({"frontal": {}}, metrics)


def test_files_are_whole_repeatable_and_leave_nothing_behind(tmp_path):
    def write(folder):
        figure = figures.comparison_grid(make_examples(1))
        return figures.save(figure, tmp_path / folder / "grid")

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
    figures.save(figures.comparison_grid(make_examples(2)), tmp_path / "a" / "grid")
    assert sorted(os.listdir(tmp_path / "a")) == ["grid.pdf", "grid.png"]
    os.makedirs(tmp_path / "c" / "grid.png")
    with pytest.raises(OSError):
        write("c")
    assert os.listdir(tmp_path / "c") == ["grid.png"]
