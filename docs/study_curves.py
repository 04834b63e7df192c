"""Draws the curves of docs/reproduction.md: validation by minutes of training.

    python docs/study_curves.py

Reads what comes along with the study's weights (inpainting_tf/weights/study); writes
docs/images/study_curves.png.
"""

import os

import numpy as np

from command_line import weights_along
from inpainting_tf import figure_charts, figure_files, run_folder

# Of a step on 2 quiet CPU cores, as the study's budget counts them: see
# docs/reproduction.md. glcic's is the mean over its phases.
SECONDS = {
    "parallel_attention": 0.624,
    "glcic": 0.384,
    "giica": 0.624,
    "context_encoder": 0.080,
}
OUTPUT = os.path.join(os.path.dirname(__file__), "images", "study_curves.png")


def main():
    runs, methods = {}, {}
    for name in weights_along.names(weights_along.STUDY):
        folder = weights_along.find(name)
        label = name.removeprefix(f"{weights_along.STUDY}/")
        methods[label] = run_folder.read_flags(folder)["method"]
        runs[label] = {
            quantity.removeprefix("validation/"): (
                np.array(steps) * SECONDS[methods[label]] / 60,
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
        axes.set_ylim(high - 0.4 * (high - low), high + 0.02 * (high - low))
    with open(OUTPUT, "wb") as file:
        file.write(figure_files.png_bytes(figure))
    print(OUTPUT)


if __name__ == "__main__":
    main()
