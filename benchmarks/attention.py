"""Contextual attention: the fast form against the form of the original program.

    python -m benchmarks.attention
    python -m benchmarks.attention --rounds=21 --shapes=4x64x64x96

Times, in turns within one process, for feature maps of batch x height x width x
channels at rate 2:

    patches    the form of the original: patches as kernels of convolutions, one example
               after another
    diagonal   the form that the package uses

each forward alone and with the gradients to both inputs, and a 2048-cubed float32
product. Prints how many times faster `diagonal` is, median and quartiles over rounds;
the share of the product's speed that `patches` reaches by its nominal arithmetic,
beside the share that the original program reached when it was recorded (TensorFlow
2.21, two runs): it must not be slower, or the comparison would flatter us; and by how
much the process grew at its largest, each form in a process of its own.
"""

import pathlib
import re
import subprocess
import sys

import numpy as np
import tensorflow as tf
from absl import app, flags

from benchmarks import timing
from command_line.parsing import parse_flags
from inpainting_tf.contextual_attention import contextual_attention

FLAGS = flags.FLAGS
flags.DEFINE_list(
    "shapes", ["4x64x64x96", "16x32x32x128", "1x64x64x128"], "Of the feature maps."
)
flags.DEFINE_integer("rounds", 11, "Turns that are timed.", lower_bound=2)
flags.DEFINE_string(
    "memory_of", None, "Only print the growth of a form, such as diagonal:gradients."
)

# Nominal multiply-adds of the original's forward pass, and the shares of a matrix
# product's speed that it was recorded with: forward, with gradients.
RECORDED = {
    "4x64x64x96": (10.142e9, "0.30 and 0.37", "0.38 and 0.42"),
    "16x32x32x128": (3.374e9, "0.21 and 0.24", "0.29 and 0.32"),
    "1x64x64x128": (3.374e9, "0.31 and 0.43", "not recorded"),
}
FORMS = ("patches", "diagonal")


def attention(form, shape, gradients):
    """A function without arguments that attends to random features with a hole."""
    generator = np.random.default_rng(0)
    foreground, background = (
        tf.constant(generator.normal(size=shape), tf.float32) for _ in range(2)
    )
    mask = np.zeros([*shape[:3], 1], np.float32)
    mask[:, shape[1] // 4 : shape[1] * 3 // 4, shape[2] // 4 : shape[2] * 3 // 4] = 1
    mask = tf.constant(mask)

    @tf.function
    def run(foreground, background, mask):
        if not gradients:
            return contextual_attention(foreground, background, mask, rate=2, form=form)
        with tf.GradientTape() as tape:
            tape.watch([foreground, background])
            output, _ = contextual_attention(
                foreground, background, mask, rate=2, form=form
            )
            total = tf.reduce_sum(tf.square(output))
        return tape.gradient(total, [foreground, background])

    return lambda: run(foreground, background, mask)


def megabytes_at_most():
    # Not getrusage, whose maximum starts at that of the process that started this one.
    status = pathlib.Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1024


def print_growth(shape):
    """Prints by how many MB one form makes the process grow."""
    form, what = FLAGS.memory_of.split(":")
    # Small first: what TensorFlow and its threads take once does not count.
    attention(form, [1, 16, 16, 8], what == "gradients")()
    before = megabytes_at_most()
    run = attention(form, shape, what == "gradients")
    for _ in range(3):
        run()
    print(f"{megabytes_at_most() - before:.0f}")


def growth(name, form, what):
    command = [sys.executable, "-m", "benchmarks.attention"]
    options = [f"--shapes={name}", f"--memory_of={form}:{what}"]
    done = subprocess.run(
        command + options, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True
    )
    return int(done.stdout.split()[-1])


def compare(name, shape):
    """Prints the comparison of both forms at one shape."""
    print(name, flush=True)
    product, product_multiply_adds = timing.matmul()
    for what, gradients in (("forward", False), ("gradients", True)):
        functions = {form: attention(form, shape, gradients) for form in FORMS}
        seconds = timing.in_turns({**functions, "product": product}, FLAGS.rounds)
        faster = timing.ratios(seconds["patches"], seconds["diagonal"])
        text = (
            f"  {what:9}  patches {1e3 * np.median(seconds['patches']):6.0f} ms, "
            f"diagonal {1e3 * np.median(seconds['diagonal']):5.0f} ms: "
            f"{timing.spread(faster, '.1f')} times faster"
        )
        if name in RECORDED:
            nominal, *recorded = RECORDED[name]
            work = nominal * (3 if gradients else 1) / product_multiply_adds
            shares = timing.ratios(seconds["product"], seconds["patches"])
            text += (
                f"; patches at {timing.spread([work * share for share in shares])} "
                f"of a matrix product, recorded {recorded[gradients]}"
            )
        print(text, flush=True)
        grown = {form: growth(name, form, what) for form in FORMS}
        print(
            "             process grows by "
            + ", ".join(f"{form} {grown[form]} MB" for form in FORMS),
            flush=True,
        )


def main(_):
    for name in FLAGS.shapes:
        shape = [int(size) for size in name.split("x")]
        if FLAGS.memory_of:
            print_growth(shape)
        else:
            compare(name, shape)


if __name__ == "__main__":
    app.run(main, flags_parser=parse_flags)
