"""What a training step sends between GPUs against what each of them computes: reckoned.

    python -m benchmarks.scaling
    python -m benchmarks.scaling --tflops=100 --links=50 --batch_size=4

Nothing is timed, and no GPU is needed: multiply-adds are counted from the traced step
(`inpainting_tf.arithmetic`), bytes from the weights that each optimizer moves, as often as
it moves them, and from the moments that batch normalisation exchanges, forwards and again
for the gradients. Every GPU has `--batch_size` pictures, so that n of them take n times as
many together.

A ring sends and receives 2 (n - 1) / n of what is added up, in 2 (n - 1) turns of a
latency each; a tree twice all of it, in 2 log2 n turns. For each message the faster of both
counts, as NCCL chooses. Efficiency is compute / (compute + sending), as if nothing were
sent while something is computed: the least that is to be expected. Gradients are added up
in one go; batch normalisation has to wait for each of its messages.
"""

import collections
import math

import keras
import tensorflow as tf
from absl import app, flags

from baselines.methods import METHODS
from command_line import method_flags
from command_line.parsing import parse_flags
from inpainting_tf.arithmetic import multiply_adds

FLAGS = flags.FLAGS
flags.DEFINE_list("methods", list(METHODS), "Names of methods.")
flags.DEFINE_float("width", 1.0, "Multiplier on the published channels.")
flags.DEFINE_integer("batch_size", 16, "Pictures per GPU and update.", lower_bound=1)
flags.DEFINE_float("tflops", 50, "What a GPU sustains, in 10^12 operations a second.")
flags.DEFINE_list(
    "links", ["25", "12.5"], "GB/s each way of a GPU's link; 100 Gbit/s are 12.5."
)
flags.DEFINE_float("latency", 10, "Microseconds of a turn of the ring.")
flags.DEFINE_list("gpus", ["8", "16", "32", "64", "128", "256"], "How many.")

# Where they were published at another size than the package's default.
IMAGE_SIZES = {"giica": 256, "dcgan": 64}
FLOAT = 4


def build(method):
    """The method at its published size, every player at work from the first step on."""
    size = IMAGE_SIZES.get(method, 128)
    arguments = {"image_size": size, "width": FLAGS.width, "seed": 0}
    if method == "glcic":
        arguments |= {"completion_steps": 0, "discriminator_steps": 0}
    return METHODS[method](**method_flags.shared_arguments(METHODS[method], arguments))


def count(model):
    """What a step is on one GPU.

    Returns:
      (multiply-adds, bytes of gradients, messages of gradients, bytes of moments, messages
      of moments).
    """
    normalizations = [
        layer
        for layer in model._flatten_layers()  # Keras has no public way to all layers.
        if isinstance(layer, keras.layers.BatchNormalization)
    ]
    calls, updates = collections.Counter(), collections.Counter()
    for layer in normalizations:
        _tally(layer, "_moments", calls, layer)
    optimizers = [
        value
        for value in vars(model).values()
        if isinstance(value, keras.optimizers.Optimizer)
    ]
    sizes = {}
    for optimizer in optimizers:
        _tally(optimizer, "apply", updates, optimizer, sizes)
    pictures = FLAGS.batch_size * model.batches_per_step
    size = model.image_size
    shapes = [[pictures, size, size, 3], [pictures, size, size, 1], [pictures, 4]]

    def update(image, mask, box):
        return model.update(
            {"image": image, "mask": mask, "box": tf.cast(box, tf.int32)}
        )

    work = multiply_adds(update, *shapes).total()
    gradients = sum(FLOAT * sizes[o] * times for o, times in updates.items())
    # Mean and mean square; forwards, and the gradients of both backwards.
    moments = sum(
        2 * 2 * FLOAT * layer.moving_mean.shape[0] * times
        for layer, times in calls.items()
    )
    return work, gradients, updates.total(), moments, 2 * calls.total()


def _tally(thing, method, calls, key, sizes=None):
    """Counts calls of a method, and how many numbers the weights hold it is given."""
    original = getattr(thing, method)

    def counted(*arguments, **options):
        calls[key] += 1
        if sizes is not None:
            sizes[key] = sum(math.prod(weight.shape) for weight in arguments[1])
        return original(*arguments, **options)

    setattr(thing, method, counted)


def sending(gpus, size, messages, link):
    """Seconds that GPUs take to add up `size` bytes, in so many messages."""
    whole = size / (link * 1e9)
    turn = messages * FLAGS.latency * 1e-6
    ring = 2 * (gpus - 1) / gpus * whole + 2 * (gpus - 1) * turn
    tree = 2 * whole + 2 * math.ceil(math.log2(gpus)) * turn
    return min(ring, tree)


def main(_):
    links = [float(link) for link in FLAGS.links]
    counted = {}
    print("| method | pictures | multiply-adds | compute | gradients | moments |")
    print("|---|---|---|---|---|---|")
    for method in FLAGS.methods:
        model = build(method)
        counted[method] = work, gradients, _, moments, messages = count(model)
        size = model.image_size
        print(
            f"| `{method}`, {size}x{size} | {FLAGS.batch_size * model.batches_per_step} "
            f"| {work / 1e9:,.0f} G | {1e3 * seconds(work):.1f} ms "
            f"| {gradients / 1e6:,.0f} MB | {moments / 1e3:,.0f} kB in {messages} |",
            flush=True,
        )
    print()
    print(
        "| method | GPUs | sent | " + " | ".join(f"at {x:g} GB/s" for x in links) + " |"
    )
    print("|---|---|---|" + "---|" * len(links))
    for method, figures in counted.items():
        work, gradients, updates, moments, messages = figures
        for gpus in map(int, FLAGS.gpus):
            cells = []
            for link in links:
                own = sending(gpus, gradients, updates, link)
                norms = sending(gpus, moments, messages, link)
                share = seconds(work) / (seconds(work) + own + norms)
                cells.append(f"{1e3 * own:.1f} + {1e3 * norms:.1f} ms, {share:.0%}")
            sent = 2 * (gpus - 1) / gpus * (gradients + moments)
            print(
                f"| `{method}` | {gpus} | {sent / 1e6:,.0f} MB | {' | '.join(cells)} |"
            )


def seconds(work):
    """Of so many multiply-adds, of two operations each."""
    return 2 * work / (FLAGS.tflops * 1e12)


if __name__ == "__main__":
    app.run(main, flags_parser=parse_flags)
