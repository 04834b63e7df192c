"""What an evaluation spends its time on: methods against everything else.

    python -m benchmarks.evaluation --protocol=celeba128_center --data_dir=...
    python -m benchmarks.evaluation --protocol=synthetic128_center --width=1
    python -m benchmarks.evaluation --protocol=... --methods=runs/glcic,telea

Takes the flags of evaluate.py. Without --methods it compares six networks of full
structure and --width times the published channels, with fresh weights: time does not
depend on what a network has learned. Without --output_dir results go to a temporary
folder.

Prints wall and CPU time of each part and its share. CPU time, of all threads, stays
meaningful on a machine that others use too. Images are decoded ahead by threads of
their own, so their CPU time falls into other parts: it is measured once more, alone.
Loading the methods comes first and is not counted.
"""

import os
import tempfile
import time

from absl import app, flags

import evaluate
from benchmarks import fresh_runs
from command_line.parsing import parse_flags
from inpainting_tf import protocol_examples, protocols

FLAGS = flags.FLAGS
flags.DEFINE_float("width", 0.25, "Channels of the fresh networks, as in train.py.")

# Those of the paper's figures 2 and 8: its network early and late, and the baselines.
FRESH = {
    "early": "parallel_attention",
    "late": "parallel_attention",
    "glcic": "glcic",
    "giica": "giica",
    "giica_more": "giica",
    "context_encoder": "context_encoder",
}


def reading_alone():
    """CPU and wall seconds to read, check and mask the protocol's images."""
    protocol = protocols.read(FLAGS.protocol)
    cpu, wall = time.process_time(), time.perf_counter()
    for _ in protocol_examples.open_examples(
        protocol, FLAGS.data_dir, batch_size=FLAGS.batch_size
    ):
        pass
    return time.process_time() - cpu, time.perf_counter() - wall


def main(_):
    with tempfile.TemporaryDirectory() as folder:
        if not FLAGS.methods:
            size = protocols.read(FLAGS.protocol).size
            FLAGS.methods = []
            for seed, (label, method) in enumerate(FRESH.items()):
                run_dir = os.path.join(folder, label)
                fresh_runs.write(run_dir, method, size, FLAGS.width, seed)
                FLAGS.methods.append(run_dir)
        FLAGS.output_dir = FLAGS.output_dir or os.path.join(folder, "results")
        seconds, watch = evaluate.run()
    alone = reading_alone()
    cpu = sum(watch.cpu_seconds.values())
    print(f"\n{'':12}{'wall':>8}{'CPU':>17}")
    for part, wall in watch.seconds.most_common():
        own = watch.cpu_seconds[part]
        print(
            f"{part:12}{wall:6.1f} s {wall / seconds:4.0%}{own:7.1f} s {own / cpu:4.0%}"
        )
    print(f"reading images alone takes {alone[0]:.1f} s CPU, {alone[1]:.1f} s wall")
    outside = cpu - watch.cpu_seconds["methods"]
    within = alone[0] - watch.cpu_seconds["images"]  # Read ahead, in other parts.
    print(
        f"outside the methods: {1 - watch.seconds['methods'] / seconds:.1%} of the wall "
        f"time; of the CPU time between {outside / cpu:.1%} and, if all images had been "
        f"read while methods ran, {(outside + max(within, 0)) / cpu:.1%}"
    )


if __name__ == "__main__":
    app.run(main, flags_parser=parse_flags)
