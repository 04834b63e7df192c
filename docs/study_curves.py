"""Draws the curves of docs/reproduction.md: validation by minutes of training.

    python docs/study_curves.py

Reads what comes along with the study's weights (inpainting_tf/weights/study), and docs/study
for runs whose weights do not come along; writes docs/images/study_curves.png.
"""

import glob
import os

import numpy as np

from command_line import weights_along
from inpainting_tf import figure_charts, figure_files, figure_style, run_folder

# Steps, and the minutes of 2 quiet CPU cores that they cost by the study's rule: see
# docs/reproduction.md. glcic's phases cost 315, 183 and 404 ms a step.
COSTS = {
    "parallel_attention": ([0, 8650], [0, 90]),
    "glcic": ([0, 2530, 2810, 14070], [0, 13.3, 14.1, 90]),
    "giica": ([0, 8650], [0, 90]),
    "context_encoder": ([0, 67500], [0, 90]),
}
DOCS = os.path.dirname(os.path.abspath(__file__))
OUTPUT = os.path.join(DOCS, "images", "study_curves.png")


def study_folders():
    """Folders of the study's runs, sorted by their names."""
    along = [
        weights_along.find(name) for name in weights_along.names(weights_along.STUDY)
    ]
    others = glob.glob(os.path.join(DOCS, "study", "*", "flags.cfg"))
    return sorted(along + list(map(os.path.dirname, others)), key=os.path.basename)


def read_run(folder):
    """A run of the study: (label, method, curves).

    Label is the method, with the seed where that is not 0; curves maps psnr, ssim and l1
    to (minutes [N], values [N]).
    """
    recorded = run_folder.read_flags(folder)
    method, seed = recorded["method"], int(recorded["seed"])
    curves = {
        quantity.removeprefix("validation/"): (
            np.interp(steps, *COSTS[method]),
            values,
        )
        for quantity, (steps, values) in figure_charts.read_metrics(folder).items()
    }
    return f"{method}, seed {seed}" if seed else method, method, curves


def draw(folders):
    """PSNR and SSIM of runs by minutes: a Figure. Second seeds are the dashed lines."""
    runs = [read_run(folder) for folder in folders]
    of_methods = figure_style.method_styles([method for _, method, _ in runs])
    styles = {
        label: of_methods[method]
        if label == method
        else of_methods[method]._replace(line="--", marker="")
        for label, method, _ in runs
    }
    figure = figure_charts.loss_curves(
        {label: curves for label, _, curves in runs},
        ["psnr", "ssim"],
        styles=styles,
        horizontal="minutes of 2 CPU cores",
    )
    for axes in figure.axes:
        # The first steps are the fastest, and would hide all differences.
        low, high = axes.dataLim.intervaly
        axes.set_ylim(high - 0.65 * (high - low), high + 0.02 * (high - low))
    return figure


def main():
    with open(OUTPUT, "wb") as file:
        file.write(figure_files.png_bytes(draw(study_folders())))
    print(OUTPUT)


if __name__ == "__main__":
    main()
