"""Draws the curves of docs/reproduction.md: validation by minutes of training.

    python docs/study_curves.py

Reads what comes along with the study's weights (inpainting_tf/weights/study), and docs/study
for those that are too large to come along; writes docs/images/study_curves.png.
"""

import glob
import os

import numpy as np

from command_line import weights_along
from inpainting_tf import figure_charts, figure_files, run_folder

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


def main():
    runs, methods = {}, {}
    folders = [
        weights_along.find(name) for name in weights_along.names(weights_along.STUDY)
    ]
    for folder in sorted(folders + glob.glob(os.path.join(DOCS, "study", "*"))):
        label = os.path.basename(folder)
        methods[label] = run_folder.read_flags(folder)["method"]
        runs[label] = {
            quantity.removeprefix("validation/"): (
                np.interp(steps, *COSTS[methods[label]]),
                values,
            )
            for quantity, (steps, values) in figure_charts.read_metrics(folder).items()
        }
    figure = figure_charts.loss_curves(
        runs, ["psnr", "ssim"], horizontal="minutes of 2 CPU cores"
    )
    for axes in figure.axes:
        # The first steps are the fastest, and would hide all differences.
        low, high = axes.dataLim.intervaly
        axes.set_ylim(high - 0.65 * (high - low), high + 0.02 * (high - low))
    with open(OUTPUT, "wb") as file:
        file.write(figure_files.png_bytes(figure))
    print(OUTPUT)


if __name__ == "__main__":
    main()
