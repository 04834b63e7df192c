"""The study's figure: every run that is published, by what its steps cost."""

import importlib.util
import json
import pathlib

import numpy as np
import programs

from inpainting_tf import figure_charts, run_folder

PATH = pathlib.Path(programs.ROOT) / "docs" / "study_curves.py"
spec = importlib.util.spec_from_file_location("study_curves", PATH)
study_curves = importlib.util.module_from_spec(spec)
spec.loader.exec_module(study_curves)


def written_run(folder, flags, measures):
    folder.mkdir()
    run_folder.write_flags(str(folder), flags)
    lines = [json.dumps(entry) + "\n" for entry in measures]
    (folder / "metrics.jsonl").write_text("".join(lines))
    return str(folder)


def entry(step, psnr):
    return {"step": step, "validation/psnr": psnr, "validation/ssim": psnr / 30}


def test_every_published_run_is_drawn_and_none_beyond_its_ninety_minutes():
    folders = study_curves.study_folders()
    runs = [study_curves.read_run(folder) for folder in folders]
    assert {method for _, method, _ in runs} == {*study_curves.COSTS}
    labels = [label for label, _, _ in runs]
    assert len({*labels}) == len(labels) and {*study_curves.COSTS} <= {*labels}
    for folder, (label, method, curves) in zip(folders, runs, strict=True):
        logged = figure_charts.read_metrics(folder)["validation/psnr"][0]
        assert logged[-1] <= study_curves.COSTS[method][0][-1], label
        assert len(curves["psnr"][0]) == len(logged) >= 10, label


def test_steps_of_glcic_cost_what_their_phase_costs(tmp_path):
    steps = [1265, 2530, 2810, 8440, 14070]
    folder = written_run(
        tmp_path / "run",
        {"method": "glcic", "seed": "0"},
        [entry(step, 20.0) for step in steps],
    )
    label, _, curves = study_curves.read_run(folder)
    # By the milliseconds of a step in each phase that docs/reproduction.md gives.
    milliseconds = np.repeat([315, 183, 404], [2530, 280, 11260])
    expected = np.cumsum(milliseconds)[np.array(steps) - 1] / 60e3
    assert label == "glcic"
    np.testing.assert_allclose(curves["psnr"][0], expected, atol=0.1)


def test_a_second_seed_is_the_dashed_line_of_its_methods_colour(tmp_path):
    folders = [
        written_run(
            tmp_path / f"run{seed}",
            {"method": "giica", "seed": str(seed)},
            [entry(500, 22.0 + seed), entry(1000, 23.0 + seed)],
        )
        for seed in (0, 1)
    ]
    figure = study_curves.draw(folders)
    first, second = figure.axes[0].lines
    assert first.get_color() == second.get_color()
    assert (first.get_linestyle(), second.get_linestyle()) == ("-", "--")
    np.testing.assert_allclose(second.get_ydata(), [23.0, 24.0])
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts == ["giica", "giica, seed 1"]
