"""What serving costs beside the network that is served.

    python -m benchmarks.serving
    python -m benchmarks.serving --methods=glcic --width=1 --rounds=15

Times, for networks of full structure, --width times the published channels and random
weights (time does not depend on what a network has learned):

    one         the signature serving_default with one picture, against the bare compiled
                network on float tensors
    one, large  the same at 256x256, of a method that takes other sizes than its own
    eight       serving_default with eight pictures, which run one by one so that each
                gets the same bytes in any batch, against the network on all eight
    first       the first request after the warm-up requests, against the tenth, in a
                fresh process without Python
    sizes       requests of fifty different sizes, one after the other, and once more
    export      seconds to write the export

Ratios are of pairs: served and bare run one after the other, in turns, in one process,
so that what else the machine does falls on both. Prints medians, the ratio of the
fastest calls, which a busy machine disturbs least, and quartiles in parentheses.
Without a C compiler `first` is left out.
"""

import os
import statistics
import sys
import tempfile
import time

import numpy as np
import pytest
import tensorflow as tf
from absl import app, flags, logging

from benchmarks import fresh_runs
from command_line import served_methods
from command_line.parsing import parse_flags
from inpainting_tf import compiled_steps, exporting, images

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "tests"))
import native_runner  # Of the tests; runs exports without Python.

FLAGS = flags.FLAGS
flags.DEFINE_list(
    "methods", ["parallel_attention", "glcic", "giica"], "Names of networks."
)
flags.DEFINE_float("width", 0.25, "Channels of the networks, as in train.py.")
flags.DEFINE_integer("rounds", 25, "Pairs to be timed for each ratio.", lower_bound=2)
flags.DEFINE_integer("processes", 5, "Fresh processes for `first`.", lower_bound=2)
flags.DEFINE_integer("image_size", 128, "Side of the pictures.")


def request(batch, height, width):
    """Levels of random pictures with a central hole, as the signature takes them."""
    generator = np.random.default_rng(0)
    image = generator.integers(0, 256, [batch, height, width, 3], dtype=np.uint8)
    mask = np.zeros([batch, height, width, 1], np.uint8)
    mask[:, height // 4 : height * 3 // 4, width // 4 : width * 3 // 4] = 255
    return image, mask


def seconds_of(function, *arguments):
    began = time.perf_counter()
    for tensor in function(*arguments).values():
        tensor.numpy()
    return time.perf_counter() - began


def spread(values, form):
    """Median and quartiles as text."""
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:{form}} ({low:{form}} to {high:{form}})"


def compare(label, served, bare, image, mask):
    """Prints how much longer a served call takes than a bare one, in pairs."""
    levels = tf.constant(image), tf.constant(mask)
    floats = images.to_float(levels[0]), tf.cast(levels[1] > 0, tf.float32)
    for _ in range(3):
        seconds_of(served, *levels), seconds_of(bare, *floats)
    times = []
    for i in range(FLAGS.rounds):
        calls = [(served, levels), (bare, floats)]
        pair = [
            (seconds_of(function, *arguments), function is bare)
            for function, arguments in (calls if i % 2 else calls[::-1])
        ]
        times.append([seconds for seconds, _ in sorted(pair, key=lambda x: x[1])])
    served_ms, bare_ms = (1e3 * statistics.median(x) for x in zip(*times, strict=True))
    ratios = [a / b for a, b in times]
    fastest = min(x for x, _ in times) / min(x for _, x in times)
    print(
        f"  {label:11} served {served_ms:8.1f} ms, bare {bare_ms:8.1f} ms; ratio of "
        f"medians {served_ms / bare_ms:.3f}, of the fastest {fastest:.3f}, of pairs "
        f"{spread(ratios, '.3f')}",
        flush=True,
    )


def first_against_tenth(path, image, mask):
    """Prints first / tenth request after the warm-up requests, in fresh processes."""
    try:
        native_runner.compiled()
    except pytest.skip.Exception as reason:
        print(f"  first       not measured: {reason}", flush=True)
        return
    warm_up = native_runner.warmup_requests(path)
    asked = [("serving_default", {"image": image, "mask": mask})] * 10
    ratios, firsts = [], []
    for _ in range(FLAGS.processes):
        answers = native_runner.run(path, [*warm_up, *asked])[len(warm_up) :]
        firsts.append(1e3 * answers[0].seconds)
        ratios.append(answers[0].seconds / answers[9].seconds)
    print(
        f"  first       {statistics.median(firsts):.1f} ms, ratio to the tenth "
        + spread(ratios, ".3f"),
        flush=True,
    )


def many_sizes(served):
    """Prints the seconds of fifty sizes, the first and the second time."""
    generator = np.random.default_rng(1)
    sizes = generator.integers(16, 2 * FLAGS.image_size, [50, 2])
    passes = [
        [seconds_of(served, *map(tf.constant, request(1, *size))) for size in sizes]
        for _ in range(2)
    ]
    ratios = [a / b for a, b in zip(*passes, strict=True)]
    per_pixel = [1e6 * t / np.prod(s) for t, s in zip(passes[0], sizes, strict=True)]
    print(
        f"  sizes       50 in {sum(passes[0]):.1f} s, {1e3 * min(passes[0]):.0f} to "
        f"{1e3 * max(passes[0]):.0f} ms, {spread(per_pixel, '.2f')} us a pixel; first "
        f"to second time {spread(ratios, '.2f')}",
        flush=True,
    )


def measure(method, folder):
    print(f"{method}, width {FLAGS.width:g}", flush=True)
    run_dir = os.path.join(folder, method)
    size = FLAGS.image_size
    model = fresh_runs.write(run_dir, method, size, FLAGS.width, seed=0)
    began = time.perf_counter()
    _, served_method, facts = served_methods.open_run(run_dir, "newest")
    path = exporting.export(served_method, folder, f"export_{method}", facts)
    print(f"  export      {time.perf_counter() - began:.1f} s", flush=True)

    signature = tf.saved_model.load(path).signatures["serving_default"]

    def served(image, mask):
        return signature(image=image, mask=mask)

    forward = compiled_steps.compile_forward(model)

    def bare(image, mask):
        return {"completed": forward(image, mask)["completed"]}

    compare("one", served, bare, *request(1, size, size))
    if served_method.size_multiple is not None:
        compare("one, large", served, bare, *request(1, 256, 256))
    compare("eight", served, bare, *request(8, size, size))
    first_against_tenth(path, *request(1, size, size))
    if served_method.size_multiple is not None:
        many_sizes(served)


def main(_):
    logging.set_verbosity(logging.ERROR)  # Of what is exported, at length.
    print(f"load of the machine {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as folder:
        for method in FLAGS.methods:
            measure(method, folder)
    print(f"load of the machine {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    app.run(main, flags_parser=parse_flags)
