"""One large image through GIICA: time, and the most memory that the process takes.

    python -m benchmarks.large_images --image_height=1080 --image_width=1920
    python -m benchmarks.large_images --image_height=2048 --image_width=2048 --memory_mb=512

A random image with a centred hole of half its sides goes through coarse and refinement
network at --width times the published channels, with random weights: neither time nor
memory depends on what they have learned. Height and width: multiples of 8.
"""

import pathlib
import re
import time

import numpy as np
import tensorflow as tf
from absl import app, flags

from baselines.giica import GIICA
from command_line.memory import reuse_large_blocks
from command_line.parsing import parse_flags
from inpainting_tf.contextual_attention import MEMORY_MB

FLAGS = flags.FLAGS
flags.DEFINE_integer("image_height", 1080, "In pixels.", lower_bound=8)
flags.DEFINE_integer("image_width", 1920, "In pixels.", lower_bound=8)
flags.DEFINE_float("width", 1.0, "Multiplier on the published channels.")
flags.DEFINE_float("memory_mb", MEMORY_MB, "For attention's scores.", lower_bound=1)
flags.register_multi_flags_validator(
    ["image_height", "image_width"],
    lambda sides: not any(side % 8 for side in sides.values()),
    "--image_height and --image_width must be multiples of 8",
)


def most_megabytes():
    status = pathlib.Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1024


def main(_):
    reuse_large_blocks()
    height, width = FLAGS.image_height, FLAGS.image_width
    model = GIICA(width=FLAGS.width, attention_memory_mb=FLAGS.memory_mb, seed=0)
    generator = np.random.default_rng(0)
    image = generator.uniform(-1, 1, [1, height, width, 3]).astype(np.float32)
    mask = np.zeros([1, height, width, 1], np.float32)
    mask[:, height // 4 : height * 3 // 4, width // 4 : width * 3 // 4] = 1

    @tf.function(input_signature=[tf.TensorSpec([1, None, None, c]) for c in (3, 1)])
    def complete(image, mask):
        return model(image, mask)["completed"]

    complete(image[:, :64, :64], mask[:, :64, :64])
    before = most_megabytes()
    began = time.perf_counter()
    complete(image, mask)
    print(
        f"giica, width {FLAGS.width:g}, {width}x{height}: "
        f"{time.perf_counter() - began:.0f} s, at most {most_megabytes():.0f} MB "
        f"({before:.0f} MB after an image of 64x64); attention row by row from "
        f"{FLAGS.memory_mb:.0f} MB on"
    )


if __name__ == "__main__":
    app.run(main, flags_parser=parse_flags)
