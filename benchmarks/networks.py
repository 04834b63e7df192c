"""How near the networks come to the arithmetic that the machine can do.

    python -m benchmarks.networks
    python -m benchmarks.networks --widths=0.25,1 --image_sizes=64,128,256 --steps=0

For every method, width, image size and batch size: multiply-adds of completing a batch
and of a training step on it (counted from the traced function, see
`inpainting_tf.arithmetic`), milliseconds, the cost of a pixel, and the share of the
speed of a 2048-cubed float32 matrix product that is reached. Product, forward pass and
step run in turns in one process; medians, quartiles of the shares in parentheses.

Networks have random weights: time does not depend on what they have learned. A training
step counts the phase in which all players learn, and its pixels are those of all the
batches that it takes (giica: six).
"""

import numpy as np
import tensorflow as tf
from absl import app, flags

from baselines.methods import METHODS
from benchmarks import timing
from benchmarks.batches import random_batch
from command_line import method_flags
from command_line.parsing import parse_flags
from inpainting_tf import compiled_steps
from inpainting_tf.arithmetic import multiply_adds

FLAGS = flags.FLAGS
flags.DEFINE_list(
    "methods", ["glcic", "parallel_attention", "giica"], "Names of networks."
)
flags.DEFINE_list("widths", ["1"], "Multipliers on the published channels.")
flags.DEFINE_list(
    "image_sizes", None, "Sides of the images. Default: the published, 256 for giica."
)
flags.DEFINE_list("batch_sizes", ["4"], "Images at once.")
flags.DEFINE_integer("rounds", 7, "Turns that are timed.", lower_bound=2)
flags.DEFINE_integer("steps", 1, "0 leaves training steps out.", lower_bound=0)


def build(method, size, width):
    """The method, every player at work from the first step on."""
    arguments = {"image_size": size, "width": width, "seed": 0}
    if method == "glcic":
        arguments |= {"completion_steps": 0, "discriminator_steps": 0}
    return METHODS[method](**method_flags.shared_arguments(METHODS[method], arguments))


def measure(method, size, width, count):
    model = build(method, size, width)
    batch = random_batch(count, size)
    forward = compiled_steps.compile_forward(model)
    product, product_work = timing.matmul()
    shapes = [list(batch[name].shape) for name in ("image", "mask")]
    work = {"forward": multiply_adds(model.call, *shapes).total()}
    pixels = {"forward": count * size**2}
    functions = {
        "product": product,
        "forward": lambda: forward(batch["image"], batch["mask"])["completed"],
    }
    if FLAGS.steps:
        several = random_batch(count * model.batches_per_step, size)
        step = compiled_steps.compile_step(model, tf.distribute.get_strategy())

        def update(image, mask, box):
            box = tf.cast(box, tf.int32)
            return model.update({"image": image, "mask": mask, "box": box})

        shapes = [list(value.shape) for value in several.values()]
        work["step"] = multiply_adds(update, *shapes).total()
        pixels["step"] = len(several["image"]) * size**2
        functions["step"] = lambda: step(several)
    seconds = timing.in_turns(functions, FLAGS.rounds)
    print(f"{method}, width {width:g}, {count} of {size}x{size}", flush=True)
    for name, multiplied in work.items():
        shares = [
            multiplied / product_work * share
            for share in timing.ratios(seconds["product"], seconds[name])
        ]
        middle = np.median(seconds[name])
        print(
            f"  {name:7} {multiplied / 1e9:8.1f} G multiply-adds, {1e3 * middle:7.0f} "
            f"ms, {1e6 * middle / pixels[name]:6.2f} us a pixel, "
            f"{timing.spread(shares)} of a product",
            flush=True,
        )


def main(_):
    _, product_work = timing.matmul()
    product, _ = timing.matmul()
    seconds = timing.in_turns({"product": product}, 9)["product"]
    speeds = [2e-9 * product_work / s for s in seconds]
    print(f"matrix product: {timing.spread(speeds, '.0f')} GFLOP/s")
    for method in FLAGS.methods:
        sizes = FLAGS.image_sizes or ["256" if method == "giica" else "128"]
        for width in FLAGS.widths:
            for size in sizes:
                for count in FLAGS.batch_sizes:
                    measure(method, int(size), float(width), int(count))


if __name__ == "__main__":
    app.run(main, flags_parser=parse_flags)
