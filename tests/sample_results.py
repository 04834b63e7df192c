"""Made-up results for tests of reports and figures; names are as nasty as they get."""

import io

import numpy as np
from PIL import Image

from inpainting_tf import figure_files, figure_grids, figure_tiles, report_page, results
from inpainting_tf.statistics import PairedComparison

NASTY = 'a_<b>&|$x^2$ "q" 50% #1 {z} ~\\ *w*'


def comparison(metric, a, b, difference, low, high, probability):
    result = PairedComparison(
        count=10,
        mean_difference=difference,
        low=low,
        high=high,
        probability_better=probability,
        p_value=0.01,
        p_value_method="exact sign flips",
        wins=7,
        ties=1,
        losses=2,
    )
    return results.Comparison(metric, a, b, result)


def make_summary(**changes):
    table = {
        "telea": {
            "psnr": (21.23456789, 20.5, 22.0),
            "l1": (0.0312345, 0.03, 0.033),
            "fid": (88.5, None, None),
        },
        "glcic": {
            "psnr": results.Estimate(np.float32(24.7), 24.0, 25.125),
            "l1": (0.0123456789, 0.012, 0.0125),
            "fid": (99.25, None, None),
        },
        NASTY: {"psnr": (9.5, 9.25, 9.75), "l1": (0.25, 0.2, 0.3)},
    }
    frontal = {"telea": {"psnr": (22.0, 21.0, 23.0)}, "glcic": {"psnr": (20, 19, 21)}}
    turned = {"telea": {"psnr": (10.0, 9.0, 11.0)}, "glcic": {"psnr": (30, 29, 31)}}
    arguments = {
        "protocol": "celeba_128_center",
        "protocol_hash": "0123456789abcdef" * 4,
        "metrics": [
            results.MetricColumn("psnr", "dB", "higher", "10 log10(255^2 / <e>)"),
            results.MetricColumn("l1", "share", "lower", "sum |x - y| / (255 n)"),
            results.MetricColumn("fid", "", "lower", "Heusel et al. & others"),
        ],
        "methods": [
            results.MethodRow("telea", 10, "OpenCV", "opencv 4.10"),
            results.MethodRow("glcic", 10, "Iizuka et al. 2017", "runs/glcic"),
            results.MethodRow(NASTY, 10, "<script>alert(1)</script>", "", "CC BY-NC"),
        ],
        "table": table,
        "grouping": "pose",
        "groups": [
            results.Group("frontal", 6, frontal),
            results.Group("turned", 4, turned),
        ],
        "comparisons": [
            comparison("psnr", "telea", "glcic", -3.4654, -4.0, -3.0, 0.0),
            comparison("l1", "telea", "glcic", 0.0189, 0.018, 0.02, 0.0),
            comparison("psnr", "glcic", NASTY, 0.1, -0.2, 0.4, 0.7),
        ],
        "versions": {"tensorflow": "2.21.0"},
        "command": "python evaluate.py --methods=telea,glcic && echo '<done>'",
    }
    return results.Summary(**(arguments | changes))


def make_pictures(count=3, size=24):
    rng = np.random.default_rng(0)
    mask = np.zeros([size, size, 1], np.float32)
    mask[4:12, 6:18] = 1
    examples = [
        figure_tiles.Example(
            f"<face> {i}",
            rng.integers(0, 256, [size, size, 3]).astype(np.uint8),
            mask,
            {
                label: rng.integers(0, 256, [size, size, 3]).astype(np.uint8)
                for label in ("telea", NASTY)
            },
        )
        for i in range(count)
    ]
    figure = figure_files.png_bytes(figure_grids.comparison_grid(examples[:1]))
    return report_page.Pictures(examples, [("Grid & <caption>", figure)])


def make_examples(count=2, height=128, width=128, labels=("telea", "glcic")):
    mask = np.zeros([height, width, 1], np.float32)
    mask[32:96, 48:80] = 1
    return [
        figure_tiles.Example(
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


def pixels_of(figure):
    with Image.open(io.BytesIO(figure_files.png_bytes(figure))) as picture:
        return np.array(picture.convert("RGB")).astype(int)
