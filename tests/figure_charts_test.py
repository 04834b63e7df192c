"""Charts show the numbers they were given."""

import json
import os

import numpy as np
import pytest
from sample_results import pixels_of

from inpainting_tf import figure_charts


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
    logged = figure_charts.read_metrics(tmp_path / "a")
    assert set(logged) == {"validation/psnr", "mean_color_fill/psnr", "wide", "narrow"}
    np.testing.assert_array_equal(logged["wide"][1], 1e4 / steps**2)
    figure = figure_charts.loss_curves(
        {"run a": tmp_path / "a", "run b": tmp_path / "b"}
    )
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
        figure_charts.loss_curves({"a": tmp_path / "a"}, ["loss"])
    with pytest.raises(ValueError, match="holds no run"):
        figure_charts.loss_curves({"c": tmp_path / "c"})


def test_damaged_lines_of_a_log_are_left_out_of_its_curves(tmp_path):
    write_run(tmp_path / "run", [{"step": 1, "loss": 4.0}], '{"step": 2, "lo\n')
    with open(tmp_path / "run" / "metrics.jsonl", "a") as file:
        file.write('{"loss": 1}\n3\n{"step": 3, "loss": 2.0}\n')
    logged = figure_charts.read_metrics(tmp_path / "run")
    np.testing.assert_array_equal(logged["loss"], [[1, 3], [4, 2]])
    write_run(tmp_path / "new", [])
    with pytest.raises(ValueError, match="nothing was logged"):
        figure_charts.read_metrics(tmp_path / "new")
    with pytest.raises(ValueError, match="holds no run.*Not a directory"):
        figure_charts.read_metrics(tmp_path / "new" / "metrics.jsonl")


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
    figure = figure_charts.metric_against_hole_area(
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
        figure_charts.metric_against_hole_area(areas, {"telea": [1, 2]}, "l1")


def test_poses_are_drawn_side_by_side_with_their_intervals():
    groups = {
        "frontal": {
            "telea": {"psnr": (20.0, 19.0, 21.0)},
            "$x$": {"psnr": (9, None, None)},
        },
        "turned": {"telea": {"psnr": (18.0, 17.5, 18.5)}},
    }
    metrics = [("psnr", "dB", "higher"), ("fid", "", "lower")]
    figure = figure_charts.frontal_against_turned(groups, metrics)
    psnr, fid = figure.axes
    drawn = [tuple(line.get_xdata()) for line in psnr.lines]
    assert drawn == [(19, 21), (20,), (17.5, 18.5), (18,), (20, 18), (9,)]
    assert not fid.lines
    assert [text.get_text() for text in psnr.get_yticklabels()] == ["telea", "$x$"]
    pixels_of(figure)
    with pytest.raises(ValueError, match="needs two groups, got frontal"):
        figure_charts.frontal_against_turned({"frontal": {}}, metrics)
