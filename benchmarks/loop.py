"""What train.py adds to the compiled step: feeding, reporting, saving, pictures.

    python -m benchmarks.loop --flagfile=flags/celeba.cfg --data_dir=... --steps=60

Takes the flags of train.py. Times the bare compiled step on one batch that stays in
memory, runs train.py in a process of its own into a temporary folder, and times the bare
step again, so that what else the machine does falls on both sides.

Prints milliseconds per step, bare and within the loop, and how much longer the loop's
are; the share of the loop's time that is not steps but validation, pictures and
checkpoints; and seconds from train.py's start to the end of its first step, beside those
that importing TensorFlow and Keras takes.
"""

import glob
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

import tensorflow as tf
from absl import app, flags

import train
from baselines.methods import METHODS
from benchmarks import timing
from benchmarks.batches import random_batch
from command_line.parsing import parse_flags
from inpainting_tf import compiled_steps

FLAGS = flags.FLAGS
flags.DEFINE_integer("rounds", 20, "Bare steps that are timed.", lower_bound=2)


def bare_seconds():
    """Seconds of each of --rounds steps without a loop round them."""
    method = METHODS[FLAGS.method]
    model = method(**train.method_arguments())
    batch = random_batch(FLAGS.batch_size * model.batches_per_step, FLAGS.image_size)
    step = compiled_steps.compile_step(model, tf.distribute.get_strategy())
    return timing.in_turns({"step": lambda: step(batch)}, FLAGS.rounds)["step"]


def run_train(folder):
    """Runs train.py; returns when it started and its rows of metrics.jsonl."""
    flags_given = [part for part in sys.argv[1:] if not part.startswith("--rounds")]
    began = time.time()
    done = subprocess.run(
        [
            sys.executable,
            "train.py",
            *flags_given,
            "--log_every=1",
            f"--run_dir={folder}",
        ],
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(
            f"benchmarks.loop: train.py ended with {done.returncode}:\n{done.stderr}"
        )
    with open(os.path.join(folder, "metrics.jsonl")) as file:
        return began, [json.loads(line) for line in file]


def logged_at(folder):
    """dict step -> when it was logged, from the run's TensorBoard file."""
    (path,) = glob.glob(os.path.join(folder, "**", "*tfevents*"), recursive=True)
    times = {}
    for event in tf.compat.v1.train.summary_iterator(path):
        times.setdefault(event.step, event.wall_time)
    return times


def import_seconds():
    """Seconds that a process needs before it is at its own code."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import tensorflow, keras"], check=True)
    return time.perf_counter() - began


def main(_):
    bare = bare_seconds()
    with tempfile.TemporaryDirectory() as folder:
        folder = os.path.join(folder, "run")
        began, rows = run_train(folder)
        times = logged_at(folder)
    bare += bare_seconds()
    seconds = {
        row["step"]: FLAGS.batch_size / row["images_per_second"]
        for row in rows
        if "images_per_second" in row
    }
    first, last = min(seconds), max(seconds)
    # The first two steps build and settle.
    within = [value for step, value in seconds.items() if step > first + 1]
    middle, plain = statistics.median(within), statistics.median(bare)
    wall = times[last] - times[first]
    stalled = 1 - sum(value for step, value in seconds.items() if step > first) / wall
    print(
        f"{FLAGS.method}, batch {FLAGS.batch_size}, {FLAGS.image_size}x"
        f"{FLAGS.image_size}: bare step {timing.spread([1e3 * s for s in bare], '.0f')} "
        f"ms, in the loop {timing.spread([1e3 * s for s in within], '.0f')} ms: "
        f"{middle / plain - 1:+.1%}\n"
        f"validation, pictures, checkpoints, log: {stalled:.1%} of {wall:.0f} s "
        f"(validation every {FLAGS.validate_every}, checkpoints every "
        f"{FLAGS.checkpoint_every} steps)\n"
        f"from start to the end of the first step {times[first] - began:.1f} s; "
        f"importing TensorFlow and Keras alone takes {import_seconds():.1f} s"
    )


if __name__ == "__main__":
    app.run(main, flags_parser=parse_flags)
